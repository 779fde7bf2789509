//! The bodies that we send: whole, a running call, a stream of notes.
//!
//! A running call is polled here, inline: a task a call costs 2.7 µs (`hot-path.md` 2). When its connection goes, a
//! legacy call is handed to the tracker and ends by itself; a modern one is dropped, which is its cancel, and so is what
//! only waits (`tasks/result`).

use std::{
    collections::VecDeque,
    fmt,
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use super::watch::Watch;
use crate::{
    answering::Event,
    audit::record::Final,
    listen::{
        feeds::Note,
        hearing::Hearing,
        message::{Answering, Calling},
        modern::voice::Voice,
    },
    upcall,
    wire::{answer::Pieces, sse},
};

/// What the hang-up of its client means for a call.
#[derive(Debug)]
pub enum HangUp {
    /// Legacy: nothing; it ends by itself. Its session hears what it asked for.
    Outlives(Hearing),
    /// Modern: it is taken back. What it says is put in that era's way.
    Cancels(Voice),
}

/// Polls a call in place; dropped before its end, the call goes on without a listener where there is a tracker, and is
/// dropped where there is none, or where it only waits.
#[derive(Debug)]
pub struct Outlive {
    call: Option<Calling>,
    /// Legacy: it may outlive its connection.
    hearing: Option<Hearing>,
}

impl Outlive {
    fn passes(&self, event: &Event) -> bool {
        self.hearing.as_ref().is_none_or(|hearing| hearing.passes(event))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Final>> {
        let Some(call) = &mut self.call else { return Poll::Ready(None) };
        let last = ready!(Pin::new(call).poll(cx));
        self.call = None;
        Poll::Ready(Some(last))
    }
}

impl Drop for Outlive {
    fn drop(&mut self) {
        if let (Some(call), Some(hearing)) = (self.call.take(), &self.hearing)
            && !call.is_wait()
        {
            hearing.plane().tracker.spawn(async move { drop(call.await) });
        }
    }
}

/// The first word of a running call decides how it is framed.
#[derive(Debug)]
pub enum First {
    /// It ended without another word: its answer as the client gets it, if it gets one, and what put it so.
    Last(Final, Option<Bytes>, Option<Voice>),
    /// A part of a big answer came: JSON, streamed on.
    Json(AnswerBody),
    /// It speaks before its answer, or was quiet for long: an event stream.
    Stream(AnswerBody),
}

/// Waits for a call's first word.
pub async fn first(answering: Answering, hang_up: HangUp) -> First {
    let Answering { call, mut events } = answering;
    let (hearing, mut voice) = match hang_up {
        HangUp::Outlives(hearing) => (Some(hearing), None),
        HangUp::Cancels(voice) => (None, Some(voice)),
    };
    let mut call = Outlive { call: Some(call), hearing };
    let passes = |call: &Outlive, voice: &Option<Voice>, event: &Event| {
        call.passes(event) && voice.as_ref().is_none_or(|voice| voice.passes(event))
    };
    let word = std::future::poll_fn(|cx| {
        // Events first: what a call said before its end must not come after it.
        loop {
            match events.poll_recv(cx) {
                Poll::Ready(Some(event)) if !passes(&call, &voice, &event) => {}
                Poll::Ready(Some(event)) => return Poll::Ready(Ok(event)),
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        match call.poll(cx) {
            Poll::Ready(Some(last)) => loop {
                match events.try_recv() {
                    Ok(event) if !passes(&call, &voice, &event) => {}
                    Ok(event) => return Poll::Ready(Err((Some(event), last))),
                    Err(_) => return Poll::Ready(Err((None, last))),
                }
            },
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    })
    .await;
    let (first, last) = match word {
        Ok(event) => (event, None),
        Err((Some(event), last)) => (event, Some(last)),
        Err((None, last)) => {
            let bytes = match &mut voice {
                Some(voice) => voice.last(&last),
                None => last.bytes().cloned(),
            };
            return First::Last(last, bytes, voice);
        }
    };
    let mut body = AnswerBody {
        call,
        voice,
        events,
        framing: Framing::Json,
        out: VecDeque::new(),
        last,
        begun: false,
        done: false,
    };
    match first {
        Event::Part(part) => {
            body.frame(Event::Part(part));
            First::Json(body)
        }
        Event::Elicited(_)
        | Event::Log(_)
        | Event::Progress(_)
        | Event::Question(_)
        | Event::Quiet
        | Event::Withdrawn(_) => {
            body.framing = Framing::Sse { in_answer: false };
            body.frame(first);
            First::Stream(body)
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    Json,
    Sse { in_answer: bool },
}

/// The whole answer of a call in a batch: what it says before its answer has no place there.
pub async fn whole(answering: Answering, hearing: Hearing) -> Option<Bytes> {
    let mut joined = BytesMut::new();
    let mut answer = match first(answering, HangUp::Outlives(hearing)).await {
        First::Last(_, bytes, _) => return bytes,
        First::Json(body) => body,
        First::Stream(mut body) => {
            body.out.clear();
            body.framing = Framing::Json;
            body
        }
    };
    while let Some(bytes) = std::future::poll_fn(|cx| answer.poll_next(cx)).await {
        joined.extend_from_slice(&bytes.ok()?);
    }
    (!joined.is_empty()).then(|| joined.freeze())
}

/// The rest of a running call.
#[derive(Debug)]
pub struct AnswerBody {
    call: Outlive,
    /// None: legacy, as it came.
    voice: Option<Voice>,
    events: mpsc::Receiver<Event>,
    framing: Framing,
    out: VecDeque<Bytes>,
    last: Option<Final>,
    /// A part of the answer is out: nothing but the rest of it may follow.
    begun: bool,
    done: bool,
}

impl AnswerBody {
    fn frame(&mut self, event: Event) {
        match (&mut self.voice, event) {
            (Some(voice), Event::Part(part)) => {
                let mut pieces = Pieces::default();
                voice.part(&part, &mut pieces);
                self.begun = true;
                for piece in pieces.drain() {
                    self.framed(Event::Part(piece));
                }
            }
            (Some(voice), event) if !voice.passes(&event) => {}
            (None, event) if !self.call.passes(&event) => {}
            (_, event) => self.framed(event),
        }
    }

    fn framed(&mut self, event: Event) {
        self.begun |= matches!(event, Event::Part(_));
        match (&mut self.framing, event) {
            (Framing::Json, Event::Part(part)) => self.out.push_back(part),
            (Framing::Sse { in_answer }, Event::Part(part)) => {
                if !std::mem::replace(in_answer, true) {
                    self.parts(|out| sse::Framer.begin(out));
                }
                self.parts(|out| sse::Framer.piece(part, out));
            }
            (Framing::Sse { in_answer: false }, event) => self.out.push_back(said(event)),
            // Once an answer has begun, nothing but the answer fits into its body. A question that is dropped is
            // answered so.
            (Framing::Json | Framing::Sse { in_answer: true }, _) => {}
        }
    }

    /// Errors: the answer had begun and has no end; the connection is cut, so that nobody takes it for whole.
    fn finish(&mut self, last: &Final) -> Result<(), Torn> {
        if self.begun && !last.is_answer() {
            return Err(Torn);
        }
        let bytes = match &mut self.voice {
            Some(voice) => voice.last(last),
            None => last.bytes().cloned(),
        };
        let Some(bytes) = bytes else { return Ok(()) };
        match self.framing {
            Framing::Json => self.out.push_back(bytes),
            Framing::Sse { in_answer: false } => self.out.push_back(sse::frame(&bytes, None)),
            Framing::Sse { in_answer: true } => {
                self.parts(|out| {
                    sse::Framer.piece(bytes, out);
                    sse::Framer.end(out);
                });
            }
        }
        Ok(())
    }

    fn parts(&mut self, write: impl FnOnce(&mut Pieces)) {
        let mut pieces = Pieces::default();
        write(&mut pieces);
        self.out.extend(pieces.drain());
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Torn>>> {
        loop {
            if let Some(bytes) = self.out.pop_front() {
                return Poll::Ready(Some(Ok(bytes)));
            }
            if self.done {
                return Poll::Ready(None);
            }
            match self.events.poll_recv(cx) {
                Poll::Ready(Some(event)) => {
                    self.frame(event);
                    continue;
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
            let last = match self.last.take() {
                Some(last) => Some(last),
                None => ready!(self.call.poll(cx)),
            };
            // The call may have spoken in the poll that ended it.
            while let Ok(event) = self.events.try_recv() {
                self.frame(event);
            }
            self.done = true;
            if let Some(last) = last
                && let Err(torn) = self.finish(&last)
            {
                return Poll::Ready(Some(Err(torn)));
            }
        }
    }
}

/// What a call says beside its answer, as one event.
fn said(event: Event) -> Bytes {
    match event {
        Event::Elicited(message) | Event::Log(message) | Event::Progress(message) | Event::Part(message) => {
            sse::frame(&message, None)
        }
        Event::Question(upcall) => sse::frame(&upcall.into_request(), None),
        Event::Withdrawn(number) => sse::frame(&upcall::withdrawn(number), None),
        Event::Quiet => sse::comment(),
    }
}

/// A body that can't be brought to its end.
#[derive(Clone, Copy, Debug)]
pub struct Torn;

impl fmt::Display for Torn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer broke off")
    }
}

impl std::error::Error for Torn {}

/// Everything that the listener answers with.
pub enum Reply {
    Whole(Option<Bytes>),
    Answer(Box<AnswerBody>),
    Notes(mpsc::Receiver<Note>),
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Torn;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Torn>>> {
        let next = match self.get_mut() {
            Self::Whole(bytes) => bytes.take().map(Ok),
            Self::Answer(body) => ready!(body.poll_next(cx)),
            Self::Notes(notes) => match ready!(notes.poll_recv(cx)) {
                Some(Note::Message(message)) => Some(Ok(sse::frame(&message, None))),
                Some(Note::Quiet) => Some(Ok(sse::comment())),
                None => None,
            },
        };
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Answer(_) | Self::Notes(_) => SizeHint::default(),
        }
    }
}

/// A body that says when it is out, whole or not: then the connection is idle again.
#[derive(Debug)]
pub struct Timed {
    body: Reply,
    watch: Watch,
}

impl Timed {
    pub(super) fn new(body: Reply, watch: Watch) -> Self {
        Self { body, watch }
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.watch.idle();
    }
}

impl Body for Timed {
    type Data = Bytes;
    type Error = Torn;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Torn>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

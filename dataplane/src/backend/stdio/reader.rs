//! The one task that reads what a process says, and hands each message to whom it is for. Never waits for anybody: a
//! slow client can't block it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::mpsc,
    time::Instant,
};
use tokio_util::task::TaskTracker;

use super::{converse::Conversation, stderr::Stderr};
use crate::{
    answering::Event,
    backend::{
        BackendNote, Note,
        asking::{Desk, Request},
        era::Era,
        flood::Flood,
        listing,
        noise::Counts,
        waiting::{Met, Reply, number},
        wanted::Wanted,
    },
    call::BackendId,
    upcall::feature::Feature,
    wire::{
        Span, Text,
        incoming::{self, Incoming},
        outgoing,
    },
};

/// The buffer's size at rest.
const AT_REST: usize = 64 << 10;
const FLOOD: Duration = Duration::from_secs(10);
const GARBAGE: u32 = 1000;
const UNKNOWN: u32 = 100;
const SAMPLE: Duration = Duration::from_secs(60);
const SAMPLE_BYTES: usize = 200;

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderEnd {
    /// It closed its stdout.
    Closed,
    /// A line over the limit.
    TooLong,
    /// Too much that is no message of MCP.
    Garbage,
    /// Too many answers to what nobody asked, or requests that nobody can answer so fast.
    Unasked,
}

/// What the reader hands on to.
#[derive(Debug)]
pub struct Ears {
    pub id: BackendId,
    pub conversation: Arc<Conversation>,
    pub desk: Desk,
    pub tracker: TaskTracker,
    pub notes: mpsc::Sender<BackendNote>,
    pub wanted: Arc<Wanted>,
    pub stderr: Arc<Stderr>,
    pub counts: Arc<Counts>,
    /// Bytes of one line.
    pub limit: usize,
}

#[derive(Deserialize)]
struct LogParams {
    level: Box<str>,
}

/// Reads until the end of `stdout`, or until it has heard enough.
pub async fn read(mut stdout: impl AsyncRead + Unpin, ears: Ears) -> ReaderEnd {
    let mut reader =
        Reader { ears, garbage: Flood::new(GARBAGE, FLOOD), unasked: Flood::new(UNKNOWN, FLOOD), sampled: None };
    let mut buffer = BytesMut::with_capacity(AT_REST);
    // Up to here there is no line end: each byte is looked at once, however long the line.
    let mut seen = 0;
    loop {
        if !matches!(stdout.read_buf(&mut buffer).await, Ok(1..)) {
            return ReaderEnd::Closed;
        }
        while let Some(at) = buffer.get(seen..).and_then(|new| memchr::memchr(b'\n', new)) {
            let end = seen.saturating_add(at);
            if end > reader.ears.limit {
                return ReaderEnd::TooLong;
            }
            let mut line = buffer.split_to(end.saturating_add(1));
            line.truncate(end);
            seen = 0;
            if end > AT_REST {
                // Small lines to come must not hold a large one's memory.
                buffer = BytesMut::from(&*buffer);
            }
            if let Err(end) = reader.line(line.freeze(), false) {
                return end;
            }
        }
        seen = buffer.len();
        if seen > reader.ears.limit {
            return ReaderEnd::TooLong;
        }
        // What is left of a shared buffer is soon too small for a read worth its system call.
        if buffer.capacity().saturating_sub(buffer.len()) < AT_REST / 8 {
            buffer.reserve(AT_REST.max(buffer.len()));
        }
    }
}

struct Reader {
    ears: Ears,
    garbage: Flood,
    unasked: Flood,
    sampled: Option<Instant>,
}

impl Reader {
    fn line(&mut self, line: Bytes, in_batch: bool) -> Result<(), ReaderEnd> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        self.ears.conversation.heard();
        match incoming::read(&line) {
            Ok(Incoming::Response { id, failed, tool_error, result, error, places }) => {
                self.response(Reply { message: line, id, failed, tool_error, result, error, places })
            }
            Ok(Incoming::Request { id, method, params }) => self.request(&line, id, method, params),
            Ok(Incoming::Notification { method, params, progress_token, request_id }) => {
                let conversation = &self.ears.conversation;
                if !method.is(&line, "notifications/cancelled") {
                    self.notification(line, method, params, progress_token);
                } else if let Some(id) = request_id {
                    match conversation.era() {
                        Era::Legacy => conversation.asking.withdraw(id.get(&line)),
                        // The one thing that a modern server may end so is our `subscriptions/listen`.
                        Era::Modern => conversation.ended_by_server(number(id, &line)),
                    }
                }
                Ok(())
            }
            Ok(Incoming::Batch(spans)) if !in_batch => {
                spans.into_iter().try_for_each(|span| self.line(line.slice(span.range()), true))
            }
            Ok(Incoming::Batch(_)) | Err(_) => self.no_message(&line),
        }
    }

    fn response(&mut self, reply: Reply) -> Result<(), ReaderEnd> {
        let met = match number(reply.id, &reply.message) {
            Some(number) => self.ears.conversation.waiting.answer(number, reply),
            None => Met::Nobody,
        };
        match met {
            Met::Caller => Ok(()),
            Met::Late => {
                self.ears.counts.late_answers.fetch_add(1, Relaxed);
                Ok(())
            }
            Met::Nobody => {
                self.ears.counts.unknown_ids.fetch_add(1, Relaxed);
                if self.unasked.note() { Err(ReaderEnd::Unasked) } else { Ok(()) }
            }
        }
    }

    /// A ping is answered here; what a client can be asked is handed up. A modern server may ask nothing this way, and is
    /// answered nothing.
    fn request(&mut self, line: &Bytes, id: Span, method: Text, params: Option<Span>) -> Result<(), ReaderEnd> {
        if self.ears.conversation.era() == Era::Modern {
            self.ears.counts.unanswered_requests.fetch_add(1, Relaxed);
            return if self.unasked.note() { Err(ReaderEnd::Unasked) } else { Ok(()) };
        }
        let own = id.get(line);
        let feature = method.text(line).and_then(|method| Feature::asked_by(&method));
        let answer = match feature {
            Some(feature) => {
                let params = params.map_or(Bytes::from_static(b"{}"), |params| line.slice(params.range()));
                let request = Request { id: line.slice(id.range()), feature, params, call: None };
                let conversation = &self.ears.conversation;
                match conversation.asking.begin(&self.ears.desk, request) {
                    Ok(answered) => {
                        let conversation = Arc::clone(conversation);
                        self.ears.tracker.spawn(async move {
                            if let Some(answer) = answered.await {
                                conversation.reply(&answer);
                            }
                        });
                        return Ok(());
                    }
                    Err(refusal) => refusal,
                }
            }
            None if method.is(line, "ping") => outgoing::result(own, b"{}"),
            None => outgoing::error(Some(own), -32601, "method not found", None),
        };
        if !self.ears.conversation.reply(&answer) {
            self.ears.counts.unanswered_requests.fetch_add(1, Relaxed);
            if self.unasked.note() {
                return Err(ReaderEnd::Unasked);
            }
        }
        Ok(())
    }

    fn notification(&self, line: Bytes, method: Text, params: Option<Span>, token: Option<Span>) {
        if method.is(&line, "notifications/progress") {
            // Our token is the call's number; the client gets its own back.
            let call = token.and_then(|token| Some((token, number(token, &line)?)));
            if let Some((token, number)) = call
                && let Some(progress) = self.ears.conversation.waiting.progress(number)
            {
                progress.came.notify_one();
                progress.events.offer(Event::Progress(incoming::with_id(&line, token, &progress.token)));
            }
        } else if listing::is_change(method, &line) {
            self.ears.conversation.changed.notify_one();
        } else if let (Some(params), true) = (params, method.is(&line, "notifications/resources/updated")) {
            self.ears.wanted.hear(params.get(&line));
        } else if let (Some(params), true) = (params, method.is(&line, "notifications/subscriptions/acknowledged")) {
            self.ears.wanted.hear_grant(params.get(&line));
        } else if method.is(&line, "notifications/message")
            && let Some(params) = params
            && let Ok(LogParams { level }) = serde_json::from_slice(params.get(&line))
        {
            let note = BackendNote {
                backend: self.ears.id,
                note: Note::Log { level, message: line, of: self.ears.desk.owner.clone() },
            };
            if self.ears.notes.try_send(note).is_err() {
                self.ears.counts.dropped_logs.fetch_add(1, Relaxed);
            }
        } else if method.is(&line, "notifications/elicitation/complete") {
            self.hint(Note::Elicited { message: line, of: self.ears.desk.owner.clone() });
        } else if method.is(&line, "notifications/tasks/status") {
            self.hint(Note::TaskStatus { message: line, of: self.ears.desk.owner.clone() });
        }
    }

    /// Full: its loss costs a person a look.
    fn hint(&self, note: Note) {
        self.ears.notes.try_send(BackendNote { backend: self.ears.id, note }).ok();
    }

    fn no_message(&mut self, line: &Bytes) -> Result<(), ReaderEnd> {
        self.ears.counts.garbage.fetch_add(1, Relaxed);
        if self.sampled.is_none_or(|at| at.elapsed() >= SAMPLE) {
            self.sampled = Some(Instant::now());
            // Beside stderr, not into the log: servers print arguments.
            let sample = line.get(..SAMPLE_BYTES).unwrap_or(line);
            self.ears.stderr.note("(on stdout, no message of MCP) ", sample);
        }
        if self.garbage.note() { Err(ReaderEnd::Garbage) } else { Ok(()) }
    }
}

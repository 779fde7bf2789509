//! Reads the stream of a session as long as it is good, and hands each message to whom it is for. Never waits for
//! anybody: a slow client can't block it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;

use super::{
    super::{ask::PING, beside, core::Core, fault::Fault, reading::Whose, session::Session},
    Channel,
    stream::{self, Stream},
};
use crate::{
    answering::Event,
    backend::{
        flood::Flood,
        waiting::{Met, Reply, number},
    },
    wire::{
        Span,
        incoming::{self, Incoming},
    },
};

/// For the answer to a ping, by a server that lets calls time out.
const SIGN: Duration = Duration::from_secs(3);
const FLOOD: Duration = Duration::from_secs(10);
/// Within it, before a stream is given up: what is no message, and answers to what nobody asked.
const GARBAGE: u32 = 1000;
const UNKNOWN: u32 = 100;

/// A session whose stream is read: dropped, it is lost.
pub(super) struct Heard(Arc<Session>);

impl Heard {
    pub(super) fn of(session: &Arc<Session>) -> Self {
        Self(Arc::clone(session))
    }
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.0.lose();
    }
}

pub(super) async fn hear(core: Arc<Core>, heard: Heard, stream: Stream) {
    let session = &heard.0;
    let Some(channel) = &session.channel else { return };
    let why = tokio::select! {
        biased;
        () = session.over.cancelled() => return,
        why = read(&core, session, channel, stream) => why,
        why = suspected(&core, session, channel) => why,
    };
    tracing::warn!(backend = &*core.backend, reason = %why, "the event stream of this server is over");
    channel.end.get_or_init(|| why);
}

/// To its end, or to the first thing in it that is no event of a bearable size.
async fn read(core: &Arc<Core>, session: &Arc<Session>, channel: &Channel, mut stream: Stream) -> Fault {
    let (garbage, unasked) = (Flood::new(GARBAGE, FLOOD), Flood::new(UNKNOWN, FLOOD));
    let mut reader = Reader { core, session, channel, garbage, unasked };
    loop {
        while let Some(event) = stream.arrived.pop_front() {
            let Some(message) = stream::message(event) else { continue };
            if let Err(fault) = reader.message(message, false) {
                return fault;
            }
        }
        match stream.more().await {
            Ok(true) => channel.heard(),
            Ok(false) => return Fault::Cut("its event stream ended without an answer".into()),
            Err(fault) => return fault,
        }
    }
}

/// Returns when a server that let several calls time out does not answer a ping either.
async fn suspected(core: &Arc<Core>, session: &Arc<Session>, channel: &Channel) -> Fault {
    loop {
        channel.suspect.notified().await;
        if core.ask(Some(session), PING, None, SIGN).await.is_err() && channel.timeouts.load(Relaxed) > 0 {
            return Fault::Cut("it answers nothing, not even a ping".into());
        }
    }
}

struct Reader<'a> {
    core: &'a Arc<Core>,
    session: &'a Arc<Session>,
    channel: &'a Channel,
    garbage: Flood,
    unasked: Flood,
}

impl Reader<'_> {
    /// Errors: it is too much of what nobody can use.
    fn message(&mut self, message: Bytes, in_batch: bool) -> Result<(), Fault> {
        match incoming::read(&message) {
            Ok(Incoming::Response { id, failed, tool_error, result, error, places }) => {
                self.response(Reply { message, id, failed, tool_error, result, error, places })
            }
            Ok(Incoming::Notification { method, progress_token: Some(token), .. })
                if method.is(&message, "notifications/progress") =>
            {
                self.progress(&message, token);
                Ok(())
            }
            Ok(other @ (Incoming::Request { .. } | Incoming::Notification { .. })) => {
                // Of calls nothing is said beside progress: whose a question or a note is, the stream does not tell.
                beside::see(self.core, Some(self.session), Whose::Own, &message, &other);
                Ok(())
            }
            Ok(Incoming::Batch(all)) if !in_batch => {
                all.into_iter().try_for_each(|span| self.message(message.slice(span.range()), true))
            }
            Ok(Incoming::Batch(_)) | Err(_) => {
                self.core.noise.garbage.fetch_add(1, Relaxed);
                if self.garbage.note() {
                    return Err(Fault::says("it sends too much that is no message of MCP"));
                }
                Ok(())
            }
        }
    }

    fn response(&mut self, reply: Reply) -> Result<(), Fault> {
        let noise = &self.core.noise;
        let met = match number(reply.id, &reply.message) {
            Some(number) => self.channel.waiting.answer(number, reply),
            None => Met::Nobody,
        };
        match met {
            Met::Caller => {}
            Met::Late => {
                noise.late_answers.fetch_add(1, Relaxed);
            }
            Met::Nobody => {
                noise.unknown_ids.fetch_add(1, Relaxed);
                if self.unasked.note() {
                    return Err(Fault::says("it sends too many answers that nobody asked for"));
                }
            }
        }
        Ok(())
    }

    /// Our token is the call's number; the client gets its own back.
    fn progress(&self, message: &Bytes, token: Span) {
        if let Some(progress) = number(token, message).and_then(|number| self.channel.waiting.progress(number)) {
            progress.came.notify_one();
            progress.events.offer(Event::Progress(incoming::with_id(message, token, &progress.token)));
        }
    }
}

//! What a backend says beside its answers: progress, log notes, changed lists, questions. Never waits.

use std::sync::Arc;

use bytes::Bytes;

use super::{core::Core, reading::Whose, session::Session};
use crate::{
    answering::Event,
    backend::{Note, asking::Request, listing},
    upcall::feature::Feature,
    wire::{
        incoming::{self, Incoming},
        outgoing,
    },
};

const REPLY: &str = "an answer to its request";

/// One notification or request; responses are not for here.
pub(super) fn see(
    core: &Arc<Core>,
    session: Option<&Arc<Session>>,
    whose: Whose<'_>,
    message: &Bytes,
    read: &Incoming,
) {
    match read {
        Incoming::Notification { method, params, progress_token, request_id } => {
            if listing::is_change(*method, message) {
                core.changed.notify_one();
            } else if method.is(message, "notifications/resources/updated") {
                core.wanted.hear(params.map_or(&b""[..], |params| params.get(message)));
            } else if method.is(message, "notifications/progress") {
                if let (Whose::Call { flight, events }, Some(token)) = (whose, progress_token)
                    && let Ok(Ok(number)) = std::str::from_utf8(token.get(message)).map(str::parse::<u64>)
                    && number == flight.number()
                {
                    flight.renew();
                    if let Some(client) = flight.progress_token() {
                        let note = incoming::with_id(message, *token, client);
                        events.offer(Event::Progress(note));
                    }
                }
            } else if method.is(message, "notifications/message") {
                match whose {
                    Whose::Call { events, .. } => events.offer(Event::Log(message.clone())),
                    Whose::Own => {
                        let params = params.map_or(&b""[..], |params| params.get(message));
                        let of = core.desk.owner.clone();
                        core.note(Note::Log { level: level(params), message: message.clone(), of });
                    }
                }
            } else if method.is(message, "notifications/elicitation/complete") {
                match whose {
                    Whose::Call { events, .. } => events.offer(Event::Elicited(message.clone())),
                    Whose::Own => {
                        core.note(Note::Elicited { message: message.clone(), of: core.desk.owner.clone() });
                    }
                }
            } else if method.is(message, "notifications/tasks/status") {
                core.note(Note::TaskStatus { message: message.clone(), of: core.desk.owner.clone() });
            } else if method.is(message, "notifications/cancelled")
                && let (Some(session), Some(id)) = (session, request_id)
            {
                session.asking.withdraw(id.get(message));
            }
        }
        // A modern server may ask nothing this way, and is answered nothing.
        Incoming::Request { .. } if session.is_some_and(|session| session.is_modern()) => {}
        Incoming::Request { id, method, params } => {
            let own = id.get(message);
            let feature = method.text(message).and_then(|method| Feature::asked_by(&method));
            let reply = match (feature, session) {
                (Some(feature), Some(session)) => {
                    let call = match whose {
                        Whose::Call { flight, .. } => Some(flight.number()),
                        Whose::Own => None,
                    };
                    let params = params.map_or(Bytes::from_static(b"{}"), |params| message.slice(params.range()));
                    let request = Request { id: message.slice(id.range()), feature, params, call };
                    match session.asking.begin(&core.desk, request) {
                        Ok(answered) => {
                            let (core, session) = (Arc::clone(core), Arc::clone(session));
                            let owner = Arc::clone(&core);
                            return owner.spawn(async move {
                                if let Some(reply) = answered.await {
                                    core.post(&session, REPLY, reply).await.ok();
                                }
                            });
                        }
                        Err(refusal) => refusal,
                    }
                }
                _ if method.is(message, "ping") => outgoing::result(own, b"{}"),
                _ => outgoing::error(Some(own), -32_601, "this client has no such method", None),
            };
            answer(core, session, reply);
        }
        Incoming::Response { .. } | Incoming::Batch(_) => {}
    }
}

/// In the background; above the bound it is dropped: a server that floods us gets no memory for it.
fn answer(core: &Arc<Core>, session: Option<&Arc<Session>>, reply: Bytes) {
    let (Some(session), Ok(place)) = (session, Arc::clone(&core.replies).try_acquire_owned()) else {
        return;
    };
    let (core, session) = (Arc::clone(core), Arc::clone(session));
    let owner = Arc::clone(&core);
    owner.spawn(async move {
        core.post(&session, REPLY, reply).await.ok();
        drop(place);
    });
}

fn level(params: &[u8]) -> Box<str> {
    #[derive(serde::Deserialize)]
    struct Level {
        level: Box<str>,
    }
    serde_json::from_slice(params).map_or_else(|_none| "info".into(), |Level { level }| level)
}

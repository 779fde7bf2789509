//! What the server says without being asked: the GET stream of a session, or a modern server's answer to
//! `subscriptions/listen`. One a session; it ends with it.
//!
//! A server that has none (405, 404, 400) is not asked again: some clients loop here, and servers suffer from it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, StatusCode};

use super::{
    beside,
    core::Core,
    fault::Fault,
    modern,
    pool::Lent,
    reading::{self, Form, Place, Whose},
    session::Session,
    supervisor,
};
use crate::{
    backend::era::LISTEN,
    wire::{
        incoming::{self, Incoming as Message},
        outgoing, sse,
    },
};

/// Before a stream that ended is opened again, where the server says nothing.
const RETRY: Duration = Duration::from_secs(1);

enum Tried {
    /// Some stream was read to its end.
    Ended,
    Failed,
    /// There is no such stream.
    Never,
    /// The session is not known any more.
    Lost,
}

pub(super) async fn listen(core: Arc<Core>, session: Arc<Session>) {
    session.over.run_until_cancelled(again_and_again(&core, &session)).await;
}

async fn again_and_again(core: &Arc<Core>, session: &Arc<Session>) {
    let mut place = Place::default();
    let (mut opened, mut failures) = (false, 0);
    loop {
        let wait = match once(core, session, &mut place, opened).await {
            Tried::Ended => {
                (opened, failures) = (true, 0);
                place.retry.unwrap_or(RETRY)
            }
            Tried::Failed => {
                failures += 1;
                supervisor::delay(failures).max(RETRY)
            }
            Tried::Never => {
                if !session.is_modern() {
                    core.no_stream.store(true, Relaxed);
                }
                return;
            }
            Tried::Lost => {
                session.lose();
                return;
            }
        };
        tokio::time::sleep(wait).await;
        if session.is_modern() {
            // Nothing is told anew of what changed meanwhile.
            core.changed.notify_one();
        }
    }
}

/// Opens it.
async fn opened(core: &Core, session: &Session, place: &Place) -> Result<http::Response<Lent>, Fault> {
    match &session.agreed.changes {
        Some(params) => {
            let body = outgoing::request(LISTEN, Some(params.as_bytes()), core.number());
            core.send(Method::POST, &session.to, modern::headers_of(&session.headers, LISTEN), body).await
        }
        None => core.send(Method::GET, &session.to, place.headers(session), Bytes::new()).await,
    }
}

async fn once(core: &Arc<Core>, session: &Arc<Session>, place: &mut Place, opened: bool) -> Tried {
    let (head, body) = match self::opened(core, session, place).await {
        Ok(response) => response.into_parts(),
        Err(fault) => {
            if let Fault::Unreachable(why) = fault {
                core.is_unreachable(&why);
            }
            return Tried::Failed;
        }
    };
    if head.status.is_success() {
        if reading::form(&head.headers).ok() != Some(Form::Events) {
            return Tried::Never;
        }
        if !session.is_modern() && place.last_id.is_none() {
            // What changed while it was not open is told to nobody any more.
            core.wanted.may_have_changed();
        }
        read(core, session, body, place).await;
        return Tried::Ended;
    }
    match head.status {
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST if opened && session.has_id => Tried::Lost,
        StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED => Tried::Never,
        _ => Tried::Failed,
    }
}

/// To its end, or to the first thing in it that is no event of a bearable size.
async fn read(core: &Arc<Core>, session: &Arc<Session>, mut body: Lent, place: &mut Place) {
    let mut parser = sse::Parser::new(core.max_response_bytes);
    let mut arrived = Vec::new();
    while let Ok(Some(chunk)) = reading::next(&mut body).await {
        if parser.push(chunk, &mut arrived).is_err() {
            return;
        }
        for event in arrived.drain(..) {
            place.note(&event);
            let Ok(message) = incoming::read(&event.data) else {
                continue;
            };
            if let Message::Batch(all) = &message {
                for span in all {
                    let one = event.data.slice(span.range());
                    if let Ok(message) = incoming::read(&one) {
                        beside::see(core, Some(session), Whose::Own, &one, &message);
                    }
                }
            } else {
                beside::see(core, Some(session), Whose::Own, &event.data, &message);
            }
        }
    }
}

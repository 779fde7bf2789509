//! One call to one HTTP backend, to its end. The measured path: a small JSON answer costs no task, no timer, no lock.
//!
//! Deadlines are the in-flight table's; this only notices that the flight was ended, and tells the backend so.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header::CONTENT_LENGTH};
use hyper::body::Body as _;

use super::{
    core::Core,
    fault::Fault,
    modern,
    pool::Lent,
    reading::{self, Collected, Exchange, Form, SMALL, Whose},
    session::Session,
    sse,
};
use crate::{
    answering::Events,
    backend::{Answer, Outgoing, Sent, Word, era::Era, waiting::Reply},
    call::Ask,
    denial::Failure,
    in_flight::{Flight, Why},
    upcall::feature::Features,
    wire::{
        answer::{AnswerFault, AnswerScan, Pieces},
        incoming,
        neutral::{self, Neutral},
    },
};

/// An answer of a modern server up to here may ask its client for input, where the client can be asked.
const MAY_ASK: usize = 2 << 20;
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl Core {
    /// Cancel safe: dropped after the sending, the backend is told.
    pub(super) async fn call(self: &Arc<Self>, call: &Outgoing<'_>, flight: &Flight, events: &Events) -> Sent {
        tokio::select! {
            biased;
            sent = self.sent(call, flight, events) => sent,
            _why = flight.ended() => Sent::Ended,
        }
    }

    async fn sent(self: &Arc<Self>, call: &Outgoing<'_>, flight: &Flight, events: &Events) -> Sent {
        // What its headers are made of, where they turned out to be made of something else by now.
        let fresh = OnceLock::new();
        let mut call = *call;
        let Some(mut session) = self.session.load_full() else {
            return Sent::Never(self.unavailable());
        };
        let (number, routed) = (flight.number(), call.routed);
        let token = routed.scanned.progress_token.map(|_| number);
        let mut era = session.agreed.era;
        let mut body = call.message(number, token, era, false);
        let traceparent = routed.traceparent.as_deref().and_then(|parent| HeaderValue::from_str(parent).ok());
        let mut renewed = false;
        loop {
            if session.is_lost() {
                session = match Box::pin(self.after(&session)).await {
                    Ok(next) => next,
                    Err(failure) => return Sent::Never(failure),
                };
                if session.agreed.era != era {
                    era = session.agreed.era;
                    body = call.message(number, token, era, false);
                }
            }
            let mut headers = session.of_calls.clone();
            headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
            if era == Era::Modern {
                modern::mirror(&call, &mut headers);
            }
            if let Some(parent) = &traceparent {
                headers.insert(TRACEPARENT, parent.clone());
            }
            // A kill that came after the gate was asked is seen here, before the first byte (also of a repeat).
            if flight.why().is_some() {
                return Sent::Ended;
            }
            let exchange =
                Exchange { core: self, session: Some(&session), number, whose: Whose::Call { flight, events } };
            // Of HTTP+SSE, the answer's place is there before the first byte is.
            let place = match &session.channel {
                None => None,
                Some(channel) => match channel.enter(flight, events) {
                    Some(place) => Some(place),
                    None => {
                        session.lose();
                        continue;
                    }
                },
            };
            // A modern server takes the hang-up for the cancel.
            let mut pending = Pending { core: self, session: &session, flight, armed: era == Era::Legacy };
            flight.mark_sent();
            let outcome = match place {
                None => match self.send(Method::POST, &session.to, headers, body.clone()).await {
                    Ok(response) => answer(&exchange, &call, response).await,
                    Err(fault) => Err(fault),
                },
                Some(place) => Box::pin(sse::call(self, &session.to, place, flight, (headers, body.clone())))
                    .await
                    .map(|reply| landed(&reply, call.client_id)),
            };
            pending.armed = false;
            drop(pending);
            match outcome {
                Ok(answer) => return Sent::Answered(answer),
                Err(Fault::Unreachable(why)) => {
                    self.is_unreachable(&why);
                    return Sent::Never(self.unavailable());
                }
                Err(Fault::Headers) if fresh.get().is_none() && routed.ask == Ask::CallTool => {
                    let listed = Box::pin(modern::mirrored_now(self, &session, call.own_name)).await;
                    let Some(listed) = listed else { return Sent::Failed(self.failure(Fault::Headers)) };
                    call.mirrored = fresh.get_or_init(|| listed);
                }
                Err(Fault::Headers) => return Sent::Failed(self.failure(Fault::Headers)),
                Err(Fault::Lost) if !renewed => {
                    renewed = true;
                    session.lose();
                }
                Err(Fault::Lost) => {
                    if era == Era::Legacy {
                        session.lose();
                    }
                    let what = match era {
                        Era::Legacy => "it refuses the session that it has just given",
                        Era::Modern => "it refuses the revision that it has just offered",
                    };
                    return Sent::Failed(self.failure(Fault::says(what)));
                }
                Err(fault @ Fault::Cut(_)) => return Sent::Lost(self.failure(fault)),
                Err(fault @ (Fault::Broken(_) | Fault::Absent(_))) => return Sent::Failed(self.failure(fault)),
            }
        }
    }

    pub(super) fn failure(&self, fault: Fault) -> Failure {
        let what = match fault {
            Fault::Broken(what) | Fault::Cut(what) => what,
            Fault::Headers | Fault::Unreachable(_) | Fault::Lost | Fault::Absent(_) => fault.to_string().into(),
        };
        Failure::BackendError { backend: Arc::clone(&self.backend), what }
    }
}

async fn answer(exchange: &Exchange<'_>, call: &Outgoing<'_>, response: http::Response<Lent>) -> Result<Answer, Fault> {
    let (client_id, ask) = (call.client_id, call.routed.ask);
    let is_modern = exchange.session.is_some_and(|session| session.is_modern());
    let (head, mut body) = response.into_parts();
    let found = if !head.status.is_success() {
        Box::pin(reading::refused(exchange, head.status, &head.headers, body)).await?
    } else if reading::form(&head.headers)? == Form::Events {
        Box::pin(reading::events(exchange, body)).await?
    } else {
        let limit = exchange.core.max_response_bytes;
        let known = body.size_hint().lower();
        if known > u64::try_from(limit).unwrap_or(u64::MAX) {
            return Err(reading::too_large(limit));
        }
        // What asks for input is read whole before it goes on, and so is what a task says, which may ask.
        let is_of_task = ask.is_of_task() || call.keeps_task;
        let small = match (is_of_task, is_modern && call.declares != Features::NONE) {
            (true, _) => limit,
            (false, true) => MAY_ASK,
            (false, false) => SMALL,
        };
        let is_small = known <= u64::try_from(small).unwrap_or(u64::MAX);
        let begun =
            if is_small { reading::collect(&mut body, small.min(limit)).await? } else { Collected::More(Bytes::new()) };
        match begun {
            Collected::Whole(whole) if whole.len() <= limit => reading::find(exchange, whole)?,
            Collected::Whole(_) => return Err(reading::too_large(limit)),
            Collected::More(begun) => {
                let neutral = is_modern.then(|| Neutral::without(neutral::members_of(ask)));
                let answer = Box::pin(streamed(exchange, client_id, neutral, begun, body)).await;
                // A part of it may be with the client already.
                return answer.map_err(Fault::settled);
            }
        }
    };
    if is_modern {
        return modern::landed(exchange.core, ask, &found, client_id);
    }
    Ok(landed(&found, client_id))
}

/// A legacy server's answer under the client's id.
fn landed(reply: &Reply, client_id: &Bytes) -> Answer {
    let last = incoming::with_id(&reply.message, reply.id, client_id);
    Answer { last, failed: reply.failed, tool_error: reply.tool_error, word: Word::Last }
}

/// A large JSON answer, judged while it passes. The last piece is held back for whoever records the call. `neutral`: of
/// a modern server.
async fn streamed(
    exchange: &Exchange<'_>,
    client_id: &Bytes,
    mut neutral: Option<Neutral>,
    begun: Bytes,
    mut body: Lent,
) -> Result<Answer, Fault> {
    let limit = exchange.core.max_response_bytes;
    let mut scan = AnswerScan::new(exchange.number, client_id.clone());
    let (mut pieces, mut held, mut total) = (Pieces::default(), Bytes::new(), 0_usize);
    let mut is_heard = true;
    let mut chunk = begun;
    loop {
        total = total.saturating_add(chunk.len());
        if total > limit {
            return Err(reading::too_large(limit));
        }
        scan.push(&chunk, &mut pieces).map_err(|fault| fault_of(&fault))?;
        if let Some(neutral) = &mut neutral {
            let mut passed = Pieces::default();
            pieces.drain().for_each(|piece| neutral.push(&piece, &mut passed));
            pieces = passed;
        }
        for piece in pieces.drain() {
            let ready = std::mem::replace(&mut held, piece);
            if is_heard
                && !ready.is_empty()
                && let Whose::Call { events, .. } = exchange.whose
            {
                // Deserted: read on, only to know how it ends.
                is_heard = events.deliver(ready).await;
            }
        }
        match reading::next(&mut body).await? {
            Some(more) => chunk = more,
            None => break,
        }
    }
    let end = scan.finish().map_err(|fault| fault_of(&fault))?;
    if let Some(neutral) = &neutral {
        modern::judge(neutral.result_type())?;
    }
    Ok(Answer { last: held, failed: end.failed, tool_error: end.tool_error, word: Word::Last })
}

fn fault_of(fault: &AnswerFault) -> Fault {
    Fault::said(fault.to_string())
}

/// A call whose answer has not come. Dropped so, the backend is told in the background.
struct Pending<'a> {
    core: &'a Arc<Core>,
    session: &'a Arc<Session>,
    flight: &'a Flight,
    armed: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        if let (Some(channel), Some(Why::Timeout)) = (&self.session.channel, self.flight.why()) {
            channel.timed_out();
        }
        let params = format!(r#"{{"requestId":{},"reason":"{}"}}"#, self.flight.number(), told(self.flight.why()));
        let (core, session) = (Arc::clone(self.core), Arc::clone(self.session));
        self.core.spawn(async move {
            // Nobody is left to be told that this failed.
            core.tell(&session, "notifications/cancelled", Some(&params)).await.ok();
        });
    }
}

/// What a server is told of a cancel.
const fn told(why: Option<&Why>) -> &'static str {
    match why {
        Some(Why::Cancelled) => "the client cancelled",
        None | Some(Why::HungUp) => "the client is gone",
        Some(Why::Killed(_)) => "stopped by the operator",
        Some(Why::Removed | Why::Shutdown) => "the gateway is letting go of this server",
        Some(Why::Timeout) => "the time is over",
    }
}

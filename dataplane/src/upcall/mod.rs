//! Backend → client: what a server asks of a client (sampling, elicitation, roots). The small second pipeline:
//! `attribute → may_ask → ask`, a proof a step; only what passed both is put to anybody.
//!
//! It knows neither eras nor transports. A link hands up an `Asked`; the leg of the call gets an `Upcall` among the
//! call's events (`Event::Question`) and decides how its client is asked: as a request (`Upcall::into_request`), or
//! within an answer that asks for more (`Upcall::into_parts`). Either way the answer goes to the `Reply`.

mod attribute;
pub mod feature;
mod may_ask;
pub mod params;
pub mod questions;
mod record;
pub mod refusal;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::{
    attribute::{Attributed, attribute},
    feature::Feature,
    may_ask::may_ask,
    questions::{Answer, Questions},
    record::Record,
    refusal::Refusal,
};
use crate::{
    backend::isolation::Owner,
    call::{BackendId, Principal},
    catalogue::Target,
    in_flight::LegKey,
    plane::Plane,
    tasks::related::Names,
    wire::outgoing,
};

/// Questions of servers that wait to be looked at; above it they are refused at the link.
pub const ASKED: usize = 256;
/// So often a question that came beside all calls is put to another one, when the one that it was put to is answered.
const MOST_CALLS: usize = 8;
/// How long a client has for its answer: it may have to ask a person.
pub const ANSWERED_WITHIN: Duration = Duration::from_secs(600);

/// A request of a server, as its link hands it up. Dropping `reply` tells the server that there is nobody to ask.
#[derive(Debug)]
pub struct Asked {
    /// The definition that the catalogue's targets name.
    pub backend: BackendId,
    pub backend_name: Arc<str>,
    /// Whose the server's session is.
    pub owner: Owner,
    /// The number of the call in whose answer stream it came; none: it came beside all calls.
    pub call: Option<u64>,
    pub feature: Feature,
    /// An object, as it came.
    pub params: Bytes,
    /// It will be put within an answer of ours: it is judged and recorded, and the reply is what may be put.
    pub within: bool,
    /// Closed: the server took it back, or is gone.
    pub reply: oneshot::Sender<Result<Answer, Refusal>>,
}

impl Asked {
    /// The same, without anybody who waits.
    fn once_more(&self) -> Self {
        let Self { backend, call, feature, within, .. } = *self;
        let (backend_name, owner, params) = (Arc::clone(&self.backend_name), self.owner.clone(), self.params.clone());
        Self { backend, backend_name, owner, call, feature, params, within, reply: oneshot::channel().0 }
    }
}

/// What the server of a running call asks within its answer, by the number of the call.
#[derive(Debug)]
pub struct Question {
    pub call: u64,
    pub feature: Feature,
    pub params: Bytes,
    pub within: bool,
}

/// Hands it up, and waits for what comes of it. Errors: too many wait, and whatever stands in the way.
pub async fn ask(plane: &Plane, target: &Target, question: Question) -> Result<Answer, Refusal> {
    let Question { call, feature, params, within } = question;
    let (reply, answered) = oneshot::channel();
    let (backend, backend_name) = (target.backend, Arc::clone(&target.backend_name));
    let asked = Asked { backend, backend_name, owner: Owner::Shared, call: Some(call), feature, params, within, reply };
    plane.backends.asks().try_send(asked).map_err(|_full| Refusal::TooMany)?;
    // Dropped: the plane ends.
    answered.await.unwrap_or(Err(Refusal::Over))
}

/// A question on its way to the client that it is for. Dropped, the server is told that its client can't be reached.
#[derive(Debug)]
pub struct Upcall {
    /// Ours, never 0, unique in this process: the id of the request to a legacy client, and what a later
    /// `Event::Withdrawn` names.
    pub number: u64,
    pub feature: Feature,
    /// The object `params` for the client, in the form of revision 2025-11-25.
    pub params: Bytes,
    pub reply: Reply,
}

/// Where a client's answer goes, once.
#[derive(Debug)]
pub struct Reply {
    answer: oneshot::Sender<Result<Answer, Refusal>>,
    leg: LegKey,
    of: Arc<Principal>,
    questions: Arc<Questions>,
}

impl Upcall {
    /// The request for a legacy client. From here on its response is expected, from this client in this session alone.
    pub fn into_request(self) -> Bytes {
        let Reply { answer, leg, of, questions } = self.reply;
        questions.expect(leg, self.number, of, answer);
        outgoing::request(self.feature.method(), Some(&self.params), self.number)
    }
}

impl Reply {
    /// False: nobody waits for it any more.
    pub fn answer(self, answer: Answer) -> bool {
        self.answer.send(Ok(answer)).is_ok()
    }

    /// Its client gives no answer. Nobody may wait for it any more.
    pub fn refuse(self, why: Refusal) {
        self.answer.send(Err(why)).ok();
    }
}

/// What a legacy client is told of a question that nobody waits for any more.
pub fn withdrawn(number: u64) -> Bytes {
    let params = format!(r#"{{"requestId":{number},"reason":"it is not needed any more"}}"#);
    outgoing::notification("notifications/cancelled", Some(params.as_bytes()))
}

/// Tells a session that what its person did at a URL is done: on the stream of its newest call, else on its own. Of a
/// server that is not its own, nobody can say who is meant.
pub fn elicited(plane: &Plane, backend: BackendId, of: &Owner, message: Bytes) {
    let Owner::Session { leg, principal } = of else { return };
    match attribute::newest(plane.in_flight.related(backend, |flight| flight.leg().key() == leg.key())) {
        Some(flight) if flight.is_heard() => flight.elicited(message),
        // Without a stream there is nobody to tell.
        Some(_) | None => drop(plane.feeds.say(leg.key(), principal, message)),
    }
}

/// Takes what links hand up, each on a task of its own, until `stop`. Bounded by the links' own bounds.
pub async fn listen(plane: Arc<Plane>, mut asked: mpsc::Receiver<Asked>, stop: CancellationToken) {
    while let Some(Some(asked)) = stop.run_until_cancelled(asked.recv()).await {
        plane.tracker.spawn(serve(Arc::clone(&plane), asked));
    }
}

/// One question, to its end: recorded before the server has its answer.
async fn serve(plane: Arc<Plane>, mut asked: Asked) {
    let mut record = Record::begin(&plane, &asked);
    let (nobody, _) = oneshot::channel();
    let mut reply = std::mem::replace(&mut asked.reply, nobody);
    let outcome = pass(&plane, asked, &mut record, &mut reply).await;
    reply.send(record.close(outcome)).ok();
}

async fn pass(
    plane: &Arc<Plane>,
    asked: Asked,
    record: &mut Record,
    reply: &mut oneshot::Sender<Result<Answer, Refusal>>,
) -> Result<Answer, Refusal> {
    let mut asked = asked;
    for round in 0..MOST_CALLS {
        let (within, again) = (asked.within, asked.call.is_none().then(|| asked.once_more()));
        let attributed = attribute(asked, &plane.in_flight);
        let mut attributed = attributed.map_err(|refusal| if round == 0 { refusal } else { Refusal::Answered })?;
        record.of(&attributed);
        let names = names(plane, &attributed);
        if let Some(names) = &names {
            attributed.says(names.to_client(&attributed.asked().params));
        }
        let view = plane.views.load_full().ok_or(Refusal::Over)?;
        let deliverable = may_ask(attributed, &view, &plane.gate, &plane.questions)?;
        record.reserve()?; // room for its record: what was asked can always be recorded
        if within {
            return Ok(Answer::Within(deliverable.into_params()));
        }
        match (deliverable.ask(plane, reply).await, again) {
            // Its server waits for it still: it is of one of those that go on.
            (Err(Refusal::Answered), Some(again)) => asked = again,
            (Ok(Answer::Result(result)), _) => {
                return Ok(Answer::Result(names.map_or_else(|| result.clone(), |names| names.to_server(&result))));
            }
            (outcome, _) => return outcome,
        }
    }
    Err(Refusal::Answered)
}

/// Of the task that it is about, where it is about one that its client knows.
fn names(plane: &Plane, attributed: &Attributed) -> Option<Names> {
    let asked = attributed.asked();
    let of = (&*asked.backend_name, &asked.owner);
    Names::of(plane, of, attributed.principal(), attributed.call(), &asked.params)
}

//! Whether a question may be put: by the policy and the kill switches of this moment, by what the client declared, by
//! size and number. What passes is put, and waited for.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::oneshot, time::sleep};

use super::{
    ANSWERED_WITHIN, Reply, Upcall,
    attribute::{Attributed, To},
    feature::Feature,
    params,
    questions::{Answer, Place, Questions},
    refusal::Refusal,
    withdrawn,
};
use crate::{call::Principal, in_flight::FlightRef, kill::gate::Gate, listen::ClientLeg, plane::Plane, view::View};

/// Bytes of one question.
const LARGEST: usize = 1 << 20;
/// A client whose stream broke may still answer what it has read, for so long.
const GONE: Duration = Duration::from_secs(10);

/// Proof: this question may be put to that client. The only thing that is.
#[derive(Debug)]
pub(super) struct Deliverable {
    backend: Arc<str>,
    feature: Feature,
    params: Bytes,
    to: To,
    _place: Place,
}

/// Errors: whatever stands in the way.
pub(super) fn may_ask(
    attributed: Attributed,
    view: &View,
    gate: &Gate,
    questions: &Arc<Questions>,
) -> Result<Deliverable, Refusal> {
    let asked = attributed.asked();
    let policy = view.policy.backend(&asked.backend_name).ok_or(Refusal::Over)?;
    if !policy.spec.may_ask.can(asked.feature) {
        return Err(Refusal::Denied);
    }
    judge(gate, attributed.principal(), attributed.call(), &asked.backend_name)?;
    if asked.params.len() > LARGEST {
        return Err(Refusal::TooLarge { limit: LARGEST });
    }
    let declared = attributed.leg().features();
    if !declared.can(asked.feature) {
        return Err(Refusal::Undeclared { mode: false });
    }
    let question = params::read(asked.feature, &asked.params, &asked.backend_name)?;
    if !declared.within(policy.spec.may_ask).has(question.needs) {
        return Err(Refusal::Undeclared { mode: true });
    }
    let place = questions.enter(attributed.leg().key()).ok_or(Refusal::TooMany)?;
    let (asked, to) = attributed.into_parts();
    Ok(Deliverable { backend: asked.backend_name, feature: asked.feature, params: question.params, to, _place: place })
}

fn judge(gate: &Gate, principal: &Principal, call: Option<&FlightRef>, backend: &str) -> Result<(), Refusal> {
    let killed = match call {
        Some(call) => gate.judges(principal, call.target()),
        None => gate.judges_backend(principal, backend),
    };
    killed.map_or(Ok(()), |by| Err(Refusal::Disabled(by)))
}

impl Deliverable {
    /// For whoever puts it within an answer.
    pub(super) fn into_params(self) -> Bytes {
        self.params
    }

    /// Puts the question and waits for its answer. `server` is closed when the server does not want it any more.
    ///
    /// Errors: also a kill that came meanwhile: then the answer is not passed.
    pub(super) async fn ask(
        self,
        plane: &Arc<Plane>,
        server: &mut oneshot::Sender<Result<Answer, Refusal>>,
    ) -> Result<Answer, Refusal> {
        let (leg, principal) = match &self.to {
            To::Call(flight) => (flight.leg(), Arc::clone(flight.principal())),
            To::Session { leg, principal } => (*leg, Arc::clone(principal)),
        };
        let (answer, mut answered) = oneshot::channel();
        let number = plane.questions.number();
        let reply =
            Reply { answer, leg: leg.key(), of: Arc::clone(&principal), questions: Arc::clone(&plane.questions) };
        let upcall = Upcall { number, feature: self.feature, params: self.params.clone(), reply };
        let call = match &self.to {
            To::Call(flight) => Some(flight),
            To::Session { .. } => None,
        };
        let way = put(plane, upcall, leg, call)?;
        let mut open = Open { plane, leg, number, way: &way, of: Arc::clone(&principal), answered: false };
        let (over, gone) = match &way {
            Way::Call(flight) => {
                flight.wait(ANSWERED_WITHIN);
                (Some(flight.over()), Some(flight.unheard()))
            }
            Way::Feed => (call.map(FlightRef::over), None),
        };
        let answer = tokio::select! {
            biased;
            answer = &mut answered => answer.unwrap_or(Err(Refusal::Unreachable)),
            () = server.closed() => Err(Refusal::Withdrawn),
            () = maybe(over) => Err(match call.and_then(FlightRef::why) {
                Some(_) => Refusal::Over,
                None => Refusal::Answered,
            }),
            () = async { maybe(gone).await; sleep(GONE).await } => Err(Refusal::Unreachable),
            () = sleep(ANSWERED_WITHIN) => Err(Refusal::Timeout),
        };
        if let Way::Call(flight) = &way {
            flight.go_on();
        }
        if answer.is_ok() {
            open.answered = true;
        }
        // Also of a call that is over: where a kill ended it, the server is told so.
        judge(&plane.gate, &principal, call, &self.backend)?;
        let answer = answer?;
        match &answer {
            Answer::Result(json) | Answer::Error(json) if json.first() == Some(&b'{') => Ok(answer),
            Answer::Result(_) | Answer::Error(_) | Answer::Within(_) => Err(Refusal::BadAnswer),
        }
    }
}

/// By what a question went out.
#[derive(Debug)]
enum Way<'a> {
    /// Among the call's own events.
    Call(&'a FlightRef),
    /// The session's stream.
    Feed,
}

/// The call's own stream; the session's, where there is none of a call.
fn put<'a>(plane: &Plane, upcall: Upcall, leg: ClientLeg, call: Option<&'a FlightRef>) -> Result<Way<'a>, Refusal> {
    let upcall = match call {
        Some(call) => match call.ask(upcall) {
            Ok(()) => return Ok(Way::Call(call)),
            Err(back) => back,
        },
        None => upcall,
    };
    if !leg.is_session() {
        return Err(Refusal::Unreachable);
    }
    let (number, of) = (upcall.number, Arc::clone(&upcall.reply.of));
    if plane.feeds.say(leg.key(), &of, upcall.into_request()) {
        return Ok(Way::Feed);
    }
    plane.questions.forget(leg.key(), number);
    Err(Refusal::Unreachable)
}

/// A question that is open: dropped, its client is told that nobody waits for it any more, unless it has answered.
struct Open<'a> {
    plane: &'a Plane,
    leg: ClientLeg,
    number: u64,
    way: &'a Way<'a>,
    of: Arc<Principal>,
    answered: bool,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.plane.questions.forget(self.leg.key(), self.number);
        if self.answered {
            return;
        }
        match self.way {
            Way::Call(flight) => flight.withdraw(self.number),
            Way::Feed => {
                // Its stream may have ended: then there is nobody to tell.
                self.plane.feeds.say(self.leg.key(), &self.of, withdrawn(self.number));
            }
        }
    }
}

/// Never ends where there is nothing to wait for.
async fn maybe(end: Option<impl Future<Output = ()>>) {
    match end {
        Some(end) => end.await,
        None => std::future::pending().await,
    }
}

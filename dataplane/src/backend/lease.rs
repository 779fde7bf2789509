//! The only door to a backend for a call: breaker permit, bulkhead place and live link in one, for one sending.
//!
//! It borrows the permission and can't outlive it; a retry is a new lease under the same permission. Dropping it
//! gives everything back.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Outgoing, Sent, Word,
    breaker::Permit,
    bulkhead::Place,
    registry::{Backend, Backends},
};
use crate::{
    answering::Events,
    audit::record::End,
    call::{Ask, ClientHash},
    catalogue::Target,
    denial::{Failure, Unavailable},
    in_flight::{Flight, Why},
    input::{Asking, errand::Errand},
    listen::session::Level,
    plane::Plane,
    planted::{self, Bug},
    stages::rules::Ruled,
    tasks,
    upcall::feature::Features,
};

/// How long a call waits for its server to send the log notes that it asks for.
const LOWERING: Duration = Duration::from_secs(1);

/// Leave to send one call once.
#[derive(Debug)]
pub struct Lease<'call> {
    plane: &'call Plane,
    call: &'call Ruled,
    flight: &'call Flight,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Sends(Leave),
    /// It was sent, and its server waits for what its client brings now.
    GoesOn(Box<Errand>),
}

/// Breaker permit, bulkhead place and live link, for one sending.
#[derive(Debug)]
pub struct Leave {
    backend: Arc<Backend>,
    permit: Permit,
    place: Place,
}

/// Errors: `BackendUnavailable`, with the state that is in the way; `InvalidParams` and `InteractionLost`, for a retry of
/// what is not there to go on.
pub async fn lease<'call>(plane: &'call Plane, call: &'call Ruled, flight: &'call Flight) -> Result<Lease<'call>, End> {
    let (target, backends) = (call.target(), &plane.backends);
    if let Some(input) = &call.call().input {
        input.is_for(target)?;
        if let Some(errand) = Box::pin(plane.parked.claim(input, call.caller().principal())).await? {
            flight.stand_back();
            return Ok(Lease { plane, call, flight, way: Way::GoesOn(errand) });
        }
    }
    let backend = backends.find(target.backend).ok_or_else(|| unavailable(target, Unavailable::Removed, None))?;
    let backend = match &backend.instances {
        None => backend,
        Some(instances) => {
            let own = backends.instance(&backend, instances, (*call.caller().leg(), call.caller().principal()));
            let own = own.ok_or_else(|| unavailable(target, Unavailable::Full, None))?;
            // Its first call waits for its start: whoever ends the call meanwhile is heard.
            Box::pin(own.link.settled(flight)).await;
            own
        }
    };
    let permit = backend.breaker.permit().map_err(|wait| unavailable(target, Unavailable::Open, Some(wait)))?;
    let place = backend.bulkhead.enter(call.client()).await;
    let place = place.ok_or_else(|| unavailable(target, Unavailable::Full, None))?;
    Ok(Lease { plane, call, flight, way: Way::Sends(Leave { backend, permit, place }) })
}

/// Whether a call could be sent there now, as far as it can be told without sending one; nothing is taken.
///
/// Errors: `BackendUnavailable`, with the state that is in the way.
pub fn look(backends: &Backends, client: ClientHash, target: &Target) -> Result<(), Failure> {
    let backend = backends.find(target.backend).ok_or_else(|| unavailable(target, Unavailable::Removed, None))?;
    backend.breaker.look().map_err(|wait| unavailable(target, Unavailable::Open, Some(wait)))?;
    if !backend.bulkhead.has_room(client) {
        return Err(unavailable(target, Unavailable::Full, None));
    }
    backend.link.look()
}

fn unavailable(target: &Target, state: Unavailable, retry_after: Option<Duration>) -> Failure {
    Failure::BackendUnavailable { backend: Arc::clone(&target.backend_name), state, retry_after }
}

impl Lease<'_> {
    /// Sends it, to its end. Where its server asks for input first, that is seen to.
    pub async fn send(self, events: &Events) -> Sent {
        let Self { plane, call, flight, way } = self;
        let asking = Asking { plane, call, flight, events };
        let leave = match way {
            Way::Sends(leave) => leave,
            Way::GoesOn(errand) => return Box::pin(asking.goes_on(errand)).await,
        };
        if call.call().input.as_ref().is_some_and(|input| input.is_declined()) {
            return asking.declined();
        }
        let declares = declares(call, &leave.backend);
        if leave.backend.may_ask_on_the_way(call.caller().leg(), declares) {
            let errand = Errand::begin(leave, call, flight);
            return Box::pin(asking.attended(errand)).await;
        }
        let client_id = call.call().client_id();
        let inputs = call.call().input.as_ref().map(|input| input.members().into_boxed_str());
        let level = level(plane, call, &leave.backend);
        let inputs = inputs.as_deref().unwrap_or_default();
        let outgoing = Outgoing { level, inputs, ..outgoing(call, &client_id, declares) };
        match leave.send(outgoing, flight, events).await {
            Sent::Answered(answer) if answer.word != Word::Last || call.call().ask.is_of_task() => {
                Box::pin(asking.answered(answer)).await
            }
            Sent::Answered(answer) if answer.failed => Box::pin(asking.refused(answer)).await,
            Sent::Answered(answer) if tasks::tells_of_one(call, &answer) => {
                Box::pin(tasks::answered(asking, answer)).await
            }
            sent => sent,
        }
    }

    /// How often this call may be sent at all.
    pub fn attempts(&self) -> u32 {
        match &self.way {
            Way::Sends(leave) => leave.backend.spec.attempts,
            Way::GoesOn(_) => 1,
        }
    }
}

/// Sends a call once more, under the permission that it has and with a lease of its own: with what its server, a modern
/// one, asked for. It was written before, so that whatever ends it now is the end.
pub async fn send_again(plane: &Plane, call: &Ruled, flight: &Flight, events: &Events, inputs: &str) -> Sent {
    let leave = match lease(plane, call, flight).await {
        Ok(Lease { way: Way::Sends(leave), .. }) => leave,
        Err(End::Failed(failure)) => return Sent::Failed(failure),
        Ok(_) | Err(End::Cancelled | End::Denied(_)) => return Sent::Ended,
    };
    let client_id = call.call().client_id();
    let level = level(plane, call, &leave.backend);
    let outgoing = Outgoing { level, inputs, ..outgoing(call, &client_id, declares(call, &leave.backend)) };
    match leave.send(outgoing, flight, events).await {
        Sent::Lost(failure) | Sent::Never(failure) => Sent::Failed(failure),
        sent => sent,
    }
}

/// What its client can be asked, of what this server may ask; and that it can follow a task, to a server that makes some.
fn declares(call: &Ruled, backend: &Backend) -> Features {
    let (features, ask) = (call.caller().leg().features(), call.call().ask);
    let asked =
        if ask.may_be_asked() || ask.is_of_task() { features.within(backend.spec.may_ask) } else { Features::NONE };
    if tasks::can_be(call) { asked.and(Features::TASKS) } else { asked }
}

/// The least severe of the log notes that it asks for: what its session asked to hear goes with a call to a server that
/// keeps no level.
fn level(plane: &Plane, call: &Ruled, backend: &Backend) -> Option<Level> {
    let leg = call.caller().leg();
    if leg.is_session() && backend.link.is_modern() { plane.sessions.level(leg.key()) } else { call.call().log_level() }
}

/// Without a level, and of the first round.
fn outgoing<'a>(call: &'a Ruled, client_id: &'a Bytes, declares: Features) -> Outgoing<'a> {
    let (target, routed) = (call.target(), call.call());
    let (own_name, mirrored) = match &routed.task {
        Some(task) => (&*task.own, &[][..]),
        None => (&*target.own, &*target.mirrored),
    };
    let keeps_task = tasks::is_asked_for(call);
    Outgoing { routed, client_id, own_name, mirrored, level: None, declares, inputs: "", keeps_task }
}

impl Leave {
    /// Sends once, to the end; a server that keeps a level is held down to the request's meanwhile.
    pub async fn send(self, outgoing: Outgoing<'_>, flight: &Flight, events: &Events) -> Sent {
        let wanted = &self.backend.wanted;
        let lower = outgoing.routed.log_level().and_then(|level| Some((wanted.for_request(level)?, level)));
        if let Some((_, level)) = &lower {
            Box::pin(wanted.sends(*level, LOWERING)).await;
        }
        let sent = self.backend.link.call(&outgoing, flight, events).await;
        self.report(outgoing.routed.ask, &sent, flight);
        sent
    }

    /// The outcome, for the breaker: what the tool itself says never counts.
    fn report(self, ask: Ask, sent: &Sent, flight: &Flight) {
        match sent {
            Sent::Answered(_) => self.permit.succeeded(),
            Sent::Failed(Failure::BackendError { .. } | Failure::Timeout { .. }) | Sent::Lost(_) => {
                self.permit.failed()
            }
            Sent::Never(Failure::BackendUnavailable { state: Unavailable::Down, .. }) => self.permit.failed(),
            Sent::Ended => match flight.why() {
                // A server that works longer than anybody waits has done nothing wrong.
                Some(Why::Timeout) if ask == Ask::AwaitTask => drop(self.permit),
                Some(Why::Timeout) => self.permit.failed(),
                Some(_) | None => drop(self.permit),
            },
            Sent::Never(_) | Sent::Failed(Failure::BackendUnavailable { .. }) => drop(self.permit),
        }
        if planted::has(Bug::PermitLeak) && matches!(sent, Sent::Ended) {
            self.place.leak();
        }
    }
}

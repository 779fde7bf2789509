//! The only door to a backend for a call: breaker permit, bulkhead place and live link in one, for one sending.
//!
//! It borrows the permission and can't outlive it; a retry is a new lease under the same permission. Dropping it
//! gives everything back.

use std::{sync::Arc, time::Duration};

use super::{
    Outgoing, Sent,
    breaker::Permit,
    bulkhead::{ClientHash, Place},
    registry::{Backend, Backends},
};
use crate::{
    answering::Events,
    catalogue::Target,
    denial::{Failure, Unavailable},
    in_flight::Flight,
    planted::{self, Bug},
    stages::rules::Ruled,
};

/// Leave to send one call once.
#[derive(Debug)]
pub struct Lease<'call> {
    call: &'call Ruled,
    flight: &'call Flight,
    backend: Arc<Backend>,
    permit: Permit,
    place: Place,
}

/// Errors: `BackendUnavailable`, with the state that is in the way.
pub async fn lease<'call>(
    backends: &Backends,
    call: &'call Ruled,
    flight: &'call Flight,
) -> Result<Lease<'call>, Failure> {
    let target = call.target();
    let backend = backends.find(target.backend).ok_or_else(|| unavailable(target, Unavailable::Removed, None))?;
    let backend = match &backend.instances {
        None => backend,
        Some(instances) => {
            let own = backends.instance(&backend, instances, call.caller());
            let own = own.ok_or_else(|| unavailable(target, Unavailable::Full, None))?;
            // Its first call waits for its start: whoever ends the call meanwhile is heard.
            Box::pin(own.link.settled(flight)).await;
            own
        }
    };
    let permit = backend.breaker.permit().map_err(|wait| unavailable(target, Unavailable::Open, Some(wait)))?;
    let place = backend.bulkhead.enter(call.client()).await;
    let place = place.ok_or_else(|| unavailable(target, Unavailable::Full, None))?;
    Ok(Lease { call, flight, backend, permit, place })
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
    /// Sends once, to the end. The outcome is reported to the breaker: what the tool itself says never counts.
    pub async fn send(self, events: &Events) -> Sent {
        let target = self.call.target();
        let outgoing = Outgoing { routed: self.call.call(), own_name: &target.own, mirrored: &target.mirrored };
        let sent = self.backend.link.call(outgoing, self.flight, events).await;
        match &sent {
            Sent::Answered(_) => self.permit.succeeded(),
            Sent::Failed(Failure::BackendError { .. } | Failure::Timeout { .. }) | Sent::Lost(_) => {
                self.permit.failed()
            }
            Sent::Never(Failure::BackendUnavailable { state: Unavailable::Down, .. }) => self.permit.failed(),
            Sent::Ended => match self.flight.why() {
                Some(crate::in_flight::Why::Timeout) => self.permit.failed(),
                Some(_) | None => drop(self.permit),
            },
            Sent::Never(_) | Sent::Failed(Failure::BackendUnavailable { .. }) => drop(self.permit),
        }
        if planted::has(Bug::PermitLeak) && matches!(sent, Sent::Ended) {
            self.place.leak();
        }
        sent
    }

    /// How often this call may be sent at all.
    pub fn attempts(&self) -> u32 {
        self.backend.spec.attempts
    }
}

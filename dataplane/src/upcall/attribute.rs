//! Whose question it is: of the running call that it belongs to, or of the session that has its server to itself.
//! Where that is not plain, there is nobody to ask.

use std::sync::Arc;

use bytes::Bytes;

use super::{Asked, refusal::Refusal};
use crate::{
    backend::isolation::Owner,
    call::Principal,
    in_flight::{FlightRef, InFlight},
    listen::ClientLeg,
    tasks::related,
};

/// Proof: this question belongs to that call, or to that session.
#[derive(Debug)]
pub(super) struct Attributed {
    asked: Asked,
    to: To,
}

#[derive(Debug)]
pub(super) enum To {
    Call(FlightRef),
    /// No call of it runs on this server now.
    Session {
        leg: ClientLeg,
        principal: Arc<Principal>,
    },
}

impl Attributed {
    pub(super) fn asked(&self) -> &Asked {
        &self.asked
    }

    pub(super) fn call(&self) -> Option<&FlightRef> {
        match &self.to {
            To::Call(flight) => Some(flight),
            To::Session { .. } => None,
        }
    }

    pub(super) fn leg(&self) -> ClientLeg {
        match &self.to {
            To::Call(flight) => flight.leg(),
            To::Session { leg, .. } => *leg,
        }
    }

    pub(super) fn principal(&self) -> &Arc<Principal> {
        match &self.to {
            To::Call(flight) => flight.principal(),
            To::Session { principal, .. } => principal,
        }
    }

    /// Its params become these.
    pub(super) fn says(&mut self, params: Bytes) {
        self.asked.params = params;
    }

    pub(super) fn into_parts(self) -> (Asked, To) {
        (self.asked, self.to)
    }
}

/// Errors: `Unrelated`, also where more than one could be meant; `Over`, for a call that has ended.
pub(super) fn attribute(asked: Asked, table: &Arc<InFlight>) -> Result<Attributed, Refusal> {
    if let Some(number) = asked.call {
        // Its stream says whose it is, whoever else uses this server.
        let flight = table.related(asked.backend, |flight| flight.number() == number).pop().ok_or(Refusal::Over)?;
        return Ok(Attributed { asked, to: To::Call(flight) });
    }
    let to = match &asked.owner {
        Owner::Shared => return Err(Refusal::Unrelated),
        Owner::Session { leg, principal } => {
            let key = leg.key();
            let flights = table.related(asked.backend, |flight| flight.leg().key() == key);
            match newest(about(flights, &asked.params)) {
                Some(flight) => To::Call(flight),
                None => To::Session { leg: *leg, principal: Arc::clone(principal) },
            }
        }
        Owner::Client(principal) => {
            let flights = table.related(asked.backend, |flight| flight.principal().is_same_as(principal));
            // Requests without a session are all alike; of two sessions, each may be another person's.
            let session = |flight: &FlightRef| Some(flight.leg().key()).filter(|key| !key.is_alone());
            let mut sessions = flights.iter().map(session);
            let first = sessions.next();
            if sessions.any(|session| Some(session) != first) {
                return Err(Refusal::Unrelated);
            }
            To::Call(newest(at_work(about(flights, &asked.params))).ok_or(Refusal::Unrelated)?)
        }
    };
    Ok(Attributed { asked, to })
}

/// Those that wait for the task that it says it is about; all, where none does.
fn about(flights: Vec<FlightRef>, params: &[u8]) -> Vec<FlightRef> {
    let Some(own) = related::named(params) else { return flights };
    let is_about = |flight: &FlightRef| flight.task().is_some_and(|task| *task.own == *own);
    let (about, other): (Vec<_>, Vec<_>) = flights.into_iter().partition(is_about);
    if about.is_empty() { other } else { about }
}

/// Those whose client is not being asked already: its server most likely waits for that, and another call asks now. All,
/// where each is.
fn at_work(flights: Vec<FlightRef>) -> Vec<FlightRef> {
    let (waiting, at_work): (Vec<_>, Vec<_>) = flights.into_iter().partition(FlightRef::is_asking);
    if at_work.is_empty() { waiting } else { at_work }
}

/// The last one that began of those whose client still listens; of all, where none does.
pub(super) fn newest(mut flights: Vec<FlightRef>) -> Option<FlightRef> {
    flights.sort_by_key(|flight| (flight.is_heard(), flight.number()));
    flights.pop()
}

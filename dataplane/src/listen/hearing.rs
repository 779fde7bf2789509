//! Which log notes of a running call a legacy session is told of: its server may send more, because others asked it to.
//! And who is told of one that came beside all calls.

use std::sync::Arc;

use bytes::Bytes;

use super::{modern::voice::level_of, session::Level};
use crate::{
    answering::Event,
    backend::isolation::Owner,
    call::BackendId,
    in_flight::{FlightRef, LegKey},
    plane::Plane,
};

/// Of one session.
#[derive(Clone, Debug)]
pub struct Hearing {
    plane: Arc<Plane>,
    leg: LegKey,
}

impl Hearing {
    pub fn new(plane: &Arc<Plane>, leg: LegKey) -> Self {
        Self { plane: Arc::clone(plane), leg }
    }

    pub fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    /// Whether the client is told of it. A note without a level is.
    pub fn passes(&self, event: &Event) -> bool {
        let Event::Log(message) = event else { return true };
        let least = self.plane.sessions.level(self.leg).unwrap_or(Level::UNASKED);
        level_of(message).is_none_or(|level| level >= least)
    }
}

/// A log note that a server sent beside all calls: for the streams of the sessions that hear of it. Of a server that its
/// client has to itself, the one request without a session that runs there hears it too: it can be about no other.
pub fn beside(plane: &Plane, (backend, name): (BackendId, &str), of: &Owner, level: &str, message: &Bytes) {
    let (Some(view), Some(level)) = (plane.views.load_full(), Level::parse(level)) else { return };
    plane.feeds.log((name, of), level, message, &view, &plane.gate, &plane.sessions);
    let is_its = |flight: &FlightRef| match of {
        Owner::Shared => false,
        Owner::Session { leg, .. } => flight.leg().key() == leg.key(),
        Owner::Client(principal) => flight.principal().is_same_as(principal),
    };
    if of.is_shared() {
        return;
    }
    if let [only] = &*plane.in_flight.related(backend, |flight| !flight.leg().is_session() && is_its(flight)) {
        only.logged(message.clone());
    }
}

//! Which log notes of a running call a legacy session is told of: its server may send more, because others asked it to.

use std::sync::Arc;

use super::{modern::voice::level_of, session::Level};
use crate::{answering::Event, in_flight::LegKey, plane::Plane};

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

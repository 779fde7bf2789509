//! Whose a backend's process or session is: everybody's, one client session's, one client's.

use std::sync::Arc;

use crate::{call::Principal, listen::ClientLeg};

/// As the configuration says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    #[default]
    Shared,
    PerSession,
    PerClient,
}

/// Whose one of them is.
#[derive(Clone, Debug)]
pub enum Owner {
    /// All clients' together.
    Shared,
    /// One legacy session's, or one connection's.
    Session { leg: ClientLeg, principal: Arc<Principal> },
    /// One client's, whatever its sessions.
    Client(Arc<Principal>),
}

impl Owner {
    /// Of what this caller's calls go to.
    pub fn of(isolation: Isolation, leg: ClientLeg, principal: &Arc<Principal>) -> Self {
        match isolation {
            Isolation::Shared => Self::Shared,
            Isolation::PerSession if !leg.key().is_alone() => Self::Session { leg, principal: Arc::clone(principal) },
            // A request that belongs to no session is its client's.
            Isolation::PerSession | Isolation::PerClient => Self::Client(Arc::clone(principal)),
        }
    }

    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared)
    }
}

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
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared)
    }
}

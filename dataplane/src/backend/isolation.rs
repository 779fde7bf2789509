//! Whose a backend's process or session is: everybody's, one client session's, one client's.

use std::sync::Arc;

use crate::{call::Principal, in_flight::LegKey, listen::ClientLeg, upcall::feature::Features};

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

impl Isolation {
    /// Whether what this request meets is its session's. A request that belongs to no session is its client's.
    pub fn is_of_session(self, leg: ClientLeg) -> bool {
        self == Self::PerSession && !leg.key().is_alone()
    }
}

/// One process or session of a backend that is not shared, among all that this plane ever starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub u32);

/// To which of a backend's processes or sessions a request goes, where each has its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whose {
    Session(LegKey),
    Client { issuer: Box<str>, client: Box<str>, features: Features },
}

impl Whose {
    /// None: all share one. `may_ask`: what its server may ask.
    pub fn of(isolation: Isolation, may_ask: Features, leg: ClientLeg, principal: &Principal) -> Option<Self> {
        let client =
            |features| Self::Client { issuer: principal.issuer.clone(), client: principal.client.clone(), features };
        match isolation {
            Isolation::Shared => None,
            _ if isolation.is_of_session(leg) => Some(Self::Session(leg.key())),
            // Of its client's that declare the same.
            Isolation::PerSession => Some(client(leg.features().within(may_ask))),
            Isolation::PerClient => Some(client(Features::NONE)),
        }
    }
}

impl Owner {
    /// Of what this caller's calls go to.
    pub fn of(isolation: Isolation, leg: ClientLeg, principal: &Arc<Principal>) -> Self {
        match isolation {
            Isolation::Shared => Self::Shared,
            _ if isolation.is_of_session(leg) => Self::Session { leg, principal: Arc::clone(principal) },
            Isolation::PerSession | Isolation::PerClient => Self::Client(Arc::clone(principal)),
        }
    }

    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared)
    }
}

//! Towards clients: transports and eras become `Routed` calls here, and answers become bytes again. Nothing behind
//! this folder knows an era, a header or a stream.

pub mod attach;
pub mod feeds;
pub mod http;
pub mod local;
pub mod message;
pub mod modern;
pub mod revision;
pub mod session;
pub mod stdio;

use self::revision::Revision;
use crate::in_flight::LegKey;

/// What a call needs to find its client again; made and read in `listen/` alone.
#[derive(Clone, Copy, Debug)]
pub struct ClientLeg {
    key: LegKey,
    /// None: the modern era, in which each request stands alone.
    revision: Option<Revision>,
}

impl ClientLeg {
    /// A legacy session, or a connection that is one.
    pub fn new(key: LegKey, revision: Revision) -> Self {
        Self { key, revision: Some(revision) }
    }

    /// A modern request. `key`: its connection's, where it can be cancelled by name; else its own.
    pub fn modern(key: LegKey) -> Self {
        Self { key, revision: None }
    }

    /// Names the session or connection among all that run.
    pub fn key(&self) -> LegKey {
        self.key
    }

    /// JSON-RPC batches are in one revision alone.
    pub fn has_batches(&self) -> bool {
        self.revision.is_some_and(Revision::has_batches)
    }

    #[cfg(test)]
    fn revision(&self) -> Option<Revision> {
        self.revision
    }
}

//! Towards clients: transports and eras become `Routed` calls here, and answers become bytes again. Nothing behind
//! this folder knows an era, a header or a stream.

pub mod attach;
pub mod feeds;
pub mod hearing;
pub mod http;
pub mod local;
pub mod message;
pub mod modern;
pub mod revision;
pub mod session;
pub mod stdio;
pub mod watching;

use self::revision::Revision;
use crate::{in_flight::LegKey, upcall::feature::Features};

/// What a call needs to find its client again; made and read in `listen/` alone.
#[derive(Clone, Copy, Debug)]
pub struct ClientLeg {
    key: LegKey,
    /// None: the modern era, in which each request stands alone.
    revision: Option<Revision>,
    features: Features,
}

impl ClientLeg {
    /// A legacy session, or a connection that is one.
    pub fn new(key: LegKey, revision: Revision, features: Features) -> Self {
        Self { key, revision: Some(revision), features }
    }

    /// A modern request. `key`: its connection's, where it can be cancelled by name; else its own. `features`: what it
    /// says that its client can be asked.
    pub fn modern(key: LegKey, features: Features) -> Self {
        Self { key, revision: None, features }
    }

    /// The same client, for whom no question can be put: there is no stream that would carry it.
    pub fn unasked(self) -> Self {
        Self { features: Features::NONE, ..self }
    }

    /// Names the session or connection among all that run.
    pub fn key(&self) -> LegKey {
        self.key
    }

    /// What its client declared that it can be asked.
    pub fn features(&self) -> Features {
        self.features
    }

    /// A session, or a connection that is one: what has no call can be said on its own streams.
    pub fn is_session(&self) -> bool {
        self.revision.is_some()
    }

    /// A session of the one revision whose clients can ask for tasks.
    pub fn has_core_tasks(&self) -> bool {
        self.revision.is_some_and(Revision::has_tasks)
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

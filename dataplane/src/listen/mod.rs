//! Towards clients: transports and eras become `Routed` calls here, and answers become bytes again. Nothing behind
//! this folder knows an era, a header or a stream.

pub mod attach;
pub mod feeds;
pub mod http;
pub mod local;
pub mod message;
pub mod revision;
pub mod session;
pub mod stdio;

use self::revision::Revision;
use crate::in_flight::LegKey;

/// What a call needs to find its client again; made and read in `listen/` alone.
#[derive(Clone, Copy, Debug)]
pub struct ClientLeg {
    key: LegKey,
    revision: Revision,
}

impl ClientLeg {
    pub fn new(key: LegKey, revision: Revision) -> Self {
        Self { key, revision }
    }

    /// Names the session or connection among all that run.
    pub fn key(&self) -> LegKey {
        self.key
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }
}

//! One look at the plane: what `/ready`, `/metrics` and the reports to the control plane are made of.
//!
//! Plain data, gathered by whoever owns the parts (`main.rs`); nothing here asks anything.

use std::{fmt, sync::Arc};

use sentinel_proto::v1::{BackendHealth, Catalogue, Sightings};

/// Where the snapshot in force came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    #[default]
    None,
    ControlPlane,
    LastKnownGood,
}

impl Source {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ControlPlane => "control_plane",
            Self::LastKnownGood => "last_known_good",
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct PlaneStatus {
    /// A drain has begun.
    pub is_draining: bool,
    /// Calls answer `not_ready`: the control plane, which may know of kills that this plane does not, is waited for.
    pub is_starting: bool,
    /// Calls answer `not_ready`: the control plane was not heard for `max_staleness_secs`.
    pub is_stale: bool,
    /// 0: none.
    pub revision: u64,
    /// SHA-256 of the snapshot in force; empty for none.
    pub digest: Vec<u8>,
    /// When the revision was put in force, unix milliseconds.
    pub applied_ms: i64,
    pub source: Source,
    pub kill_epoch: u64,
    /// What is refused by kill switches now, by scope.
    pub kills: Vec<(&'static str, usize)>,
    pub backends: Vec<BackendHealth>,
    /// Changes with the catalogue.
    pub catalogue_digest: Vec<u8>,
    /// Tools that are in use at first sight and that the control plane has not pinned yet.
    pub unpinned: usize,
    /// Tools that are held, by backend.
    pub quarantined: Vec<(String, usize)>,
    pub audit_backlog: u64,
    pub audit_written: u64,
    pub audit_dropped: u64,
    /// The last record of this run that is stored, and the chain's head after it.
    pub audit_acked: Option<(u64, [u8; 32])>,
    /// Appends to the spool that waited more than 10 ms.
    pub audit_stalls: u64,
    pub in_flight: u32,
    /// Of those, calls that wait for their client to come again.
    pub parked: u32,
    /// Whole sentences for the operator.
    pub warnings: Vec<String>,
}

impl PlaneStatus {
    /// Everything that `unready` can say.
    pub const REASONS: [&'static str; 5] = ["draining", "no_backend", "no_snapshot", "stale", "starting"];

    /// Why the plane takes no calls, as `/ready` says it; none: it does.
    pub fn unready(&self) -> Option<&'static str> {
        if self.is_draining {
            Some("draining")
        } else if self.revision == 0 {
            Some("no_snapshot")
        } else if self.is_starting {
            Some("starting")
        } else if self.is_stale {
            Some("stale")
        } else if !self.backends.is_empty() && self.backends.iter().all(|backend| !is_usable(backend)) {
            Some("no_backend")
        } else {
            None
        }
    }
}

/// It takes calls, or will after a moment that was planned.
pub fn is_usable(backend: &BackendHealth) -> bool {
    backend.planned || backend.state == "ready"
}

/// How ops and the feed look at the plane. Boxed: `main.rs` alone knows all parts, and this is no hot path.
#[derive(Clone)]
pub struct Look {
    status: Arc<dyn Fn() -> PlaneStatus + Send + Sync>,
    catalogue: Arc<dyn Fn() -> Catalogue + Send + Sync>,
    sightings: Arc<dyn Fn() -> Sightings + Send + Sync>,
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look")
    }
}

impl Look {
    pub fn new(
        status: impl Fn() -> PlaneStatus + Send + Sync + 'static,
        catalogue: impl Fn() -> Catalogue + Send + Sync + 'static,
        sightings: impl Fn() -> Sightings + Send + Sync + 'static,
    ) -> Self {
        Self { status: Arc::new(status), catalogue: Arc::new(catalogue), sightings: Arc::new(sightings) }
    }

    pub fn status(&self) -> PlaneStatus {
        (self.status)()
    }

    pub fn catalogue(&self) -> Catalogue {
        (self.catalogue)()
    }

    /// Tools that are not simply as they are pinned.
    pub fn sightings(&self) -> Sightings {
        (self.sightings)()
    }
}

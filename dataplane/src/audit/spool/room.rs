//! How much the spool may still take: promised at admission, so that a call that ran can always be recorded.
//! Only counting; the disk itself is looked at by the thread that syncs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use thiserror::Error;

use super::frame::{HEAD, MAX_EVENT, PREFIX};
use super::writer::Shared;

/// The largest frame.
const LARGEST: u64 = (PREFIX + HEAD + MAX_EVENT) as u64;

/// How large a spool may grow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes on disk.
    pub bytes: u64,
    /// Records that wait to be stored.
    pub records: u64,
    /// Bytes of disk that are kept from everybody else, for the records of calls in flight when it is full.
    pub held_back: u64,
    pub segment_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 1 << 30, records: 1_000_000, held_back: 16 << 20, segment_bytes: 8 << 20 }
    }
}

/// No record can be promised: the call must be refused (`audit_unavailable`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Full {
    #[error("the audit spool is at its cap; see that the control plane is there to take the records")]
    Cap,
    #[error("the audit spool's disk is full or failing; make room, or see the plane's log for the error")]
    Disk,
}

/// What waits to be stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    pub records: u64,
    /// Bytes on disk, those not yet deleted included.
    pub bytes: u64,
}

/// A reading of the spool's counters, since start.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    pub written: u64,
    /// Records that could not be written.
    pub dropped: u64,
    /// Appends that waited more than 10 ms.
    pub stalls: u64,
    pub backlog: Backlog,
    /// No call is admitted: the disk is short of room, or did not take the last write.
    pub disk_full: bool,
    /// The last error of the disk, with what was being done.
    pub last_error: Option<Arc<str>>,
}

#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) limits: Limits,
    pub(super) records: AtomicU64,
    pub(super) bytes: AtomicU64,
    promised: AtomicU64,
    /// The disk is short of room, or did not take the last write.
    pub(super) disk_full: AtomicBool,
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) stalls: AtomicU64,
}

impl Account {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What an earlier run left.
    pub(super) fn start_with(&self, records: u64, bytes: u64) {
        self.records.store(records, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(super) fn backlog(&self) -> Backlog {
        Backlog { records: self.records.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }

    pub(super) fn forget(&self, records: u64, bytes: u64) {
        let less = |by: u64| move |now: u64| Some(now.saturating_sub(by));
        let _ = self.records.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(records));
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less(bytes));
    }
}

/// Room for one record, given back when dropped or used.
#[derive(Debug)]
#[must_use = "dropping it gives the room back"]
pub struct Room {
    shared: Arc<Shared>,
}

impl Room {
    pub(super) fn take(shared: &Arc<Shared>) -> Result<Self, Full> {
        let account = &shared.room;
        if account.disk_full.load(Ordering::Relaxed) {
            return Err(Full::Disk);
        }
        let others = account.promised.fetch_add(1, Ordering::Relaxed);
        let room = Self { shared: Arc::clone(shared) };
        let promised = others.saturating_add(1);
        let backlog = account.backlog();
        let bytes = backlog.bytes.saturating_add(promised.saturating_mul(LARGEST));
        let records = backlog.records.saturating_add(promised);
        if bytes > account.limits.bytes || records > account.limits.records {
            return Err(Full::Cap);
        }
        Ok(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shared.room.promised.fetch_sub(1, Ordering::Relaxed);
    }
}

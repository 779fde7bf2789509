//! The spool: an append-only segment log under `<plane dir>/spool/` that keeps each audit record until the
//! control plane has stored it. A call appends its record itself, with one `write(2)` under a short lock; a
//! thread makes it durable every 50 ms or 1 MiB. It does not know what an event says, nor who ships it.
//!
//! `kill -9` loses nothing that was appended; a power loss loses what was appended since the last sync.

mod frame;
mod reader;
mod recover;
mod room;
pub mod segment;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use uuid::Uuid;

pub use frame::{Chain, Hash, MAX_EVENT};
pub use reader::{Batch, Cursor, Mark, ReadError};
pub use room::{Backlog, Counters, Full, Limits, Room};
pub use writer::{AppendError, Recorded};

use crate::clock::Clock;
use crate::disk::DiskError;
use segment::{OnDisk, Segments};
use writer::Shared;

/// Why a spool cannot be opened.
#[derive(Debug, Error)]
pub enum SpoolError {
    #[error("spool {path}: {doing} failed: {source}; see that the folder is writable and the disk has room")]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error("spool: what was acknowledged last is not readable: {0}")]
    Acked(#[from] DiskError),
    #[error("spool: the start of this run could not be recorded: {0}")]
    Start(#[from] AppendError),
}

/// A spool in use, and what was found when it was opened.
#[derive(Debug)]
pub struct Opened {
    pub spool: Spool,
    /// Records of earlier runs that nobody has acknowledged yet; they are shipped first.
    pub recovered: u64,
    /// Bytes of an unfinished record that were cut from the end.
    pub torn_bytes: u64,
    /// Damaged segments, kept for a person to look at; what was readable in them is shipped.
    pub set_aside: Vec<PathBuf>,
    /// The last record of the run before, if there was one.
    pub previous: Option<Mark>,
}

/// The handle: clones share one spool. The thread that syncs ends with the last one, or with `close`.
#[derive(Clone, Debug)]
pub struct Spool {
    shared: Arc<Shared>,
    _thread: Arc<sync::Syncing>,
}

impl Spool {
    /// Opens the spool in `dir` (made if absent), recovers what is there and records the start of `epoch`.
    /// The caller holds the plane directory's lock.
    ///
    /// # Errors
    /// When the folder, the acked position or the first segment cannot be read or written.
    pub fn open(dir: &Path, plane: Uuid, epoch: u64, limits: Limits, clock: &Clock) -> Result<Opened, SpoolError> {
        Self::open_with(dir, plane, epoch, limits, clock, Arc::new(OnDisk))
    }

    /// `open` on another kind of disk.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(
        dir: &Path,
        plane: Uuid,
        epoch: u64,
        limits: Limits,
        clock: &Clock,
        files: Arc<dyn Segments>,
    ) -> Result<Opened, SpoolError> {
        recover::open(dir, Chain::new(plane, epoch), epoch, limits, clock, files)
    }

    /// Promises room for one record. Ask at admission, before anything is done that must be recorded; dropping
    /// the room gives it back.
    ///
    /// # Errors
    /// `Full`: the cap is reached or the disk is short; nothing may be done that needs a record.
    pub fn reserve(&self) -> Result<Room, Full> {
        Room::take(&self.shared)
    }

    /// Appends one event (one line of JSON, ≤ 64 KiB). When this returns, the record survives a `kill -9`.
    ///
    /// # Errors
    /// When it could not be written, also not to a new segment; the record is then lost and counted as dropped.
    pub fn append(&self, room: Room, event: &[u8]) -> Result<Recorded, AppendError> {
        let done = self.shared.append(event);
        drop(room);
        done
    }

    /// The records from `from` on: ≤ 500, ≤ 1 MiB, of one epoch, `seq` without a hole. `None`: nothing yet.
    /// It reads files: not for a task that must not block.
    ///
    /// # Errors
    /// When a segment cannot be read; the next try may work.
    pub fn next_batch(&self, from: Cursor) -> Result<Option<Batch>, ReadError> {
        self.shared.next_batch(from)
    }

    /// Where the first record lies that nobody has acknowledged.
    #[must_use]
    pub fn first_unacked(&self) -> Cursor {
        lock(&self.shared.log).acked.cursor
    }

    /// The store has everything up to the end of `batch`: whole segments below it are deleted. Batches are
    /// acknowledged in their order; one that was acknowledged already changes nothing.
    ///
    /// # Errors
    /// When the position cannot be kept or a segment not deleted: then they are only sent again after a restart.
    pub fn acked(&self, batch: &Mark) -> Result<(), SpoolError> {
        self.shared.acknowledge(batch)
    }

    /// What waits to be stored.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.shared.room.backlog()
    }

    /// For metrics and `/ready`.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let room = &self.shared.room;
        Counters {
            written: room.written.load(Ordering::Relaxed),
            dropped: room.dropped.load(Ordering::Relaxed),
            stalls: room.stalls.load(Ordering::Relaxed),
            backlog: room.backlog(),
            disk_full: room.disk_full.load(Ordering::Relaxed),
            last_error: lock(&self.shared.last_error).clone(),
        }
    }

    /// The last record of this run that is stored, and the chain's head after it; none: nothing of it is stored yet.
    #[must_use]
    pub fn acked_head(&self) -> Option<(u64, Hash)> {
        let acked = lock(&self.shared.log).acked;
        (acked.epoch == self.shared.epoch && acked.seq > 0).then_some((acked.seq, acked.hash))
    }

    /// The chain's head: the last record of this run.
    #[must_use]
    pub fn head(&self) -> (u64, Hash) {
        self.shared.head()
    }

    /// Makes everything durable and keeps the acked position. Appending still works afterwards, but is synced
    /// by nobody. Blocks on the disk.
    ///
    /// # Errors
    /// When the position cannot be kept.
    pub fn close(&self) -> Result<(), SpoolError> {
        self.shared.stop();
        self.shared.sync_now();
        self.shared.keep_position()
    }
}

/// Nothing that these locks guard is left half changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

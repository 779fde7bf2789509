//! The thread behind the spool: fdatasync without the lock, what is done when that fails, the room held back
//! on the disk, and the record of a gap when the disk works again. No call waits for it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::segment::Segment;
use super::writer::{Open, Shared};
use super::{SpoolError, lock};
use crate::audit::event;
use crate::clock::Clock;
use crate::disk::sync_folder_of;

const EVERY: Duration = Duration::from_millis(50);
/// Every so many rounds the disk's room is looked at and the acked position kept: each second.
const SECOND: u32 = 20;

/// The thread; its drop ends it after one last sync.
#[derive(Debug)]
pub(super) struct Syncing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Syncing {
    pub(super) fn start(shared: &Arc<Shared>, clock: &Clock) -> Result<Self, SpoolError> {
        let (inside, clock) = (Arc::clone(shared), clock.clone());
        let thread = std::thread::Builder::new()
            .name("audit-sync".to_owned())
            .spawn(move || inside.sync_until_stopped(&clock))
            .map_err(|source| SpoolError::Io {
                path: shared.dir.clone(),
                doing: "starting the thread that syncs",
                source,
            })?;
        drop(shared.syncer.set(thread.thread().clone()));
        Ok(Self { shared: Arc::clone(shared), thread: Some(thread) })
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        self.shared.stop();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            self.shared.note("the thread that syncs the audit spool panicked".to_owned());
        }
    }
}

impl Shared {
    fn sync_until_stopped(&self, clock: &Clock) {
        let mut round = 0_u32;
        let mut told = 0_u64;
        let mut kept = lock(&self.log).acked;
        while !self.stopped.load(Ordering::Relaxed) {
            std::thread::park_timeout(EVERY);
            self.sync_now();
            round = round.wrapping_add(1);
            if round.is_multiple_of(SECOND) {
                self.look_at_the_disk(clock, &mut told);
                let acked = lock(&self.log).acked;
                if acked != kept {
                    kept = acked;
                    if let Err(error) = self.keep_position() {
                        self.note(error.to_string());
                    }
                }
            }
        }
        self.sync_now();
    }

    /// Makes durable what was appended until now.
    pub(super) fn sync_now(&self) {
        if self.unsynced.swap(0, Ordering::Relaxed) == 0 {
            return;
        }
        let files = lock(&self.log).to_sync.clone();
        for open in files {
            let sealed = open.segment.is_sealed();
            let synced = open.file.sync();
            if let Err(error) = &synced {
                self.note(format!("fdatasync of {}: {error}", open.segment.path.display()));
                self.give_up(&open);
            }
            if sealed || synced.is_err() {
                lock(&self.log).to_sync.retain(|other| other.segment.ordinal != open.segment.ordinal);
            }
        }
        if self.folder_changed.swap(false, Ordering::Relaxed)
            && let Err(error) = sync_folder_of(&self.dir.join("acked"))
        {
            self.note(format!("fsync of {}: {error}", self.dir.display()));
        }
    }

    /// A failed fsync is final for its file: appends go on in a new segment, and what the old one holds is
    /// written to a new file of the same name.
    fn give_up(&self, open: &Open) {
        self.retire(&open.segment);
        if let Err(error) = rewrite(&open.segment) {
            self.note(format!("writing {} anew: {error}", open.segment.path.display()));
        }
    }

    /// Is there room? What was held back is taken again once there is, and a gap is recorded before calls are
    /// admitted again: that record also shows that the disk takes one.
    pub(super) fn look_at_the_disk(&self, clock: &Clock, told: &mut u64) {
        let held_back = self.room.limits.held_back;
        let Ok(room) = self.files.room(&self.dir) else {
            return;
        };
        if room < held_back / 4 {
            self.room.disk_full.store(true, Ordering::Relaxed);
            return;
        }
        if !self.held_back_path().exists() {
            if room < held_back.saturating_add(held_back / 2) {
                return;
            }
            if let Err(error) = self.hold_back() {
                self.note(format!("holding back room for audit records: {error}"));
                return;
            }
        }
        let dropped = self.room.dropped.load(Ordering::Relaxed);
        if dropped > *told {
            let reason = lock(&self.last_error).clone().unwrap_or_default();
            let gap = event::gap(clock, dropped.saturating_sub(*told), &reason);
            if self.append(&gap).is_err() {
                // its own loss is no loss of a call's record
                self.room.dropped.store(dropped, Ordering::Relaxed);
                return;
            }
            *told = dropped;
        }
        self.room.disk_full.store(false, Ordering::Relaxed);
    }

    fn held_back_path(&self) -> PathBuf {
        self.dir.join("held-back")
    }

    pub(super) fn hold_back(&self) -> io::Result<()> {
        let path = self.held_back_path();
        self.files.hold_back(&path, self.room.limits.held_back).inspect_err(|_| drop(fs::remove_file(&path)))
    }

    /// Gives the room held back to the records of calls in flight; whether there was any.
    pub(super) fn let_go_of_held_back(&self) -> bool {
        self.room.disk_full.store(true, Ordering::Relaxed);
        fs::remove_file(self.held_back_path()).is_ok()
    }
}

fn rewrite(segment: &Segment) -> io::Result<()> {
    let mut bytes = fs::read(&segment.path)?;
    bytes.truncate(usize::try_from(segment.length()).map_err(io::Error::other)?);
    write_whole_file(&segment.path, &bytes)
}

/// Puts `bytes` at `path`, through a file aside.
pub(super) fn write_whole_file(path: &std::path::Path, bytes: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&aside, path)?;
    sync_folder_of(path)
}

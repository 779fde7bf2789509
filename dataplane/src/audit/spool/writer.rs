//! Appending: the one lock, numbering, the chain, and what is done when the disk refuses. Nothing here waits
//! for a sync.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, TryLockError};
use std::thread::Thread;
use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use super::frame::{self, Chain, Hash, MAX_EVENT};
use super::lock;
use super::reader::Log;
use super::room::Account;
use super::segment::{Segment, SegmentFile, Segments, path_of};
use crate::disk::StateFile;

/// An append that waits longer is counted.
const SLOW: Duration = Duration::from_millis(10);
/// An append that waits longer fails.
const TOO_SLOW: Duration = Duration::from_millis(500);
/// So much unsynced wakes the thread that syncs.
const SYNC_BYTES: u64 = 1 << 20;

/// The receipt for a record: only an append makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct Recorded {
    seq: u64,
}

impl Recorded {
    /// The record's number in this epoch.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// Why a record was not written.
#[derive(Debug, Error)]
pub enum AppendError {
    #[error("an audit event of {0} bytes is longer than {MAX_EVENT}; shorten its arguments or detail")]
    TooLong(usize),
    #[error("the audit spool did not take a record within 500 ms; see whether its disk hangs")]
    Stalled,
    #[error("writing an audit record to {path} failed: {source}; see that the disk has room and is healthy")]
    Io { path: PathBuf, source: io::Error },
}

/// What clones of a spool, its rooms and its thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dir: PathBuf,
    pub(super) chain: Chain,
    pub(super) epoch: u64,
    pub(super) files: Arc<dyn Segments>,
    pub(super) room: Account,
    writer: Mutex<Writer>,
    /// Those that found the writer busy wait here: `Mutex` alone has no time limit.
    waiting: AtomicU64,
    turn: (Mutex<()>, Condvar),
    pub(super) log: Mutex<Log>,
    pub(super) position: Mutex<StateFile>,
    pub(super) last_error: Mutex<Option<Arc<str>>>,
    pub(super) unsynced: AtomicU64,
    /// The reader met something unreadable in the segment in use: go on in a new one.
    pub(super) roll_wanted: AtomicBool,
    pub(super) folder_changed: AtomicBool,
    pub(super) stopped: AtomicBool,
    pub(super) syncer: OnceLock<Thread>,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Writer {
    seq: u64,
    head: Hash,
    buffer: Vec<u8>,
    pub(super) open: Option<Open>,
    next_ordinal: u64,
}

/// The segment in use.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) file: Arc<dyn SegmentFile>,
    pub(super) segment: Arc<Segment>,
    /// Bytes of an unfinished frame may stand at its end.
    torn: bool,
}

impl Shared {
    pub(super) fn new(
        dir: PathBuf,
        (chain, epoch, root): (Chain, u64, Hash),
        files: Arc<dyn Segments>,
        room: Account,
        log: Log,
        position: StateFile,
    ) -> Self {
        let next_ordinal = log.next_ordinal();
        let writer = Writer {
            seq: 0,
            head: root,
            buffer: Vec::with_capacity(frame::PREFIX + frame::HEAD + MAX_EVENT),
            open: None,
            next_ordinal,
        };
        Self {
            dir,
            chain,
            epoch,
            files,
            room,
            writer: Mutex::new(writer),
            waiting: AtomicU64::new(0),
            turn: (Mutex::new(()), Condvar::new()),
            log: Mutex::new(log),
            position: Mutex::new(position),
            last_error: Mutex::new(None),
            unsynced: AtomicU64::new(0),
            roll_wanted: AtomicBool::new(false),
            folder_changed: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            syncer: OnceLock::new(),
        }
    }

    pub(super) fn append(&self, event: &[u8]) -> Result<Recorded, AppendError> {
        if event.len() > MAX_EVENT {
            self.room.dropped.fetch_add(1, Ordering::Relaxed);
            return Err(AppendError::TooLong(event.len()));
        }
        let began = Instant::now();
        let done = match self.with_writer(began, |writer| self.append_as(writer, event)) {
            Some(done) => done,
            None => Err(AppendError::Stalled),
        };
        if began.elapsed() > SLOW {
            self.room.stalls.fetch_add(1, Ordering::Relaxed);
        }
        match &done {
            Ok(_) => {
                self.room.written.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                self.room.dropped.fetch_add(1, Ordering::Relaxed);
                self.note(error.to_string());
            }
        }
        done
    }

    /// Runs `work` as the only writer; `None` when its turn did not come in time.
    fn with_writer<T>(&self, began: Instant, work: impl FnOnce(&mut Writer) -> T) -> Option<T> {
        loop {
            match self.writer.try_lock() {
                Ok(mut writer) => return Some(self.let_go_after(&mut writer, work)),
                Err(TryLockError::Poisoned(poison)) => {
                    return Some(self.let_go_after(&mut poison.into_inner(), work));
                }
                Err(TryLockError::WouldBlock) => {}
            }
            let left = TOO_SLOW.checked_sub(began.elapsed())?;
            self.waiting.fetch_add(1, Ordering::SeqCst);
            let guard = lock(&self.turn.0);
            // the writer may have ended between the try and the wait: look again soon in any case
            let wait = left.min(Duration::from_millis(1));
            drop(self.turn.1.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner));
            self.waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn let_go_after<T>(&self, writer: &mut Writer, work: impl FnOnce(&mut Writer) -> T) -> T {
        let done = work(writer);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.turn.1.notify_one();
        }
        done
    }

    fn append_as(&self, writer: &mut Writer, event: &[u8]) -> Result<Recorded, AppendError> {
        let seq = writer.seq.saturating_add(1);
        let mut buffer = std::mem::take(&mut writer.buffer);
        frame::write(&mut buffer, self.epoch, seq, &writer.head, event);
        let written = self.write_frame(writer, &buffer);
        let bytes = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        writer.buffer = buffer;
        written?;
        writer.head = self.chain.next(&writer.head, seq, event);
        writer.seq = seq;
        self.room.records.fetch_add(1, Ordering::Relaxed);
        self.room.bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.unsynced.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) >= SYNC_BYTES {
            self.wake_syncer();
        }
        Ok(Recorded { seq })
    }

    /// Four tries: the segment in use; the same again after half a frame was cut, or after the room held back
    /// was let go, if the disk is full; a new segment.
    fn write_frame(&self, writer: &mut Writer, bytes: &[u8]) -> Result<(), AppendError> {
        let mut tries = 0_u8;
        loop {
            tries = tries.saturating_add(1);
            let error = match self.usable(writer).and_then(|open| write_whole(open, bytes)) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let full = matches!(error.raw_os_error(), Some(nix::libc::ENOSPC | nix::libc::EDQUOT));
            // half a frame is cut and tried once more on the same file: the second error says why
            let again = error.kind() == io::ErrorKind::WriteZero || (full && self.let_go_of_held_back());
            if tries >= 4 {
                let path = writer.open.as_ref().map_or_else(|| self.dir.clone(), |open| open.segment.path.clone());
                self.room.disk_full.store(true, Ordering::Relaxed);
                return Err(AppendError::Io { path, source: error });
            }
            self.note(format!("writing an audit record: {error}"));
            if !again {
                writer.retire();
            }
        }
    }

    /// The segment in use, whole and with room; else a new one.
    fn usable<'w>(&self, writer: &'w mut Writer) -> io::Result<&'w mut Open> {
        if self.roll_wanted.swap(false, Ordering::Relaxed) {
            writer.retire();
        }
        let spent = writer.open.as_mut().is_some_and(|open| {
            let length = open.segment.length();
            if open.torn && open.file.truncate(length).is_ok() {
                open.torn = false;
            }
            open.torn || length >= self.room.limits.segment_bytes
        });
        if spent {
            writer.retire();
        }
        match &mut writer.open {
            Some(open) => Ok(open),
            none => {
                let ordinal = writer.next_ordinal;
                writer.next_ordinal = ordinal.saturating_add(1);
                let file = self.files.create(&path_of(&self.dir, ordinal))?;
                let segment = Arc::new(Segment::new(&self.dir, ordinal, 0, false));
                let open = Open { file, segment, torn: false };
                lock(&self.log).add(open.clone());
                self.folder_changed.store(true, Ordering::Relaxed);
                Ok(none.insert(open))
            }
        }
    }

    /// Ends the use of `segment`, if it is the one in use: the next append begins a new one.
    pub(super) fn retire(&self, segment: &Segment) {
        let mut writer = lock(&self.writer);
        if writer.open.as_ref().is_some_and(|open| open.segment.ordinal == segment.ordinal) {
            writer.retire();
        }
    }

    pub(super) fn head(&self) -> (u64, Hash) {
        let writer = lock(&self.writer);
        (writer.seq, writer.head)
    }

    pub(super) fn note(&self, what: String) {
        tracing::error!(spool = %self.dir.display(), "{what}");
        *lock(&self.last_error) = Some(what.into());
    }

    pub(super) fn wake_syncer(&self) {
        if let Some(thread) = self.syncer.get() {
            thread.unpark();
        }
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.wake_syncer();
    }
}

impl Writer {
    fn retire(&mut self) {
        if let Some(open) = self.open.take() {
            open.segment.sealed.store(true, Ordering::Release);
        }
    }
}

fn write_whole(open: &mut Open, bytes: &[u8]) -> io::Result<()> {
    let taken = open.file.append(bytes).inspect_err(|_| open.torn = true)?;
    if taken == bytes.len() {
        open.segment.length.fetch_add(u64::try_from(taken).unwrap_or(u64::MAX), Ordering::Release);
        return Ok(());
    }
    open.torn = true;
    Err(io::Error::new(io::ErrorKind::WriteZero, format!("only {taken} of {} bytes were taken", bytes.len())))
}

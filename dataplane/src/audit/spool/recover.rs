//! Opening: what the run before left is read and checked, a torn tail is cut, a damaged segment is set aside,
//! what was acknowledged is deleted, and the start of the new epoch becomes its first record.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{self, Chain, Found};
use super::reader::{Acked, Cursor, Log, Mark};
use super::room::{Account, Limits};
use super::segment::{self, Segment, Segments};
use super::sync::{Syncing, write_whole_file};
use super::writer::Shared;
use super::{Opened, Spool, SpoolError};
use crate::audit::event;
use crate::clock::Clock;
use crate::disk::StateFile;

pub(super) fn open(
    dir: &Path,
    chain: Chain,
    epoch: u64,
    limits: Limits,
    clock: &Clock,
    files: Arc<dyn Segments>,
) -> Result<Opened, SpoolError> {
    let failed = |doing| move |source| SpoolError::Io { path: dir.to_path_buf(), doing, source };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("making the folder"))?;
    let position = StateFile::new(dir, "acked");
    let acked = match position.read() {
        Ok(loaded) => loaded.and_then(|loaded| Acked::from_bytes(&loaded.bytes)).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "the acked position is lost: records may be sent again, which changes nothing");
            Acked::default()
        }
    };
    let mut found = Recovery::new(chain, acked);
    let ordinals = segment::list(dir).map_err(failed("listing the segments"))?;
    for ordinal in &ordinals {
        let last = Some(ordinal) == ordinals.last();
        found.take(dir, *ordinal, last).map_err(failed("recovering a segment"))?;
    }
    let previous = found.last.or_else(|| {
        let Acked { epoch, seq, hash, cursor } = acked;
        (seq > 0).then_some(Mark { epoch, seq, hash, next: cursor, records: 0 })
    });
    let first_free = ordinals.last().copied().unwrap_or(0).max(acked.cursor.ordinal).saturating_add(1);
    let account = Account::new(limits);
    account.start_with(found.recovered, found.segments.iter().map(|segment| segment.length()).sum());
    let log = Log::new(found.segments, Acked { cursor: found.from, ..acked }, first_free);
    let root = chain.root(previous.map(|mark| mark.hash));
    let shared = Arc::new(Shared::new(dir.to_path_buf(), (chain, epoch, root), files, account, log, position));
    if let Err(error) = shared.hold_back() {
        shared.note(format!("holding back room for audit records: {error}"));
    }
    let before = previous.map(|mark| (mark.epoch, mark.hash));
    shared.append(&event::start(clock, before))?;
    for path in &found.set_aside {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        shared.append(&event::gap(clock, 0, &format!("a damaged segment was set aside as {name}")))?;
    }
    let thread = Syncing::start(&shared, clock)?;
    Ok(Opened {
        spool: Spool { shared, _thread: Arc::new(thread) },
        recovered: found.recovered,
        torn_bytes: found.torn,
        set_aside: found.set_aside,
        previous,
    })
}

/// What is known of the segments read so far.
#[derive(Debug)]
struct Recovery {
    chain: Chain,
    acked: Acked,
    segments: VecDeque<Arc<Segment>>,
    /// Where the first record lies that was not acknowledged.
    from: Cursor,
    recovered: u64,
    torn: u64,
    set_aside: Vec<PathBuf>,
    last: Option<Mark>,
}

impl Recovery {
    fn new(chain: Chain, acked: Acked) -> Self {
        Self {
            chain,
            acked,
            segments: VecDeque::new(),
            from: Cursor::default(),
            recovered: 0,
            torn: 0,
            set_aside: Vec::new(),
            last: None,
        }
    }

    fn take(&mut self, dir: &Path, ordinal: u64, last: bool) -> io::Result<()> {
        let path = segment::path_of(dir, ordinal);
        let mut bytes = fs::read(&path)?;
        let scan = Scan::of(&bytes);
        if scan.skipped || (scan.tail > 0 && !last) {
            let aside = segment::aside_of(&path);
            fs::rename(&path, &aside)?;
            self.set_aside.push(aside);
            bytes = scan.good;
            write_whole_file(&path, &bytes)?;
        } else if scan.tail > 0 {
            bytes = scan.good;
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(length_of(&bytes))?;
            file.sync_data()?;
            self.torn = scan.tail;
        }
        self.count(&bytes, ordinal)?;
        if self.from == (Cursor { ordinal, offset: length_of(&bytes) }) || bytes.is_empty() {
            return fs::remove_file(&path);
        }
        self.segments.push_back(Arc::new(Segment::new(dir, ordinal, length_of(&bytes), true)));
        Ok(())
    }

    fn count(&mut self, bytes: &[u8], ordinal: u64) -> io::Result<()> {
        let mut rest = bytes;
        while let Found::Good(frame) = frame::read(rest) {
            rest = rest.get(frame.bytes..).unwrap_or_default();
            let offset = length_of(bytes).saturating_sub(length_of(rest));
            let next = Cursor { ordinal, offset };
            let hash = self.chain.of_epoch(frame.epoch).next(&frame.before, frame.seq, frame.event);
            self.last = Some(Mark { epoch: frame.epoch, seq: frame.seq, hash, next, records: 0 });
            self.recovered = self.recovered.saturating_add(1);
            if (frame.epoch, frame.seq) == (self.acked.epoch, self.acked.seq) {
                // all before it was stored, in whatever segment it lies
                self.recovered = 0;
                self.from = next;
                for stored in self.segments.drain(..) {
                    fs::remove_file(&stored.path)?;
                }
            }
        }
        Ok(())
    }
}

/// What of a file can be believed.
#[derive(Debug, Default)]
struct Scan {
    /// All good frames, one after the other.
    good: Vec<u8>,
    /// Something bad stands before something good.
    skipped: bool,
    /// Bytes at the end that are no frame.
    tail: u64,
}

impl Scan {
    fn of(bytes: &[u8]) -> Self {
        let mut scan = Self::default();
        let mut rest = bytes;
        loop {
            let size = match frame::read(rest) {
                Found::Good(frame) => {
                    scan.good.extend(rest.get(..frame.bytes).unwrap_or_default());
                    frame.bytes
                }
                Found::Skip(size) => {
                    scan.skipped = true;
                    size
                }
                Found::Bad => {
                    scan.tail = length_of(rest);
                    return scan;
                }
                Found::End => return scan,
            };
            rest = rest.get(size..).unwrap_or_default();
        }
    }
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

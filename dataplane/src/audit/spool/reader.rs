//! The reading end: batches for shipping, and forgetting what was stored. It keeps the list of segments; it
//! never writes into one.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sentinel_proto::v1::AuditRecord;
use thiserror::Error;

use super::frame::{self, Chain, Found, Hash};
use super::segment::{Segment, aside_of};
use super::writer::{Open, Shared};
use super::{SpoolError, lock};

const BATCH_RECORDS: usize = 500;
const BATCH_BYTES: u64 = 1 << 20;

/// A place in the log. Ordered: what was appended later lies further on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(super) ordinal: u64,
    pub(super) offset: u64,
}

/// The end of a stretch of records: its last one, and where the next begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    pub epoch: u64,
    pub seq: u64,
    /// The chain's head after this record.
    pub hash: Hash,
    /// Where to read on.
    pub next: Cursor,
    pub(super) records: u64,
}

/// Records to be sent together.
#[derive(Debug)]
pub struct Batch {
    pub epoch: u64,
    /// Never empty.
    pub records: Vec<AuditRecord>,
    pub last: Mark,
    /// More was there already when these were read.
    pub more: bool,
}

/// A segment could not be read.
#[derive(Debug, Error)]
#[error("reading the audit spool at {path}: {source}")]
pub struct ReadError {
    path: PathBuf,
    source: io::Error,
}

/// The segments that are there, oldest first, and what of them was acknowledged.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) segments: VecDeque<Arc<Segment>>,
    pub(super) to_sync: Vec<Open>,
    pub(super) acked: Acked,
    first_free: u64,
}

/// What was acknowledged last, as kept in `acked`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Acked {
    pub(super) epoch: u64,
    pub(super) seq: u64,
    pub(super) hash: Hash,
    pub(super) cursor: Cursor,
}

impl Acked {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.hash);
        out.extend_from_slice(&self.cursor.ordinal.to_le_bytes());
        out.extend_from_slice(&self.cursor.offset.to_le_bytes());
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (epoch, rest) = bytes.split_first_chunk()?;
        let (seq, rest) = rest.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (ordinal, rest) = rest.split_first_chunk()?;
        let offset = rest.first_chunk()?;
        let cursor = Cursor { ordinal: u64::from_le_bytes(*ordinal), offset: u64::from_le_bytes(*offset) };
        Some(Self { epoch: u64::from_le_bytes(*epoch), seq: u64::from_le_bytes(*seq), hash: *hash, cursor })
    }
}

impl Log {
    pub(super) fn new(segments: VecDeque<Arc<Segment>>, acked: Acked, first_free: u64) -> Self {
        Self { segments, to_sync: Vec::new(), acked, first_free }
    }

    pub(super) fn next_ordinal(&self) -> u64 {
        self.first_free
    }

    pub(super) fn add(&mut self, open: Open) {
        self.segments.push_back(Arc::clone(&open.segment));
        self.to_sync.push(open);
    }

    fn at_or_after(&self, ordinal: u64) -> Option<Arc<Segment>> {
        self.segments.iter().find(|segment| segment.ordinal >= ordinal).cloned()
    }
}

impl Shared {
    pub(super) fn next_batch(&self, mut from: Cursor) -> Result<Option<Batch>, ReadError> {
        loop {
            let Some(segment) = lock(&self.log).at_or_after(from.ordinal) else {
                return Ok(None);
            };
            if segment.ordinal > from.ordinal {
                from = Cursor { ordinal: segment.ordinal, offset: 0 };
            }
            // in this order: the length of a sealed segment is final
            let sealed = segment.is_sealed();
            let left = segment.length().saturating_sub(from.offset);
            let following = Cursor { ordinal: segment.ordinal.saturating_add(1), offset: 0 };
            if left == 0 {
                if !sealed {
                    return Ok(None);
                }
                from = following;
                continue;
            }
            let bytes = read_at(&segment, from.offset, left.min(BATCH_BYTES))
                .map_err(|source| ReadError { path: segment.path.clone(), source })?;
            match self.batch_of(&bytes, from) {
                Ok(mut batch) => {
                    batch.more = sealed || batch.last.next.offset < from.offset.saturating_add(left);
                    return Ok(Some(batch));
                }
                Err(skip) => {
                    self.put_a_copy_aside(&segment, from.offset);
                    self.room.forget(1, 0);
                    match skip {
                        Some(skip) => from.offset = from.offset.saturating_add(skip),
                        None if sealed => from = following,
                        None => {
                            self.roll_wanted.store(true, Ordering::Relaxed);
                            return Ok(None);
                        }
                    }
                }
            }
        }
    }

    /// The batch at the beginning of `bytes`; else how many bytes may be skipped, if that is known.
    fn batch_of(&self, bytes: &[u8], from: Cursor) -> Result<Batch, Option<u64>> {
        let mut rest = bytes;
        let mut records: Vec<AuditRecord> = Vec::new();
        let mut last = None;
        let mut next = from;
        while records.len() < BATCH_RECORDS {
            let found = match frame::read(rest) {
                Found::Good(found) => found,
                Found::Skip(size) if records.is_empty() => return Err(u64::try_from(size).ok()),
                Found::Bad | Found::End | Found::Skip(_) => break,
            };
            let follows = last.is_none_or(|last: frame::Frame<'_>| {
                last.epoch == found.epoch && last.seq.saturating_add(1) == found.seq
            });
            if !follows {
                break;
            }
            records.push(AuditRecord { seq: found.seq, prev_hash: found.before.to_vec(), event: found.event.to_vec() });
            next.offset = next.offset.saturating_add(u64::try_from(found.bytes).unwrap_or(u64::MAX));
            rest = rest.get(found.bytes..).unwrap_or_default();
            last = Some(found);
        }
        let last = last.ok_or(None)?;
        let hash = self.chain_of(last.epoch).next(&last.before, last.seq, last.event);
        let count = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let mark = Mark { epoch: last.epoch, seq: last.seq, hash, next, records: count };
        Ok(Batch { epoch: last.epoch, records, last: mark, more: false })
    }

    fn chain_of(&self, epoch: u64) -> Chain {
        self.chain.of_epoch(epoch)
    }

    fn put_a_copy_aside(&self, segment: &Segment, offset: u64) {
        let aside = aside_of(&segment.path);
        let kept = fs::hard_link(&segment.path, &aside);
        let path = segment.path.display();
        self.note(match kept {
            Ok(()) => format!("{path} is damaged at byte {offset}: kept as {}", aside.display()),
            Err(error) => {
                format!("{path} is damaged at byte {offset}, and could not be kept: {error}")
            }
        });
    }

    pub(super) fn acknowledge(&self, mark: &Mark) -> Result<(), SpoolError> {
        let mut gone = Vec::new();
        {
            let mut log = lock(&self.log);
            if mark.next <= log.acked.cursor {
                return Ok(());
            }
            log.acked = Acked { epoch: mark.epoch, seq: mark.seq, hash: mark.hash, cursor: mark.next };
            self.room.forget(mark.records, 0);
            while let Some(segment) = log.segments.front() {
                let sealed = segment.is_sealed();
                let end = Cursor { ordinal: segment.ordinal, offset: segment.length() };
                if !sealed || end > mark.next {
                    break;
                }
                gone.extend(log.segments.pop_front());
            }
            log.to_sync.retain(|open| !gone.iter().any(|segment| segment.ordinal == open.segment.ordinal));
        }
        if gone.is_empty() {
            return Ok(());
        }
        // the chain's head is in the position before the records that it follows from go
        self.keep_position()?;
        for segment in gone {
            self.room.forget(0, segment.length());
            match fs::remove_file(&segment.path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    let path = segment.path.clone();
                    return Err(SpoolError::Io { path, doing: "deleting a stored segment", source });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps what was acknowledged on disk.
    pub(super) fn keep_position(&self) -> Result<(), SpoolError> {
        let file = lock(&self.position);
        let acked = lock(&self.log).acked;
        if acked.seq > 0 {
            file.write(&acked.to_bytes())?;
        }
        Ok(())
    }
}

fn read_at(segment: &Segment, offset: u64, count: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(count).map_err(io::Error::other)?];
    File::open(&segment.path)?.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

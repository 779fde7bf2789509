//! `audit tail`: who follows the trail, and what each of them is still to be told. Ingest wakes them; it never waits for
//! one: a reader that is slow misses rows, and is told how many.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sentinel_proto::v1::{AuditBatch, AuditListRequest, AuditRow, AuditTailPiece};
use tokio::sync::mpsc;

use super::query::{QueryError, fits, judged};
use super::{query, record};
use crate::store::Store;
use crate::store::listing;

/// Pieces that wait for one reader, and their bytes.
const PIECES: usize = 256;
const BYTES: usize = 4 * 1024 * 1024;
/// Readers at once.
const READERS: usize = 32;

/// Clones share the readers.
#[derive(Clone, Debug, Default)]
pub struct Tails(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    readers: Vec<Reader>,
    /// Of each plane the epoch and the highest seq that was told: a repeated batch is told once.
    told: HashMap<String, (u64, u64)>,
}

#[derive(Debug)]
struct Reader {
    filter: AuditListRequest,
    pieces: mpsc::Sender<Vec<AuditRow>>,
    waiting: Arc<Waiting>,
}

/// What one reader has not read yet.
#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    missed: AtomicU64,
}

/// One reader's end.
#[derive(Debug)]
pub struct Tail {
    pieces: mpsc::Receiver<Vec<AuditRow>>,
    waiting: Arc<Waiting>,
    /// Rows that the beginning showed already: (plane, epoch, seq).
    shown: Vec<(String, u64, u64)>,
    beginning: Option<Vec<AuditRow>>,
}

/// Why nothing is followed.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    #[error("{READERS} readers follow the audit trail already; end one of them")]
    Full,
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Tails {
    /// Follows what fits `asked`, beginning with its `limit` newest rows (0: none).
    ///
    /// # Errors
    /// `Full`; as for `audit list`.
    pub async fn follow(&self, store: &Store, asked: &AuditListRequest) -> Result<Tail, TailError> {
        let filter = judged(asked)?;
        let (sender, pieces) = mpsc::channel(PIECES);
        let waiting = Arc::new(Waiting::default());
        // Before the question, so that nothing falls in between; what comes twice is left out.
        self.with(|inner| {
            inner.readers.retain(|reader| !reader.pieces.is_closed());
            if inner.readers.len() >= READERS {
                return Err(TailError::Full);
            }
            inner.readers.push(Reader { filter, pieces: sender, waiting: Arc::clone(&waiting) });
            Ok(())
        })?;
        let beginning = if asked.limit == 0 { Vec::new() } else { query::list(store, asked).await?.rows };
        let shown = beginning.iter().map(|row| (row.plane_id.clone(), row.epoch, row.seq)).collect();
        let beginning = Some(beginning.into_iter().rev().collect());
        Ok(Tail { pieces, waiting, shown, beginning })
    }

    /// Hands what has just become durable to whoever follows it.
    pub fn tell(&self, plane_id: &str, batch: &AuditBatch) {
        self.with(|inner| {
            inner.readers.retain(|reader| !reader.pieces.is_closed());
            if inner.readers.is_empty() {
                inner.told.clear();
                return;
            }
            let epoch = batch.epoch;
            let told = inner.told.entry(plane_id.to_owned()).or_default();
            let last = if told.0 == epoch { told.1 } else { 0 };
            let new = batch.records.iter().filter(|one| one.seq > last);
            let rows: Vec<AuditRow> = new.filter_map(|one| row(plane_id, epoch, one)).collect();
            *told = (epoch, batch.records.last().map_or(last, |one| one.seq.max(last)));
            for reader in &inner.readers {
                reader.hand(&rows);
            }
        });
    }

    fn with<T>(&self, with: impl FnOnce(&mut Inner) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn row(plane_id: &str, epoch: u64, one: &sentinel_proto::v1::AuditRecord) -> Option<AuditRow> {
    let (epoch, seq) = (i64::try_from(epoch).ok()?, i64::try_from(one.seq).ok()?);
    // what is no row lies in quarantine, and is logged there
    record::read(plane_id, epoch, seq, one).ok().map(|row| listing::of_insert(&row))
}

impl Reader {
    fn hand(&self, rows: &[AuditRow]) {
        let fitting: Vec<AuditRow> = rows.iter().filter(|row| fits(&self.filter, row)).cloned().collect();
        if fitting.is_empty() {
            return;
        }
        let (count, bytes) = (fitting.len() as u64, size(&fitting));
        let has_room = self.waiting.bytes.load(Ordering::Relaxed) < BYTES;
        self.waiting.bytes.fetch_add(bytes, Ordering::Relaxed);
        if !has_room || self.pieces.try_send(fitting).is_err() {
            self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.waiting.missed.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl Tail {
    /// The next rows, and how many were missed since the last ones. Cancel safe.
    pub async fn next(&mut self) -> Option<AuditTailPiece> {
        if let Some(rows) = self.beginning.take().filter(|rows| !rows.is_empty()) {
            return Some(AuditTailPiece { rows, missed: 0 });
        }
        let mut rows = self.pieces.recv().await?;
        self.waiting.bytes.fetch_sub(size(&rows), Ordering::Relaxed);
        if !self.shown.is_empty() {
            rows.retain(|row| {
                !self
                    .shown
                    .iter()
                    .any(|(plane, epoch, seq)| (*epoch, *seq) == (row.epoch, row.seq) && *plane == row.plane_id)
            });
        }
        Some(AuditTailPiece { rows, missed: self.waiting.missed.swap(0, Ordering::Relaxed) })
    }
}

fn size(rows: &[AuditRow]) -> usize {
    rows.iter().map(prost::Message::encoded_len).sum()
}

#[cfg(test)]
mod tests {
    use sentinel_proto::v1::AuditRecord;

    use super::*;

    const PLANE: &str = "0e7a1e6c-5a32-4c6c-9c7e-0a6f5e1f0001";

    fn batch(seqs: std::ops::RangeInclusive<u64>) -> AuditBatch {
        let record = |seq| {
            let event = format!(
                r#"{{"v":1,"id":"01940000-0000-7000-8000-{seq:012x}","ts":1,"method":"tools/call","tool":"t{}","status":"ok"}}"#,
                seq % 2
            );
            AuditRecord { seq, prev_hash: vec![0; 32], event: event.into_bytes() }
        };
        AuditBatch { epoch: 1, records: seqs.map(record).collect() }
    }

    fn reader(tails: &Tails, filter: AuditListRequest) -> Tail {
        let (sender, pieces) = mpsc::channel(PIECES);
        let waiting = Arc::new(Waiting::default());
        tails.with(|inner| {
            inner.readers.push(Reader { filter, pieces: sender, waiting: Arc::clone(&waiting) });
        });
        Tail { pieces, waiting, shown: Vec::new(), beginning: None }
    }

    #[tokio::test]
    async fn a_reader_hears_what_fits_once_each() {
        let tails = Tails::default();
        let mut tail = reader(&tails, AuditListRequest { tool: "t1".to_owned(), ..AuditListRequest::default() });
        tails.tell(PLANE, &batch(1..=4));
        tails.tell(PLANE, &batch(3..=5));
        let mut heard = Vec::new();
        while heard.len() < 3 {
            heard.extend(tail.next().await.unwrap().rows.into_iter().map(|row| row.seq));
        }
        assert_eq!(heard, [1, 3, 5]);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_what_it_missed_and_holds_nobody() {
        let tails = Tails::default();
        let mut tail = reader(&tails, AuditListRequest::default());
        let rounds = PIECES as u64 + 10;
        for seq in 1..=rounds {
            tails.tell(PLANE, &batch(seq..=seq));
        }
        let first = tail.next().await.unwrap();
        assert_eq!((first.rows.len(), first.missed), (1, 10));
        let rest = PIECES - 1;
        for _ in 0..rest {
            assert_eq!(tail.next().await.unwrap().missed, 0);
        }
        tails.tell(PLANE, &batch(rounds + 1..=rounds + 1));
        assert_eq!(tail.next().await.unwrap().rows[0].seq, rounds + 1);
    }
}

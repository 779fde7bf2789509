//! A plane's batch becomes durable: rows, or records in quarantine, and only then an acknowledgement.
//!
//! Every statement commits by itself, so this future may be dropped anywhere: what is in stays in, nothing was
//! acknowledged, and the repeated batch changes nothing. It does not retry: the plane's spool is the buffer.

use std::ops::Range;

use sentinel_proto::v1::AuditBatch;
use uuid::Uuid;

use super::record;
use crate::store::Store;
use crate::store::audit::{AuditInsert, Quarantined};
use crate::store::error::{Fault, StoreError};

/// Records in one batch.
pub const MAX_RECORDS: usize = 500;
/// Bytes of events in one batch of more than one record: a lone record may be as large as a message.
pub const MAX_BYTES: usize = 1024 * 1024;

/// What the note of a row begins with whose arguments the database refused.
pub(super) const UNHELD: &str = "not held by the database";

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingested {
    pub epoch: u64,
    /// Everything of `epoch` in this batch up to here is durable.
    pub up_to: u64,
    /// Rows that were not there before.
    pub inserted: u64,
    /// Records of this batch that lie in quarantine, also from an earlier try.
    pub quarantined: u32,
}

/// Why a batch is not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error(
        "the batch of plane {plane_id} breaks the contract: {problem}; the plane and this program do not fit together"
    )]
    BadBatch { plane_id: String, problem: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IngestError {
    /// Passing: the same batch again, later. Final: it never works.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::BadBatch { .. } => Fault::Final,
            Self::Store(error) => error.fault(),
        }
    }
}

/// Stores `batch` of the plane that proved to be `plane_id` (a UUID of 36 characters).
///
/// Repeating a batch, whole or overlapping, changes nothing. A record that cannot be read or stored goes to quarantine
/// with its bytes and a reason, its neighbours in; arguments that the database can't hold leave their column null.
///
/// # Errors
/// `BadBatch`; `Store`, where a passing fault asks for the same batch again.
pub async fn ingest(
    store: &Store,
    plane_id: &str,
    batch: &AuditBatch,
    now_unix_ms: i64,
) -> Result<Ingested, IngestError> {
    let bad = |problem: String| IngestError::BadBatch { plane_id: plane_id.to_owned(), problem };
    let (epoch, up_to) = fits_contract(plane_id, batch).map_err(bad)?;
    let mut rows = Vec::with_capacity(batch.records.len());
    let mut guilty = Vec::new();
    for record in &batch.records {
        let seq = i64::try_from(record.seq).map_err(|_| bad(format!("seq {} has no room in 63 bits", record.seq)))?;
        match record::read(plane_id, epoch, seq, record) {
            Ok(row) => rows.push(row),
            Err(unreadable) => guilty.push(Quarantined {
                plane_id,
                epoch,
                seq,
                prev_hash: &record.prev_hash,
                event: &record.event,
                reason: unreadable.to_string(),
                at_unix_ms: now_unix_ms,
            }),
        }
    }
    let inserted = insert(store, &mut rows, &mut guilty, now_unix_ms).await?;
    store.insert_quarantine(&guilty).await?;
    for record in &guilty {
        tracing::warn!(plane = plane_id, epoch, seq = record.seq, reason = record.reason, "audit record in quarantine");
    }
    Ok(Ingested { epoch: batch.epoch, up_to, inserted, quarantined: u32::try_from(guilty.len()).unwrap_or(u32::MAX) })
}

/// The batch's epoch as the store counts, and its last seq.
fn fits_contract(plane_id: &str, batch: &AuditBatch) -> Result<(i64, u64), String> {
    if Uuid::parse_str(plane_id).map(|uuid| uuid.to_string()).as_deref() != Ok(plane_id) {
        return Err("the plane's id is no UUID in its common form".to_owned());
    }
    let epoch = i64::try_from(batch.epoch).map_err(|_| format!("epoch {} has more than 63 bits", batch.epoch))?;
    let count = batch.records.len();
    if count > MAX_RECORDS {
        return Err(format!("{count} records, at most {MAX_RECORDS} are taken"));
    }
    let bytes: usize = batch.records.iter().map(|record| record.event.len()).sum();
    if count > 1 && bytes > MAX_BYTES {
        return Err(format!("{bytes} bytes of events, at most {MAX_BYTES} are taken"));
    }
    let mut last = None;
    for record in &batch.records {
        if record.seq == 0 || last.is_some_and(|last: u64| last.checked_add(1) != Some(record.seq)) {
            return Err(format!("seq {} after {}", record.seq, last.unwrap_or_default()));
        }
        if record.prev_hash.len() != 32 {
            return Err(format!("a previous hash of {} bytes at seq {}", record.prev_hash.len(), record.seq));
        }
        last = Some(record.seq);
    }
    last.map(|last| (epoch, last)).ok_or_else(|| "it is empty".to_owned())
}

/// Inserts what the database takes, halving around what it doesn't; that goes to `guilty`. Gives how many were new.
async fn insert<'a>(
    store: &Store,
    rows: &mut [AuditInsert<'a>],
    guilty: &mut Vec<Quarantined<'a>>,
    now_unix_ms: i64,
) -> Result<u64, StoreError> {
    let mut inserted = 0;
    let whole: Range<usize> = 0..rows.len();
    let mut pieces = Vec::from([whole]);
    while let Some(piece) = pieces.pop() {
        let Some(part) = rows.get_mut(piece.clone()) else {
            continue;
        };
        match store.insert_audit(part).await {
            Ok(new) => inserted += new,
            Err(error) if error.fault() != Fault::Poison => return Err(error),
            Err(error) => match part {
                [row] => match without_arguments(store, row, &error).await {
                    Ok(new) => inserted += new,
                    Err(error) if error.fault() == Fault::Poison => guilty.push(refused(row, &error, now_unix_ms)),
                    Err(error) => return Err(error),
                },
                _ => {
                    let middle = piece.start.midpoint(piece.end);
                    pieces.push(middle..piece.end);
                    pieces.push(piece.start..middle);
                }
            },
        }
    }
    Ok(inserted)
}

/// The row again, with a note in the place of arguments that the database refused; or that same refusal.
async fn without_arguments(store: &Store, row: &mut AuditInsert<'_>, error: &StoreError) -> Result<u64, StoreError> {
    if row.arguments.take().is_some() {
        row.arguments_note = format!("{UNHELD} ({}), see event", error.code().unwrap_or("no code"));
    }
    store.insert_audit(std::slice::from_ref(row)).await
}

fn refused<'a>(row: &AuditInsert<'a>, error: &StoreError, now_unix_ms: i64) -> Quarantined<'a> {
    Quarantined {
        plane_id: row.plane_id,
        epoch: row.epoch,
        seq: row.seq,
        prev_hash: row.prev_hash,
        event: row.event,
        // the database's own sentence may quote the value
        reason: format!("the database refused the row ({})", error.code().unwrap_or("no code")),
        at_unix_ms: now_unix_ms,
    }
}

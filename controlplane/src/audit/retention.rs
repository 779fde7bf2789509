//! The day job: makes room for the days to come, and lets go of what is older than the retention.
//! When it runs is not said here.

use crate::store::Store;
use crate::store::audit::Forgotten;
use crate::store::error::StoreError;

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

/// The job, to be done at start and each hour: room for the coming days first, then everything older than
/// `retention_days` goes, in pieces.
///
/// # Errors
/// Those of the database; what was done before stays done.
pub async fn tend(store: &Store, now_unix_us: i64, retention_days: u32) -> Result<Forgotten, StoreError> {
    store.prepare_days(now_unix_us).await?;
    let before = now_unix_us.saturating_sub(i64::from(retention_days).saturating_mul(DAY_US));
    // first, so that what is gone after a death in between is explained as well
    store.note_kept_from(before).await?;
    let mut all = Forgotten::default();
    loop {
        let piece = store.forget_audit(before).await?;
        if piece == Forgotten::default() {
            return Ok(all);
        }
        all.rows += piece.rows;
        all.partitions += piece.partitions;
        // ingest shares the one writer: it goes first
        tokio::task::yield_now().await;
    }
}

//! The day job: makes room for the days to come, and lets go of what is older than the retention.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::Store;
use crate::store::audit::Forgotten;
use crate::store::error::StoreError;

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
const EVERY: Duration = Duration::from_secs(60 * 60);

/// Does the job at once and then each hour, until `cancel`; a failure is logged and tried again at the next hour.
/// `retention_days` may change meanwhile. Dropping it leaves no transaction open.
pub async fn run(
    store: Store,
    clock: Clock,
    retention_days: watch::Receiver<u32>,
    cancel: CancellationToken,
) {
    let mut hours = tokio::time::interval(EVERY);
    hours.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(hours.tick()).await.is_some() {
        let days = *retention_days.borrow();
        let done =
            cancel.run_until_cancelled(tend(&store, clock.unix_ms().saturating_mul(1000), days));
        let Some(done) = done.await else { return };
        match done {
            Ok(Forgotten {
                rows: 0,
                partitions: 0,
            }) => {}
            Ok(Forgotten { rows, partitions }) => {
                tracing::info!(
                    rows,
                    partitions,
                    days,
                    "audit rows older than the retention removed"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "audit retention did not run; it is tried again in an hour")
            }
        }
    }
}

/// The job, once: room for the coming days first, then everything older than `retention_days` goes, in pieces.
///
/// # Errors
/// Those of the database; what was done before stays done.
pub async fn tend(
    store: &Store,
    now_unix_us: i64,
    retention_days: u32,
) -> Result<Forgotten, StoreError> {
    store.prepare_days(now_unix_us).await?;
    let before = now_unix_us.saturating_sub(i64::from(retention_days).saturating_mul(DAY_US));
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

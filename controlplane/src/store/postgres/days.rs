//! The days of `audit_logs`: a partition each, made ahead, dropped whole. Rows of other days lie in the default one.
//!
//! `DETACH … CONCURRENTLY` is refused by Postgres where there is a default partition, so a day leaves under a short
//! lock that gives up after `lock_timeout` and is tried again by the next run.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sqlx::AssertSqlSafe;

use super::{LOCK, PostgresEngine};
use crate::store::audit::Forgotten;
use crate::store::engine::{Arg, Row, Statement};
use crate::store::error::StoreError;

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
const AHEAD: i64 = 7;
/// Rows that one piece of retention deletes where there is no day to drop.
const PIECE: i64 = 5000;
const DAYS: &str = "SELECT c.relname::text AS day FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
    WHERE i.inhparent = 'audit_logs'::regclass AND c.relname <> 'audit_logs_default' ORDER BY 1";

impl PostgresEngine {
    /// Makes the partitions of today and the seven days to come; what the default one holds of them moves first.
    pub(super) async fn make_days(&self, now_unix_us: i64) -> Result<(), StoreError> {
        const WHAT: &str = "make the days of audit_logs";
        for ahead in 0..=AHEAD {
            let from = now_unix_us.div_euclid(DAY_US).saturating_add(ahead).saturating_mul(DAY_US);
            let day = day_name(from)?;
            if self.days().await?.contains(&day) {
                continue;
            }
            let (first, after) = (bound(from)?, bound(from.saturating_add(DAY_US))?);
            // who inserts holds a lock on the parent that suits ours, and waits for the default one if it needs it;
            // a second program that makes days waits for the advisory lock and then finds the table there
            let made = self
                .transaction(
                    WHAT,
                    vec![
                        lock(),
                        own_time(),
                        ours("LOCK TABLE audit_logs_default IN ACCESS EXCLUSIVE MODE".to_owned()),
                        ours(format!("CREATE TABLE {day} (LIKE audit_logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")),
                        ours(format!(
                            "WITH moved AS (DELETE FROM audit_logs_default WHERE ts >= '{first}' AND ts < '{after}' \
                             RETURNING *) INSERT INTO {day} SELECT * FROM moved"
                        )),
                        ours(format!(
                            "ALTER TABLE audit_logs ATTACH PARTITION {day} FOR VALUES FROM ('{first}') TO ('{after}')"
                        )),
                    ],
                )
                .await;
            match made {
                Ok(_) => {}
                // 42P07: the other program made it while we waited
                Err(error) if error.code() == Some("42P07") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Drops the oldest day that is wholly before `before_unix_us`; deletes a piece of what has no day of its own.
    pub(super) async fn forget(&self, before_unix_us: i64) -> Result<Forgotten, StoreError> {
        const WHAT: &str = "forget old audit rows";
        let keep_from = day_name(before_unix_us)?;
        let mut forgotten = Forgotten::default();
        if let Some(day) = self.days().await?.into_iter().find(|day| *day < keep_from) {
            let statements = vec![
                lock(),
                own_time(),
                ours(format!("ALTER TABLE audit_logs DETACH PARTITION {day}")),
                ours(format!("DROP TABLE {day}")),
            ];
            self.transaction(WHAT, statements).await?;
            forgotten.partitions = 1;
        }
        for (sql, before) in [
            (
                "DELETE FROM audit_logs_default WHERE ctid IN (SELECT ctid FROM audit_logs_default \
                 WHERE ts < timestamptz 'epoch' + $1 * interval '1 microsecond' LIMIT $2)",
                before_unix_us,
            ),
            (
                "DELETE FROM audit_quarantine WHERE ctid IN \
                 (SELECT ctid FROM audit_quarantine WHERE at_unix_ms < $1 LIMIT $2)",
                before_unix_us.div_euclid(1000),
            ),
        ] {
            let done = sqlx::query(sql).bind(before).bind(PIECE).execute(&self.pool).await;
            forgotten.rows += done.map_err(|source| self.failed(WHAT, source))?.rows_affected();
        }
        Ok(forgotten)
    }

    /// The partitions' names, oldest first: they sort as their days do.
    async fn days(&self) -> Result<Vec<String>, StoreError> {
        use crate::store::engine::Engine as _;
        let rows = self.read("list the days of audit_logs", Statement::new(DAYS, [])).await?;
        rows.iter().map(|row: &Row| row.value("day")).collect()
    }
}

fn lock() -> Statement {
    Statement::new("SELECT pg_advisory_xact_lock($1)", [Arg::from(LOCK)])
}

/// Moving a day may take longer than a statement of the everyday.
fn own_time() -> Statement {
    Statement::new("SET LOCAL statement_timeout = '60s'", [])
}

/// Text made of our own names and numbers: names of tables can't be parameters.
fn ours(sql: String) -> Statement {
    Statement::new(AssertSqlSafe(sql), [])
}

fn day_name(unix_us: i64) -> Result<String, StoreError> {
    Ok(format!("audit_logs_{}", civil(unix_us)?.strftime("%Y%m%d")))
}

fn bound(unix_us: i64) -> Result<String, StoreError> {
    Ok(format!("{} 00:00:00+00", civil(unix_us)?.strftime("%Y-%m-%d")))
}

fn civil(unix_us: i64) -> Result<jiff::civil::Date, StoreError> {
    let out_of_range =
        |_| StoreError::OutOfRange { what: "the time of day", value: u64::try_from(unix_us).unwrap_or_default() };
    Ok(Timestamp::from_microsecond(unix_us).map_err(out_of_range)?.to_zoned(TimeZone::UTC).date())
}

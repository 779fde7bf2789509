//! Rows for `audit export` and `audit stats`: pages by time, and counts of one stretch of time. What is asked, and how
//! the pieces are put together, is `crate::audit`'s.

use sentinel_proto::v1::{AuditListRequest, AuditStored};
use sqlx::AssertSqlSafe;

use super::engine::{Arg, Row, Statement};
use super::error::StoreError;
use super::{Store, first, listing};

/// Rows of one page: at most 64 KiB each.
pub const PAGE: u32 = 128;

/// A place among the rows, by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub ts_unix_us: i64,
    pub plane_id: String,
    pub epoch: u64,
    pub seq: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}/{}", self.ts_unix_us, self.plane_id, self.epoch, self.seq)
    }
}

/// By what rows are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Backend,
    Client,
    Hour,
    Kind,
    Status,
    Tool,
}

impl By {
    /// The column, and what leaves out the rows that have none. An hour is the stretch that is asked for.
    const fn column(self) -> (&'static str, &'static str) {
        match self {
            Self::Backend => ("backend", " AND backend <> ''"),
            Self::Client => ("client", ""),
            Self::Hour => ("CAST('' AS text)", ""),
            Self::Kind => ("kind", " AND kind <> ''"),
            Self::Status => ("status", ""),
            Self::Tool => ("tool", " AND tool <> ''"),
        }
    }
}

/// Rows alike: same key, status and about the same latency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    pub key: String,
    pub status: String,
    /// Lower end of its stretch, at most 1 % below; three digits count.
    pub latency_us: u64,
    pub count: u64,
    /// Of it rows that stand for one call each.
    pub single: u64,
}

impl Store {
    /// At most [`PAGE`] whole rows after `after`, before `until_unix_us`, oldest first. Of `filter` those members are
    /// heeded that an index serves: client, tool, request id, since; the rest is the caller's.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn export_page(
        &self,
        filter: &AuditListRequest,
        after: &Place,
        until_unix_us: i64,
    ) -> Result<Vec<AuditStored>, StoreError> {
        let words = self.engine.words();
        let (before, behind) = words.us_as_ts;
        let as_uuid = words.as_uuid;
        let mut args = vec![
            Arg::from(after.ts_unix_us),
            Arg::from(after.plane_id.as_str()),
            Arg::count("an epoch", after.epoch)?,
            Arg::count("a seq", after.seq)?,
            Arg::from(until_unix_us),
        ];
        let mut also = String::new();
        for (column, value, cast) in
            [("client", &filter.client, ""), ("tool", &filter.tool, ""), ("request_id", &filter.request_id, as_uuid)]
        {
            if !value.is_empty() {
                args.push(Arg::from(value.as_str()));
                also.push_str(&format!(" AND {column} = ${}{cast}", args.len()));
            }
        }
        args.push(Arg::from(i64::from(PAGE)));
        let limit = args.len();
        let columns = listing::columns(words);
        let page = Statement::new(
            AssertSqlSafe(format!(
                "SELECT {columns}, prev_hash FROM audit_logs WHERE ts >= {before}$1{behind} AND ts < {before}$5{behind} \
                 AND (ts > {before}$1{behind} OR (plane_id, epoch, seq) > ($2{as_uuid}, $3, $4)){also} \
                 ORDER BY ts, audit_logs.plane_id, epoch, seq LIMIT ${limit}"
            )),
            args,
        );
        self.engine.read("export audit rows", page).await?.iter().map(stored).collect()
    }

    /// What lies in `[from, to)` (µs), counted. Of `filter` client, tool, backend and status are heeded.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn count_audit(
        &self,
        filter: &AuditListRequest,
        by: By,
        from_unix_us: i64,
        to_unix_us: i64,
    ) -> Result<Vec<Counted>, StoreError> {
        let (before, behind) = self.engine.words().us_as_ts;
        let (key, without) = by.column();
        let mut also = without.to_owned();
        let mut args = vec![Arg::from(from_unix_us), Arg::from(to_unix_us)];
        for (column, value) in [
            ("client", &filter.client),
            ("tool", &filter.tool),
            ("backend", &filter.backend),
            ("status", &filter.status),
        ] {
            if !value.is_empty() {
                args.push(Arg::from(value.as_str()));
                also.push_str(&format!(" AND {column} = ${}", args.len()));
            }
        }
        let counted = Statement::new(
            AssertSqlSafe(format!(
                "SELECT {key} AS key, status, CASE WHEN latency_us < 1000 THEN latency_us \
                 WHEN latency_us < 10000 THEN latency_us - latency_us % 10 \
                 WHEN latency_us < 100000 THEN latency_us - latency_us % 100 \
                 WHEN latency_us < 1000000 THEN latency_us - latency_us % 1000 \
                 WHEN latency_us < 10000000 THEN latency_us - latency_us % 10000 \
                 WHEN latency_us < 100000000 THEN latency_us - latency_us % 100000 \
                 ELSE latency_us - latency_us % 1000000 END AS about, CAST(SUM(count) AS bigint) AS total, \
                 CAST(SUM(CASE WHEN count = 1 THEN 1 ELSE 0 END) AS bigint) AS single FROM audit_logs \
                 WHERE ts >= {before}$1{behind} AND ts < {before}$2{behind} \
                 AND method NOT IN ('plane/start', 'plane/gap'){also} GROUP BY 1, 2, 3"
            )),
            args,
        );
        self.engine.read("count audit rows", counted).await?.iter().map(count).collect()
    }

    /// When the oldest row arrived that is not before `from_unix_us` (µs).
    ///
    /// # Errors
    /// Those of the database.
    pub async fn oldest_audit(&self, from_unix_us: i64) -> Result<Option<i64>, StoreError> {
        const WHAT: &str = "look for the oldest row";
        let words = self.engine.words();
        let (ts_as_us, (before, behind)) = (words.ts_as_us, words.us_as_ts);
        let oldest = Statement::new(
            AssertSqlSafe(format!(
                "SELECT {ts_as_us} AS oldest FROM (SELECT MIN(ts) AS ts FROM audit_logs \
                 WHERE ts >= {before}$1{behind}) AS first"
            )),
            [Arg::from(from_unix_us)],
        );
        let rows = self.engine.read(WHAT, oldest).await?;
        first(Some(&rows), WHAT)?.value("oldest")
    }
}

fn stored(row: &Row) -> Result<AuditStored, StoreError> {
    let shown = listing::row(row)?;
    let place =
        Place { ts_unix_us: shown.ts_unix_us, plane_id: shown.plane_id.clone(), epoch: shown.epoch, seq: shown.seq };
    Ok(AuditStored {
        row: Some(shown),
        prev_hash: row.value("prev_hash")?,
        event: row.value("event")?,
        cursor: place.to_string(),
    })
}

fn count(row: &Row) -> Result<Counted, StoreError> {
    Ok(Counted {
        key: row.value("key")?,
        status: row.value("status")?,
        latency_us: row.count("about")?,
        count: row.count("total")?,
        single: row.count("single")?,
    })
}

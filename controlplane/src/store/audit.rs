//! Audit rows as the store takes and gives them. What a record means, and what to do with a bad one, is
//! `crate::audit`'s.

use sentinel_proto::v1::{AuditListRequest, AuditRow};

use super::engine::{Arg, Statement};
use super::error::StoreError;
use super::{Store, first, listing};

/// Rows that are counted one by one: some tenths of a second.
const COUNTED: u64 = 1_000_000;

/// A record, taken apart into columns. `Debug` prints its place alone.
#[derive(Clone)]
pub struct AuditInsert<'a> {
    /// UUIDs as 36 characters.
    pub plane_id: &'a str,
    pub epoch: i64,
    pub seq: i64,
    pub prev_hash: &'a [u8],
    pub request_id: String,
    pub ts_unix_us: i64,
    pub client: String,
    /// JSON array of names.
    pub roles: String,
    pub session: String,
    pub tool: String,
    pub backend: String,
    pub method: String,
    /// JSON text; `None`: there are none, or the database can't hold them.
    pub arguments: Option<&'a str>,
    /// Why `arguments` is less than what was sent; empty if it isn't.
    pub arguments_note: String,
    pub status: String,
    pub kind: String,
    pub parent: Option<String>,
    pub count: i64,
    pub latency_us: i64,
    pub backend_latency_us: i64,
    pub revision: i64,
    /// The record as the plane made it.
    pub event: &'a [u8],
}

impl std::fmt::Debug for AuditInsert<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AuditInsert({} {} {})", self.plane_id, self.epoch, self.seq)
    }
}

/// A record that cannot be a row, kept whole.
#[derive(Clone)]
pub struct Quarantined<'a> {
    pub plane_id: &'a str,
    pub epoch: i64,
    pub seq: i64,
    pub prev_hash: &'a [u8],
    pub event: &'a [u8],
    /// Printable sentence, with the database's code where it was the judge.
    pub reason: String,
    pub at_unix_ms: i64,
}

impl std::fmt::Debug for Quarantined<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Quarantined({} {} {}: {})", self.plane_id, self.epoch, self.seq, self.reason)
    }
}

/// What the store holds of audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AuditCounts {
    pub rows: u64,
    pub quarantined: u64,
}

/// What one piece of retention removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    pub rows: u64,
    /// Whole days (Postgres); their rows are not counted.
    pub partitions: u64,
}

impl Store {
    /// Inserts rows in one autocommit statement; those that are there already stay. Gives how many were new.
    ///
    /// # Errors
    /// Those of the database; with `Fault::Poison` none of `rows` is in.
    pub async fn insert_audit(&self, rows: &[AuditInsert<'_>]) -> Result<u64, StoreError> {
        if rows.is_empty() { Ok(0) } else { self.engine.insert_audit(rows).await }
    }

    /// Keeps records that cannot be rows, in one autocommit statement, repeatable. Gives how many were new.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn insert_quarantine(&self, rows: &[Quarantined<'_>]) -> Result<u64, StoreError> {
        if rows.is_empty() { Ok(0) } else { self.engine.insert_quarantine(rows).await }
    }

    /// At most `limit` rows that pass `filter` (its own limit is not read), newest first.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn list_audit(&self, filter: &AuditListRequest, limit: u32) -> Result<Vec<AuditRow>, StoreError> {
        let statement = listing::statement(self.engine.words(), filter, limit);
        self.engine.read("list the audit rows", statement).await?.iter().map(listing::row).collect()
    }

    /// How much there is: counted up to a million rows, beyond that the database's own estimate.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn audit_counts(&self) -> Result<AuditCounts, StoreError> {
        const WHAT: &str = "count the audit rows";
        let counted = Statement::new(
            "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM audit_logs LIMIT $1) AS counted) AS kept, \
             (SELECT COUNT(*) FROM audit_quarantine) AS quarantined",
            [Arg::count("rows", COUNTED)?],
        );
        let rows = self.engine.read(WHAT, counted).await?;
        let row = first(Some(&rows), WHAT)?;
        let mut counts = AuditCounts { rows: row.count("kept")?, quarantined: row.count("quarantined")? };
        if counts.rows >= COUNTED {
            let about = Statement::new(self.engine.words().about_kept, []);
            let rows = self.engine.read(WHAT, about).await?;
            counts.rows = counts.rows.max(first(Some(&rows), WHAT)?.count("kept")?);
        }
        Ok(counts)
    }

    /// The reasons of the newest `limit` records in quarantine, as `(plane, epoch, seq, reason)`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn quarantine(&self, limit: u32) -> Result<Vec<(String, u64, u64, String)>, StoreError> {
        let statement = Statement::new(
            "SELECT plane_id, epoch, seq, reason FROM audit_quarantine ORDER BY at_unix_ms DESC, seq DESC LIMIT $1",
            [Arg::from(i64::from(limit))],
        );
        let rows = self.engine.read("list the quarantine", statement).await?;
        rows.iter()
            .map(|row| Ok((row.value("plane_id")?, row.count("epoch")?, row.count("seq")?, row.value("reason")?)))
            .collect()
    }

    /// Where a record that holds this text lies in quarantine, as `(plane, epoch, seq, reason)`: looked for among the
    /// first 2 000 that came since `since_unix_ms`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn quarantined(
        &self,
        text: &str,
        since_unix_ms: i64,
    ) -> Result<Option<(String, u64, u64, String)>, StoreError> {
        let statement = Statement::new(
            "SELECT plane_id, epoch, seq, reason, event FROM audit_quarantine WHERE at_unix_ms >= $1 \
             ORDER BY at_unix_ms, seq LIMIT 2000",
            [Arg::from(since_unix_ms)],
        );
        for row in self.engine.read("look into the quarantine", statement).await? {
            let event: Vec<u8> = row.value("event")?;
            if event.windows(text.len().max(1)).any(|part| part == text.as_bytes()) {
                let (plane, reason) = (row.value("plane_id")?, row.value("reason")?);
                return Ok(Some((plane, row.count("epoch")?, row.count("seq")?, reason)));
            }
        }
        Ok(None)
    }

    /// Makes room for the days to come; to be called at start and each hour.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn prepare_days(&self, now_unix_us: i64) -> Result<(), StoreError> {
        self.engine.prepare_days(now_unix_us).await
    }

    /// Removes a bounded piece of what is older than `before_unix_us`; again until it gives nothing.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn forget_audit(&self, before_unix_us: i64) -> Result<Forgotten, StoreError> {
        self.engine.forget_audit(before_unix_us).await
    }
}

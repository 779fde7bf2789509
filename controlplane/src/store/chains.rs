//! The hash chains as the store holds them: which there are, and a chain's records page by page. Judging is
//! `crate::audit::verify`'s.

use std::collections::BTreeSet;

use sqlx::AssertSqlSafe;

use super::Store;
use super::engine::{Arg, Row, Statement};
use super::error::{Fault, StoreError};

/// Records of one page: at most 64 KiB each.
pub const PAGE: usize = 200;
const NIL: &str = "00000000-0000-0000-0000-000000000000";
/// Everything that arrived before may have been forgotten.
const KEPT_FROM: &str = "audit_kept_from_us";

/// One run of a plane.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    pub plane_id: String,
    pub epoch: u64,
}

/// A record of a chain, a row or in quarantine. `Debug` prints its place alone.
#[derive(Clone, PartialEq, Eq)]
pub struct Link {
    pub seq: u64,
    pub ts_unix_us: i64,
    pub prev_hash: Vec<u8>,
    pub event: Vec<u8>,
    /// What the row's columns say; none for a record in quarantine.
    pub columns: Option<Columns>,
}

/// What stands beside the event, and has to say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    pub request_id: String,
    pub client: String,
    pub roles: String,
    pub session: String,
    pub tool: String,
    pub backend: String,
    pub method: String,
    /// As the database writes them: JSON of the same value, not always the same text.
    pub arguments: Option<String>,
    pub arguments_note: String,
    pub status: String,
    pub kind: String,
    pub parent: Option<String>,
    pub numbers: [i64; 4],
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Link({})", self.seq)
    }
}

impl Store {
    /// Every chain that has a row or a record in quarantine, by plane and epoch. Costs a look at the index for each.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn chains(&self) -> Result<Vec<Chain>, StoreError> {
        const WHAT: &str = "list the chains";
        let words = self.engine.words();
        let (as_uuid, as_text) = (words.as_uuid, words.uuid_as_text);
        let all = Statement::new("SELECT DISTINCT plane_id, epoch FROM audit_quarantine", []);
        let mut found: BTreeSet<Chain> =
            self.engine.read(WHAT, all).await?.iter().map(chain).collect::<Result<_, _>>()?;
        let mut last = (NIL.to_owned(), -1_i64);
        loop {
            let next = Statement::new(
                AssertSqlSafe(format!(
                    "SELECT plane_id{as_text} AS plane_id, epoch FROM audit_logs \
                     WHERE (plane_id, epoch) > ($1{as_uuid}, $2) ORDER BY audit_logs.plane_id, epoch LIMIT 1"
                )),
                [Arg::from(last.0.as_str()), Arg::from(last.1)],
            );
            let rows = self.engine.read(WHAT, next).await?;
            let Some(row) = rows.first() else { return Ok(found.into_iter().collect()) };
            last = (row.value("plane_id")?, row.value("epoch")?);
            found.insert(chain(row)?);
        }
    }

    /// At most [`PAGE`] rows of a chain after (`seq`, `ts_unix_us`), in that order.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn chain_page(&self, of: &Chain, seq: u64, ts_unix_us: i64) -> Result<Vec<Link>, StoreError> {
        let words = self.engine.words();
        let (ts_as_us, (before, after)) = (words.ts_as_us, words.us_as_ts);
        let (as_uuid, as_text) = (words.as_uuid, words.uuid_as_text);
        let page = Statement::new(
            AssertSqlSafe(format!(
                "SELECT seq, {ts_as_us} AS ts_unix_us, prev_hash, event, request_id{as_text} AS request_id, client, \
                 roles, session, tool, backend, method, arguments{as_text} AS arguments, arguments_note, status, kind, \
                 parent{as_text} AS parent, count, latency_us, backend_latency_us, revision FROM audit_logs WHERE plane_id = $1{as_uuid} AND epoch = $2 \
                 AND (seq, ts) > ($3, {before}$4{after}) ORDER BY seq, ts LIMIT $5"
            )),
            [
                Arg::from(of.plane_id.as_str()),
                Arg::count("an epoch", of.epoch)?,
                Arg::count("a seq", seq)?,
                Arg::from(ts_unix_us),
                Arg::count("rows", PAGE as u64)?,
            ],
        );
        self.engine.read("walk a chain", page).await?.iter().map(link).collect()
    }

    /// Whether the column `arguments` can hold this text. Costs a statement: only for rows that say it could not.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn holds_arguments(&self, arguments: &str) -> Result<bool, StoreError> {
        let as_json = self.engine.words().as_json;
        let ask =
            Statement::new(AssertSqlSafe(format!("SELECT $1{as_json} IS NOT NULL AS held")), [Arg::from(arguments)]);
        match self.engine.read("try arguments", ask).await {
            Ok(_) => Ok(true),
            Err(error) if error.fault() == Fault::Poison => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The first record of a chain in quarantine after `seq`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn chain_quarantined(&self, of: &Chain, seq: u64) -> Result<Option<Link>, StoreError> {
        let next = Statement::new(
            "SELECT seq, prev_hash, event, at_unix_ms FROM audit_quarantine \
             WHERE plane_id = $1 AND epoch = $2 AND seq > $3 ORDER BY seq LIMIT 1",
            [Arg::from(of.plane_id.as_str()), Arg::count("an epoch", of.epoch)?, Arg::count("a seq", seq)?],
        );
        let rows = self.engine.read("walk a chain", next).await?;
        let read = |row: &Row| {
            Ok(Link {
                seq: row.count("seq")?,
                ts_unix_us: row.value::<i64>("at_unix_ms")?.saturating_mul(1000),
                prev_hash: row.value("prev_hash")?,
                event: row.value("event")?,
                columns: None,
            })
        };
        rows.first().map(read).transpose()
    }

    /// The last record of a chain: its seq, the hash before it, and its event.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn chain_end(&self, of: &Chain) -> Result<Option<(u64, Vec<u8>, Vec<u8>)>, StoreError> {
        const WHAT: &str = "look at the end of a chain";
        let as_uuid = self.engine.words().as_uuid;
        let mut end: Option<(u64, Vec<u8>, Vec<u8>)> = None;
        for (table, as_uuid) in [("audit_logs", as_uuid), ("audit_quarantine", "")] {
            let last = Statement::new(
                AssertSqlSafe(format!(
                    "SELECT seq, prev_hash, event FROM {table} WHERE plane_id = $1{as_uuid} AND epoch = $2 \
                     ORDER BY seq DESC LIMIT 1"
                )),
                [Arg::from(of.plane_id.as_str()), Arg::count("an epoch", of.epoch)?],
            );
            if let Some(row) = self.engine.read(WHAT, last).await?.first() {
                let seq = row.count("seq")?;
                if end.as_ref().is_none_or(|(last, ..)| *last < seq) {
                    end = Some((seq, row.value("prev_hash")?, row.value("event")?));
                }
            }
        }
        Ok(end)
    }

    /// Notes that everything before `unix_us` may be forgotten from now on. It only grows.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn note_kept_from(&self, unix_us: i64) -> Result<(), StoreError> {
        let note = Statement::new(
            "INSERT INTO counters (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE \
             SET value = excluded.value WHERE counters.value < excluded.value",
            [Arg::from(KEPT_FROM), Arg::from(unix_us)],
        );
        self.engine.write("note what is kept", vec![note]).await.map(drop)
    }

    /// What arrived before may have been forgotten; 0 before anything could be.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn kept_from(&self) -> Result<i64, StoreError> {
        let ask = Statement::new("SELECT value FROM counters WHERE name = $1", [Arg::from(KEPT_FROM)]);
        let rows = self.engine.read("read what is kept", ask).await?;
        rows.first().map_or(Ok(0), |row| row.value("value"))
    }
}

fn chain(row: &Row) -> Result<Chain, StoreError> {
    Ok(Chain { plane_id: row.value("plane_id")?, epoch: row.count("epoch")? })
}

fn link(row: &Row) -> Result<Link, StoreError> {
    Ok(Link {
        seq: row.count("seq")?,
        ts_unix_us: row.value("ts_unix_us")?,
        prev_hash: row.value("prev_hash")?,
        event: row.value("event")?,
        columns: Some(Columns {
            request_id: row.value("request_id")?,
            client: row.value("client")?,
            roles: row.value("roles")?,
            session: row.value("session")?,
            tool: row.value("tool")?,
            backend: row.value("backend")?,
            method: row.value("method")?,
            arguments: row.value("arguments")?,
            arguments_note: row.value("arguments_note")?,
            status: row.value("status")?,
            kind: row.value("kind")?,
            parent: row.value("parent")?,
            numbers: [
                row.value("count")?,
                row.value("latency_us")?,
                row.value("backend_latency_us")?,
                row.value("revision")?,
            ],
        }),
    })
}

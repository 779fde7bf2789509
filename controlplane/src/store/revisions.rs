//! Revisions of the configuration: what was prepared, and which of them is current. Publishing is not done here.
//!
//! A number is given once and never again, also when its publication fails; only those made current are history.

use super::engine::{Arg, Row, Statement};
use super::error::StoreError;
use super::{Store, first};

/// A revision about to be tried.
#[derive(Clone)]
pub struct NewRevision {
    /// The file, as it was read.
    pub text: String,
    /// Encoded snapshot, as sent to planes.
    pub snapshot: Vec<u8>,
    /// SHA-256 of `snapshot`.
    pub digest: [u8; 32],
    /// Who asked, as claimed.
    pub by: String,
    /// For people: "rollback to 7".
    pub note: String,
    pub at_unix_ms: i64,
    /// A rollback away from a file: the digest of the content that must not come back by itself.
    pub away_from: Option<[u8; 32]>,
}

impl std::fmt::Debug for NewRevision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewRevision").field("by", &self.by).field("note", &self.note).finish_non_exhaustive()
    }
}

/// A revision without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    pub number: u64,
    pub digest: [u8; 32],
    pub by: String,
    pub note: String,
    pub at_unix_ms: i64,
    pub away_from: Option<[u8; 32]>,
    /// It is the one in force.
    pub current: bool,
}

/// A revision with its content.
#[derive(Clone)]
pub struct StoredRevision {
    pub revision: Revision,
    pub text: String,
    pub snapshot: Vec<u8>,
}

impl std::fmt::Debug for StoredRevision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredRevision").field("revision", &self.revision).finish_non_exhaustive()
    }
}

impl Store {
    /// Keeps `new` under the next number, which is not current yet. Two writers get two numbers.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn append_revision(&self, new: NewRevision) -> Result<u64, StoreError> {
        // the counter's row is locked by the first statement: two writers follow each other
        let statements = vec![
            Statement::new("UPDATE counters SET value = value + 1 WHERE name = 'last_revision' RETURNING value", []),
            Statement::new(
                "INSERT INTO revisions (revision, digest, text, snapshot, made_by, note, at_unix_ms, away_from) \
                 SELECT value, $1, $2, $3, $4, $5, $6, $7 FROM counters WHERE name = 'last_revision' \
                 RETURNING revision",
                [
                    Arg::from(&new.digest[..]),
                    Arg::Text(Some(new.text)),
                    Arg::Bytes(Some(new.snapshot)),
                    Arg::Text(Some(new.by)),
                    Arg::Text(Some(new.note)),
                    Arg::from(new.at_unix_ms),
                    Arg::Bytes(new.away_from.map(|digest| digest.to_vec())),
                ],
            ),
        ];
        let rows = self.engine.write("append a revision", statements).await?;
        first(rows.last(), "append a revision")?.count("revision")
    }

    /// Lifts the counter, so that the next revision is above `number`; it never falls.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn raise_revision_to(&self, number: u64) -> Result<(), StoreError> {
        let statement = Statement::new(
            "UPDATE counters SET value = $1 WHERE name = 'last_revision' AND value < $1 RETURNING value",
            [Arg::count("a revision", number)?],
        );
        self.engine.write("raise the revision", vec![statement]).await.map(drop)
    }

    /// Makes `number` the current revision if `base` (0: none) still is.
    ///
    /// Of two writers after the same revision exactly one wins. Repeating a call that won changes nothing.
    ///
    /// # Errors
    /// `Conflict` when another is current; `NoSuchRevision`; those of the database.
    pub async fn make_current(&self, base: u64, number: u64) -> Result<(), StoreError> {
        let (base_arg, number_arg) = (Arg::count("a revision", base)?, Arg::count("a revision", number)?);
        let statements = vec![
            Statement::new(
                "UPDATE counters SET value = $2 WHERE name = 'current_revision' AND value IN ($1, $2) \
                 AND EXISTS (SELECT 1 FROM revisions WHERE revision = $2) RETURNING value",
                [base_arg, number_arg.clone()],
            ),
            Statement::new(
                "UPDATE revisions SET published = $2 WHERE revision = $1 AND EXISTS \
                 (SELECT 1 FROM counters WHERE name = 'current_revision' AND value = $1) RETURNING revision",
                [number_arg, Arg::from(true)],
            ),
        ];
        let rows = self.engine.write("make a revision current", statements).await?;
        if rows.first().is_some_and(|swapped| !swapped.is_empty()) {
            return Ok(());
        }
        if self.revision(number).await?.is_none() {
            return Err(StoreError::NoSuchRevision { revision: number });
        }
        Err(StoreError::Conflict { base, current: self.counter("current_revision").await? })
    }

    /// The revision in force, if there is one.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn current_revision(&self) -> Result<Option<StoredRevision>, StoreError> {
        let statement = Statement::new(
            "SELECT r.*, 1 = 1 AS current FROM revisions r JOIN counters c ON c.value = r.revision \
             WHERE c.name = 'current_revision'",
            [],
        );
        let rows = self.engine.read("read the current revision", statement).await?;
        rows.first().map(stored).transpose()
    }

    /// Revision `number` with its content, also one that was never published.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn revision(&self, number: u64) -> Result<Option<StoredRevision>, StoreError> {
        let statement = Statement::new(
            "SELECT r.*, c.value = r.revision AS current FROM revisions r, counters c \
             WHERE c.name = 'current_revision' AND r.revision = $1",
            [Arg::count("a revision", number)?],
        );
        let rows = self.engine.read("read a revision", statement).await?;
        rows.first().map(stored).transpose()
    }

    /// What was ever in force, newest first, at most `limit`.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn revision_history(&self, limit: u32) -> Result<Vec<Revision>, StoreError> {
        let statement = Statement::new(
            "SELECT r.revision, r.digest, r.made_by, r.note, r.at_unix_ms, r.away_from, c.value = r.revision AS current \
             FROM revisions r, counters c WHERE c.name = 'current_revision' AND r.published \
             ORDER BY r.revision DESC LIMIT $1",
            [Arg::from(i64::from(limit))],
        );
        self.engine.read("read the history", statement).await?.iter().map(revision).collect()
    }
}

fn revision(row: &Row) -> Result<Revision, StoreError> {
    let away_from = match row.value::<Option<Vec<u8>>>("away_from")? {
        Some(_) => Some(row.digest("away_from")?),
        None => None,
    };
    Ok(Revision {
        number: row.count("revision")?,
        digest: row.digest("digest")?,
        by: row.value("made_by")?,
        note: row.value("note")?,
        at_unix_ms: row.value("at_unix_ms")?,
        away_from,
        current: row.value("current")?,
    })
}

fn stored(row: &Row) -> Result<StoredRevision, StoreError> {
    Ok(StoredRevision { revision: revision(row)?, text: row.value("text")?, snapshot: row.value("snapshot")? })
}

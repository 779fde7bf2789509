//! The store: revisions, kill switches, planes, operators' actions, audit rows; in SQLite or Postgres.
//!
//! [`Store`] has the operations, written once (a file per subject) over [`engine::Engine`], which has the two
//! implementations; `contract.rs` holds what both promise. Nobody outside writes SQL. The store keeps no clock, retries
//! nothing and decides nothing: it says by [`error::Fault`] what a failure asks for.

pub mod actions;
pub mod audit;
pub mod chains;
#[cfg(test)]
mod contract;
pub(crate) mod engine;
pub mod error;
pub mod exporting;
#[cfg(test)]
mod fixtures;
pub(crate) mod listing;
mod migrate;
pub mod pins;
pub mod planes;
mod postgres;
pub mod revisions;
mod sqlite;
pub mod switches;

use std::path::PathBuf;
use std::sync::Arc;

use engine::{Arg, Engine, Row, Statement};
use error::StoreError;
use secrecy::SecretString;

/// A store, opened; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    engine: Arc<dyn Engine>,
}

/// Where a store is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A file; made if it is not there.
    Sqlite(PathBuf),
    /// `postgres://…`, with what it holds of secrets.
    Postgres(SecretString),
}

impl Store {
    /// Opens the store at `place`, checks that it is ours, and brings its schema up to date.
    ///
    /// # Errors
    /// With `Fault::Passing` the database is away: try again. All others need the operator.
    pub async fn open(place: &Place, now_unix_ms: i64) -> Result<Self, StoreError> {
        let engine: Arc<dyn Engine> = match place {
            Place::Postgres(url) => Arc::new(Box::pin(postgres::PostgresEngine::open(url, now_unix_ms)).await?),
            Place::Sqlite(path) => Arc::new(sqlite::SqliteEngine::open(path, now_unix_ms).await?),
        };
        Ok(Self { engine })
    }

    /// `sqlite` or `postgres`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.engine.kind()
    }

    /// Whether the store answers now.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.engine.read("answer", Statement::new("SELECT 1 AS one", [])).await.map(drop)
    }

    /// Waits for what is under way and closes the connections; the last thing a process does with it.
    pub async fn close(&self) {
        self.engine.close().await;
    }

    async fn counter(&self, name: &'static str) -> Result<u64, StoreError> {
        let statement = Statement::new("SELECT value FROM counters WHERE name = $1", [Arg::from(name)]);
        let rows = self.engine.read("read a counter", statement).await?;
        first(Some(&rows), "read a counter")?.count("value")
    }
}

/// The one row that a statement gives by its own words. Errors: none came, so a row of ours is missing.
fn first<'a>(rows: Option<&'a Vec<Row>>, what: &'static str) -> Result<&'a Row, StoreError> {
    rows.and_then(|rows| rows.first()).ok_or_else(|| StoreError::Damaged {
        place: "the store".to_owned(),
        problem: format!("a row that is always there was not found (to {what})"),
    })
}

//! What the two databases have in common: statements with `$1` parameters, plain values, rows by column name.
//!
//! The operations of [`super::Store`] are written once over this; only what really differs (audit rows, partitions,
//! opening) is written per database. Times are integers here, except `audit_logs.ts` in Postgres.

use std::fmt;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteRow};
use sqlx::{Decode, Row as _, SqlSafeStr, SqlStr, Type};

use super::audit::{AuditInsert, Forgotten, Quarantined};
use super::error::StoreError;

pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// One database, opened, of our schema.
///
/// Dropping the future of a `write` never leaves a transaction open: what needs more than one statement runs in a
/// task of its own, to its end.
pub(crate) trait Engine: Send + Sync + fmt::Debug {
    /// `sqlite` or `postgres`.
    fn kind(&self) -> &'static str;
    /// What this database calls things.
    fn words(&self) -> Words;
    /// One statement that changes nothing.
    fn read(&self, what: &'static str, statement: Statement) -> Answer<'_, Vec<Row>>;
    /// One statement: autocommit. Several: one transaction, in order; all or none. Rows are those of `RETURNING`.
    fn write(&self, what: &'static str, statements: Vec<Statement>) -> Answer<'_, Vec<Vec<Row>>>;
    /// One autocommit statement; rows that are there already stay as they are. Gives how many were new.
    fn insert_audit<'a>(&'a self, rows: &'a [AuditInsert<'a>]) -> Answer<'a, u64>;
    /// One autocommit statement, repeatable like `insert_audit`.
    fn insert_quarantine<'a>(&'a self, rows: &'a [Quarantined<'a>]) -> Answer<'a, u64>;
    /// Makes room for the days to come (partitions); nothing to do for SQLite.
    fn prepare_days(&self, now_unix_us: i64) -> Answer<'_, ()>;
    /// Removes a bounded piece of what is older than `before_unix_us`.
    fn forget_audit(&self, before_unix_us: i64) -> Answer<'_, Forgotten>;
    /// Waits for running transactions and closes all connections.
    fn close(&self) -> BoxFuture<'_, ()>;
    /// Leaves a session as a dropped `begin()` does: inside a transaction that sqlx does not count.
    #[cfg(test)]
    fn abandon_transaction(&self) -> BoxFuture<'_, ()>;
}

/// Where the databases' SQL differs inside a shared statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    /// Column `ts` as microseconds since 1970.
    pub(crate) ts_as_us: &'static str,
    /// What precedes a parameter in microseconds, and what follows it, to compare it with `ts`.
    pub(crate) us_as_ts: (&'static str, &'static str),
    /// What follows a text parameter or column to compare it with a UUID column.
    pub(crate) as_uuid: &'static str,
    /// What follows a text parameter to make it what the column `arguments` holds.
    pub(crate) as_json: &'static str,
    /// About how many rows audit_logs has, at once, as `kept`.
    pub(crate) about_kept: &'static str,
    /// What follows a UUID column to read it as text.
    pub(crate) uuid_as_text: &'static str,
}

/// SQL with its parameters. `$1` is read by both databases.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) sql: SqlStr,
    pub(crate) args: Vec<Arg>,
}

impl Statement {
    pub(crate) fn new(sql: impl SqlSafeStr, args: impl Into<Vec<Arg>>) -> Self {
        Self { sql: sql.into_sql_str(), args: args.into() }
    }
}

/// A parameter. Its `Debug` shows the kind alone: values are configuration text and names of clients.
#[derive(Clone)]
pub(crate) enum Arg {
    Bytes(Option<Vec<u8>>),
    Flag(bool),
    Int(Option<i64>),
    Text(Option<String>),
}

impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bytes(_) => "bytes",
            Self::Flag(_) => "flag",
            Self::Int(_) => "int",
            Self::Text(_) => "text",
        })
    }
}

impl Arg {
    /// A count as the databases hold it. Errors: beyond 63 bits.
    pub(crate) fn count(what: &'static str, value: u64) -> Result<Self, StoreError> {
        i64::try_from(value).map(Self::from).map_err(|_| StoreError::OutOfRange { what, value })
    }
}

impl From<bool> for Arg {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}
impl From<i64> for Arg {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}
impl From<&str> for Arg {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}
impl From<&[u8]> for Arg {
    fn from(value: &[u8]) -> Self {
        Self::Bytes(Some(value.to_vec()))
    }
}

/// A row of either database.
pub(crate) enum Row {
    Postgres(PgRow),
    Sqlite(SqliteRow),
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Row")
    }
}

impl Row {
    /// The value of `column`. Errors: no such column, or another type: the statement is wrong, so final.
    pub(crate) fn value<T>(&self, column: &'static str) -> Result<T, StoreError>
    where
        T: Type<Sqlite> + Type<Postgres>,
        T: for<'r> Decode<'r, Sqlite> + for<'r> Decode<'r, Postgres>,
    {
        match self {
            Self::Postgres(row) => row.try_get(column),
            Self::Sqlite(row) => row.try_get(column),
        }
        .map_err(|source| StoreError::of("read a row", source))
    }

    /// A count that can't be below zero; what is, reads as 0.
    pub(crate) fn count(&self, column: &'static str) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.value::<i64>(column)?).unwrap_or_default())
    }

    /// A SHA-256. Errors: other length, the store is damaged.
    pub(crate) fn digest(&self, column: &'static str) -> Result<[u8; 32], StoreError> {
        self.value::<Vec<u8>>(column)?.try_into().map_err(|found: Vec<u8>| StoreError::Damaged {
            place: format!("column {column}"),
            problem: format!("a digest of {} bytes", found.len()),
        })
    }
}

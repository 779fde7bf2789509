//! What can go wrong between us and the store, and what may be done about it. Nothing here retries.

use sqlx::error::DatabaseError;

/// What a failed operation asks of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Neither time nor another row mends it: tell the operator.
    Final,
    /// The store is away, busy or full: the same again, later, may work.
    Passing,
    /// This very data cannot be stored: the same again never works, its neighbours may.
    Poison,
}

/// An operation of the store that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or did not answer; `code` is the SQLSTATE or SQLite's extended code, else empty.
    #[error("the store could not {what}{}: {source}", coded(.code))]
    Database {
        what: &'static str,
        fault: Fault,
        code: String,
        #[source]
        source: sqlx::Error,
    },
    #[error("revision {base} is no longer the current one ({current} is): look at it, then publish again")]
    Conflict { base: u64, current: u64 },
    #[error("the store has no revision {revision}: `sentinelctl config history` shows what there is")]
    NoSuchRevision { revision: u64 },
    #[error("the store knows no plane {id}: it has to say hello first")]
    UnknownPlane { id: String },
    #[error(
        "plane {id} came with another secret than at its first hello: its data directory was copied or made anew; \
         give the plane a new `id` by removing `plane/id` and `plane/secret`"
    )]
    WrongPlaneSecret { id: String },
    #[error(
        "{place} belongs to something else: it holds tables (`{found}`) but no schema_version of Sentinel; \
         name an empty database in SENTINEL_DATABASE_URL"
    )]
    Foreign { place: String, found: String },
    #[error(
        "{place} has schema version {found}, this program knows up to {known}: \
         run the version of Sentinel that made it, or a newer one"
    )]
    Newer { place: String, found: u64, known: u64 },
    #[error("{place} is damaged: {problem}; stop Sentinel, keep a copy, restore a backup")]
    Damaged { place: String, problem: String },
    #[error("{what} is {value}, beyond what the store can count")]
    OutOfRange { what: &'static str, value: u64 },
    #[error("cannot open the store at {place}: {problem}; {advice}")]
    Place { place: String, problem: String, advice: &'static str },
    #[error("the task that had to {what} ended before its time: see the log; the operation may or may not be done")]
    TaskLost { what: &'static str },
}

fn coded(code: &str) -> String {
    if code.is_empty() { String::new() } else { format!(" ({code})") }
}

impl StoreError {
    /// What the caller may do about it.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Database { fault, .. } => *fault,
            Self::OutOfRange { .. } => Fault::Poison,
            Self::Conflict { .. }
            | Self::NoSuchRevision { .. }
            | Self::UnknownPlane { .. }
            | Self::WrongPlaneSecret { .. }
            | Self::Foreign { .. }
            | Self::Newer { .. }
            | Self::Damaged { .. }
            | Self::Place { .. }
            | Self::TaskLost { .. } => Fault::Final,
        }
    }

    /// SQLSTATE, or SQLite's extended code, where the database gave one.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Database { code, .. } if !code.is_empty() => Some(code),
            _ => None,
        }
    }

    /// Judges an error of a database by what `what` ("list the planes") wanted.
    pub(crate) fn of(what: &'static str, source: sqlx::Error) -> Self {
        let code = source.as_database_error().and_then(DatabaseError::code).map(String::from);
        let fault = match &source {
            sqlx::Error::Database(database) if is_postgres(&**database) => {
                fault_of_sqlstate(code.as_deref().unwrap_or_default())
            }
            sqlx::Error::Database(_) => fault_of_sqlite(code.as_deref().unwrap_or_default()),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Fault::Passing,
            sqlx::Error::Encode(_) => Fault::Poison,
            _ => Fault::Final,
        };
        Self::Database { what, fault, code: code.unwrap_or_default(), source }
    }
}

fn is_postgres(error: &dyn DatabaseError) -> bool {
    error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some()
}

/// By class: what comes from connections, conflicts, exhaustion and operators passes; what comes from values stays.
fn fault_of_sqlstate(code: &str) -> Fault {
    match code.get(..2) {
        // 25006: a replica after a failover; the pool lets go of it, the next connection finds the new primary
        _ if code == "25006" => Fault::Passing,
        Some("08" | "40" | "53" | "55" | "57" | "58") => Fault::Passing,
        Some("22" | "23" | "54") => Fault::Poison,
        _ => Fault::Final,
    }
}

/// By primary code, the low byte of the extended one.
fn fault_of_sqlite(code: &str) -> Fault {
    const BUSY: i64 = 5;
    const LOCKED: i64 = 6;
    const NOMEM: i64 = 7;
    const READONLY: i64 = 8;
    const INTERRUPT: i64 = 9;
    const IOERR: i64 = 10;
    const FULL: i64 = 13;
    const CANTOPEN: i64 = 14;
    const PROTOCOL: i64 = 15;
    const TOOBIG: i64 = 18;
    const CONSTRAINT: i64 = 19;
    const MISMATCH: i64 = 20;
    match code.parse::<i64>().map(|code| code & 0xff) {
        Ok(BUSY | LOCKED | NOMEM | READONLY | INTERRUPT | IOERR | FULL | CANTOPEN | PROTOCOL) => Fault::Passing,
        Ok(TOOBIG | CONSTRAINT | MISMATCH) => Fault::Poison,
        _ => Fault::Final,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_follow_the_class_of_the_code() {
        for (code, fault) in [
            ("08006", Fault::Passing),
            ("40P01", Fault::Passing),
            ("53100", Fault::Passing),
            ("57014", Fault::Passing),
            ("25006", Fault::Passing),
            ("25P02", Fault::Final),
            ("22P05", Fault::Poison),
            ("23505", Fault::Poison),
            ("54001", Fault::Poison),
            ("42P01", Fault::Final),
            ("", Fault::Final),
        ] {
            assert_eq!(fault_of_sqlstate(code), fault, "{code}");
        }
        for (code, fault) in
            [("5", Fault::Passing), ("261", Fault::Passing), ("2067", Fault::Poison), ("11", Fault::Final)]
        {
            assert_eq!(fault_of_sqlite(code), fault, "{code}");
        }
    }
}

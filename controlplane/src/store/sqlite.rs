//! SQLite: one file in the data directory, one connection that writes, a few that read.
//!
//! WAL with `synchronous = FULL`: what was committed survives power loss. It serves one process; the data directory's
//! lock sees to that.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::query::Query;
use sqlx::sqlite::{
    Sqlite, SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{Connection as _, QueryBuilder, SqliteConnection};
use tokio_util::task::TaskTracker;

use super::audit::{AuditInsert, Forgotten, Quarantined};
use super::engine::{Answer, Arg, Engine, Row, Statement, Words};
use super::error::StoreError;
use super::migrate::{self, Found};

/// Rows that one piece of retention deletes.
const PIECE: i64 = 5000;
const READERS: u32 = 4;

#[derive(Debug)]
pub(crate) struct SqliteEngine {
    writer: SqlitePool,
    readers: SqlitePool,
    tasks: TaskTracker,
}

impl SqliteEngine {
    /// Opens or makes the file (0600), checks it, and brings its schema up to date.
    ///
    /// Errors: `Place`, `Foreign`, `Newer`, `Damaged`; those of the database.
    pub(crate) async fn open(path: &Path, now_unix_ms: i64) -> Result<Self, StoreError> {
        let place = path.display().to_string();
        // SQLite gives its -wal and -shm the mode of the file, so that is made first
        OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(|error| StoreError::Place {
            place: place.clone(),
            problem: error.to_string(),
            advice: "see that its directory is there and ours to write",
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true);
        // the modes above are written into the file, which a reader may not
        let reading = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(Duration::from_secs(5));
        let opening = |source| opening(&place, source);
        let mut first = SqliteConnection::connect_with(&options).await.map_err(opening)?;
        check(&place, &mut first).await?;
        migrate_up(&place, &mut first, now_unix_ms).await?;
        first.close().await.map_err(opening)?;

        let pool =
            || SqlitePoolOptions::new().acquire_timeout(Duration::from_secs(10)).idle_timeout(None).max_lifetime(None);
        let writer = pool()
            .max_connections(1)
            .after_release(|connection, _| {
                Box::pin(async move {
                    // nothing open is the rule, and then SQLite refuses: see reliability, a dropped `begin()`
                    let _refused = sqlx::raw_sql("ROLLBACK").execute(connection).await;
                    Ok(true)
                })
            })
            .connect_with(options)
            .await
            .map_err(opening)?;
        let readers = pool().max_connections(READERS).connect_with(reading).await.map_err(opening)?;
        Ok(Self { writer, readers, tasks: TaskTracker::new() })
    }
}

/// A file that is no database is the operator's mistake and said so.
fn opening(place: &str, source: sqlx::Error) -> StoreError {
    const NOT_A_DATABASE: &str = "26";
    const CORRUPT: &str = "11";
    let error = StoreError::of("open the database", source);
    match error.code() {
        Some(NOT_A_DATABASE | CORRUPT) => StoreError::Damaged { place: place.to_owned(), problem: error.to_string() },
        _ => error,
    }
}

async fn check(place: &str, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let problem: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(connection)
        .await
        .map_err(|source| opening(place, source))?;
    if problem == "ok" { Ok(()) } else { Err(StoreError::Damaged { place: place.to_owned(), problem }) }
}

/// In one transaction that holds the write lock from its start: two processes follow each other.
async fn migrate_up(place: &str, connection: &mut SqliteConnection, now_unix_ms: i64) -> Result<(), StoreError> {
    let failed = |source| StoreError::of("bring the schema up to date", source);
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let found = found(&mut transaction).await.map_err(failed)?;
    for (version, migration) in migrate::missing(place, &found, migrate::SQLITE)? {
        if version == 1 {
            sqlx::raw_sql(
                "CREATE TABLE schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL, \
                 product TEXT NOT NULL, applied_unix_ms INTEGER NOT NULL)",
            )
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        }
        sqlx::raw_sql(migration.sql).execute(&mut *transaction).await.map_err(failed)?;
        sqlx::query("INSERT INTO schema_version (version, name, product, applied_unix_ms) VALUES ($1, $2, $3, $4)")
            .bind(version)
            .bind(migration.name)
            .bind(migrate::PRODUCT)
            .bind(now_unix_ms)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)
}

async fn found(connection: &mut SqliteConnection) -> Result<Found, sqlx::Error> {
    let table: Option<String> = sqlx::query_scalar(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         ORDER BY name LIMIT 1",
    )
    .fetch_optional(&mut *connection)
    .await?;
    let ours: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM pragma_table_info('schema_version') WHERE name = 'product'")
            .fetch_optional(&mut *connection)
            .await?;
    let version: Option<i64> = match ours {
        Some(_) => {
            sqlx::query_scalar("SELECT MAX(version) FROM schema_version WHERE product = $1")
                .bind(migrate::PRODUCT)
                .fetch_one(connection)
                .await?
        }
        None => None,
    };
    Ok(Found { table, version: version.and_then(|version| u64::try_from(version).ok()) })
}

fn query(statement: Statement) -> Query<'static, Sqlite, SqliteArguments> {
    statement.args.into_iter().fold(sqlx::query(statement.sql), |query, arg| match arg {
        Arg::Bytes(value) => query.bind(value),
        Arg::Flag(value) => query.bind(value),
        Arg::Int(value) => query.bind(value),
        Arg::Text(value) => query.bind(value),
    })
}

fn rows(found: Vec<sqlx::sqlite::SqliteRow>) -> Vec<Row> {
    found.into_iter().map(Row::Sqlite).collect()
}

impl Engine for SqliteEngine {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn words(&self) -> Words {
        Words {
            ts_as_us: "ts",
            us_as_ts: ("", ""),
            as_uuid: "",
            // rows come in the order of their rowid and go by age
            as_json: "",
            about_kept: "SELECT COALESCE(MAX(rowid) - MIN(rowid) + 1, 0) AS kept FROM audit_logs",
            uuid_as_text: "",
        }
    }

    fn read(&self, what: &'static str, statement: Statement) -> Answer<'_, Vec<Row>> {
        Box::pin(async move {
            let found = query(statement).fetch_all(&self.readers).await;
            found.map(rows).map_err(|source| StoreError::of(what, source))
        })
    }

    fn write(&self, what: &'static str, mut statements: Vec<Statement>) -> Answer<'_, Vec<Vec<Row>>> {
        let failed = move |source| StoreError::of(what, source);
        Box::pin(async move {
            if statements.len() < 2 {
                let Some(only) = statements.pop() else {
                    return Ok(Vec::new());
                };
                return Ok(vec![rows(query(only).fetch_all(&self.writer).await.map_err(failed)?)]);
            }
            let pool = self.writer.clone();
            let task = self.tasks.spawn(async move {
                let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
                let mut all = Vec::with_capacity(statements.len());
                for statement in statements {
                    all.push(rows(query(statement).fetch_all(&mut *transaction).await?));
                }
                transaction.commit().await?;
                Ok(all)
            });
            task.await.map_err(|_| StoreError::TaskLost { what })?.map_err(failed)
        })
    }

    fn insert_audit<'a>(&'a self, rows: &'a [AuditInsert<'a>]) -> Answer<'a, u64> {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO audit_logs (request_id, ts, client, roles, session, tool, backend, method, arguments, \
             arguments_note, status, kind, parent, count, latency_us, backend_latency_us, plane_id, epoch, seq, \
             revision, prev_hash, event) ",
        );
        insert.push_values(rows, |mut values, row| {
            values
                .push_bind(row.request_id.clone())
                .push_bind(row.ts_unix_us)
                .push_bind(row.client.clone())
                .push_bind(row.roles.clone())
                .push_bind(row.session.clone())
                .push_bind(row.tool.clone())
                .push_bind(row.backend.clone())
                .push_bind(row.method.clone())
                .push_bind(row.arguments.map(str::to_owned))
                .push_bind(row.arguments_note.clone())
                .push_bind(row.status.clone())
                .push_bind(row.kind.clone())
                .push_bind(row.parent.clone())
                .push_bind(row.count)
                .push_bind(row.latency_us)
                .push_bind(row.backend_latency_us)
                .push_bind(row.plane_id.to_owned())
                .push_bind(row.epoch)
                .push_bind(row.seq)
                .push_bind(row.revision)
                .push_bind(row.prev_hash.to_vec())
                .push_bind(row.event.to_vec());
        });
        insert.push(" ON CONFLICT (plane_id, epoch, seq, ts) DO NOTHING");
        self.insert("insert audit rows", insert)
    }

    fn insert_quarantine<'a>(&'a self, rows: &'a [Quarantined<'a>]) -> Answer<'a, u64> {
        let mut insert = QueryBuilder::<Sqlite>::new(
            "INSERT INTO audit_quarantine (plane_id, epoch, seq, prev_hash, event, reason, at_unix_ms) ",
        );
        insert.push_values(rows, |mut values, row| {
            values
                .push_bind(row.plane_id.to_owned())
                .push_bind(row.epoch)
                .push_bind(row.seq)
                .push_bind(row.prev_hash.to_vec())
                .push_bind(row.event.to_vec())
                .push_bind(row.reason.clone())
                .push_bind(row.at_unix_ms);
        });
        insert.push(" ON CONFLICT (plane_id, epoch, seq) DO NOTHING");
        self.insert("keep records in quarantine", insert)
    }

    fn prepare_days(&self, _now_unix_us: i64) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn forget_audit(&self, before_unix_us: i64) -> Answer<'_, Forgotten> {
        const WHAT: &str = "forget old audit rows";
        Box::pin(async move {
            let mut forgotten = 0;
            for (sql, before) in [
                (
                    "DELETE FROM audit_logs WHERE rowid IN (SELECT rowid FROM audit_logs WHERE ts < $1 LIMIT $2)",
                    before_unix_us,
                ),
                (
                    "DELETE FROM audit_quarantine WHERE rowid IN \
                     (SELECT rowid FROM audit_quarantine WHERE at_unix_ms < $1 LIMIT $2)",
                    before_unix_us.div_euclid(1000),
                ),
            ] {
                let done = sqlx::query(sql).bind(before).bind(PIECE).execute(&self.writer).await;
                forgotten += done.map_err(|source| StoreError::of(WHAT, source))?.rows_affected();
            }
            if forgotten > 0 {
                let freed = sqlx::raw_sql("PRAGMA incremental_vacuum(2000)").execute(&self.writer).await;
                freed.map_err(|source| StoreError::of("give back the space of old rows", source))?;
            }
            Ok(Forgotten { rows: forgotten, partitions: 0 })
        })
    }

    #[cfg(test)]
    fn abandon_transaction(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut session = self.writer.acquire().await.unwrap();
            sqlx::raw_sql("BEGIN").execute(&mut *session).await.unwrap();
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.tasks.close();
            self.tasks.wait().await;
            self.readers.close().await;
            self.writer.close().await;
        })
    }
}

impl SqliteEngine {
    /// One autocommit statement. A batch's length makes its text, so it is not kept prepared.
    fn insert(&self, what: &'static str, mut insert: QueryBuilder<Sqlite>) -> Answer<'_, u64> {
        Box::pin(async move {
            let done = insert.build().persistent(false).execute(&self.writer).await;
            Ok(done.map_err(|source| StoreError::of(what, source))?.rows_affected())
        })
    }
}

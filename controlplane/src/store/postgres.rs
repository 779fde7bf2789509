//! Postgres: a pool of sessions in the schema `sentinel`, with limits that the server keeps.
//!
//! Limits are the server's (`statement_timeout` and its kin), never a `timeout` around a future: a dropped `begin()`
//! leaves a session inside a transaction that sqlx does not know of, and rows that were acknowledged are rolled back
//! with it (measured, reliability 5.5). Against what slips through, every session is rolled back when it is released.

mod audit;
mod days;
#[cfg(test)]
mod tests;

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, PgRow, Postgres};
use sqlx::query::Query;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::audit::{AuditInsert, Forgotten, Quarantined};
use super::engine::{Answer, Arg, Engine, Row, Statement, Words};
use super::error::StoreError;
use super::migrate::{self, Found};

const CONNECTIONS: u32 = 8;
/// "SENTINEL": whoever changes the schema or its days holds this advisory lock.
const LOCK: i64 = 0x5345_4e54_494e_454c;
const READ_ONLY: &str = "25006";

#[derive(Debug)]
pub(crate) struct PostgresEngine {
    pool: PgPool,
    tasks: TaskTracker,
    retired: Arc<Retired>,
}

/// Until when sessions were opened that lead to a server which only reads since: after a failover they are let go.
#[derive(Debug)]
struct Retired {
    start: Instant,
    until_ms: AtomicU64,
}

impl Retired {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn holds(&self, age: Duration) -> bool {
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        self.now_ms().saturating_sub(age_ms) < self.until_ms.load(Ordering::Relaxed)
    }
}

impl PostgresEngine {
    /// Connects, and brings the schema up to date.
    ///
    /// Errors: `Place` for an address that is none, `Foreign`, `Newer`; those of the database.
    pub(crate) async fn open(url: &SecretString, now_unix_ms: i64) -> Result<Self, StoreError> {
        let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| StoreError::Place {
            place: "SENTINEL_DATABASE_URL".to_owned(),
            // the parser's own sentence may quote what stands there
            problem: "this is no address of a Postgres database".to_owned(),
            advice: "write postgres://USER:PASSWORD@HOST:PORT/DATABASE",
        })?;
        let options = options.application_name("sentinel-controlplane").options([
            ("search_path", "sentinel"),
            ("synchronous_commit", "on"),
            ("statement_timeout", "10s"),
            ("lock_timeout", "3s"),
            ("idle_in_transaction_session_timeout", "15s"),
        ]);
        let place = format!(
            "postgres database {} at {}:{}",
            options.get_database().unwrap_or("(that of the user's name)"),
            options.get_host(),
            options.get_port()
        );
        let connecting = |source| StoreError::of("connect to Postgres", source);
        // its own connection: dropped midway it ends, and the server rolls back
        let mut first = PgConnection::connect_with(&options).await.map_err(connecting)?;
        migrate_up(&place, &mut first, now_unix_ms).await?;
        first.close().await.map_err(connecting)?;

        let retired = Arc::new(Retired { start: Instant::now(), until_ms: AtomicU64::new(0) });
        let before = Arc::clone(&retired);
        let pooling = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(Duration::from_secs(10))
            .before_acquire(move |_, session| {
                let keep = !before.holds(session.age);
                Box::pin(async move { Ok(keep) })
            })
            .after_release(|session, _| {
                Box::pin(async move {
                    // a lone ROLLBACK outside a transaction is a warning in the server's log, each time; so it gets
                    // its BEGIN, which inside a transaction changes nothing. In a failed one BEGIN fails, and the
                    // session is closed
                    sqlx::raw_sql("BEGIN; ROLLBACK").execute(session).await?;
                    Ok(true)
                })
            })
            .connect_with(options);
        let pool = Box::pin(pooling).await.map_err(connecting)?;
        Ok(Self { pool, tasks: TaskTracker::new(), retired })
    }

    /// Judges an error; after one that shows a server which only reads, today's sessions are not used again.
    fn failed(&self, what: &'static str, source: sqlx::Error) -> StoreError {
        let error = StoreError::of(what, source);
        if error.code() == Some(READ_ONLY) {
            self.retired.until_ms.store(self.retired.now_ms().saturating_add(1), Ordering::Relaxed);
        }
        error
    }

    /// Runs `statements` as one transaction, in a task of its own, to its end.
    async fn transaction(&self, what: &'static str, statements: Vec<Statement>) -> Result<Vec<Vec<Row>>, StoreError> {
        let pool = self.pool.clone();
        let task = self.tasks.spawn(async move {
            let mut transaction = Box::pin(pool.begin()).await?;
            let mut all = Vec::with_capacity(statements.len());
            for statement in statements {
                all.push(rows(query(statement).fetch_all(&mut *transaction).await?));
            }
            transaction.commit().await?;
            Ok(all)
        });
        task.await.map_err(|_| StoreError::TaskLost { what })?.map_err(|source| self.failed(what, source))
    }
}

/// In one transaction under the advisory lock: two programs that start together follow each other.
async fn migrate_up(place: &str, connection: &mut PgConnection, now_unix_ms: i64) -> Result<(), StoreError> {
    let failed = |source| StoreError::of("bring the schema up to date", source);
    let mut transaction = connection.begin().await.map_err(failed)?;
    sqlx::raw_sql("SET LOCAL lock_timeout = '60s'; SET LOCAL statement_timeout = '10min'")
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await.map_err(failed)?;
    let found = found(&mut transaction).await.map_err(failed)?;
    for (version, migration) in migrate::missing(place, &found, migrate::POSTGRES)? {
        if version == 1 {
            sqlx::raw_sql(
                "CREATE SCHEMA IF NOT EXISTS sentinel; \
                 CREATE TABLE schema_version (version bigint PRIMARY KEY, name text NOT NULL, \
                 product text NOT NULL, applied_unix_ms bigint NOT NULL)",
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

/// What an extension brought is nobody's.
async fn found(connection: &mut PgConnection) -> Result<Found, sqlx::Error> {
    let table: Option<String> = sqlx::query_scalar(
        "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname <> 'information_schema' \
         AND n.nspname NOT LIKE 'pg\\_%' AND NOT EXISTS (SELECT 1 FROM pg_depend d \
         WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1 LIMIT 1",
    )
    .fetch_optional(&mut *connection)
    .await?;
    let ours: Option<i32> = sqlx::query_scalar(
        "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('sentinel.schema_version') AND attname = 'product'",
    )
    .fetch_optional(&mut *connection)
    .await?;
    let version: Option<i64> = match ours {
        Some(_) => {
            sqlx::query_scalar("SELECT MAX(version) FROM sentinel.schema_version WHERE product = $1")
                .bind(migrate::PRODUCT)
                .fetch_one(connection)
                .await?
        }
        None => None,
    };
    Ok(Found { table, version: version.and_then(|version| u64::try_from(version).ok()) })
}

fn query(statement: Statement) -> Query<'static, Postgres, PgArguments> {
    statement.args.into_iter().fold(sqlx::query(statement.sql), |query, arg| match arg {
        Arg::Bytes(value) => query.bind(value),
        Arg::Flag(value) => query.bind(value),
        Arg::Int(value) => query.bind(value),
        Arg::Text(value) => query.bind(value),
    })
}

fn rows(found: Vec<PgRow>) -> Vec<Row> {
    found.into_iter().map(Row::Postgres).collect()
}

impl Engine for PostgresEngine {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn words(&self) -> Words {
        Words {
            ts_as_us: "(EXTRACT(EPOCH FROM ts) * 1000000)::bigint",
            us_as_ts: ("timestamptz 'epoch' + ", " * interval '1 microsecond'"),
            as_uuid: "::uuid",
            as_json: "::jsonb",
            about_kept: "SELECT COALESCE(SUM(GREATEST(c.reltuples, 0)), 0)::bigint AS kept \
                         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
                         WHERE i.inhparent = 'audit_logs'::regclass",
            uuid_as_text: "::text",
        }
    }

    fn read(&self, what: &'static str, statement: Statement) -> Answer<'_, Vec<Row>> {
        Box::pin(async move {
            let found = query(statement).fetch_all(&self.pool).await;
            found.map(rows).map_err(|source| self.failed(what, source))
        })
    }

    fn write(&self, what: &'static str, mut statements: Vec<Statement>) -> Answer<'_, Vec<Vec<Row>>> {
        Box::pin(async move {
            if statements.len() > 1 {
                return self.transaction(what, statements).await;
            }
            let Some(only) = statements.pop() else {
                return Ok(Vec::new());
            };
            let found = query(only).fetch_all(&self.pool).await;
            Ok(vec![rows(found.map_err(|source| self.failed(what, source))?)])
        })
    }

    fn insert_audit<'a>(&'a self, rows: &'a [AuditInsert<'a>]) -> Answer<'a, u64> {
        Box::pin(self.insert_rows(rows))
    }

    fn insert_quarantine<'a>(&'a self, rows: &'a [Quarantined<'a>]) -> Answer<'a, u64> {
        Box::pin(self.insert_guilty(rows))
    }

    fn prepare_days(&self, now_unix_us: i64) -> Answer<'_, ()> {
        Box::pin(self.make_days(now_unix_us))
    }

    fn forget_audit(&self, before_unix_us: i64) -> Answer<'_, Forgotten> {
        Box::pin(self.forget(before_unix_us))
    }

    #[cfg(test)]
    fn abandon_transaction(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut session = Box::pin(self.pool.acquire()).await.unwrap();
            sqlx::raw_sql("BEGIN").execute(&mut *session).await.unwrap();
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.tasks.close();
            self.tasks.wait().await;
            self.pool.close().await;
        })
    }
}

//! `audit verify` on real stores that somebody has changed: each kind of damage is named with its place.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::postgres::Postgres;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};

/// A way into the store beside the control plane.
enum Store {
    Sqlite(String),
    Postgres(String),
}

impl Store {
    async fn run(&self, sql: &str) {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        match self {
            Self::Sqlite(path) => {
                let mut open = SqliteConnection::connect(&format!("sqlite:{path}")).await.unwrap();
                sql.execute(&mut open).await.unwrap();
                open.close().await.unwrap();
            }
            Self::Postgres(url) => {
                let mut open = PgConnection::connect(url).await.unwrap();
                sqlx::raw_sql("SET search_path TO sentinel").execute(&mut open).await.unwrap();
                sql.execute(&mut open).await.unwrap();
                open.close().await.unwrap();
            }
        }
    }

    /// The event of record 5, with another client in it.
    fn forged(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "CAST(REPLACE(CAST(event AS TEXT), '\"op\"', '\"eve\"') AS BLOB)",
            Self::Postgres(_) => "convert_to(replace(convert_from(event, 'UTF8'), '\"op\"', '\"eve\"'), 'UTF8')",
        }
    }

    fn later(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "ts + 1",
            Self::Postgres(_) => "ts + interval '1 microsecond'",
        }
    }
}

/// A fleet whose one plane has two runs, of at least eight records the older.
async fn grown(setup: Setup) -> Fleet {
    let mut fleet = Fleet::start(setup).await;
    let client = fleet.client("op", "operator").await;
    for number in 0..8 {
        let _answered = client.call("example__echo", json!({ "text": number.to_string() })).await;
    }
    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    fleet.until_ready().await;
    let client = fleet.client("op", "operator").await;
    for number in 0..8 {
        let last = client.call("example__echo", json!({ "text": number.to_string() })).await;
        let _rows = fleet.audit_rows(&last.request_id()).await;
    }
    fleet
}

async fn verify(fleet: &Fleet) -> Value {
    let ran = fleet.ctl("audit verify --output json").await;
    let told: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
    assert_eq!(ran.code, Some(i32::from(told["good"] == false)), "{ran:?}");
    told
}

/// Waits until the plane has told how much of its newest run is stored.
async fn proven(fleet: &Fleet) -> Value {
    until("every end is proven", async || {
        let told = verify(fleet).await;
        let open = told["chains"].as_array().unwrap().iter().any(|chain| chain["message"] != "");
        if open { Err(told) } else { Ok(told) }
    })
    .await
}

async fn every_damage_is_named(fleet: Fleet, store: Store) {
    let told = proven(&fleet).await;
    assert_eq!((&told["good"], told["chains"].as_array().unwrap().len()), (&json!(true), 2), "{told}");
    let newest = told["chains"].as_array().unwrap().iter().max_by_key(|chain| chain["rows"].as_u64()).unwrap();
    let (epoch, end) = (newest["epoch"].as_u64().unwrap(), newest["to_seq"].as_u64().unwrap());
    assert!(end >= 8, "{told}");
    let of = format!("epoch = {epoch}");
    let copy = |columns: &str, seq: u64| {
        let kept = "client, roles, session, tool, backend, method, arguments, arguments_note, status, kind, parent, \
                    count, latency_us, backend_latency_us, plane_id, epoch, revision, event, request_id";
        format!(
            "INSERT INTO audit_logs ({kept}, seq, ts, prev_hash) SELECT {kept}, {columns} FROM kept WHERE {of} AND seq = {seq};"
        )
    };
    let (forged, later) = (store.forged(), store.later());
    let next_hash = format!("(SELECT prev_hash FROM kept WHERE {of} AND seq = 6)");
    let damages = [
        ("hole", 5, format!("DELETE FROM audit_logs WHERE {of} AND seq = 5")),
        ("hole", 1, format!("DELETE FROM audit_logs WHERE {of} AND seq < 4")),
        ("changed", 5, format!("UPDATE audit_logs SET client = 'eve' WHERE {of} AND seq = 5")),
        ("changed", 5, format!("UPDATE audit_logs SET client = 'eve', event = {forged} WHERE {of} AND seq = 5")),
        ("order", 5, format!("UPDATE audit_logs SET seq = 11 - seq WHERE {of} AND seq IN (5, 6)")),
        ("inserted", 5, copy(&format!("seq, {later}, prev_hash"), 5)),
        (
            "inserted",
            6,
            format!(
                "UPDATE audit_logs SET seq = seq + 1 WHERE {of} AND seq > 5; {}",
                copy(&format!("6, ts, {next_hash}"), 5)
            ),
        ),
        ("foreign", 5, format!("DELETE FROM audit_logs WHERE {of} AND seq = 5; {}", copy("5, ts, prev_hash", 8))),
        ("truncated", end - 1, format!("DELETE FROM audit_logs WHERE {of} AND seq > {}", end - 2)),
    ];
    store.run("CREATE TABLE kept AS SELECT * FROM audit_logs").await;
    for (problem, at, damage) in damages {
        store.run(&damage).await;
        // How far it is, a plane tells with its next report.
        until(&format!("{problem} at {at} is named after {damage}"), async || {
            let told = verify(&fleet).await;
            let bad: Vec<_> =
                told["chains"].as_array().unwrap().iter().filter(|chain| chain["problem"] != "").collect();
            match bad[..] {
                [one] if one["problem"] == problem && one["at_seq"] == at => Ok(()),
                _ => Err(told),
            }
        })
        .await;
        store.run("DELETE FROM audit_logs; INSERT INTO audit_logs SELECT * FROM kept;").await;
    }
    let shown = fleet.ctl("audit verify").await.exits(0).says("whole").says("nothing is wrong");
    assert!(shown.stdout.contains(&epoch.to_string()), "{shown:?}");
}

#[tokio::test]
async fn every_damage_of_a_sqlite_store_is_named() {
    let fleet = grown(Setup::example()).await;
    let path = fleet.folder().join("control/controlplane/sentinel.db").display().to_string();
    every_damage_is_named(fleet, Store::Sqlite(path)).await;
}

#[tokio::test]
async fn every_damage_of_a_postgres_store_is_named() {
    let postgres = Postgres::start().await;
    let fleet = grown(Setup::example().postgres(&postgres.url())).await;
    every_damage_is_named(fleet, Store::Postgres(postgres.url())).await;
}

//! What only Postgres has: days as partitions, and sessions with limits.

use sentinel_proto::v1::{AuditBatch, AuditRecord};

use super::*;
use crate::audit::ingest::ingest;
use crate::store::Place;
use crate::store::audit::AuditInsert;
use crate::store::error::Fault;
use crate::store::fixtures::{self, NOW_MS, NOW_US};

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

#[tokio::test]
async fn rows_in_the_default_partition_move_before_their_day_is_made() {
    let ground = fixtures::postgres().await;
    let engine = open(&ground.place).await;
    let days: Vec<i64> = vec![-3, 0, 0, 3, 9];
    let rows: Vec<AuditInsert<'_>> = (1..).zip(&days).map(|(seq, days)| row(seq, NOW_US + days * DAY_US)).collect();
    engine.insert_rows(&rows).await.unwrap();
    assert_eq!(count(&engine, "audit_logs_default").await, 5);
    engine.make_days(NOW_US).await.unwrap();
    engine.make_days(NOW_US).await.expect("again changes nothing");
    assert_eq!(count(&engine, "audit_logs_default").await, 2, "the past and the far future stay in the net");
    assert_eq!(count(&engine, "audit_logs_20261123").await, 2);
    assert_eq!(count(&engine, "audit_logs_20261126").await, 1);
    assert_eq!(count(&engine, "audit_logs_20261130").await, 0, "seven days ahead");
    assert_eq!(engine.insert_rows(&rows).await.unwrap(), 0, "the same records are still known");
    engine.make_days(NOW_US + 2 * DAY_US).await.unwrap();
    assert_eq!(count(&engine, "audit_logs_20261202").await, 1);
    assert_eq!(count(&engine, "audit_logs").await, 5, "none was lost on the way");
}

#[tokio::test]
async fn two_programs_that_make_days_together_make_each_once() {
    let ground = fixtures::postgres().await;
    let (one, two) = (open(&ground.place).await, open(&ground.place).await);
    let (a, b) = tokio::join!(one.make_days(NOW_US), two.make_days(NOW_US));
    a.unwrap();
    b.unwrap();
    let days =
        sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM pg_inherits WHERE inhparent = 'audit_logs'::regclass")
            .fetch_one(&one.pool)
            .await
            .unwrap();
    assert_eq!(days, 9, "eight days and the net");
}

#[tokio::test]
async fn a_session_has_our_schema_and_limits() {
    let ground = fixtures::postgres().await;
    let engine = open(&ground.place).await;
    for (setting, value) in [
        ("search_path", "sentinel"),
        ("synchronous_commit", "on"),
        ("statement_timeout", "10s"),
        ("lock_timeout", "3s"),
        ("idle_in_transaction_session_timeout", "15s"),
    ] {
        let found: String =
            sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(&engine.pool).await.unwrap();
        assert_eq!(found, value, "{setting}");
    }
}

#[tokio::test]
async fn a_server_that_only_reads_is_a_passing_fault_and_its_sessions_are_let_go() {
    let ground = fixtures::postgres().await;
    let engine = open(&ground.place).await;
    sqlx::raw_sql("SET default_transaction_read_only = on").execute(&engine.pool).await.unwrap();
    let back = async {
        while engine.pool.num_idle() != 1 {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(10), back).await;
    waited.expect("the session comes back to the pool");
    let refused = engine.insert_rows(&[row(1, NOW_US)]).await.unwrap_err();
    assert_eq!((refused.code(), refused.fault()), (Some("25006"), Fault::Passing));
    engine.insert_rows(&[row(1, NOW_US)]).await.expect("a new session leads to the server that writes");
}

#[tokio::test]
async fn a_begin_that_is_dropped_midway_costs_no_acknowledged_row() {
    let ground = fixtures::postgres().await;
    let engine = open(&ground.place).await;
    let mut acknowledged = 0;
    for seq in 1..=300_i64 {
        let micros = u64::try_from(seq * 37 % 400).unwrap();
        let begun = tokio::time::timeout(Duration::from_micros(micros), Box::pin(engine.pool.begin())).await;
        drop(begun);
        if engine.insert_rows(&[row(seq, NOW_US)]).await.is_ok() {
            acknowledged += 1;
        }
    }
    engine.close().await;
    let after = open(&ground.place).await;
    assert_eq!(count(&after, "audit_logs").await, acknowledged);
}

#[tokio::test]
async fn a_server_that_is_away_is_a_passing_fault_and_a_wrong_address_is_not() {
    let nobody = tempfile::tempdir().unwrap();
    let away = format!("postgres://u:hush@localhost/d?host={}", nobody.path().display());
    for (url, fault) in [(away.as_str(), Fault::Passing), ("mysql//hush", Fault::Final)] {
        let refused = PostgresEngine::open(&SecretString::from(url), NOW_MS).await.unwrap_err();
        assert_eq!(refused.fault(), fault, "{refused}");
        assert!(!format!("{refused} {refused:?}").contains("hush"), "{refused:?}");
    }
}

#[tokio::test]
async fn a_row_that_the_database_refuses_lies_in_quarantine_with_its_code() {
    let ground = fixtures::postgres().await;
    let store = ground.open().await.unwrap();
    // too long for an index, and nothing in it repeats, so that it can't be compressed
    let tool: String = (0..400).map(|_| uuid::Uuid::new_v4().to_string()).collect();
    let record = |seq: u64, tool: &str| {
        AuditRecord {
        seq,
        prev_hash: vec![0; 32],
        event: format!(
            r#"{{"v":1,"id":"01940000-0000-7000-8000-000000000001","ts":{NOW_US},"method":"tools/call","tool":"{tool}","arguments":{{}},"status":"ok"}}"#
        )
        .into_bytes(),
    }
    };
    let mut records: Vec<AuditRecord> = (1..=9).map(|seq| record(seq, "t")).collect();
    records[6] = record(7, &tool);
    let batch = AuditBatch { epoch: 1, records };
    let plane = "0e7a1e6c-5a32-4c6c-9c7e-0a6f5e1f0001";
    let done = ingest(&store, plane, &batch, NOW_MS).await.unwrap();
    assert_eq!((done.up_to, done.inserted, done.quarantined), (9, 8, 1));
    let (_, _, seq, reason) = store.quarantine(1).await.unwrap().remove(0);
    assert_eq!((seq, reason.as_str()), (7, "the database refused the row (54000)"));
}

async fn open(place: &Place) -> PostgresEngine {
    let Place::Postgres(url) = place else { panic!("not a Postgres ground") };
    PostgresEngine::open(url, NOW_MS).await.unwrap()
}

async fn count(engine: &PostgresEngine, table: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
    sqlx::query_scalar(sql).fetch_one(&engine.pool).await.unwrap()
}

fn row(seq: i64, ts_unix_us: i64) -> AuditInsert<'static> {
    AuditInsert {
        plane_id: "0e7a1e6c-5a32-4c6c-9c7e-0a6f5e1f0001",
        epoch: 1,
        seq,
        prev_hash: &[0; 32],
        request_id: "01940000-0000-7000-8000-000000000001".to_owned(),
        ts_unix_us,
        client: String::new(),
        roles: "[]".to_owned(),
        session: String::new(),
        tool: String::new(),
        backend: String::new(),
        method: "tools/call".to_owned(),
        arguments: None,
        arguments_note: String::new(),
        status: "ok".to_owned(),
        kind: String::new(),
        parent: None,
        count: 1,
        latency_us: 0,
        backend_latency_us: 0,
        revision: 0,
        event: b"{}",
    }
}

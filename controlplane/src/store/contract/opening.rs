//! Promises of opening: ours alone, once, and never a step back.

use super::promises;
use crate::store::Place;
use crate::store::engine::Statement;
use crate::store::error::{Fault, StoreError};
use crate::store::fixtures::{Ground, NOW_MS};
use crate::store::revisions::NewRevision;

promises!(
    a_database_with_tables_of_somebody_else_is_refused_and_left_alone,
    a_schema_version_of_somebody_else_is_not_ours,
    a_newer_schema_is_refused_plainly,
    migrations_run_once_however_often_the_store_is_opened,
    two_programs_that_open_an_empty_database_together_both_get_it,
    what_was_written_is_there_after_closing,
    a_session_released_inside_a_transaction_loses_nobody_elses_rows,
);

async fn a_database_with_tables_of_somebody_else_is_refused_and_left_alone(ground: Ground) {
    ground.run("CREATE TABLE theirs (x int)").await;
    for _ in 0..2 {
        let refused = ground.open().await.unwrap_err();
        assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
        assert!(refused.to_string().contains("belongs to something else"), "{refused}");
        assert!(refused.to_string().contains("theirs"), "{refused}");
    }
    ground.run("DROP TABLE theirs").await;
    ground.open().await.expect("nothing of ours was left behind either");
}

async fn a_schema_version_of_somebody_else_is_not_ours(ground: Ground) {
    ground.run("CREATE TABLE schema_version (version int)").await;
    ground.run("INSERT INTO schema_version VALUES (1)").await;
    let refused = ground.open().await.unwrap_err();
    assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
}

async fn a_newer_schema_is_refused_plainly(ground: Ground) {
    let store = ground.open().await.unwrap();
    let newer = "INSERT INTO schema_version (version, name, product, applied_unix_ms) \
                 VALUES (99, 'later', 'sentinel', 0)";
    store.engine.write("pretend", vec![Statement::new(newer, [])]).await.unwrap();
    store.close().await;
    let refused = ground.open().await.unwrap_err();
    assert!(matches!(refused, StoreError::Newer { found: 99, .. }), "{refused}");
    assert_eq!(refused.fault(), Fault::Final);
}

async fn migrations_run_once_however_often_the_store_is_opened(ground: Ground) {
    let first = ground.open().await.unwrap();
    let second = ground.open().await.unwrap();
    let count = Statement::new("SELECT COUNT(*) AS steps FROM schema_version", []);
    let rows = second.engine.read("count", count).await.unwrap();
    assert_eq!(rows[0].count("steps").unwrap(), crate::store::migrate::SQLITE.len() as u64);
    first.ping().await.unwrap();
}

async fn two_programs_that_open_an_empty_database_together_both_get_it(ground: Ground) {
    let (a, b) = tokio::join!(ground.open(), ground.open());
    a.unwrap().ping().await.unwrap();
    b.unwrap().ping().await.unwrap();
}

async fn what_was_written_is_there_after_closing(ground: Ground) {
    let store = ground.open().await.unwrap();
    let number = store.append_revision(revision("a")).await.unwrap();
    store.make_current(0, number).await.unwrap();
    store.close().await;
    assert!(store.ping().await.is_err(), "a closed store answers nothing");
    let current = ground.open().await.unwrap().current_revision().await.unwrap().unwrap();
    assert_eq!((current.text.as_str(), current.revision.number), ("a", number));
    if let Place::Sqlite(path) = &ground.place {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// The trap of reliability 5.5: a `begin()` dropped after BEGIN was sent leaves a session that looks clean.
async fn a_session_released_inside_a_transaction_loses_nobody_elses_rows(ground: Ground) {
    let store = ground.open().await.unwrap();
    let other = ground.open().await.unwrap();
    // as many as the larger pool has, so that whatever session is next, it was one of these
    for _ in 0..16 {
        store.engine.abandon_transaction().await;
    }
    let number = store.append_revision(revision("kept")).await.unwrap();
    for user in ["a", "b", "c"] {
        let action = crate::store::actions::NewAction {
            at_unix_ms: NOW_MS,
            user: user.to_owned(),
            host: String::new(),
            verb: "kill".to_owned(),
            target: String::new(),
            reason: String::new(),
        };
        store.begin_action(&action).await.unwrap();
    }
    assert!(other.revision(number).await.unwrap().is_some(), "committed work is seen by others");
    assert_eq!(other.actions(10).await.unwrap().len(), 3, "acknowledged autocommit rows are seen by others");
}

pub(super) fn revision(text: &str) -> NewRevision {
    NewRevision {
        text: text.to_owned(),
        snapshot: text.as_bytes().to_vec(),
        digest: [7; 32],
        by: "ana".to_owned(),
        note: String::new(),
        at_unix_ms: NOW_MS,
        away_from: None,
    }
}

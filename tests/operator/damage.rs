//! `audit verify` on real stores that somebody has changed: each kind of damage is named with its place.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::postgres::Postgres;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use crate::tamper::{Store, names, newest, verify};

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
    let (epoch, end) = newest(&fleet, &told).await;
    assert!(end >= 8, "{told}");
    store.keep().await;
    for damage in store.damages(epoch, 5, end) {
        store.make(&damage).await;
        // How far it is, a plane tells with its next report.
        until(&damage.to_string(), async || names(verify(&fleet).await, &damage, epoch)).await;
        store.undo(epoch).await;
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

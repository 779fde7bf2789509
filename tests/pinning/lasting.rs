//! Decisions last: over restarts of either daemon, without the control plane, and without its store.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

use super::{relist, tool, until_known, until_listed, until_pinned};

#[tokio::test]
async fn a_quarantine_by_hand_is_told_lasts_over_restarts_and_ends_with_an_approval() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let held = fleet.ctl("tool quarantine example__echo --reason suspicious").await.exits(0);
    let _held = held.says("quarantined: example__echo").says("in force on 1 of 1 planes");
    let refused = client.call("example__echo", json!({ "text": "x" })).await;
    let _refused = refused.is_refused("disabled", -31423);
    assert_eq!(refused.data()["reason"], "suspicious", "{refused:?}");
    assert!(refused.data()["since"].as_i64().unwrap() > 1_700_000_000_000, "{refused:?}");
    assert!(!client.tools().await.contains(&"example__echo".to_owned()));
    let shown = fleet.ctl("tool show example__echo").await.exits(0);
    let _shown = shown.says("suspicious").says("Its definition is as it is pinned.");

    fleet.kill_and_restart_control_plane().await;
    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    fleet.until_ready().await;
    let client = fleet.client("claude", "operator").await;
    let _refused = client.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);

    until_known(&fleet, "example__echo", "quarantined").await;
    let _approved = fleet.ctl("tool approve example__echo").await.exits(0);
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    let unknown = fleet.ctl("tool quarantine example__ecko").await.exits(2);
    let _unknown = unknown.says("no plane reports a tool example__ecko").says("example__echo");
}

#[tokio::test]
async fn without_the_control_plane_a_plane_holds_what_changes_by_what_it_knew() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    relist(&fleet, "example", &[tool("read", "Reads a file.")], &client).await;
    until_listed(&client, "example__read", true).await;
    let _pin = until_pinned(&fleet, "example__read").await;

    fleet.control_plane.kill().await;
    // One that it never heard of: this plane alone pins it.
    let both = |read, stat| [tool("read", read), tool("stat", stat)];
    relist(&fleet, "example", &both("Reads a file.", "Looks."), &client).await;
    until_listed(&client, "example__stat", true).await;
    relist(&fleet, "example", &both("Sends it away.", "Sends it away as well."), &client).await;
    until_listed(&client, "example__read", false).await;
    until_listed(&client, "example__stat", false).await;

    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    fleet.planes[0].until_ready(true).await;
    let _refused = client.call("example__read", json!({})).await.is_refused("disabled", -31423);
    let _refused = client.call("example__stat", json!({})).await.is_refused("disabled", -31423);
    let _answer = client.call("example__echo", json!({ "text": "x" })).await.content();

    fleet.control_plane.restart().await;
    fleet.until_ready().await;
    until_known(&fleet, "example__stat", "quarantined").await;
    let _pinned = until_pinned(&fleet, "example__stat").await;
    let _approved = fleet.ctl("tool approve example__*").await.exits(0);
    assert_eq!(client.call("example__read", json!({})).await.content(), "read");
    assert_eq!(client.call("example__stat", json!({})).await.content(), "stat");
}

#[tokio::test]
async fn a_store_that_was_lost_learns_from_the_planes_what_is_held() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let _held = fleet.ctl("tool quarantine example__echo --reason suspicious").await.exits(0);
    fleet.control_plane.kill().await;
    for name in ["sentinel.db", "sentinel.db-wal", "sentinel.db-shm"] {
        let _may_not_be_there = std::fs::remove_file(fleet.folder().join("control/controlplane").join(name)).is_err();
    }
    fleet.control_plane.restart().await;
    fleet.until_ready().await;
    let pin = until_pinned(&fleet, "example__echo").await;
    assert_eq!((&pin["held"], &pin["reason"]), (&json!(true), &json!("suspicious")), "{pin}");
    let client = fleet.client("claude", "operator").await;
    let _refused = client.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);
}

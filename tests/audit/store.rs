//! A store that is away: calls go on, records wait, operators are told.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::postgres::Postgres;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::json;

#[tokio::test]
async fn f44_with_postgres_down_calls_go_on_and_commands_that_change_something_fail_plainly() {
    let mut postgres = Postgres::start().await;
    let mut fleet = Fleet::start(Setup::example().postgres(&postgres.url())).await;
    let client = fleet.client("claude", "operator").await;

    postgres.stop();
    let reply = client.call("example__echo", json!({ "text": "meanwhile" })).await;
    until("the control plane says so", async || match fleet.control_plane_ready().await {
        Err(said) if said.starts_with("503") && said.contains("store") => Ok(()),
        other => Err(other),
    })
    .await;
    let killed = fleet.ctl("kill-switch tool example__echo --force").await;
    let status = fleet.ctl("status").await;

    assert_eq!(reply.content(), "meanwhile");
    assert_eq!(killed.code, Some(1), "{killed:?}");
    let _ran = killed.says("store");
    let _ran = status.says("store");
    assert!(fleet.control_plane.is_running());
    assert_eq!(client.call("example__echo", json!({ "text": "still" })).await.content(), "still");

    postgres.resume().await;
    fleet.until_ready().await;
    assert_eq!(fleet.audit_rows(&reply.request_id()).await.len(), 1);
}

#[tokio::test]
async fn f44_with_postgres_down_at_the_start_the_plane_serves_and_the_store_joins_later() {
    let mut postgres = Postgres::start().await;
    let mut fleet = Fleet::start(Setup::example().postgres(&postgres.url())).await;
    let client = fleet.client("claude", "operator").await;
    postgres.stop();

    fleet.control_plane.kill().await;
    fleet.planes[0].process.kill().await;
    fleet.control_plane.restart().await;
    fleet.planes[0].process.restart().await;
    fleet.planes[0].until_ready(true).await;
    let reply = client.call("example__echo", json!({ "text": "x" })).await;
    assert!(fleet.control_plane.is_running());
    postgres.resume().await;
    fleet.until_ready().await;

    assert_eq!(reply.content(), "x");
    assert_eq!(fleet.audit_rows(&reply.request_id()).await.len(), 1);
    let _ran = fleet.ctl("kill-switch client nobody").await.exits(0);
}

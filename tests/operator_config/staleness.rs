//! `max_staleness_secs`: how long a plane goes on without news.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::json;

#[tokio::test]
async fn a_plane_without_news_for_too_long_refuses_calls_until_it_hears_again() {
    let mut fleet = Fleet::start(Setup::example().toml("[gateway]\nmax_staleness_secs = 1")).await;
    let client = fleet.client("alice", "operator").await;
    assert_eq!(client.call("example__echo", json!({ "text": "a" })).await.content(), "a");

    fleet.control_plane.kill().await;

    until("it refuses calls", async || {
        let reply = client.call("example__echo", json!({ "text": "b" })).await;
        let error = &reply.message["error"];
        if error["data"]["reason"] == "stale" && error["code"] == -31530 { Ok(()) } else { Err(format!("{reply:?}")) }
    })
    .await;
    assert!(fleet.planes[0].ready().await.unwrap_err().contains("stale"));
    fleet.control_plane.restart().await;
    until("it takes calls again", async || {
        let reply = client.call("example__echo", json!({ "text": "c" })).await;
        if reply.message["result"].is_object() { Ok(()) } else { Err(format!("{reply:?}")) }
    })
    .await;
}

#[tokio::test]
async fn without_the_key_calls_go_on() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("alice", "operator").await;
    fleet.control_plane.kill().await;
    assert_eq!(client.call("example__echo", json!({ "text": "a" })).await.content(), "a");
}

//! A change is told at the endpoints that it is about, in both eras; an endpoint that is taken away ends its streams.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

use super::SERVERS;

#[tokio::test]
async fn a_grown_list_is_told_where_it_belongs_alone() {
    let fleet = Fleet::start(Setup::example().backend("other").toml(SERVERS)).await;
    let (research, second) = (
        fleet.client_of("research", "claude", "operator").await,
        fleet.client_of("second", "claude", "operator").await,
    );
    let (mut to_research, mut to_second) = (research.listen().await, second.listen().await);
    let modern = ModernClient::new(&fleet.planes[0].server_url("second"), &fleet.token("m", "operator").await);
    let wanted = json!({ "toolsListChanged": true });
    let (_granted, mut to_modern) = modern.listen(json!("l"), wanted).await;

    // `second` has all of its backend, `research` what its patterns name: a new prompt of the first is one of them.
    let _grows = second.call("other__grow", json!({})).await;
    assert_eq!(to_second.next_json().await.unwrap()["method"], "notifications/tools/list_changed");
    assert_eq!(to_modern.next_json().await.unwrap()["method"], "notifications/tools/list_changed");
    let main = fleet.client("claude", "operator").await;
    let _grows = main.call("example__grow", json!({})).await;
    let _grows = main.call("example__grow", json!({ "what": "prompt" })).await;
    assert_eq!(to_research.next_json().await.unwrap()["method"], "notifications/prompts/list_changed");
}

#[tokio::test]
async fn an_endpoint_that_a_reload_takes_away_ends_its_streams_and_is_no_path_any_more() {
    let setup = Setup::example().backend("other");
    let fleet = Fleet::start(setup.clone().toml(SERVERS)).await;
    let (research, main) =
        (fleet.client_of("research", "claude", "operator").await, fleet.client("claude", "operator").await);
    let mut notes = research.listen().await;
    let modern = ModernClient::new(&fleet.planes[0].server_url("research"), &fleet.token("m", "operator").await);
    let (_granted, mut to_modern) = modern.listen(json!(7), json!({ "toolsListChanged": true })).await;

    fleet.write(&setup);
    let reloaded = fleet.ctl("reload").await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");

    assert_eq!(notes.next().await, None);
    let last = to_modern.next_json().await.unwrap();
    assert_eq!((&last["id"], &last["result"]["resultType"]), (&json!(7), &json!("complete")), "{last}");
    assert_eq!(to_modern.next().await, None);
    assert_eq!(research.call("example__echo", json!({ "text": "x" })).await.status, 404);
    assert_eq!(main.call("example__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn an_endpoint_that_a_reload_brings_is_there_at_once() {
    let setup = Setup::example().backend("other");
    let fleet = Fleet::start(setup.clone()).await;

    fleet.write(&setup.toml(SERVERS));
    let reloaded = fleet.ctl("reload").await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");

    let second = fleet.client_of("second", "claude", "operator").await;
    assert_eq!(second.call("other__echo", json!({ "text": "new" })).await.content(), "new");
    assert_eq!(fleet.received("other").count("initialize"), 1, "the backend was not started anew");
}

//! The way of a call, seen from a client: what is listed, called, told on the way, refused, and with which words.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

#[tokio::test]
async fn a_listed_tool_is_called_and_its_result_comes_back() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    let tools = client.tools().await;
    let reply = client.call("example__echo", json!({ "text": "hello" })).await;

    assert!(tools.contains(&"example__echo".to_owned()), "{tools:?}");
    assert_eq!(reply.content(), "hello");
    assert_eq!(fleet.received("example").calls("echo").len(), 1);
}

//! Token buckets, calls at once, size.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

#[tokio::test]
async fn past_the_limit_a_call_is_refused_and_told_when_to_come_back() {
    let limits = "[rate_limit]\ndefault = { requests = 60, per_secs = 3600, burst = 2 }\n";
    let fleet = Fleet::start(Setup::example().limits(limits)).await;
    let (one, two) = (fleet.client("one", "operator").await, fleet.client("two", "operator").await);

    let first = [one.call("example__counter", json!({})).await, one.call("example__counter", json!({})).await];
    let third = one.call("example__counter", json!({})).await;
    let another_tool = one.call("example__echo", json!({ "text": "x" })).await;
    let another_client = two.call("example__counter", json!({})).await;

    assert_eq!((first[0].content(), first[1].content()), ("1", "2"));
    let id = third.is_refused("rate_limited", -31429);
    assert!(third.data()["retryAfterMs"].as_u64().is_some_and(|ms| ms > 0), "{third:?}");
    assert_eq!(third.data()["limit"], "tool");
    assert!(third.header("retry-after").parse::<u64>().is_ok_and(|secs| secs > 0), "{third:?}");
    assert_eq!(another_tool.content(), "x");
    assert_eq!(another_client.content(), "3");
    assert_eq!(fleet.audit_rows(&id).await[0]["kind"], "rate_limited");
}

#[tokio::test]
async fn a_client_has_a_limit_over_all_its_tools() {
    let limits = "[rate_limit]\nper_client = { requests = 60, per_secs = 3600, burst = 2 }\n";
    let fleet = Fleet::start(Setup::example().limits(limits)).await;
    let client = fleet.client("one", "operator").await;

    let echo = client.call("example__echo", json!({ "text": "x" })).await;
    let count = client.call("example__counter", json!({})).await;
    let third = client.call("example__add", json!({ "a": 1, "b": 1 })).await;

    assert_eq!((echo.content(), count.content()), ("x", "1"));
    let _id = third.is_refused("rate_limited", -31429);
    assert_eq!(third.data()["limit"], "client");
}

#[tokio::test]
async fn past_max_in_flight_a_call_is_refused_at_once_with_503() {
    let fleet = Fleet::start(Setup::example().toml("[gateway]\nmax_in_flight = 1")).await;
    let client = fleet.client("one", "operator").await;
    let slow = client.message("tools/call", &json!({ "name": "example__slow", "arguments": { "ms": 60_000 } }));
    let running = client.post(slow.into_bytes()).send();
    let meanwhile = async {
        sentinel_tests::harness::until::until("the first call is at the backend", async || {
            sentinel_tests::harness::until::holds(!fleet.received("example").calls("slow").is_empty())
        })
        .await;
        client.call("example__echo", json!({ "text": "x" })).await
    };

    let refused = tokio::select! {
        refused = meanwhile => refused,
        answered = running => panic!("the slow call ended: {answered:?}"),
    };

    let _id = refused.is_refused("overloaded", -31529);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), "1");
    assert!(fleet.received("example").calls("echo").is_empty());
}

#[tokio::test]
async fn a_body_above_the_limit_is_refused_with_413_and_one_below_passes() {
    let fleet = Fleet::start(Setup::example().toml("[gateway]\nmax_request_bytes = \"64KiB\"")).await;
    let client = fleet.client("one", "operator").await;

    let below = client.call("example__echo", json!({ "text": "x".repeat(60_000) })).await;
    let above = client.call("example__echo", json!({ "text": "x".repeat(70_000) })).await;

    assert_eq!(below.content().len(), 60_000);
    assert_eq!(above.status, 413);
    let _id = above.is_refused("too_large", -31413);
    assert_eq!(above.data()["limit"], 65_536);
    assert_eq!(fleet.received("example").calls("echo").len(), 1);
}

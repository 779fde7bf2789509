//! Calls that run while they are killed.

use crate::started;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

const RUNNING: usize = 8;

/// Calls `slow` as often as said, half of them with progress; when all are at the backend, runs the command.
async fn killed_while_running(fleet: &Fleet, client: &Client, line: &str) -> (Vec<Reply>, Value) {
    let calls = (0..RUNNING).map(|number| async move {
        let mut params = json!({ "name": "example__slow", "arguments": { "ms": 600_000, "steps": 1000 } });
        if number % 2 == 0 {
            params["_meta"] = json!({ "progressToken": number });
        }
        client.request("tools/call", params).await
    });
    let command = async {
        until("all calls are at the backend", async || {
            let there = fleet.received("example").calls("slow").len();
            if there == RUNNING { Ok(()) } else { Err(there) }
        })
        .await;
        fleet.ctl(line).await
    };
    let (replies, ran) = tokio::join!(futures_util::future::join_all(calls), command);
    (replies, ran.json())
}

#[tokio::test]
async fn f32_calls_in_flight_are_cut_cancelled_and_answered_disabled_and_sent() {
    for (scope, line) in [
        ("tool", "kill-switch tool example__slow --reason stop --output json"),
        ("client", "kill-switch client claude --reason stop --output json"),
    ] {
        let fleet = started(Setup::example()).await;
        let client = fleet.client("claude", "operator").await;

        let (replies, killed) = killed_while_running(&fleet, &client, line).await;

        assert_eq!(killed["acks"][0]["cut"], RUNNING, "{killed}");
        for reply in &replies {
            let id = reply.is_refused("disabled", -31423);
            assert_eq!(reply.data()["sent"], true, "{reply:?}");
            assert_eq!((&reply.data()["scope"], &reply.data()["reason"]), (&json!(scope), &json!("stop")));
            let rows = fleet.audit_rows(&id).await;
            assert_eq!(rows.len(), 1);
            assert_eq!((&rows[0]["status"], &rows[0]["kind"]), (&json!("cancelled"), &json!("disabled")), "{rows:?}");
        }
        until("the backend has heard of each", async || holds(fleet.received("example").count("cancelled") == RUNNING))
            .await;
    }
}

#[tokio::test]
async fn a_kill_of_one_tool_leaves_calls_of_another_running() {
    let fleet = started(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let slow = client.call("example__slow", json!({ "ms": 1500 }));
    let kill = async {
        until("the call is at the backend", async || holds(!fleet.received("example").calls("slow").is_empty())).await;
        fleet.ctl("kill-switch tool example__echo --output json").await.json()
    };

    let (reply, killed) = tokio::join!(slow, kill);

    assert_eq!(reply.content(), "done after 1 steps");
    assert_eq!(killed["acks"][0]["cut"], 0, "{killed}");
}

//! Clients that start `sentinel-dataplane stdio`: the same gateway over a pipe; and backends as children: none is left.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

mod alone;

use std::time::Duration;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::{descendants, is_alive};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::stdio_client::StdioClient;
use sentinel_tests::harness::until::{holds, until, until_within};
use serde_json::{Value, json};

#[tokio::test]
async fn an_attached_client_lists_calls_and_hears_progress() {
    let fleet = Fleet::start(Setup::example()).await;
    let mut client = fleet.stdio_client("claude", "operator").await;

    let listed = client.request("tools/list", json!({})).await;
    let echo = client.call("example__echo", json!({ "text": "hello" })).await;
    let meta = json!({ "progressToken": "p" });
    let slow = json!({ "name": "example__slow", "arguments": { "ms": 60, "steps": 3 }, "_meta": meta });
    let slow = client.request("tools/call", slow).await;

    assert!(listed.result()["tools"].as_array().unwrap().len() > 5);
    assert_eq!(echo.content(), "hello");
    assert_eq!(slow.notes.iter().filter(|note| note["params"]["progressToken"] == "p").count(), 3, "{slow:?}");
    assert_eq!(fleet.received("example").pids().len(), 1, "HTTP and stdio share the backend");
    let (status, said) = client.end().await;
    assert!(status.success(), "{status} {said}");
}

#[tokio::test]
async fn an_attached_client_is_governed_like_any_other() {
    let fleet = Fleet::start(Setup::example()).await;
    let mut client = fleet.stdio_client("reader", "analyst").await;

    let hidden = client.call("example__counter", json!({})).await;
    let _killed = fleet.ctl("kill-switch tool example__echo").await.exits(0);
    let killed = client.call("example__echo", json!({ "text": "x" })).await;

    let _id = hidden.is_refused("unknown_tool", -32602);
    let id = killed.is_refused("disabled", -31423);
    assert_eq!(fleet.audit_rows(&id).await[0]["client"], "reader");
    assert_eq!(fleet.received("example").count("call"), 0);
}

#[tokio::test]
async fn an_attached_client_cancels_its_call() {
    let fleet = Fleet::start(Setup::example()).await;
    let mut client = fleet.stdio_client("claude", "operator").await;
    let call = json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": { "name": "example__slow", "arguments": { "ms": 600_000 } } });
    client.write(&call.to_string()).await;
    until("the call is at the backend", async || holds(!fleet.received("example").calls("slow").is_empty())).await;

    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "c" } });
    client.write(&cancel.to_string()).await;

    until("the backend is told", async || holds(fleet.received("example").count("cancelled") == 1)).await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn without_a_plane_the_first_request_gets_one_error_and_the_exit_code_is_2() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("nothing").display().to_string();
    let mut client =
        StdioClient::started(&["stdio", "--data-dir", &data_dir], folder.path(), &[("SENTINEL_TOKEN", "x")]);

    client.write(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {} }).to_string()).await;
    let answer: Value = serde_json::from_str(&client.read().await.unwrap()).unwrap();
    let more = client.read().await;
    let (status, said) = client.ended().await;

    assert_eq!((&answer["error"]["code"], &answer["error"]["data"]["kind"]), (&json!(-31530), &json!("not_ready")));
    assert_eq!(answer["error"]["data"]["reason"], "no_plane");
    assert_eq!(answer["id"], 0);
    assert_eq!(more, None);
    assert_eq!(status.code(), Some(2));
    assert!(said.contains("sentinelctl up"), "{said}");
}

#[tokio::test]
async fn a_bad_token_at_the_start_is_one_error_and_exit_code_2() {
    let fleet = Fleet::start(Setup::example()).await;
    let mut client = StdioClient::attached(&fleet.planes[0], fleet.folder(), "x.y.z");

    client.write(&json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {} }).to_string()).await;
    let answer: Value = serde_json::from_str(&client.read().await.unwrap()).unwrap();
    let (status, said) = client.ended().await;

    assert_eq!(answer["error"]["data"]["kind"], "unauthenticated", "{answer}");
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(!said.is_empty());
}

#[tokio::test]
async fn an_attached_client_ends_with_its_plane() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let mut client = fleet.stdio_client("claude", "operator").await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");

    fleet.planes[0].process.kill().await;

    assert_eq!(client.read().await, None);
    let (_status, _said) = client.ended().await;
}

#[tokio::test]
async fn after_kill_9_of_a_plane_no_child_or_grandchild_is_left() {
    let mut fleet = Fleet::start(Setup::example().wrapped_backend("wrapped")).await;
    let children = descendants(fleet.planes[0].process.pid());
    assert!(children.len() >= 3, "a server, a shell and its server: {children:?}");
    assert_eq!(fleet.received("wrapped").pids().len(), 1);

    fleet.planes[0].process.kill().await;

    until_within(Duration::from_secs(5), "no child is left", async || {
        let left: Vec<u32> = children.iter().copied().filter(|pid| is_alive(*pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn a_backend_that_is_taken_out_of_the_file_ends_and_its_tools_go() {
    let fleet = Fleet::start(Setup::example().backend("other")).await;
    let client = fleet.client("claude", "operator").await;
    let pid = fleet.received("other").pids()[0];
    assert!(is_alive(pid));

    fleet.write(&Setup::example());
    let _reloaded = fleet.ctl("reload").await.exits(0);

    let _id = client.call("other__echo", json!({ "text": "x" })).await.is_refused("unknown_tool", -32602);
    until("its process has ended", async || holds(!is_alive(pid))).await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn a_restart_by_command_gives_a_new_process() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    let _restarted = fleet.ctl("backend restart example").await.exits(0);

    until("the new process answers", async || {
        let reply = client.call("example__echo", json!({ "text": "x" })).await;
        if reply.message["result"].is_object() { Ok(()) } else { Err(reply) }
    })
    .await;
    assert_eq!(fleet.received("example").pids().len(), 2);
}

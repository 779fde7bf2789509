//! Log levels: a server that many share is asked for the least that any of them wants, and each hears what it asked for.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::{Setup, http_example};
use sentinel_tests::harness::sse::Messages;
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

use super::asked;

async fn wants(client: &Client, level: &str) {
    let reply = client.request("logging/setLevel", json!({ "level": level })).await;
    assert_eq!(reply.result(), &json!({}), "{reply:?}");
}

async fn misbehaves(client: &Client, how: &str) -> Reply {
    client.call("example__misbehave", json!({ "how": how })).await
}

/// The level of the next log note.
async fn next_level(notes: &mut Messages) -> String {
    let note = notes.next_json().await.expect("the stream has ended");
    assert_eq!(note["method"], "notifications/message", "{note}");
    note["params"]["level"].as_str().unwrap().to_owned()
}

fn levels(reply: &Reply) -> Vec<&str> {
    let logs = reply.notes.iter().filter(|note| note["method"] == "notifications/message");
    logs.map(|note| note["params"]["level"].as_str().unwrap()).collect()
}

async fn is_quiet(notes: &mut Messages) -> bool {
    tokio::time::timeout(Duration::from_millis(300), notes.next_json()).await.is_err()
}

#[tokio::test]
async fn a_shared_server_is_asked_for_the_least_and_each_session_hears_what_it_asked_for() {
    let fleet = Fleet::start(Setup::example()).await;
    let [one, two, silent] = [
        fleet.client("one", "operator").await,
        fleet.client("two", "operator").await,
        fleet.client("three", "operator").await,
    ];
    let (mut to_one, mut to_two, mut to_silent) = (one.listen().await, two.listen().await, silent.listen().await);

    wants(&two, "error").await;
    wants(&one, "debug").await;
    let _said = misbehaves(&one, "log debug").await;
    let _said = misbehaves(&one, "log error").await;

    assert_eq!(next_level(&mut to_one).await, "debug");
    assert_eq!(next_level(&mut to_one).await, "error");
    assert_eq!(next_level(&mut to_two).await, "error", "the first was none of its business");
    assert!(is_quiet(&mut to_silent).await, "it asked for nothing");
    let received = fleet.received("example");
    assert_eq!(asked(&received, "level"), ["error", "debug"]);
    assert_eq!(one.end().await.status, 204);
    until("the server is asked for what is left", async || holds(asked(&received, "level").last().unwrap() == "error"))
        .await;
}

#[tokio::test]
async fn a_role_that_sees_nothing_of_a_server_hears_nothing_of_it() {
    let roles = "[roles.operator]\nallow = [\"*\"]\n[roles.other]\nallow = [\"other__*\"]\n";
    let fleet = Fleet::start(Setup::example().backend("other").roles(roles)).await;
    let (boss, blind) = (fleet.client("boss", "operator").await, fleet.client("blind", "other").await);
    let mut notes = blind.listen().await;
    wants(&blind, "debug").await;

    let _said = misbehaves(&boss, "log error").await;
    assert!(is_quiet(&mut notes).await);
    let _said = boss.call("other__misbehave", json!({ "how": "log error" })).await;
    assert_eq!(next_level(&mut notes).await, "error");
}

#[tokio::test]
async fn within_its_call_a_session_hears_its_own_level_whatever_others_asked_for() {
    let server = http_example(true);
    let http = format!("[[backends]]\nname = \"example\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().toml(&http)).await;
    let (one, two) = (fleet.client("one", "operator").await, fleet.client("two", "operator").await);
    wants(&one, "debug").await;

    assert_eq!(levels(&misbehaves(&one, "say debug").await), ["debug"]);
    assert_eq!(levels(&misbehaves(&two, "say debug").await), [""; 0], "info and above, unless it asks for less");
    assert_eq!(levels(&misbehaves(&two, "say warning").await), ["warning"]);
    wants(&two, "critical").await;
    assert_eq!(levels(&misbehaves(&two, "say warning").await), [""; 0]);
    let mut attached = fleet.stdio_client("three", "operator").await;
    let params = json!({ "name": "example__misbehave", "arguments": { "how": "say debug" } });
    assert_eq!(levels(&attached.request("tools/call", params).await), [""; 0]);
}

async fn said(client: &ModernClient, how: &str, level: Option<&str>) -> Reply {
    let mut params = json!({ "name": "example__misbehave", "arguments": { "how": how } });
    if let Some(level) = level {
        params["_meta"] = json!({ "io.modelcontextprotocol/logLevel": level });
    }
    client.request("tools/call", params).await
}

#[tokio::test]
async fn a_modern_request_hears_what_it_asks_for_of_a_legacy_server_and_nothing_without() {
    let server = http_example(true);
    let http = format!("[[backends]]\nname = \"example\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().toml(&http)).await;
    let client = fleet.modern_client("one", "operator").await;

    assert_eq!(levels(&said(&client, "say debug", Some("debug")).await), ["debug"]);
    assert_eq!(levels(&said(&client, "say debug", Some("warning")).await), [""; 0]);
    assert_eq!(levels(&said(&client, "say emergency", None).await), [""; 0]);
    assert_eq!(asked(&server.received(), "level")[0], "debug", "a while after the last of them it is raised again");
}

#[tokio::test]
async fn a_modern_request_hears_of_a_server_of_its_own_what_it_logs_beside_all_calls() {
    let fleet = Fleet::start(Setup::one_plane().backend_with("example", "isolation = \"per-session\"")).await;
    let (client, other) = (fleet.modern_client("one", "operator").await, fleet.modern_client("two", "operator").await);
    let slow = |level: &str| {
        let mut params = json!({ "name": "example__slow", "arguments": { "ms": 300 } });
        params["_meta"] = json!({ "progressToken": "t", "io.modelcontextprotocol/logLevel": level });
        params
    };

    let (info, error, of_another) = tokio::join!(
        client.request("tools/call", slow("info")),
        async {
            until("the call runs", async || holds(fleet.received("example").calls("slow").len() == 1)).await;
            other.request("tools/call", slow("error")).await
        },
        other.request("tools/call", json!({ "name": "example__echo", "arguments": { "text": "x" } })),
    );

    assert_eq!(levels(&info), ["info"]);
    assert_eq!(
        (levels(&error), levels(&of_another)),
        (vec![], vec![]),
        "less than it asked for, and nothing asked for"
    );
}

#[tokio::test]
async fn a_sessions_level_goes_with_each_of_its_requests_to_a_modern_server() {
    let fleet = Fleet::start(Setup::one_plane().modern_backend("example", "")).await;
    let (one, silent) = (fleet.client("one", "operator").await, fleet.client("two", "operator").await);
    wants(&one, "notice").await;

    for client in [&one, &silent] {
        assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    }

    let calls = fleet.received("example").events().into_iter().filter(|event| event["tool"] == "tools/call");
    let sent: Vec<Value> =
        calls.map(|call| call["arguments"]["_meta"]["io.modelcontextprotocol/logLevel"].clone()).collect();
    assert_eq!(sent, [json!("notice"), Value::Null]);
}

#[tokio::test]
async fn a_server_that_starts_anew_is_asked_for_its_level_anew() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("one", "operator").await;
    wants(&client, "warning").await;
    let received = fleet.received("example");
    let pid = i32::try_from(received.pids()[0]).unwrap();

    kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();

    until("it is asked anew", async || holds(asked(&received, "level") == ["warning"; 2])).await;
    fleet.write(&Setup::one_plane().backend_with("example", "env = { A = \"b\" }"));
    let reloaded = fleet.ctl("reload").await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    until("the new one is asked", async || holds(asked(&received, "level").len() == 3)).await;
}

//! Both eras over one attached connection, told apart by each message.

use nix::sys::signal::Signal;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::with_meta;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::stdio_client::StdioClient;
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

use crate::schema::is_a;

const ID: &str = "io.modelcontextprotocol/subscriptionId";

async fn attached(fleet: &Fleet) -> StdioClient {
    let token = fleet.token("claude", "operator").await;
    StdioClient::attached(&fleet.planes[0], fleet.folder(), &token)
}

#[tokio::test]
async fn a_modern_client_discovers_lists_and_calls_without_initialize() {
    let fleet = Fleet::start(Setup::example()).await;
    let mut client = attached(&fleet).await;

    let found = client.request("server/discover", with_meta(json!({}))).await;
    let listed = client.request("tools/list", with_meta(json!({}))).await;
    let call =
        json!({ "name": "example__slow", "arguments": { "ms": 60, "steps": 3 }, "_meta": { "progressToken": 1 } });
    let slow = client.request("tools/call", with_meta(call)).await;
    let gone = client.request("ping", with_meta(json!({}))).await;
    let old = client
        .request(
            "tools/list",
            with_meta(json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "1999-01-01" } })),
        )
        .await;

    is_a("DiscoverResultResponse", &found.message);
    is_a("ListToolsResultResponse", &listed.message);
    is_a("CallToolResultResponse", &slow.message);
    assert_eq!((slow.content(), slow.notes.len()), ("done after 3 steps", 3), "{slow:?}");
    is_a("MethodNotFoundError", &gone.message["error"]);
    is_a("UnsupportedProtocolVersionError", &old.message);
    let (status, said) = client.end().await;
    assert!(status.success(), "{status} {said}");
}

#[tokio::test]
async fn a_client_may_open_a_session_after_a_good_discover_and_still_ask_in_either_way() {
    let fleet = Fleet::start(Setup::example()).await;
    let mut client = attached(&fleet).await;

    let neither = client.request("tools/list", json!({})).await;
    let ping = client.request("ping", json!({})).await;
    let found = client.request("server/discover", with_meta(json!({}))).await;
    let opened = client.initialize().await;
    let legacy = client.call("example__echo", json!({ "text": "old" })).await;
    let call = json!({ "name": "example__echo", "arguments": { "text": "new" } });
    let modern = client.request("tools/call", with_meta(call)).await;

    assert_eq!(neither.message["error"]["code"], -32602);
    let advice = neither.message["error"]["message"].as_str().unwrap();
    assert!(advice.contains("initialize") && advice.contains("io.modelcontextprotocol/protocolVersion"), "{advice}");
    assert_eq!(ping.result(), &json!({}));
    assert_eq!(found.result()["resultType"], "complete");
    assert_eq!(opened.result()["protocolVersion"], "2025-11-25");
    assert_eq!((legacy.content(), legacy.result().get("resultType")), ("old", None));
    assert_eq!((modern.content(), &modern.result()["resultType"]), ("new", &json!("complete")));
}

#[tokio::test]
async fn a_cancelled_modern_call_is_not_answered_and_ends_at_the_backend() {
    let fleet = Fleet::start(Setup::example()).await;
    let mut client = attached(&fleet).await;
    let params = with_meta(json!({ "name": "example__slow", "arguments": { "ms": 600_000 } }));
    client.write(&json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": params }).to_string()).await;
    until("the call is at the backend", async || holds(!fleet.received("example").calls("slow").is_empty())).await;

    let cancel = with_meta(json!({ "requestId": "c" }));
    client.write(&json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": cancel }).to_string()).await;

    until("the backend is told", async || holds(fleet.received("example").count("cancelled") == 1)).await;
    let call = json!({ "name": "example__echo", "arguments": { "text": "x" } });
    let after = client.request("tools/call", with_meta(call)).await;
    assert_eq!((after.content(), after.notes.len()), ("x", 0), "the cancelled call says nothing: {after:?}");
}

#[tokio::test]
async fn a_subscription_is_told_until_it_is_taken_back() {
    let fleet = Fleet::start(Setup::example()).await;
    let mut client = attached(&fleet).await;
    let other = fleet.modern_client("other", "operator").await;
    let listen = async |client: &mut StdioClient, id: &str| {
        let params = with_meta(json!({ "notifications": { "toolsListChanged": true } }));
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params });
        client.write(&request.to_string()).await;
        let first: Value = serde_json::from_str(&client.read().await.unwrap()).unwrap();
        is_a("SubscriptionsAcknowledgedNotification", &first);
        assert_eq!(first["params"]["_meta"][ID], id);
    };
    listen(&mut client, "a").await;
    listen(&mut client, "b").await;

    let _grown = other.call("example__grow", json!({})).await;
    let mut told = Vec::new();
    for _ in 0..2 {
        let note: Value = serde_json::from_str(&client.read().await.unwrap()).unwrap();
        is_a("ToolListChangedNotification", &note);
        told.push(note["params"]["_meta"][ID].as_str().unwrap().to_owned());
    }
    told.sort();
    assert_eq!(told, ["a", "b"]);

    let cancel = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "a" } });
    client.write(&cancel.to_string()).await;
    // Answered after it, so that it is taken back by now.
    let _answered = client.request("server/discover", with_meta(json!({}))).await;
    let _grown = other.call("example__grow", json!({})).await;
    let note: Value = serde_json::from_str(&client.read().await.unwrap()).unwrap();
    assert_eq!(note["params"]["_meta"][ID], "b");
    let after = client.request("server/discover", with_meta(json!({}))).await;
    assert_eq!(after.notes.len(), 0, "{after:?}");
}

#[tokio::test]
async fn a_drain_ends_a_subscription_with_its_answer() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let mut client = attached(&fleet).await;
    let params = with_meta(json!({ "notifications": { "toolsListChanged": true } }));
    let request = json!({ "jsonrpc": "2.0", "id": 5, "method": "subscriptions/listen", "params": params });
    client.write(&request.to_string()).await;
    let _first = client.read().await.unwrap();

    fleet.planes[0].process.signal(Signal::SIGTERM);

    let last: Value = serde_json::from_str(&client.read().await.unwrap()).unwrap();
    is_a("SubscriptionsListenResultResponse", &last);
    assert_eq!(last["id"], 5);
    assert_eq!(client.read().await, None);
}

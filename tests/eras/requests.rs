//! What makes a request modern, what it must say of itself, and in which order it is refused (`protocol.md` 3.2, 3.3).

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::{meta, with_meta};
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::Setup;
use serde_json::{Value, json};

use crate::schema::is_a;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

fn refusal(reply: &Reply) -> (u16, i64) {
    (reply.status, reply.message["error"]["code"].as_i64().unwrap_or_else(|| panic!("no refusal: {reply:?}")))
}

#[tokio::test]
async fn discover_says_which_revisions_are_served_and_what_there_is() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;

    let reply = client.request("server/discover", json!({})).await;

    assert_eq!(reply.status, 200, "{reply:?}");
    is_a("DiscoverResultResponse", &reply.message);
    let result = reply.result();
    let supported = json!(["2026-07-28", "2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"]);
    assert_eq!((&result["supportedVersions"], &result["cacheScope"]), (&supported, &json!("private")));
    let changing = json!({ "listChanged": true });
    let offered = json!({ "tools": changing, "resources": { "subscribe": true, "listChanged": true }, "prompts": changing, "completions": {}, "logging": {} });
    assert_eq!(result["capabilities"], offered);
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "sentinel");
    assert!(reply.header("mcp-session-id").is_empty(), "{reply:?}");
}

#[tokio::test]
async fn discover_is_answered_whatever_limits_and_kill_switches_say() {
    let tight = "[rate_limit]\ndefault = { requests = 1, per_secs = 3600, burst = 1 }\n\
        per_client = { requests = 1, per_secs = 3600, burst = 1 }\n";
    let fleet = Fleet::start(Setup::example().limits(tight)).await;
    let client = fleet.modern_client("claude", "operator").await;
    let _killed = fleet.ctl("kill-switch client claude --force").await.exits(0);
    let _killed = fleet.ctl("kill-switch all").await.exits(0);

    for _ in 0..5 {
        assert_eq!(client.request("server/discover", json!({})).await.status, 200);
    }
    let listed = client.request("tools/list", json!({})).await;
    let limited = client.request("tools/list", json!({})).await;

    assert!(listed.message["result"].is_object(), "{listed:?}");
    assert_eq!(limited.status, 200);
    let _id = limited.is_refused("rate_limited", -31429);
}

#[tokio::test]
async fn what_a_request_must_say_of_itself_is_asked_for_before_all_else() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;
    let bad: Vec<Value> = vec![
        json!({ VERSION: "2026-07-28" }),
        json!({ VERSION: "2026-07-28", CAPABILITIES: [] }),
        json!({ VERSION: "2026-07-28", CAPABILITIES: null }),
        json!({ VERSION: 20_260_728, CAPABILITIES: {} }),
        json!({ VERSION: "2025-11-25", CAPABILITIES: {} }),
    ];
    for meta in bad {
        // Nothing of its headers fits either, and there is no such method.
        let message = json!({ "jsonrpc": "2.0", "id": "x", "method": "no/such", "params": { "_meta": meta } });
        let reply = client.send_with(&message, &[("mcp-method", "other")]).await;

        assert_eq!(refusal(&reply), (400, -32602), "{reply:?}");
        assert_eq!(reply.message["id"], "x");
        is_a("InvalidParamsError", &reply.message["error"]);
        let _id = reply.is_refused("invalid_meta", -32602);
    }
    let without = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
    let reply = client.send_with(&without, &[("mcp-protocol-version", "2026-07-28")]).await;
    assert_eq!(refusal(&reply), (400, -32602), "{reply:?}");
    let mut nobody = client.message("tools/list", json!({}));
    let _name = nobody["params"]["_meta"].as_object_mut().unwrap().remove("io.modelcontextprotocol/clientInfo");
    assert_eq!(client.send(&nobody).await.status, 200, "a client need not say who it is");
}

#[tokio::test]
async fn headers_that_do_not_say_what_the_body_says_are_refused_and_nothing_is_sent() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;
    let call = client.message("tools/call", json!({ "name": "example__echo", "arguments": { "text": "x" } }));
    let cases: &[&[(&'static str, &str)]] = &[
        &[("mcp-protocol-version", "")],
        &[("mcp-protocol-version", "2025-11-25")],
        &[("mcp-protocol-version", "2027-01-01")],
        &[("mcp-method", "")],
        &[("mcp-method", "tools/list")],
        &[("mcp-method", "Tools/Call")],
        &[("mcp-name", "")],
        &[("mcp-name", "example__add")],
        &[("mcp-name", "=?base64?!?=")],
        &[("mcp-name", "=?base64?ZXhhbXBsZV9fZWNobw?=")],
    ];
    for headers in cases {
        let reply = client.send_with(&call, headers).await;

        assert_eq!(refusal(&reply), (400, -32020), "{headers:?}: {reply:?}");
        assert_eq!(reply.message["id"], call["id"]);
        is_a("HeaderMismatchError", &reply.message);
        let _id = reply.is_refused("header_mismatch", -32020);
    }
    assert_eq!(fleet.received("example").count("call"), 0);
    for name in ["  example__echo ", "=?base64?ZXhhbXBsZV9fZWNobw==?="] {
        assert_eq!(client.send_with(&call, &[("mcp-name", name)]).await.content(), "x");
    }
}

#[tokio::test]
async fn a_revision_that_nobody_speaks_is_told_which_are_spoken() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;
    for method in ["server/discover", "tools/list", "no/such"] {
        let message = client.message(method, json!({ "_meta": { VERSION: "2099-01-01" } }));
        let reply = client.send(&message).await;

        assert_eq!(refusal(&reply), (400, -32022), "{reply:?}");
        is_a("UnsupportedProtocolVersionError", &reply.message);
        assert_eq!(reply.data()["requested"], "2099-01-01");
        assert_eq!(reply.data()["supported"][0], "2026-07-28");
        assert_eq!(reply.data()["supported"].as_array().unwrap().len(), 5);
    }
    let unmarked = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
    let reply = client.send_with(&unmarked, &[("mcp-protocol-version", "2099-01-01")]).await;
    assert_eq!(refusal(&reply), (400, -32022), "{reply:?}");
}

#[tokio::test]
async fn what_is_not_served_in_this_era_is_404_and_has_its_row() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;
    let gone = ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "no/such"];
    for method in gone {
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "level": "info" });
        let reply = client.request(method, params).await;

        assert_eq!(refusal(&reply), (404, -32601), "{method}: {reply:?}");
        is_a("MethodNotFoundError", &reply.message["error"]);
        let rows = fleet.audit_rows(&reply.request_id()).await;
        assert_eq!((&rows[0]["status"], &rows[0]["method"]), (&json!("denied"), &json!(method)), "{rows:?}");
    }
}

#[tokio::test]
async fn the_body_decides_the_era_on_one_endpoint() {
    let fleet = Fleet::start(Setup::example()).await;
    let modern = fleet.modern_client("claude", "operator").await;
    let legacy = fleet.client("claude", "operator").await;
    let session = legacy.session.clone().unwrap();

    // `initialize` that does not say that it is modern opens a session, whatever its header claims.
    let info = json!({ "name": "x", "version": "1" });
    let params = json!({ "protocolVersion": "2026-07-28", "capabilities": {}, "clientInfo": info });
    let opening = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params });
    let opened = modern.send_with(&opening, &[("mcp-protocol-version", "2026-07-28")]).await;
    assert_eq!(opened.result()["protocolVersion"], "2025-11-25");
    assert!(!opened.header("mcp-session-id").is_empty());

    // A session id on a modern request says nothing, good or not.
    let list = modern.message("tools/list", json!({}));
    for id in [session.as_str(), "forged"] {
        let reply = modern.send_with(&list, &[("mcp-session-id", id), ("last-event-id", "7")]).await;
        assert_eq!((reply.status, reply.header("mcp-session-id")), (200, ""), "{reply:?}");
    }

    // Notifications are taken and say nothing; responses and arrays there are none.
    let version = ("mcp-protocol-version", "2026-07-28");
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    assert_eq!(modern.send_with(&note, &[version]).await.status, 202);
    let response = json!({ "jsonrpc": "2.0", "id": 1, "result": {} });
    assert_eq!(refusal(&modern.send_with(&response, &[version]).await), (400, -32600));
    let batch = json!([modern.message("tools/list", json!({}))]);
    assert_eq!(refusal(&modern.send_with(&batch, &[version]).await), (400, -32600));
    let mut old = sentinel_tests::harness::client::Client::new(&fleet.planes[0].url(), &legacy.token);
    let _answer = old.initialize("2025-03-26").await;
    assert_eq!(refusal(&old.send(&batch.to_string()).await), (400, -32600));
}

#[tokio::test]
async fn the_other_methods_of_http_belong_to_sessions() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let http = reqwest::Client::new();
    for method in [reqwest::Method::GET, reqwest::Method::DELETE] {
        let request = http.request(method, fleet.planes[0].url()).bearer_auth(&client.token);
        let request = request.header("mcp-session-id", client.session.clone().unwrap());
        let reply = request.header("mcp-protocol-version", "2026-07-28").send().await.unwrap();
        assert_eq!((reply.status().as_u16(), reply.headers()["allow"].to_str().unwrap()), (405, "POST"));
    }
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn parameters_of_ours_that_are_wrong_are_told_over_200() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;
    let level = json!({ "_meta": { "io.modelcontextprotocol/logLevel": "loud" }, "name": "example__echo" });
    for (method, params) in [
        ("tools/call", level),
        ("tools/call", json!({ "arguments": {} })),
        ("tools/call", json!({ "name": "example__echo", "requestState": "forged" })),
        ("tools/list", json!({ "cursor": "x" })),
        ("subscriptions/listen", json!({})),
        ("subscriptions/listen", json!({ "notifications": { "toolsListChanged": "yes" } })),
    ] {
        let reply = client.request(method, params).await;

        assert_eq!(refusal(&reply), (200, -32602), "{reply:?}");
        let _id = reply.is_refused("invalid_params", -32602);
    }
    assert_eq!(fleet.received("example").count("call"), 0);
}

#[tokio::test]
async fn a_token_is_asked_for_before_the_era() {
    let fleet = Fleet::start(Setup::example()).await;
    let mut client = fleet.modern_client("claude", "operator").await;
    client.token = "x.y.z".into();

    let reply = client.request("server/discover", json!({})).await;

    assert_eq!(reply.status, 401);
    let _id = reply.is_refused("unauthenticated", -31401);
    assert_eq!(with_meta(json!({}))["_meta"], meta());
}

//! Sessions: whose they are, how long they live, what is answered without one.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

#[tokio::test]
async fn a_stolen_a_forged_and_an_ended_session_are_all_not_found() {
    let fleet = Fleet::start(Setup::example()).await;
    let mine = fleet.client("mine", "operator").await;
    let mut thief = fleet.client("thief", "operator").await;
    let session = mine.session.clone().unwrap();
    let own = thief.session.clone().unwrap();
    let mut forged = session.clone();
    let last = forged.pop().unwrap();
    forged.push(if last == 'A' { 'B' } else { 'A' });

    for id in [session.as_str(), &forged, "x", &"y".repeat(4000)] {
        thief.session = Some(id.into());
        let reply = thief.call("example__echo", json!({ "text": "x" })).await;
        assert_eq!(reply.status, 404, "{reply:?}");
        let _id = reply.is_refused("session_not_found", -31404);
    }
    thief.session = Some(own);
    let ended = thief.end().await.status;
    let after = thief.call("example__echo", json!({ "text": "x" })).await;

    assert!((200..300).contains(&ended), "{ended}");
    assert_eq!(after.status, 404);
    assert_eq!(mine.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    assert_eq!(fleet.received("example").calls("echo").len(), 1);
}

#[tokio::test]
async fn a_session_outlives_a_restart_of_the_plane() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");

    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    fleet.until_ready().await;

    assert_eq!(client.call_once_known("example__echo", json!({ "text": "y" })).await.content(), "y");
}

#[tokio::test]
async fn each_legacy_revision_is_spoken_and_an_unknown_one_gets_the_newest() {
    let fleet = Fleet::start(Setup::example()).await;
    let token = fleet.token("claude", "operator").await;
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let mut client = sentinel_tests::harness::client::Client::new(&fleet.planes[0].url(), &token);
        let _answer = client.initialize(revision).await;
        assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    }
    let client = sentinel_tests::harness::client::Client::new(&fleet.planes[0].url(), &token);

    let params =
        json!({ "protocolVersion": "1999-01-01", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } });
    let reply = client.request("initialize", params).await;

    assert_eq!(reply.result()["protocolVersion"], "2025-11-25");
}

#[tokio::test]
async fn without_a_session_nothing_but_initialize_is_answered() {
    let fleet = Fleet::start(Setup::example()).await;
    let token = fleet.token("claude", "operator").await;
    let client = sentinel_tests::harness::client::Client::new(&fleet.planes[0].url(), &token);

    let reply = client.call("example__echo", json!({ "text": "x" })).await;

    assert_eq!(reply.status, 400);
    let _id = reply.is_refused("invalid_request", -32600);
    assert_eq!(fleet.received("example").count("call"), 0);
}

#[tokio::test]
async fn what_is_not_offered_is_method_not_found_and_ping_is_answered() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    for method in ["tasks/list", "no/such"] {
        let reply = client.request(method, json!({})).await;
        assert_eq!((reply.status, &reply.message["error"]["code"]), (200, &json!(-32601)), "{reply:?}");
    }
    assert_eq!(client.request("ping", json!({})).await.result(), &json!({}));
    let paged = client.request("tools/list", json!({ "cursor": "x" })).await;
    assert_eq!(paged.message["error"]["code"], -32602);
}

#[tokio::test]
async fn paths_of_later_issues_and_foreign_hosts_and_origins_are_refused() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let base = format!("http://{}", fleet.planes[0].address());
    let http = reqwest::Client::new();
    for path in ["/", "/servers/x/mcp", "/.well-known/oauth-protected-resource"] {
        assert_eq!(http.get(format!("{base}{path}")).send().await.unwrap().status(), 404, "{path}");
    }
    let body = client.message("ping", &json!({}));

    let rebound = client.post(body.clone().into_bytes()).header("host", "evil.test").send().await.unwrap();
    let foreign = client.post(body.into_bytes()).header("origin", "https://evil.test").send().await.unwrap();

    assert_eq!((rebound.status(), foreign.status()), (reqwest::StatusCode::FORBIDDEN, reqwest::StatusCode::FORBIDDEN));
    let (rebound, foreign) = (rebound.text().await.unwrap(), foreign.text().await.unwrap());
    assert!(rebound.contains("gateway.allowed_hosts"), "{rebound}");
    assert!(foreign.contains("gateway.allowed_origins"), "{foreign}");
}

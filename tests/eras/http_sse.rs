//! Servers that only speak HTTP+SSE, the transport of 2024-11-05, for clients of both eras, with real programs.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::{HttpExample, Setup, old_http_example};
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

const SAID: &str = "transport = \"sse\"";
const GREETING: &str = "example://greeting";

async fn fleet(more: &str) -> (HttpExample, Fleet) {
    let server = old_http_example();
    let backend = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n{more}\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().toml(&backend)).await;
    (server, fleet)
}

#[tokio::test]
async fn it_is_called_like_any_other_whether_the_file_says_its_transport_or_not() {
    for more in [SAID, ""] {
        let (server, fleet) = fleet(more).await;
        let (legacy, modern) = (fleet.client("old", "operator").await, fleet.modern_client("new", "operator").await);
        let number = json!({ "json": r#"{ "n": 12345678901234567890, "f" : 1.50e1 }"# });
        for (method, params) in [
            ("tools/call", json!({ "name": "web__echo", "arguments": { "text": "é \u{1F980}" } })),
            ("tools/call", json!({ "name": "web__big", "arguments": { "bytes": 300_000 } })),
            ("tools/call", json!({ "name": "web__raw", "arguments": number })),
            ("resources/read", json!({ "uri": GREETING })),
            ("prompts/get", json!({ "name": "web__greet", "arguments": { "name": "Ada", "style": "short" } })),
        ] {
            let (one, two) =
                (legacy.request(method, params.clone()).await, modern.request(method, params.clone()).await);
            let members = |value: &Value| value.as_object().map_or(0, serde_json::Map::len);
            assert!(members(one.result()) > 0 && members(two.result()) > members(one.result()), "{method} {params}");
        }
        assert_eq!(legacy.call("web__echo", json!({ "text": "hello" })).await.content(), "hello");

        let params = json!({
            "name": "web__slow", "arguments": { "ms": 50, "steps": 2 }, "_meta": { "progressToken": "mine" },
        });
        let slow = legacy.request("tools/call", params).await;
        assert_eq!(slow.content(), "done after 2 steps");
        let told = slow.notes.iter().filter(|note| note["params"]["progressToken"] == "mine").count();
        assert_eq!(told, 2, "{slow:?}");

        let listed = fleet.ctl("backend list --output json").await.json();
        assert_eq!(listed[0]["state"], "ready", "{listed}");
        assert_eq!(server.received().count("initialize"), 1);
    }
}

#[tokio::test]
async fn calls_run_side_by_side_and_each_gets_its_own_answer() {
    let (_server, fleet) = fleet(SAID).await;
    let client = fleet.client("claude", "operator").await;
    let calls = (0..40).map(|number| {
        let client = &client;
        async move { (number, client.call("web__add", json!({ "a": number, "b": 1 })).await) }
    });
    for (number, reply) in futures_util::future::join_all(calls).await {
        assert_eq!(reply.content(), (number + 1).to_string());
    }
}

#[tokio::test]
async fn a_call_that_is_cancelled_or_too_late_is_told_to_the_server() {
    let (server, fleet) = fleet(&format!("{SAID}\ntimeouts = {{ slow = 1 }}")).await;
    let client = fleet.client("claude", "operator").await;

    let late = client.call("web__slow", json!({ "ms": 600_000 })).await;

    let _id = late.is_refused("timeout", -31504);
    until("the server is told", async || holds(server.received().count("cancel") == 1)).await;
    assert_eq!(client.call("web__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn changed_lists_resources_and_log_levels_are_kept_up() {
    let (server, fleet) = fleet(SAID).await;
    let client = fleet.client("claude", "operator").await;
    let mut notes = client.listen().await;

    let subscribed = client.request("resources/subscribe", json!({ "uri": GREETING })).await;
    assert_eq!(subscribed.result(), &json!({}));
    let touched = client.call("web__misbehave", json!({ "how": format!("touch {GREETING}") })).await;
    assert_eq!(touched.content(), "as asked");
    let told = notes.next_json().await.unwrap();
    assert_eq!(
        (&told["method"], &told["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!(GREETING))
    );

    assert_eq!(client.call("web__grow", json!({ "what": "prompt" })).await.content(), "grown_1");
    assert_eq!(notes.next_json().await.unwrap()["method"], "notifications/prompts/list_changed");
    let got = client.request("prompts/get", json!({ "name": "web__grown_1" })).await;
    assert_eq!(got.result()["messages"][0]["content"]["text"], "grown_1");

    assert_eq!(client.request("logging/setLevel", json!({ "level": "error" })).await.result(), &json!({}));
    until("the server is asked for it", async || holds(server.received().count("level") == 1)).await;
    let _said = client.call("web__misbehave", json!({ "how": "log error" })).await;
    let note = notes.next_json().await.unwrap();
    assert_eq!((&note["method"], &note["params"]["level"]), (&json!("notifications/message"), &json!("error")));
}

#[tokio::test]
async fn a_server_that_dies_fails_its_calls_and_what_comes_in_its_place_is_found() {
    let (mut server, fleet) = fleet("").await;
    let client = fleet.client("claude", "operator").await;
    let waiting = client.call("web__slow", json!({ "ms": 600_000 }));
    let dying = async {
        until("the call is there", async || holds(server.received().calls("slow").len() == 1)).await;
        server.comes_back_old().await;
    };

    let (lost, ()) = tokio::join!(waiting, dying);

    let _id = lost.is_refused("backend_error", -31502);
    let works = async |text: &str| {
        until("the next call is good", async || {
            let reply = client.call("web__echo", json!({ "text": text })).await;
            if reply.message["result"]["content"][0]["text"] == *text { Ok(()) } else { Err(reply) }
        })
        .await;
    };
    works("again").await;
    assert_eq!(server.received().calls("slow").len(), 1, "a call that left is never repeated");

    for is_modern in [false, true] {
        server.comes_back(is_modern).await;
        works("another").await;
    }
    server.comes_back_old().await;
    works("as before").await;
}

#[tokio::test]
async fn what_it_asks_while_all_share_it_is_asked_of_nobody() {
    let (server, fleet) = fleet(SAID).await;
    let client = fleet.client("claude", "operator").await;

    let declared = client.call("web__declared", json!({})).await;

    assert_eq!(declared.content(), "{}");
    let _soon = client.call("web__roots_later", json!({})).await;
    until("the server has its refusal", async || {
        if server.received().count("answer") > 0 { Ok(()) } else { Err(server.received().events()) }
    })
    .await;
}

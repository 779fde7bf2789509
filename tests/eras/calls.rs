//! Modern calls: listed, called, told on the way, cancelled by a hang-up, governed like any other.

use std::time::Duration;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::{Setup, http_example};
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

use crate::schema::is_a;

const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";

#[tokio::test]
async fn a_list_is_what_the_role_sees_and_belongs_to_it_alone() {
    let fleet = Fleet::start(Setup::example()).await;
    let operator = fleet.modern_client("claude", "operator").await;
    let analyst = fleet.modern_client("reader", "analyst").await;
    let legacy = fleet.client("claude", "operator").await;

    let listed = operator.request("tools/list", json!({})).await;

    is_a("ListToolsResultResponse", &listed.message);
    let result = listed.result();
    assert_eq!((&result["resultType"], &result["cacheScope"]), (&json!("complete"), &json!("private")));
    assert!(result["ttlMs"].is_u64(), "{result}");
    assert_eq!(operator.tools().await, legacy.tools().await);
    assert_eq!(analyst.tools().await, ["example__echo", "example__add"]);
}

#[tokio::test]
async fn a_result_says_its_type_and_keeps_its_bytes() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;
    for json in [r#"{ "big" : 1234567890123456789012.0e-5 , "big": 1 }"#, r#"{"":{"result":{"resultType":0}},"id":7}"#]
    {
        let reply = client.call("example__raw", json!({ "json": json })).await;

        is_a("CallToolResultResponse", &reply.message);
        let text = format!(r#"{{"content":[],"structuredContent":{json},"resultType":"complete"}}"#);
        assert_eq!((reply.status, reply.result_text()), (200, text));
    }
    let rows = fleet.audit_rows(&client.call("example__fail", json!({ "message": "no" })).await.request_id()).await;
    assert_eq!((&rows[0]["status"], &rows[0]["client"]), (&json!("tool_error"), &json!("claude")));
    assert!(rows[0]["session"].as_str().unwrap_or_default().is_empty(), "{rows:?}");
}

#[tokio::test]
async fn a_big_result_is_whole_and_says_its_type_from_either_kind_of_backend() {
    let server = http_example(false);
    let backend = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::example().toml(&backend)).await;
    let client = fleet.modern_client("claude", "operator").await;
    for name in ["example__big", "web__big"] {
        let reply = client.call(name, json!({ "bytes": 3_000_000 })).await;

        assert_eq!(reply.content().len(), 3_000_000);
        assert!(reply.text.ends_with(r#","resultType":"complete"}}"#), "{name}");
    }
}

#[tokio::test]
async fn a_backend_sees_nothing_of_the_clients_era() {
    let server = http_example(false);
    let backend = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().toml(&backend)).await;
    let client = fleet.modern_client("claude", "operator").await;

    let reply = client.call("web__echo", json!({ "text": "x" })).await;

    assert_eq!(reply.content(), "x");
    let calls = server.received().calls("echo");
    assert_eq!(calls.len(), 1);
    assert!(!format!("{calls:?}").contains("io.modelcontextprotocol"), "{calls:?}");
}

#[tokio::test]
async fn progress_comes_on_the_requests_own_stream_with_its_own_token() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;
    let params = json!({ "name": "example__slow", "arguments": { "ms": 150, "steps": 3 }, "_meta": { "progressToken": "mine" } });

    let reply = client.request("tools/call", params).await;

    let steps: Vec<&Value> = reply.notes.iter().map(|note| &note["params"]["progress"]).collect();
    assert_eq!(steps, [&json!(1), &json!(2), &json!(3)], "{reply:?}");
    for note in &reply.notes {
        is_a("ProgressNotification", note);
        assert_eq!(note["params"]["progressToken"], "mine");
    }
    assert_eq!(reply.header("x-accel-buffering"), "no");
    is_a("CallToolResultResponse", &reply.message);
    assert_eq!(reply.content(), "done after 3 steps");
}

#[tokio::test]
async fn log_notes_come_with_the_request_that_asked_for_their_level_and_with_no_other() {
    let server = http_example(true);
    let backend = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().toml(&backend)).await;
    let client = fleet.modern_client("claude", "operator").await;
    let call = async |level: Option<&str>| {
        let mut meta = json!({ "progressToken": 1 });
        if let Some(level) = level {
            meta[LOG_LEVEL] = json!(level);
        }
        let params = json!({ "name": "web__slow", "arguments": { "ms": 20 }, "_meta": meta });
        let reply = client.request("tools/call", params).await;
        assert_eq!(reply.content(), "done after 1 steps");
        reply.notes.into_iter().filter(|note| note["method"] == "notifications/message").collect::<Vec<_>>()
    };

    let (none, info, error) = (call(None).await, call(Some("info")).await, call(Some("error")).await);

    assert_eq!((none.len(), info.len(), error.len()), (0, 1, 0), "{info:?}");
    is_a("LoggingMessageNotification", &info[0]);
    assert_eq!(info[0]["params"]["data"], "slow has begun");
}

#[tokio::test]
async fn a_hang_up_cancels_the_call_at_the_backend_and_in_its_row() {
    let server = http_example(false);
    let backend = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::example().toml(&backend)).await;
    let client = fleet.modern_client("claude", "operator").await;
    let hang_up = async |tool: &str, streams: bool, has_it: &dyn Fn() -> bool| {
        let mut params = json!({ "name": tool, "arguments": { "ms": 60_000, "steps": 600 } });
        if streams {
            params["_meta"] = json!({ "progressToken": 1 });
        }
        let message = client.message("tools/call", params);
        if streams {
            let (_status, headers, mut messages) = client.open(&message).await;
            assert_eq!(messages.next_json().await.unwrap()["method"], "notifications/progress");
            return headers["x-request-id"].to_str().unwrap().to_owned();
        }
        tokio::select! {
            _reply = client.send(&message) => panic!("it was answered"),
            () = until("the call is at the backend", async || holds(has_it())) => String::new(),
        }
    };

    let (stdio, web) = (fleet.received("example"), server.received());
    let _before_a_head = hang_up("example__slow", false, &|| stdio.calls("slow").len() == 1).await;
    until("the backend has heard it", async || holds(fleet.received("example").count("cancelled") == 1)).await;
    let in_a_stream = hang_up("example__slow", true, &|| true).await;
    until("the backend has heard it", async || holds(fleet.received("example").count("cancelled") == 2)).await;
    let _before_a_head = hang_up("web__slow", false, &|| web.calls("slow").len() == 1).await;
    until("the backend has heard it", async || holds(server.received().count("cancelled") == 1)).await;

    assert_eq!(fleet.audit_rows(&in_a_stream).await[0]["status"], "cancelled");
    until("each has its row", async || {
        let listed = fleet.ctl("audit list --status cancelled --output json").await;
        if listed.json().as_array().is_some_and(|rows| rows.len() == 3) { Ok(()) } else { Err(listed) }
    })
    .await;
}

#[tokio::test]
async fn a_legacy_call_outlives_its_connection_as_before() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let call = client.message("tools/call", &json!({ "name": "example__slow", "arguments": { "ms": 400 } }));

    tokio::select! {
        _reply = client.send(&call) => panic!("it was answered"),
        () = until("the call is at the backend", async || holds(fleet.received("example").calls("slow").len() == 1)) => {}
    }

    until("its row says that it ended well", async || {
        let listed = fleet.ctl("audit list --status ok --tool example__slow --output json").await;
        if listed.json().as_array().is_some_and(|rows| rows.len() == 1) { Ok(()) } else { Err(listed) }
    })
    .await;
    assert_eq!(fleet.received("example").count("cancelled"), 0);
}

#[tokio::test]
async fn a_modern_call_is_governed_like_any_other() {
    let fleet = Fleet::start(Setup::example()).await;
    let reader = fleet.modern_client("reader", "analyst").await;

    let hidden = reader.call("example__counter", json!({})).await;
    let forbidden = reader.call("example__add", json!({ "a": 5000, "b": 1 })).await;
    let invalid = reader.call("example__add", json!({ "a": "x", "b": 1 })).await;
    let _killed = fleet.ctl("kill-switch tool example__echo").await.exits(0);
    let killed = reader.call("example__echo", json!({ "text": "x" })).await;

    for (reply, kind, code) in [
        (&hidden, "unknown_tool", -32602),
        (&forbidden, "forbidden", -31403),
        (&invalid, "invalid_arguments", -32602),
        (&killed, "disabled", -31423),
    ] {
        assert_eq!(reply.status, 200, "{reply:?}");
        is_a("JSONRPCErrorResponse", &reply.message);
        let id = reply.is_refused(kind, code);
        assert_eq!(fleet.audit_rows(&id).await[0]["status"], "denied");
    }
    assert_eq!(fleet.received("example").count("call"), 0);
}

#[tokio::test]
async fn a_backends_error_never_makes_a_client_leave_its_era() {
    let fleet = Fleet::start(Setup::example()).await;
    let modern = fleet.modern_client("claude", "operator").await;
    let legacy = fleet.client("claude", "operator").await;
    for (how, told, status) in [("error", -32000, 200), ("lacks", -32021, 400), ("version", -32603, 200)] {
        let reply = modern.call("example__misbehave", json!({ "how": how })).await;
        let as_before = legacy.call("example__misbehave", json!({ "how": how })).await;

        assert_eq!((reply.status, &reply.message["error"]["code"]), (status, &json!(told)), "{reply:?}");
        assert_eq!(as_before.status, 200);
        assert_eq!(reply.message["error"]["message"], as_before.message["error"]["message"]);
    }
    let own = legacy.call("example__misbehave", json!({ "how": "version" })).await;
    assert_eq!(own.message["error"]["code"], -32022, "a legacy client gets what its server said");
}

#[tokio::test]
async fn clients_of_both_eras_with_the_same_ids_each_get_their_own_answers() {
    let fleet = Fleet::start(Setup::one_plane().backend_with("example", "max_concurrency = 256")).await;
    let legacy = fleet.client("claude", "operator").await;
    let modern = fleet.modern_client("claude", "operator").await;
    let body = |number: u32, message: Value| {
        let mut message = message;
        message["id"] = json!(7);
        message["params"]["arguments"] = json!({ "text": number.to_string() });
        message
    };

    let url = fleet.planes[0].url();
    let calls = (0..200_u32).map(|number| {
        let (url, legacy, modern, body) = (&url, &legacy, &modern, &body);
        async move {
            let params = json!({ "name": "example__echo" });
            let reply = if number % 8 == 0 {
                // A session's ids are its own: each of these has one.
                let other = Client::connected(url, &legacy.token).await;
                let message: Value = serde_json::from_str(&other.message("tools/call", &params)).unwrap();
                other.send(&body(number, message).to_string()).await
            } else {
                modern.send(&body(number, modern.message("tools/call", params))).await
            };
            assert_eq!(reply.content(), number.to_string());
        }
    });
    let _all = tokio::time::timeout(Duration::from_secs(60), futures_util::future::join_all(calls)).await.unwrap();
    assert_eq!(fleet.received("example").calls("echo").len(), 200);
}

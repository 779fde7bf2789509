//! What works: lists, calls, progress, log notes, cancellation, list_changed, byte-for-byte results.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

#[tokio::test]
async fn a_listed_tool_is_called_and_its_result_comes_back() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    let tools = client.tools().await;
    let reply = client.call("example__echo", json!({ "text": "hello" })).await;

    assert!(tools.contains(&"example__echo".to_owned()), "{tools:?}");
    assert_eq!(reply.content(), "hello");
    assert_eq!(fleet.received("example").calls("echo").len(), 1);
    assert_eq!(uuid::Uuid::parse_str(&reply.request_id()).unwrap().get_version_num(), 7);
}

#[tokio::test]
async fn a_result_is_passed_on_byte_for_byte() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let odd = [
        r#"{ "big" : 123456789012345678901234567890.0e-5 , "big": 1 }"#,
        r#"{"escaped":"\u0041\/\ud83d\ude00","é":"\u2028  "}"#,
        r#"[ -0, 1E400, 0.10, 9007199254740993 ,true, null ]"#,
        r#"{"":{"":[[],{}]},"id":7,"method":"tools/call","jsonrpc":"1.0"}"#,
    ];
    for json in odd {
        let reply = client.call("example__raw", json!({ "json": json })).await;

        assert_eq!(reply.result_text(), format!(r#"{{"content":[],"structuredContent":{json}}}"#));
    }
}

#[tokio::test]
async fn a_big_result_comes_back_whole() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    let reply = client.call("example__big", json!({ "bytes": 5_000_000 })).await;

    assert_eq!(reply.content().len(), 5_000_000);
}

#[tokio::test]
async fn a_tools_own_failure_is_a_result() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    let reply = client.call("example__fail", json!({ "message": "no luck" })).await;

    assert_eq!(reply.content(), "no luck");
    assert_eq!(reply.result()["isError"], true);
    let rows = fleet.audit_rows(&reply.request_id()).await;
    assert_eq!((&rows[0]["status"], rows.len()), (&json!("tool_error"), 1));
}

#[tokio::test]
async fn progress_comes_before_the_answer_with_the_clients_own_token() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let meta = json!({ "progressToken": "mine" });
    let params = json!({ "name": "example__slow", "arguments": { "ms": 150, "steps": 3 }, "_meta": meta });

    let reply = client.request("tools/call", params).await;

    let progress: Vec<&Value> = reply.notes.iter().filter(|note| note["method"] == "notifications/progress").collect();
    let steps: Vec<&Value> = progress.iter().map(|note| &note["params"]["progress"]).collect();
    assert_eq!(steps, [&json!(1), &json!(2), &json!(3)], "{reply:?}");
    assert!(progress.iter().all(|note| note["params"]["progressToken"] == "mine"), "{reply:?}");
    assert_eq!(reply.content(), "done after 3 steps");
}

#[tokio::test]
async fn a_log_note_of_a_backend_comes_on_the_get_stream_of_a_client_that_asked_for_its_level() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let level = client.request("logging/setLevel", json!({ "level": "info" })).await;
    let mut notes = client.listen().await;
    let meta = json!({ "progressToken": 1 });

    let _reply = client
        .request("tools/call", json!({ "name": "example__slow", "arguments": { "ms": 10 }, "_meta": meta }))
        .await;

    assert_eq!(level.result(), &json!({}));
    let note = notes.next_json().await.unwrap();
    assert_eq!((&note["method"], &note["params"]["data"]), (&json!("notifications/message"), &json!("slow has begun")));
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_backend_and_recorded_so() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let call = client.message("tools/call", &json!({ "name": "example__slow", "arguments": { "ms": 60_000 } }));
    let id = serde_json::from_str::<Value>(&call).unwrap()["id"].clone();
    let reply = async { client.send(&call).await };
    let cancel = async {
        until("the call is at the backend", async || holds(!fleet.received("example").calls("slow").is_empty())).await;
        client.notify("notifications/cancelled", json!({ "requestId": id, "reason": "enough" })).await
    };

    let (reply, cancelled) = tokio::join!(reply, cancel);

    assert_eq!(cancelled.status, 202);
    assert!(reply.message.is_null(), "a cancelled request is not answered: {reply:?}");
    until("the backend has heard it", async || holds(fleet.received("example").count("cancelled") == 1)).await;
    let rows = fleet.audit_rows(&reply.request_id()).await;
    assert_eq!(rows[0]["status"], "cancelled", "{rows:?}");
}

#[tokio::test]
async fn one_client_cannot_cancel_anothers_call() {
    let fleet = Fleet::start(Setup::example()).await;
    let (mine, other) = (fleet.client("mine", "operator").await, fleet.client("other", "operator").await);
    let call = mine.message("tools/call", &json!({ "name": "example__slow", "arguments": { "ms": 700 } }));
    let id = serde_json::from_str::<Value>(&call).unwrap()["id"].clone();
    let reply = async { mine.send(&call).await };
    let cancel = async {
        until("the call is at the backend", async || holds(!fleet.received("example").calls("slow").is_empty())).await;
        other.notify("notifications/cancelled", json!({ "requestId": id })).await
    };

    let (reply, _) = tokio::join!(reply, cancel);

    assert_eq!(reply.content(), "done after 1 steps");
    assert_eq!(fleet.received("example").count("cancelled"), 0);
}

#[tokio::test]
async fn a_new_tool_of_a_backend_is_told_and_listed() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let mut notes = client.listen().await;

    let reply = client.call("example__grow", json!({})).await;

    assert_eq!(reply.content(), "grown_1");
    assert_eq!(notes.next_json().await.unwrap()["method"], "notifications/tools/list_changed");
    until("the new tool is listed", async || {
        let tools = client.tools().await;
        if tools.contains(&"example__grown_1".to_owned()) { Ok(()) } else { Err(tools) }
    })
    .await;
    assert_eq!(client.call("example__grown_1", json!({})).await.content(), "grown_1");
}

#[tokio::test]
async fn calls_run_side_by_side_and_each_gets_its_own_answer() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    let calls = (0..40).map(|number| {
        let client = &client;
        async move { (number, client.call("example__add", json!({ "a": number, "b": 1 })).await) }
    });
    let replies = futures_util::future::join_all(calls).await;

    for (number, reply) in replies {
        assert_eq!(reply.content(), (number + 1).to_string());
    }
    assert_eq!(fleet.received("example").calls("add").len(), 40);
}

#[tokio::test]
async fn an_http_backend_is_called_like_any_other_with_json_and_with_event_streams() {
    for sse in [false, true] {
        let server = sentinel_tests::harness::setup::http_example(sse);
        let backend = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
        let fleet = Fleet::start(Setup::one_plane().toml(&backend)).await;
        let client = fleet.client("claude", "operator").await;

        let reply = client.call("web__echo", json!({ "text": "hello" })).await;
        let meta = json!({ "progressToken": 5 });
        let params = json!({ "name": "web__slow", "arguments": { "ms": 50, "steps": 2 }, "_meta": meta });
        let slow = client.request("tools/call", params).await;

        assert_eq!(reply.content(), "hello");
        assert_eq!(slow.content(), "done after 2 steps");
        let told = slow.notes.iter().filter(|note| note["params"]["progressToken"] == 5).count();
        assert_eq!(told, 2, "{slow:?}");
    }
}

#[tokio::test]
async fn sentinelctl_calls_a_tool_as_a_client_does() {
    let fleet = Fleet::start(Setup::example()).await;
    let url = fleet.planes[0].url();
    let args = ["tool", "call", "example__add", r#"{ "a": 2, "b": 3 }"#, "--gateway", &url, "--role", "operator"];

    let ran = fleet.controller().run_args(&args, &[]).await;

    let _ran = ran.exits(0).says("5");
    assert_eq!(fleet.received("example").calls("add").len(), 1);
}

//! What passes: reads, prompts and completions reach their backend and come back byte for byte, over both transports.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::{Setup, http_example};
use serde_json::{Value, json};

/// Requests, with the exposed name of the prompt as `{}`, and what each is in the receive log.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("resources/read", r#"{"uri":"example://greeting"}"#, "read"),
    ("resources/read", r#"{"uri":"example:\/\/dot"}"#, "read"),
    ("resources/read", r#"{"uri":"example://notes/beta"}"#, "read"),
    ("prompts/get", r#"{"name":"{}greet","arguments":{"name":"Ada","style":"short"}}"#, "get"),
    ("prompts/get", r#"{"name":"{}greet"}"#, "get"),
    (
        "completion/complete",
        r#"{"ref":{"type":"ref/prompt","name":"{}greet"},"argument":{"name":"style","value":"f"}}"#,
        "complete",
    ),
    (
        "completion/complete",
        r#"{"ref":{"type":"ref/resource","uri":"example://notes/{name}"},"argument":{"name":"name","value":""}}"#,
        "complete",
    ),
    ("resources/read", r#"{"uri":"example://notes/nobody"}"#, "read"),
];

fn request(method: &str, params: &str, prefix: &str) -> String {
    let params = params.replace("{}greet", &format!("{prefix}greet"));
    format!(r#"{{"jsonrpc":"2.0","id":"r 1","method":"{method}","params":{params}}}"#)
}

#[tokio::test]
async fn what_a_backend_answers_passes_byte_for_byte_over_http_and_over_stdio() {
    for sse in [false, true] {
        let server = http_example(sse);
        let backend = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
        let fleet = Fleet::start(Setup::one_plane().toml(&backend)).await;
        let client = fleet.client("claude", "operator").await;
        let mut attached = fleet.stdio_client("desk", "operator").await;
        let direct = Client::connected(&server.url, "").await;

        for (method, params, _) in REQUESTS {
            let want = direct.send(&request(method, params, "")).await;
            let got = client.send(&request(method, params, "web__")).await;
            assert_eq!((got.status, &got.text), (200, &want.text), "{method} {params}");
            attached.write(&request(method, params, "web__")).await;
            assert_eq!(attached.answer_to(&json!("r 1")).await.text, want.text, "{method} {params}");
        }
    }
}

#[tokio::test]
async fn each_leaves_one_row_with_its_method_its_target_and_its_backend() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    for (method, params, event) in REQUESTS {
        let before = fleet.received("example").count(event);
        let reply = client.send(&request(method, params, "example__")).await;
        assert_eq!(fleet.received("example").count(event), before + 1, "{method} {params}");
        let rows = fleet.audit_rows(&reply.request_id()).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        let asked: Value = serde_json::from_str(&params.replace("{}", "example__")).unwrap();
        let named = |params: &Value| params["uri"].as_str().or_else(|| params["name"].as_str()).map(str::to_owned);
        let target = named(&asked).or_else(|| named(&asked["ref"])).unwrap();
        let status = if reply.message.get("error").is_some() { "tool_error" } else { "ok" };
        assert_eq!((&rows[0]["method"], &rows[0]["tool"]), (&json!(method), &json!(target)), "{rows:?}");
        assert_eq!((&rows[0]["backend"], &rows[0]["status"]), (&json!("example"), &json!(status)), "{rows:?}");
    }
    let call = fleet.received("example").events().into_iter().find(|event| event["event"] == "get").unwrap();
    assert_eq!(call["tool"], "greet", "the backend knows its prompt by its own name");
}

#[tokio::test]
async fn a_read_that_takes_its_time_tells_its_progress_and_can_be_cancelled() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let read = json!({ "uri": "example://slow/200", "_meta": { "progressToken": "mine" } });

    let reply = client.request("resources/read", read).await;

    assert_eq!(reply.result()["contents"][0]["text"], "done");
    assert_eq!(reply.notes.len(), 10, "{reply:?}");
    assert!(reply.notes.iter().all(|note| note["params"]["progressToken"] == "mine"), "{reply:?}");

    let long = client.message("resources/read", &json!({ "uri": "example://slow/600000" }));
    let id = serde_json::from_str::<Value>(&long).unwrap()["id"].clone();
    let reply = async { client.send(&long).await };
    let cancel = async {
        sentinel_tests::harness::until::until("the read is at the backend", async || {
            let reads = fleet.received("example").count("read");
            if reads == 2 { Ok(()) } else { Err(reads) }
        })
        .await;
        client.notify("notifications/cancelled", json!({ "requestId": id })).await
    };
    let (reply, _) = tokio::join!(reply, cancel);
    assert!(reply.message.is_null(), "{reply:?}");
    assert_eq!(fleet.audit_rows(&reply.request_id()).await[0]["status"], "cancelled");
}

#[tokio::test]
async fn a_read_past_its_time_is_answered_timeout() {
    let fleet = Fleet::start(Setup::one_plane().backend_with("example", "timeout_secs = 1")).await;
    let client = fleet.client("claude", "operator").await;

    let reply = client.request("resources/read", json!({ "uri": "example://slow/600000" })).await;

    let id = reply.is_refused("timeout", -31504);
    assert_eq!(fleet.audit_rows(&id).await[0]["status"], "timeout");
}

#[tokio::test]
async fn what_does_not_say_what_it_is_about_is_refused_here() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let refused = |reply: Reply| {
        let _id = reply.is_refused("invalid_params", -32602);
    };

    refused(client.request("resources/read", json!({})).await);
    refused(client.request("resources/read", json!({ "uri": 7 })).await);
    refused(client.request("prompts/get", json!({ "arguments": {} })).await);
    refused(client.request("completion/complete", json!({ "argument": {} })).await);
    refused(client.request("completion/complete", json!({ "ref": { "type": "ref/tool", "name": "a" } })).await);
    let doubled = r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"example__greet","Name":"x"}}}"#;
    assert_eq!(client.send(doubled).await.message["error"]["code"], -32600);
    for event in ["read", "get", "complete"] {
        assert_eq!(fleet.received("example").count(event), 0);
    }
}

//! Bodies that no honest client sends: the right JSON-RPC error, and nothing reaches a backend.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::{Value, json};

const CALL: &str = r#""method":"tools/call","params":{"name":"example__counter","arguments":{}}"#;

#[tokio::test]
async fn rubbish_is_a_parse_error_or_an_invalid_request_and_goes_no_further() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let deep = format!(r#"{{"jsonrpc":"2.0","id":1,{CALL},"x":{}{}}}"#, "[".repeat(128), "]".repeat(128));
    let cases: Vec<(String, &[i64])> = vec![
        (String::new(), &[-32700]),
        ("{".into(), &[-32700]),
        ("nonsense".into(), &[-32700]),
        (format!(r#"{{"jsonrpc":"2.0","id":1,{CALL}}} x"#), &[-32700]),
        (format!(r#"{{"jsonrpc":"2.0","id":1,{CALL}"#), &[-32700]),
        (deep, &[-32700, -32600]),
        (format!(r#"{{"jsonrpc":"2.0","id":1,"id":2,{CALL}}}"#), &[-32700, -32600]),
        (format!(r#"{{"jsonrpc":"2.0","id":1,{CALL},"method":"ping"}}"#), &[-32700, -32600]),
        (format!(r#"{{"jsonrpc":"2.0","id":1,{CALL},"\u006dethod":"ping"}}"#), &[-32700, -32600]),
        (format!(r#"{{"jsonrpc":"2.0","id":1,{CALL},"Method":"ping"}}"#), &[-32700, -32600]),
        (format!(r#"{{"jsonrpc":"2.0","id":1,{CALL},"PARAMS":{{}}}}"#), &[-32700, -32600]),
        (format!(r#"{{"jsonrpc":"2.0","id":null,{CALL}}}"#), &[-32600]),
        (format!(r#"{{"jsonrpc":"2.0","id":1.5,{CALL}}}"#), &[-32600]),
        (format!(r#"{{"jsonrpc":"2.0","id":[1],{CALL}}}"#), &[-32600]),
        (format!(r#"{{"jsonrpc":"1.0","id":1,{CALL}}}"#), &[-32600]),
        (format!(r#"{{"id":1,{CALL}}}"#), &[-32600]),
        (r#"{"jsonrpc":"2.0","id":1,"method":7,"params":{}}"#.into(), &[-32600]),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[]}"#.into(), &[-32600, -32602]),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#.into(), &[-32600, -32602]),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#.into(), &[-32600, -32602]),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"example__counter","name":"example__echo"}}"#.into(), &[-32700, -32600, -32602]),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"example__counter","Name":"example__echo"}}"#.into(), &[-32700, -32600, -32602]),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"example__counter","arguments":[]}}"#.into(), &[-32600, -32602]),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"example__echo","arguments":{"text":"\ud800"}}}"#.into(), &[-32700, -32600, -32602]),
        ("7".into(), &[-32600, -32700]),
        ("[]".into(), &[-32600]),
    ];
    for (body, codes) in cases {
        let reply = client.send(&body).await;

        let code = reply.message["error"]["code"].as_i64();
        assert!(
            code.is_some_and(|code| codes.contains(&code)),
            "{code:?} is none of {codes:?} for {body:.120}: {reply:?}"
        );
    }
    assert_eq!(fleet.received("example").count("call"), 0);
}

#[tokio::test]
async fn bytes_that_are_no_utf8_are_a_parse_error() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let mut body = format!(r#"{{"jsonrpc":"2.0","id":1,{CALL},"x":"?"}}"#).into_bytes();
    let place = body.len() - 3;
    body[place] = 0xff;

    let reply = client.send_bytes(&body).await;

    assert_eq!((reply.status, &reply.message["error"]["code"]), (400, &json!(-32700)), "{reply:?}");
    assert_eq!(fleet.received("example").count("call"), 0);
}

#[tokio::test]
async fn ids_come_back_as_they_were_sent() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    for id in ["0", "-7", r#""""#, r#""a\u0020b\/é""#, "9007199254740993", r#""server-discover-probe-1""#] {
        let reply = client.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},{CALL}}}"#)).await;

        assert!(reply.text.contains(&format!(r#""id":{id}"#)), "{id}: {}", reply.text);
        assert!(reply.message["result"].is_object(), "{reply:?}");
    }
}

#[tokio::test]
async fn a_batch_is_answered_in_the_revision_that_has_batches_and_nowhere_else() {
    let fleet = Fleet::start(Setup::example()).await;
    let token = fleet.token("claude", "operator").await;
    let mut old = Client::new(&fleet.planes[0].url(), &token);
    let _answer = old.initialize("2025-03-26").await;
    let new = fleet.client("claude", "operator").await;
    let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let call = |id: u32| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "example__add", "arguments": { "a": id, "b": 1 } } });
    let hidden = json!({ "jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": { "name": "nowhere" } });
    let batch = json!([call(1), note, call(2), hidden]).to_string();

    let answered = old.send(&batch).await;
    let refused = new.send(&batch).await;
    let too_many = old.send(&Value::Array((0..33).map(call).collect()).to_string()).await;

    let mut answers = answered.message.as_array().unwrap().clone();
    answers.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(answers[0]["result"]["content"][0]["text"], "2");
    assert_eq!(answers[1]["result"]["content"][0]["text"], "3");
    assert_eq!(answers[2]["error"]["data"]["kind"], "unknown_tool");
    assert_eq!((refused.status, too_many.status), (400, 400), "{too_many:?}");
    assert_eq!(fleet.received("example").calls("add").len(), 2);
}

#[tokio::test]
async fn an_id_that_is_still_running_is_not_taken_twice() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let body =
        r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"example__slow","arguments":{"ms":700}}}"#;
    let second = async {
        sentinel_tests::harness::until::until("the first is at the backend", async || {
            sentinel_tests::harness::until::holds(fleet.received("example").calls("slow").len() == 1)
        })
        .await;
        client.send(body).await
    };

    let (first, second) = tokio::join!(client.send(body), second);

    assert_eq!(first.content(), "done after 1 steps");
    assert_eq!(second.message["error"]["code"], -32600, "{second:?}");
    assert_eq!(fleet.received("example").calls("slow").len(), 1);
}

#[tokio::test]
async fn other_media_types_are_refused_without_a_json_body() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let body = client.message("ping", &json!({})).into_bytes();
    let http = reqwest::Client::new();
    let url = fleet.planes[0].url();
    let with = |name: &'static str, value: &'static str| {
        let request = http.post(&url).bearer_auth(&client.token).body(body.clone());
        let request = request.header("mcp-session-id", client.session.clone().unwrap());
        match name {
            "content-type" => request.header("accept", "application/json, text/event-stream").header(name, value),
            _ => request.header("content-type", "application/json").header(name, value),
        }
    };

    let text = with("content-type", "text/plain").send().await.unwrap();
    let html = with("accept", "text/html").send().await.unwrap();
    let stream_alone = with("accept", "text/event-stream").send().await.unwrap();

    assert_eq!((text.status().as_u16(), html.status().as_u16()), (415, 406));
    assert!(text.text().await.unwrap().is_empty() && html.text().await.unwrap().is_empty());
    assert_eq!(stream_alone.headers()["content-type"], "text/event-stream");
}

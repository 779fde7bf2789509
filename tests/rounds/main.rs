//! Answers that ask for more (`input_required`, revision 2026-07-28): where one end of the call, or both, are of the
//! modern era. Questions of legacy servers to legacy clients are `upcalls`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests are tests"
)]

mod legacy;
mod modern;
mod parked;
#[path = "../eras/schema.rs"]
mod schema;
mod states;
mod visits;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

/// All that a modern client can be asked.
fn all() -> Value {
    json!({ "sampling": { "tools": {} }, "elicitation": { "form": {}, "url": {} }, "roots": {} })
}

/// What a client answers to each of the server's tools.
fn answers() -> Vec<(&'static str, Value, &'static str, Value)> {
    let said = json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "hi" } });
    vec![
        (
            "elicit",
            json!({ "message": "Delete it?" }),
            "elicitation/create",
            json!({ "action": "accept", "content": { "sure": true } }),
        ),
        (
            "elicit",
            json!({ "url": "https://example.com/consent" }),
            "elicitation/create",
            json!({ "action": "accept" }),
        ),
        ("sample", json!({}), "sampling/createMessage", said),
        ("roots", json!({}), "roots/list", json!({ "roots": [{ "uri": "file:///work" }] })),
    ]
}

/// A call of a client that declares this; `more`: further members of params.
async fn call(client: &ModernClient, tool: &str, arguments: &Value, declares: &Value, more: Value) -> Reply {
    client.send(&message(client, tool, arguments, declares, more)).await
}

fn message(client: &ModernClient, tool: &str, arguments: &Value, declares: &Value, more: Value) -> Value {
    let mut params = json!({ "name": tool, "arguments": arguments });
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = declares.clone();
    if let Value::Object(more) = more {
        params.as_object_mut().unwrap().extend(more);
    }
    client.message("tools/call", params)
}

/// What the next request brings: these answers, and the state that came last.
fn next(asked: &Reply, responses: &Value) -> Value {
    match &asked.result()["requestState"] {
        Value::Null => json!({ "inputResponses": responses }),
        state => json!({ "inputResponses": responses, "requestState": state }),
    }
}

/// The one question of an answer: its key, method and params.
fn question(asked: &Reply) -> (String, String, Value) {
    schema::is_a("CallToolResultResponse", &asked.message);
    schema::is_a("InputRequiredResult", asked.result());
    assert_eq!(asked.result()["resultType"], "input_required", "{asked:?}");
    let requests = asked.result()["inputRequests"].as_object().unwrap_or_else(|| panic!("no question: {asked:?}"));
    assert_eq!(requests.len(), 1, "{asked:?}");
    let (key, one) = requests.iter().next().unwrap();
    (key.clone(), one["method"].as_str().unwrap().to_owned(), one["params"].clone())
}

/// The JSON within the text of a tool's result.
fn said(message: &Value) -> Value {
    let text = message["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {message}"));
    serde_json::from_str(text).unwrap()
}

/// The rows of this method, once there are so many; the oldest first.
async fn rows(fleet: &Fleet, method: &str, count: usize) -> Vec<Value> {
    until("they are recorded", async || {
        let all: Value =
            serde_json::from_str(&fleet.ctl("audit list --limit 1000 --output json").await.stdout).unwrap();
        let all = all.as_array().or_else(|| all["records"].as_array()).cloned().unwrap_or_default();
        let mut found: Vec<Value> = all.into_iter().filter(|row| row["method"] == method).collect();
        found.sort_by_key(|row| row["request_id"].as_str().unwrap_or_default().to_owned());
        if found.len() >= count { Ok(found) } else { Err(found) }
    })
    .await
}

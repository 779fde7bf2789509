//! What servers ask of clients: to whom it goes, who may, what becomes of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests are tests"
)]

mod isolated;
mod shared;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::sse::Messages;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

/// All that a client of the newest legacy revision can be asked.
fn all() -> Value {
    json!({
        "sampling": { "tools": {} }, "elicitation": { "form": {}, "url": {} }, "roots": { "listChanged": true },
    })
}

/// A client that can be asked this.
async fn able(fleet: &Fleet, name: &str, capabilities: Value) -> Client {
    Client::able(&fleet.planes[0].url(), &fleet.token(name, "operator").await, capabilities).await
}

/// The next question; what else comes before it is passed over.
async fn question(messages: &mut Messages) -> Value {
    loop {
        let message = messages.next_json().await.expect("the answer ended without a question");
        if message.get("id").is_some() && message.get("method").is_some() {
            return message;
        }
    }
}

/// What the server's tool says that it was answered: `{result}` or `{error}`.
async fn answered(messages: &mut Messages) -> Value {
    loop {
        let message = messages.next_json().await.expect("the answer ended without a result");
        if message.get("method").is_none() {
            return said(&message);
        }
    }
}

/// The JSON within the text of a tool's result.
fn said(message: &Value) -> Value {
    let text = message["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {message}"));
    serde_json::from_str(text).unwrap()
}

/// The rows of questions, once there are so many.
async fn rows(fleet: &Fleet, method: &str, count: usize) -> Vec<Value> {
    until("the questions are recorded", async || {
        let all: Value =
            serde_json::from_str(&fleet.ctl("audit list --limit 1000 --output json").await.stdout).unwrap();
        let all = all.as_array().or_else(|| all["records"].as_array()).cloned().unwrap_or_default();
        let found: Vec<Value> = all.into_iter().filter(|row| row["method"] == method).collect();
        if found.len() >= count { Ok(found) } else { Err(found) }
    })
    .await
}

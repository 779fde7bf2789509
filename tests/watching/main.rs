//! Single resources that clients are told of, in both eras towards clients and towards servers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests are tests"
)]

mod entitled;
mod lasting;
mod levels;
mod many;
mod promptly;
mod refused;

use std::time::Duration;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::received::Received;
use sentinel_tests::harness::sse::Messages;
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

const GREETING: &str = "example://greeting";
const ALPHA: &str = "example://notes/alpha";
/// The member of `_meta` that says which stream it is.
const ID: &str = "io.modelcontextprotocol/subscriptionId";

/// Asks to be told of a resource.
async fn subscribe(client: &Client, uri: &str) {
    let reply = client.request("resources/subscribe", json!({ "uri": uri })).await;
    assert_eq!(reply.result(), &json!({}), "{reply:?}");
}

/// Has the server of `backend` say that it changed.
async fn touch(client: &Client, backend: &str, uri: &str) {
    let touched = client.call(&format!("{backend}__misbehave"), json!({ "how": format!("touch {uri}") })).await;
    assert_eq!(touched.content(), "as asked");
}

/// As `touch`, until it is told: a server that has just started tells nobody before the stream is open.
async fn touch_until_told(client: &Client, backend: &str, uri: &str, notes: &mut Messages) {
    let how = json!({ "how": format!("touch {uri}") });
    until("the change is told", async || {
        let touched = client.call(&format!("{backend}__misbehave"), how.clone()).await;
        let told = tokio::time::timeout(Duration::from_millis(300), next_of_all(notes)).await;
        holds(touched.message.get("result").is_some() && told.is_ok_and(|told| told == uri))
    })
    .await;
}

/// The resource that the next note is about.
async fn next_updated(notes: &mut Messages) -> String {
    let note = notes.next_json().await.expect("the stream has ended");
    assert_eq!(note["method"], "notifications/resources/updated", "{note}");
    note["params"]["uri"].as_str().unwrap().to_owned()
}

/// The same where lists change as well.
async fn next_of_all(notes: &mut Messages) -> String {
    loop {
        let note = notes.next_json().await.expect("the stream has ended");
        if note["method"] == "notifications/resources/updated" {
            return note["params"]["uri"].as_str().unwrap().to_owned();
        }
    }
}

/// Resources that a server was asked about, in order, by this event of its log.
fn asked(received: &Received, event: &str) -> Vec<String> {
    let events = received.events().into_iter().filter(|seen| seen["event"] == event);
    events.map(|seen| seen["tool"].as_str().unwrap().to_owned()).collect()
}

/// The sets of resources that a modern server's streams were asked for, in order.
fn listened(received: &Received) -> Vec<Value> {
    let events = received.events().into_iter().filter(|seen| seen["tool"] == "subscriptions/listen");
    let wanted = events.map(|seen| seen["arguments"]["notifications"]["resourceSubscriptions"].clone());
    wanted.filter(|wanted| !wanted.is_null()).collect()
}

//! `subscriptions/listen`: what is granted, who is told what, and how a stream ends.

use std::time::Duration;

use nix::sys::signal::Signal;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::sse::Messages;
use serde_json::{Value, json};

use crate::schema::is_a;

const ID: &str = "io.modelcontextprotocol/subscriptionId";

#[tokio::test]
async fn a_stream_is_acknowledged_with_what_is_served_and_bears_its_requests_id() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;
    for id in [json!("listen-1"), json!(9)] {
        let filter = json!({ "toolsListChanged": true, "promptsListChanged": true, "resourceSubscriptions": ["a:b"] });

        let (first, mut notes) = client.listen(id.clone(), filter).await;
        let _grown = client.call("example__grow", json!({})).await;
        let note = notes.next_json().await.unwrap();

        is_a("SubscriptionsAcknowledgedNotification", &first);
        assert_eq!(first["params"]["notifications"], json!({ "toolsListChanged": true, "promptsListChanged": true }));
        is_a("ToolListChangedNotification", &note);
        assert_eq!(note["method"], "notifications/tools/list_changed");
        assert_eq!((&first["params"]["_meta"][ID], &note["params"]["_meta"][ID]), (&id, &id));
    }
}

/// Whether anything comes. All streams are told in one moment: after one of them was, the others need no long wait.
async fn is_told(notes: &mut Messages) -> bool {
    tokio::time::timeout(Duration::from_millis(300), notes.next_json()).await.is_ok_and(|note| note.is_some())
}

#[tokio::test]
async fn only_those_are_told_who_see_the_change_and_asked_to_be_told() {
    let fleet = Fleet::start(Setup::example()).await;
    let open = async |client: &ModernClient, filter: Value| client.listen(json!(1), filter).await;
    let (operator, analyst) =
        (fleet.modern_client("claude", "operator").await, fleet.modern_client("reader", "analyst").await);
    let all = json!({ "toolsListChanged": true });
    let (_first, mut entitled) = open(&operator, all.clone()).await;
    let (_first, mut second) = open(&operator, all.clone()).await;
    let (none, mut unasked) = open(&operator, json!({})).await;
    let (_first, mut blind) = open(&analyst, all).await;
    let legacy = fleet.client("old", "operator").await;
    let mut session = legacy.listen().await;

    // `analyst` sees nothing of a tool that has grown.
    let _grown = operator.call("example__grow", json!({})).await;

    assert_eq!(none["params"]["notifications"], json!({}));
    assert_eq!(entitled.next_json().await.unwrap()["params"]["_meta"][ID], 1);
    assert_eq!(second.next_json().await.unwrap()["params"]["_meta"][ID], 1);
    assert_eq!(session.next_json().await.unwrap()["method"], "notifications/tools/list_changed");
    assert!(!is_told(&mut unasked).await && !is_told(&mut blind).await);

    // A reload that changes what the role sees is told to it, and to nobody else.
    let roles = "[roles.operator]\nallow = [\"*\"]\n[roles.analyst]\nallow = [\"*__echo\"]\n";
    fleet.write(&Setup::example().roles(roles));
    let _reloaded = fleet.ctl("reload").await.exits(0);
    assert_eq!(blind.next_json().await.unwrap()["method"], "notifications/tools/list_changed");
    assert!(!is_told(&mut entitled).await && !is_told(&mut unasked).await);
}

#[tokio::test]
async fn a_stream_ends_with_an_answer_when_its_token_does() {
    let auth = "[auth]\nleeway_secs = 0\n";
    let fleet = Fleet::start(Setup::example().auth(auth)).await;
    let minted = fleet.ctl("token mint --client short --role operator --ttl 3s --output json").await;
    let token = minted.json()["token"].as_str().unwrap().to_owned();
    let client = ModernClient::new(&fleet.planes[0].url(), &token);

    let (_first, mut notes) = client.listen(json!("until"), json!({ "toolsListChanged": true })).await;
    let last = notes.next_json().await.unwrap();

    is_a("SubscriptionsListenResultResponse", &last);
    assert_eq!((&last["id"], &last["result"]["_meta"][ID]), (&json!("until"), &json!("until")));
    assert_eq!(notes.next().await, None);
}

#[tokio::test]
async fn a_drain_ends_each_stream_with_an_answer() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;
    let (_first, mut notes) = client.listen(json!(3), json!({ "toolsListChanged": true })).await;

    fleet.planes[0].process.signal(Signal::SIGTERM);

    let last = notes.next_json().await.unwrap();
    is_a("SubscriptionsListenResultResponse", &last);
    assert_eq!(last["id"], 3);
}

#[tokio::test]
async fn a_client_has_so_many_streams_and_those_that_it_left_do_not_count() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;
    let filter = json!({ "toolsListChanged": true });
    let mut open = Vec::new();
    for id in 0..16 {
        open.push(client.listen(json!(id), filter.clone()).await);
    }

    let refused = client.request("subscriptions/listen", json!({ "notifications": filter })).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    let _id = refused.is_refused("overloaded", -31529);

    open.clear();
    sentinel_tests::harness::until::until("there is room again", async || {
        let message = client.message("subscriptions/listen", json!({ "notifications": filter }));
        let (status, _headers, _messages) = client.open(&message).await;
        sentinel_tests::harness::until::holds(status == 200)
    })
    .await;
}

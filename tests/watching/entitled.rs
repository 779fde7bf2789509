//! Who is told: those who asked, as long as they may see it, once each, whatever era they and their server speak.

use std::time::Duration;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::{Setup, http_example, modern_http_example};
use sentinel_tests::harness::sse::Messages;
use serde_json::{Value, json};

use super::{ALPHA, GREETING, ID, next_updated, subscribe, touch};

const ROLES: &str = "[roles.operator]\nallow = [\"*\"]\n\
    [roles.reader]\nallow = [\"resource:*\"]\n\
    [roles.narrow]\nallow = [\"resource:example://greeting\"]\n";

/// Four kinds of servers, each with resources of the same URIs at an endpoint of its own.
#[tokio::test]
async fn a_change_reaches_clients_of_both_eras_from_servers_of_both_eras_over_both_transports() {
    let (legacy, modern) = (http_example(false), modern_http_example(false));
    let http = format!(
        "[[backends]]\nname = \"c\"\nurl = \"{}\"\n[[backends]]\nname = \"d\"\nurl = \"{}\"\n",
        legacy.url, modern.url
    );
    let servers: String = ["a", "b", "c", "d"]
        .map(|name| format!("[[virtual_servers]]\nname = \"{name}\"\nbackends = [\"{name}\"]\n"))
        .concat();
    let fleet = Fleet::start(Setup::one_plane().backend("a").modern_backend("b", "").toml(&http).toml(&servers)).await;

    for backend in ["a", "b", "c", "d"] {
        let client = fleet.client_of(backend, "claude", "operator").await;
        let url = fleet.planes[0].server_url(backend);
        let stateless = sentinel_tests::harness::modern::ModernClient::new(&url, &client.token);
        let mut to_legacy = client.listen().await;
        subscribe(&client, GREETING).await;
        let (granted, mut to_modern) =
            stateless.listen(json!("w"), json!({ "resourceSubscriptions": [GREETING, ALPHA] })).await;
        assert_eq!(
            granted["params"]["notifications"],
            json!({ "resourceSubscriptions": [GREETING, ALPHA] }),
            "{backend}"
        );

        touch(&client, backend, GREETING).await;
        assert_eq!(next_updated(&mut to_legacy).await, GREETING, "{backend}");
        let note = to_modern.next_json().await.unwrap();
        assert_eq!(
            (&note["params"]["uri"], &note["params"]["_meta"][ID]),
            (&json!(GREETING), &json!("w")),
            "{backend}"
        );
        touch(&client, backend, ALPHA).await;
        assert_eq!(next_updated(&mut to_modern).await, ALPHA, "{backend}");
        // The session asked for the other one alone.
        touch(&client, backend, GREETING).await;
        assert_eq!(next_updated(&mut to_legacy).await, GREETING, "{backend}");
    }
}

async fn is_quiet(notes: &mut Messages) -> bool {
    tokio::time::timeout(Duration::from_millis(300), notes.next_json()).await.is_err()
}

#[tokio::test]
async fn only_those_are_told_who_asked_and_may_see_it_still() {
    let fleet = Fleet::start(Setup::example().roles(ROLES)).await;
    let boss = fleet.client("boss", "operator").await;
    let (reader, other) = (fleet.client("reader", "reader").await, fleet.client("other", "reader").await);
    let stateless = fleet.modern_client("modern", "reader").await;
    let (mut to_reader, mut to_other) = (reader.listen().await, other.listen().await);
    subscribe(&reader, GREETING).await;
    subscribe(&reader, ALPHA).await;
    subscribe(&other, ALPHA).await;
    let (_granted, mut to_modern) =
        stateless.listen(json!(1), json!({ "resourceSubscriptions": [GREETING, ALPHA] })).await;

    touch(&boss, "example", GREETING).await;
    assert_eq!(next_updated(&mut to_reader).await, GREETING);
    assert_eq!(next_updated(&mut to_modern).await, GREETING);
    assert!(is_quiet(&mut to_other).await, "it asked for another one");

    let hiding = format!("{ROLES}deny = [\"x\"]\n").replace("[\"resource:*\"]", "[\"resource:*notes*\"]");
    fleet.write(&fleet.setup().roles(&hiding));
    let reloaded = fleet.ctl("reload").await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    touch(&boss, "example", GREETING).await;
    touch(&boss, "example", ALPHA).await;
    // The lists changed, and after that the one that is still shown: nothing of the hidden one in between.
    assert_eq!(to_reader.next_json().await.unwrap()["method"], "notifications/resources/list_changed");
    assert_eq!(next_updated(&mut to_reader).await, ALPHA);
    assert_eq!(next_updated(&mut to_modern).await, ALPHA);
}

#[tokio::test]
async fn a_killed_client_hears_nothing_while_the_switch_stands() {
    let fleet = Fleet::start(Setup::example()).await;
    let (boss, watcher) = (fleet.client("boss", "operator").await, fleet.client("watcher", "operator").await);
    let mut notes = watcher.listen().await;
    subscribe(&watcher, GREETING).await;

    let _killed = fleet.ctl("kill-switch client watcher").await.exits(0);
    touch(&boss, "example", GREETING).await;
    assert!(is_quiet(&mut notes).await);
    let _lifted = fleet.ctl("kill-switch client watcher --lift").await.exits(0);
    touch(&boss, "example", GREETING).await;
    assert_eq!(next_updated(&mut notes).await, GREETING);
}

#[tokio::test]
async fn a_session_hears_on_its_newest_stream_once_and_later_what_it_missed_without_one() {
    let fleet = Fleet::start(Setup::example()).await;
    let (boss, watcher) = (fleet.client("boss", "operator").await, fleet.client("watcher", "operator").await);
    subscribe(&watcher, GREETING).await;
    for _ in 0..3 {
        touch(&boss, "example", GREETING).await;
    }
    let mut first = watcher.listen().await;
    assert_eq!(next_updated(&mut first).await, GREETING, "missed, and told once");

    let mut second = watcher.listen().await;
    touch(&boss, "example", GREETING).await;
    assert_eq!(next_updated(&mut second).await, GREETING);
    assert!(is_quiet(&mut first).await && is_quiet(&mut second).await);
}

#[tokio::test]
async fn a_change_of_a_part_is_told_to_those_who_watch_the_whole() {
    let fleet = Fleet::start(Setup::example().roles(ROLES)).await;
    let boss = fleet.client("boss", "operator").await;
    let narrow = fleet.client("narrow", "narrow").await;
    let (mut to_boss, mut to_narrow) = (boss.listen().await, narrow.listen().await);
    for client in [&boss, &narrow] {
        subscribe(client, GREETING).await;
    }

    touch(&boss, "example", "example://greeting/part").await;
    assert_eq!(next_updated(&mut to_boss).await, "example://greeting/part");
    touch(&boss, "example", GREETING).await;
    assert_eq!(next_updated(&mut to_boss).await, GREETING);
    assert_eq!(next_updated(&mut to_narrow).await, GREETING, "its role shows the whole and not the part");
}

#[tokio::test]
async fn clients_that_are_attached_are_told_as_well() {
    let fleet = Fleet::start(Setup::example()).await;
    let boss = fleet.client("boss", "operator").await;
    let mut attached = fleet.stdio_client("attached", "operator").await;
    let reply = attached.request("resources/subscribe", json!({ "uri": GREETING })).await;
    assert_eq!(reply.result(), &json!({}));

    touch(&boss, "example", GREETING).await;

    let note: Value = serde_json::from_str(&attached.read().await.unwrap()).unwrap();
    assert_eq!(
        (&note["method"], &note["params"]["uri"]),
        (&json!("notifications/resources/updated"), &json!(GREETING))
    );
    let _ended = attached.end().await;
}

#[tokio::test]
async fn of_a_server_of_its_own_each_session_is_told_of_its_own_changes_alone() {
    let fleet = Fleet::start(Setup::one_plane().backend_with("example", "isolation = \"per-session\"")).await;
    let clients = [fleet.client("one", "operator").await, fleet.client("two", "operator").await];
    let [one, two] = &clients;
    let (mut to_one, mut to_two) = (one.listen().await, two.listen().await);
    for client in &clients {
        subscribe(client, GREETING).await;
    }

    touch(one, "example", GREETING).await;

    assert_eq!(next_updated(&mut to_one).await, GREETING);
    assert!(is_quiet(&mut to_two).await);
    touch(two, "example", GREETING).await;
    assert_eq!(next_updated(&mut to_two).await, GREETING);
}

#[tokio::test]
async fn a_batch_may_ask_for_several() {
    let fleet = Fleet::start(Setup::example()).await;
    let mut client = Client::new(&fleet.planes[0].url(), &fleet.token("old", "operator").await);
    let _begun = client.initialize("2025-03-26").await;
    let mut notes = client.listen().await;
    let ask = |uri: &str| client.message("resources/subscribe", &json!({ "uri": uri }));

    let reply = client.send(&format!("[{},{}]", ask(GREETING), ask("example://slow/1"))).await;

    let answers = reply.message.as_array().unwrap();
    assert_eq!((&answers[0]["result"], &answers[1]["error"]["code"]), (&json!({}), &json!(-32002)), "{reply:?}");
    touch(&client, "example", GREETING).await;
    assert_eq!(next_updated(&mut notes).await, GREETING);
}

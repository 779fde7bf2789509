//! One subscription at the server for all who asked, made again whenever the server is another, gone with the last of them.

use nix::sys::signal::{Signal, kill};
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::setup::{Setup, http_example, modern_http_example};
use sentinel_tests::harness::until::{holds, until};
use serde_json::json;

use super::{ALPHA, GREETING, asked, listened, next_of_all, next_updated, subscribe, touch, touch_until_told};

#[tokio::test]
async fn a_server_is_asked_once_for_all_and_asked_to_stop_when_the_last_has_left() {
    let fleet = Fleet::start(Setup::example()).await;
    let received = fleet.received("example");
    let (one, two) = (fleet.client("one", "operator").await, fleet.client("two", "operator").await);
    let stateless = fleet.modern_client("three", "operator").await;
    subscribe(&one, GREETING).await;
    subscribe(&one, GREETING).await;
    subscribe(&two, GREETING).await;
    let (_granted, notes) = stateless.listen(json!(1), json!({ "resourceSubscriptions": [GREETING] })).await;
    assert_eq!(asked(&received, "subscribe"), [GREETING]);

    // By asking, by ending its session, by hanging up: each in its own way.
    let left = one.request("resources/unsubscribe", json!({ "uri": GREETING })).await;
    assert_eq!(left.result(), &json!({}));
    assert_eq!(two.end().await.status, 204);
    touch(&one, "example", GREETING).await;
    assert_eq!(asked(&received, "unsubscribe"), [""; 0], "one is left");
    drop(notes);

    until("the server is asked to stop", async || holds(asked(&received, "unsubscribe") == [GREETING])).await;
    assert_eq!(asked(&received, "subscribe"), [GREETING]);
}

#[tokio::test]
async fn a_modern_server_has_one_stream_for_all_resources_and_none_when_nobody_wants_one() {
    let server = modern_http_example(false);
    let http = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let servers = "[[virtual_servers]]\nname = \"pipe\"\nbackends = [\"pipe\"]\n\
        [[virtual_servers]]\nname = \"web\"\nbackends = [\"web\"]\n";
    let fleet = Fleet::start(Setup::one_plane().modern_backend("pipe", "").toml(&http).toml(servers)).await;
    for (name, received) in [("pipe", fleet.received("pipe")), ("web", server.received())] {
        let (one, two) =
            (fleet.client_of(name, "one", "operator").await, fleet.client_of(name, "two", "operator").await);
        subscribe(&one, GREETING).await;
        subscribe(&two, GREETING).await;
        subscribe(&two, ALPHA).await;
        assert_eq!(listened(&received), [json!([GREETING]), json!([GREETING, ALPHA])], "{name}");
        until("the first stream has ended", async || holds(received.count("listened") == 1)).await;

        assert_eq!((one.end().await.status, two.end().await.status), (204, 204));
        until("the last stream has ended", async || holds(received.count("listened") == listened(&received).len()))
            .await;
    }
}

#[tokio::test]
async fn a_process_that_dies_is_asked_anew_and_what_it_may_have_missed_is_told() {
    for modern in [false, true] {
        let setup = Setup::one_plane();
        let setup = if modern { setup.modern_backend("example", "") } else { setup.backend("example") };
        let fleet = Fleet::start(setup).await;
        let (legacy, stateless) = (fleet.client("one", "operator").await, fleet.modern_client("two", "operator").await);
        let mut to_legacy = legacy.listen().await;
        subscribe(&legacy, GREETING).await;
        let (_granted, mut to_modern) =
            stateless.listen(json!(1), json!({ "resourceSubscriptions": [GREETING] })).await;
        let received = fleet.received("example");
        let pid = received.events().last().unwrap()["pid"].as_i64().unwrap();

        kill(nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();

        assert_eq!(next_updated(&mut to_legacy).await, GREETING, "modern: {modern}");
        assert_eq!(next_updated(&mut to_modern).await, GREETING, "modern: {modern}");
        touch(&legacy, "example", GREETING).await;
        assert_eq!(next_updated(&mut to_legacy).await, GREETING, "modern: {modern}");
        assert_eq!(next_updated(&mut to_modern).await, GREETING, "modern: {modern}");
        let times = if modern { listened(&received).len() } else { asked(&received, "subscribe").len() };
        assert_eq!(times, 2, "once for each process");
    }
}

#[tokio::test]
async fn an_http_server_that_comes_back_is_asked_anew_also_in_the_other_era() {
    let mut server = http_example(false);
    let http = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n[health]\ninterval_secs = 1\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().toml(&http)).await;
    let client = fleet.client("one", "operator").await;
    let mut notes = client.listen().await;
    subscribe(&client, GREETING).await;

    for is_modern in [false, true] {
        server.comes_back(is_modern).await;
        assert_eq!(next_of_all(&mut notes).await, GREETING, "modern: {is_modern}");
        touch_until_told(&client, "web", GREETING, &mut notes).await;
    }
}

#[tokio::test]
async fn a_reload_that_changes_the_backend_moves_what_is_watched_to_the_new_one() {
    let fleet = Fleet::start(Setup::example()).await;
    let (client, stateless) = (fleet.client("one", "operator").await, fleet.modern_client("two", "operator").await);
    let mut notes = client.listen().await;
    subscribe(&client, GREETING).await;
    let (_granted, mut to_modern) = stateless.listen(json!(1), json!({ "resourceSubscriptions": [GREETING] })).await;

    fleet.write(&Setup::one_plane().backend_with("example", "env = { A = \"b\" }"));
    let reloaded = fleet.ctl("reload").await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");

    assert_eq!(next_updated(&mut notes).await, GREETING);
    assert_eq!(next_updated(&mut to_modern).await, GREETING);
    touch(&client, "example", GREETING).await;
    assert_eq!(next_updated(&mut notes).await, GREETING);
    assert_eq!(fleet.received("example").pids().len(), 2);
}

#[tokio::test]
async fn what_is_taken_out_of_an_endpoint_is_told_there_no_more() {
    let servers = |include: &str| format!("[[virtual_servers]]\nname = \"s\"\ninclude = [\"resource:{include}\"]\n");
    let setup = Setup::example();
    let fleet = Fleet::start(setup.clone().toml(&servers("*"))).await;
    let (boss, client) = (fleet.client("boss", "operator").await, fleet.client_of("s", "one", "operator").await);
    let stateless = ModernClient::new(&fleet.planes[0].server_url("s"), &client.token);
    let mut notes = client.listen().await;
    subscribe(&client, GREETING).await;
    subscribe(&client, ALPHA).await;
    let wanted = json!({ "resourceSubscriptions": [GREETING, ALPHA] });
    let (_granted, mut to_modern) = stateless.listen(json!(1), wanted).await;

    fleet.write(&setup.toml(&servers("*notes*")));
    let reloaded = fleet.ctl("reload").await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    touch(&boss, "example", GREETING).await;
    touch(&boss, "example", ALPHA).await;

    assert_eq!(notes.next_json().await.unwrap()["method"], "notifications/resources/list_changed");
    assert_eq!(next_updated(&mut notes).await, ALPHA);
    assert_eq!(next_updated(&mut to_modern).await, ALPHA);
    let unsubscribed = || asked(&fleet.received("example"), "unsubscribe");
    until("the server is asked to stop", async || holds(unsubscribed() == [GREETING])).await;
}

//! What operators type: unknown names, the list, entries of the file, two operators at once.

use crate::started;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::json;

#[tokio::test]
async fn an_unknown_name_is_refused_with_the_nearest_ones_and_taken_with_force() {
    let fleet = started(Setup::example()).await;

    for (line, near) in [
        ("kill-switch tool example__ecco", "example__echo"),
        ("kill-switch backend exampel", "example"),
        ("kill-switch role analist", "analyst"),
    ] {
        let refused = fleet.ctl(line).await;
        assert_eq!(refused.code, Some(4), "{refused:?}");
        let _ran = refused.says(near).says("--force");
    }
    let _ran = fleet.ctl("kill-switch client nobody-has-seen-me").await.exits(0);
    let _ran = fleet.ctl("kill-switch tool late__echo --force").await.exits(0);
}

#[tokio::test]
async fn a_switch_thrown_before_its_backend_appears_holds_when_it_does() {
    let fleet = started(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let _ran = fleet.ctl("kill-switch tool late__echo --force --reason early").await.exits(0);

    fleet.write(&fleet.setup().backend("late"));
    let _ran = fleet.ctl("reload").await.exits(0);
    fleet.planes[0].until_ready(true).await;

    assert_eq!(client.call("late__add", json!({ "a": 1, "b": 1 })).await.content(), "2");
    let refused = client.call("late__echo", json!({ "text": "x" })).await;
    let _id = refused.is_refused("disabled", -31423);
    assert_eq!(refused.data()["reason"], "early");
    until("the list shows both its names, once a plane has seen it", async || {
        let listed = fleet.ctl("kill-switch list --output json").await.json();
        let entry = listed["entries"].as_array().unwrap().iter().find(|entry| entry["name"] == "late__echo").cloned();
        let is_filled = entry.as_ref().is_some_and(|entry| entry["backend"] == "late" && entry["own"] == "echo");
        if is_filled { Ok(()) } else { Err(listed) }
    })
    .await;
}

#[tokio::test]
async fn the_list_names_scope_name_reason_who_and_since() {
    let fleet = started(Setup::example()).await;
    let empty = fleet.ctl("kill-switch list").await.exits(0);
    let _ran = empty.says("Nothing is stopped.");

    let _ran = fleet.ctl("kill-switch tool example__echo --reason leak").await.exits(0);
    let _ran = fleet.ctl("kill-switch role analyst").await.exits(0);
    let _ran = fleet.ctl("kill-switch role analyst --lift").await.exits(0);

    let listed = fleet.ctl("kill-switch list --output json").await.json();
    let on: Vec<_> = listed["entries"].as_array().unwrap().iter().filter(|entry| entry["on"] == true).collect();
    assert_eq!(on.len(), 1, "{listed}");
    assert_eq!((&on[0]["scope"], &on[0]["name"]), (&json!("tool"), &json!("example__echo")));
    assert_eq!((&on[0]["backend"], &on[0]["own"]), (&json!("example"), &json!("echo")));
    assert_eq!(on[0]["reason"], "leak");
    assert!(on[0]["by"].as_str().is_some_and(|by| !by.is_empty()), "{listed}");
    assert!(on[0]["since"].as_str().is_some_and(|since| since.contains('T')), "{listed}");
}

#[tokio::test]
async fn an_entry_of_the_file_holds_while_it_stands_there_and_its_lift_names_the_line() {
    let killing = Setup::example().toml("[kill_switch]\ntools = [\"example__echo\"]");
    let fleet = started(killing).await;
    let client = fleet.client("claude", "operator").await;
    let _id = client.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);

    let lift = fleet.ctl("kill-switch tool example__echo --lift").await;
    assert_eq!(lift.code, Some(4), "{lift:?}");
    let _ran = lift.says("sentinel.toml:");
    let _id = client.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);

    fleet.write(&Setup::example());
    let _ran = fleet.ctl("reload").await.exits(0);
    assert_eq!(client.call("example__echo", json!({ "text": "y" })).await.content(), "y");
}

#[tokio::test]
async fn f36_of_two_operators_at_once_the_newest_epoch_decides_everywhere() {
    let fleet = started(Setup::example().planes(2)).await;
    let token = fleet.token("claude", "operator").await;
    let kills = async {
        for _ in 0..15 {
            let ran = fleet.ctl("kill-switch tool example__echo --output json").await;
            assert_eq!(ran.code, Some(0), "{ran:?}");
        }
    };
    let lifts = async {
        for _ in 0..15 {
            // One that finds nothing to lift fails, and says so.
            let ran = fleet.ctl("kill-switch tool example__echo --lift").await;
            assert!(matches!(ran.code, Some(0 | 4)), "{ran:?}");
        }
    };
    tokio::join!(kills, lifts);

    let listed = fleet.ctl("kill-switch list --output json").await.json();
    let entries = listed["entries"].as_array().unwrap();
    let on = entries.iter().any(|entry| entry["name"] == "example__echo" && entry["on"] == true);
    for plane in &fleet.planes {
        let client = sentinel_tests::harness::client::Client::connected(&plane.url(), &token).await;
        let reply = client.call("example__echo", json!({ "text": "x" })).await;
        assert_eq!(reply.data()["kind"] == "disabled", on, "{listed} {reply:?}");
    }
}

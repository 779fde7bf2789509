//! Planes that do not hear a kill when it is made.

use crate::started;
use nix::sys::signal::Signal;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

#[tokio::test]
async fn f35_a_plane_that_is_silent_is_named_and_refuses_when_it_is_back() {
    let mut fleet = started(Setup::example().planes(2)).await;
    let token = fleet.token("claude", "operator").await;
    let first = Client::connected(&fleet.planes[0].url(), &token).await;
    let second = Client::connected(&fleet.planes[1].url(), &token).await;
    fleet.planes[1].process.signal(Signal::SIGSTOP);

    let killed = fleet.ctl("kill-switch tool example__echo").await;
    fleet.planes[1].process.signal(Signal::SIGCONT);

    let killed = killed.exits(4).says("plane-0: acknowledged in ").says("plane-1: not acknowledged");
    let _ran = killed.says("last seen");
    let _id = first.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);
    // It was sent before anything else: a plane that reads it late has still not served in between for long.
    sentinel_tests::harness::until::until("the silent one refuses", async || {
        let reply = second.call("example__echo", json!({ "text": "x" })).await;
        if reply.data()["kind"] == "disabled" { Ok(()) } else { Err(reply) }
    })
    .await;
}

#[tokio::test]
async fn a_lost_plane_is_named_unless_only_connected_ones_count_and_refuses_from_its_start() {
    let mut fleet = started(Setup::example().planes(2)).await;
    let token = fleet.token("claude", "operator").await;
    fleet.planes[1].process.kill().await;
    sentinel_tests::harness::until::until("it is seen as gone", async || {
        let planes = fleet.ctl("plane list --output json").await.json();
        let gone = planes.as_array().unwrap().iter().any(|p| p["name"] == "plane-1" && p["state"] != "connected");
        if gone { Ok(()) } else { Err(planes) }
    })
    .await;

    let named = fleet.ctl("kill-switch tool example__echo").await;
    let accepted = fleet.ctl("kill-switch tool example__add --connected-only").await;
    let sent = fleet.ctl("kill-switch tool example__counter --no-wait").await;
    fleet.planes[1].process.restart().await;
    fleet.until_ready().await;

    let _ran = named.exits(4).says("plane-1: not acknowledged").says("--connected-only");
    let _ran = accepted.exits(0);
    let _ran = sent.exits(0).says("not waited for");
    let client = Client::connected(&fleet.planes[1].url(), &token).await;
    for tool in ["example__echo", "example__add", "example__counter"] {
        let _id = client.call(tool, json!({ "text": "x", "a": 1, "b": 1 })).await.is_refused("disabled", -31423);
    }
}

#[tokio::test]
async fn a_plane_that_said_goodbye_is_not_waited_for_and_takes_the_kill_before_it_serves() {
    let mut fleet = started(Setup::example().planes(2)).await;
    let token = fleet.token("claude", "operator").await;
    fleet.planes[1].process.signal(Signal::SIGTERM);
    assert!(fleet.planes[1].process.wait().await.success());

    let killed = fleet.ctl("kill-switch tool example__echo").await;
    fleet.planes[1].process.restart().await;
    fleet.until_ready().await;

    let _ran = killed.exits(0);
    let client = Client::connected(&fleet.planes[1].url(), &token).await;
    let _id = client.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);
    assert!(fleet.received("example").calls("echo").is_empty());
}

//! `sentinel-dataplane kill`: stops on the plane itself, whatever became of the control plane.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::ctl::Ran;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::{Start, program};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

/// `sentinel-dataplane kill` with these words, on the first plane.
async fn kill(fleet: &Fleet, line: &str) -> Ran {
    let data_dir = fleet.planes[0].data_dir().display().to_string();
    let words = ["kill"].into_iter().chain(line.split_whitespace()).chain(["--data-dir", &data_dir]);
    let args: Vec<String> = words.map(str::to_owned).collect();
    let folder = fleet.folder().to_owned();
    let start =
        Start { name: "kill".into(), program: program("sentinel-dataplane"), args, env: Default::default(), folder };
    let output = tokio::process::Command::from(start.command()).output().await.unwrap();
    Ran {
        line: line.to_owned(),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

async fn listed(fleet: &Fleet) -> Vec<Value> {
    let listed = fleet.ctl("kill-switch list --output json").await;
    serde_json::from_str::<Value>(&listed.stdout).unwrap_or_default()["entries"].as_array().cloned().unwrap_or_default()
}

#[tokio::test]
async fn with_the_control_plane_dead_it_holds_through_a_restart_and_a_reconnect_until_the_origin_is_lifted() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("alice", "operator").await;
    fleet.control_plane.kill().await;

    let told: Value = serde_json::from_str(&kill(&fleet, "all --reason leak --json").await.exits(0).stdout).unwrap();

    let refused = client.call("example__echo", json!({ "text": "x" })).await;
    let _id = refused.is_refused("disabled", -31423);
    assert_eq!(told["done"], true);
    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    until("the plane serves again", async || fleet.planes[0].ready().await.map(drop)).await;
    let _id = client.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);
    fleet.control_plane.restart().await;
    until("the centre knows the switch", async || {
        let entries = listed(&fleet).await;
        let known = entries.iter().any(|entry| entry["origin"] == told["origin"] && entry["scope"] == "all");
        if known { Ok(()) } else { Err(format!("{entries:?}")) }
    })
    .await;
    let shown = fleet.ctl("kill-switch list").await.exits(0).says("local: plane-0");
    assert!(!shown.stdout.contains(told["origin"].as_str().unwrap()), "{shown:?}");
    let _held = fleet.ctl("kill-switch all --lift").await.exits(4).says("--origin plane-0");
    let _id = client.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);
    let _lifted = fleet.ctl("kill-switch all --lift --origin plane-0").await.exits(0);
    assert_eq!(client.call("example__echo", json!({ "text": "again" })).await.content(), "again");
}

#[tokio::test]
async fn a_centre_that_is_restored_from_before_it_does_not_undo_it_and_the_whole_fleet_keeps_to_it() {
    let mut fleet = Fleet::start(Setup::example().planes(2)).await;
    let here = fleet.client("alice", "operator").await;
    let token = fleet.token("bob", "operator").await;
    let there = Client::connected(&fleet.planes[1].url(), &token).await;
    fleet.control_plane.kill().await;
    fleet.back_up_store();
    let _killed = kill(&fleet, "backend example --reason leak").await.exits(0);
    // Without a centre it is this plane's own; the other has not heard of it.
    let _id = here.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);
    assert_eq!(there.call("example__echo", json!({ "text": "y" })).await.content(), "y");
    fleet.control_plane.restart().await;
    until("the centre has it from the plane", async || holds(!listed(&fleet).await.is_empty())).await;

    fleet.control_plane.kill().await;
    fleet.restore_store();
    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    fleet.control_plane.restart().await;
    fleet.until_connected().await;

    until("the restored centre has it again", async || holds(!listed(&fleet).await.is_empty())).await;
    let _shown = fleet.ctl("kill-switch list").await.exits(0).says("local: plane-0").says("leak");
    let _shown = fleet.ctl("status").await.exits(0).says("local: plane-0");
    for client in [&here, &there] {
        // A plane that starts anew may not know its tools yet; it serves none of them meanwhile.
        until("the tool is known, and refused", async || {
            let refused = client.call("example__echo", json!({ "text": "x" })).await;
            assert!(refused.message["result"].is_null(), "{refused:?}");
            holds(refused.data()["reason"] == "leak")
        })
        .await;
    }
    let lifted = fleet.ctl("kill-switch backend example --lift --origin plane-0 --output json").await.json();
    assert_eq!(lifted["acks"].as_array().unwrap().iter().filter(|ack| ack["acked"] == true).count(), 2, "{lifted}");
    for client in [&here, &there] {
        assert_eq!(client.call("example__echo", json!({ "text": "on" })).await.content(), "on");
    }
}

#[tokio::test]
async fn a_connected_centre_hears_of_it_at_once_and_other_planes_too() {
    let fleet = Fleet::start(Setup::example().planes(2)).await;
    let _killed = kill(&fleet, "tool example__echo --reason mine").await.exits(0).says("is stopped on this plane");

    until("it is known everywhere", async || {
        let entries = listed(&fleet).await;
        let entry = entries.iter().find(|entry| entry["name"] == "example__echo").cloned();
        entry.filter(|entry| entry["reason"] == "mine" && entry["own"] == "echo").ok_or_else(|| format!("{entries:?}"))
    })
    .await;
    let token = fleet.token("bob", "operator").await;
    let other = Client::connected(&fleet.planes[1].url(), &token).await;
    until("the other plane refuses it as well", async || {
        let reply = other.call("example__echo", json!({ "text": "x" })).await;
        if reply.message["error"]["code"] == -31423 { Ok(()) } else { Err(format!("{reply:?}")) }
    })
    .await;
    let _lifted = kill(&fleet, "tool example__echo --lift").await.exits(0);
    until("it goes on", async || {
        let reply = other.call("example__echo", json!({ "text": "x" })).await;
        if reply.message["result"].is_object() { Ok(()) } else { Err(format!("{reply:?}")) }
    })
    .await;
}

#[tokio::test]
async fn names_that_nobody_knows_and_lifts_of_others_are_refused() {
    let fleet = Fleet::start(Setup::example()).await;
    let _unknown = kill(&fleet, "tool example__ecko").await.exits(4).says("--force");
    let _forced = kill(&fleet, "tool example__ecko --force").await.exits(0);
    let _nothing = kill(&fleet, "backend example --lift").await.exits(4).says("not killed on this plane");
    let _central = fleet.ctl("kill-switch backend example").await.exits(0);
    let _centre = kill(&fleet, "backend example --lift").await.exits(4).says("the control plane killed it");
    let _misuse = fleet.ctl("kill-switch all --origin plane-0").await.exits(2);
}

#[tokio::test]
async fn without_a_plane_it_says_so() {
    let mut fleet = Fleet::start(Setup::one_plane()).await;
    fleet.planes[0].process.kill().await;
    let _ran = kill(&fleet, "all").await.exits(1).says("no order reached a data plane");
}

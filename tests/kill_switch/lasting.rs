//! What must not undo a kill: the end of either daemon or of both, the control plane's absence, another name in the file,
//! an older entry that comes back.

use std::path::Path;

use crate::started;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until};
use serde_json::json;

/// A fleet whose `example__echo` is killed, and a client.
async fn killed() -> (Fleet, Client) {
    let fleet = started(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.call("example__echo", json!({ "text": "before" })).await.content(), "before");
    let _ran = fleet.ctl("kill-switch tool example__echo --reason stop").await.exits(0);
    (fleet, client)
}

/// Refused, while the backend itself is there and another tool of it answers.
async fn is_still_killed(client: &Client) {
    let refused = client.call("example__echo", json!({ "text": "x" })).await;
    let _id = refused.is_refused("disabled", -31423);
    assert_eq!((&refused.data()["scope"], &refused.data()["reason"]), (&json!("tool"), &json!("stop")));
    assert_eq!(client.call("example__add", json!({ "a": 2, "b": 2 })).await.content(), "4");
}

#[tokio::test]
async fn f33_a_plane_killed_at_its_ack_refuses_from_its_first_request() {
    let (mut fleet, client) = killed().await;

    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    fleet.planes[0].until_ready(true).await;

    is_still_killed(&client).await;
}

#[tokio::test]
async fn a_control_plane_killed_after_the_kill_changes_nothing() {
    let (mut fleet, client) = killed().await;

    fleet.control_plane.kill().await;
    is_still_killed(&client).await;
    fleet.control_plane.restart().await;
    fleet.until_ready().await;

    is_still_killed(&client).await;
    let listed = fleet.ctl("kill-switch list").await.exits(0);
    let _ran = listed.says("example__echo");
}

#[tokio::test]
async fn a_kill_right_after_the_control_plane_is_back_finds_the_tool_though_the_plane_comes_a_moment_later() {
    let mut fleet = started(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    fleet.kill_and_restart_control_plane().await;
    until("the control plane answers", async || holds(fleet.control_plane_ready().await.is_ok())).await;
    let _ran = fleet.ctl("kill-switch tool example__echo --reason stop").await.exits(0);

    is_still_killed(&client).await;
}

#[tokio::test]
async fn both_daemons_killed_and_the_plane_alone_back_still_refuses() {
    let (mut fleet, client) = killed().await;

    fleet.control_plane.kill().await;
    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    fleet.planes[0].until_ready(true).await;

    assert_eq!(fleet.planes[0].ready().await.unwrap()["source"], "last_known_good");
    is_still_killed(&client).await;
    fleet.control_plane.restart().await;
    fleet.until_ready().await;
    is_still_killed(&client).await;
}

#[tokio::test]
async fn another_name_in_the_file_does_not_undo_it() {
    for more in ["prefix = \"fresh\"", "tools = { rename = { \"echo\" = \"speak\" } }"] {
        let (fleet, client) = killed().await;

        fleet.write(&Setup::one_plane().backend_with("example", more));
        let _ran = fleet.ctl("reload").await.exits(0);
        fleet.planes[0].until_ready(true).await;

        let tools = client.tools().await;
        let name = tools.iter().find(|name| *name == "fresh__echo" || *name == "example__speak");
        let name = name.unwrap_or_else(|| panic!("not renamed: {tools:?}"));
        let refused = client.call(name, json!({ "text": "x" })).await;
        let _id = refused.is_refused("disabled", -31423);
        assert_eq!(refused.data()["reason"], "stop");
        assert_eq!(fleet.received("example").calls("echo").len(), 1);
    }
}

#[tokio::test]
async fn f34_a_control_plane_restored_from_before_the_kill_learns_it_from_the_plane() {
    let mut fleet = started(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    fleet.control_plane.kill().await;
    fleet.back_up_store();
    fleet.control_plane.restart().await;
    fleet.until_ready().await;
    let killed = fleet.ctl("kill-switch tool example__echo --reason stop --output json").await.json();

    fleet.control_plane.kill().await;
    fleet.restore_store();
    fleet.control_plane.restart().await;
    fleet.until_ready().await;

    is_still_killed(&client).await;
    let listed = fleet.ctl("kill-switch list --output json").await.json();
    assert!(listed["entries"].as_array().unwrap().iter().any(|entry| entry["name"] == "example__echo"), "{listed}");
    assert!(listed["epoch"].as_u64() >= killed["epoch"].as_u64(), "{listed} {killed}");
    let _ran = fleet.ctl("kill-switch tool example__echo --lift").await.exits(0);
    assert_eq!(client.call("example__echo", json!({ "text": "back" })).await.content(), "back");
}

#[tokio::test]
async fn an_older_kill_that_comes_back_does_not_undo_a_lift() {
    let (mut fleet, client) = killed().await;
    fleet.control_plane.kill().await;
    fleet.back_up_store();
    fleet.control_plane.restart().await;
    fleet.until_ready().await;
    let _ran = fleet.ctl("kill-switch tool example__echo --lift").await.exits(0);

    fleet.control_plane.kill().await;
    fleet.restore_store();
    fleet.control_plane.restart().await;
    fleet.until_ready().await;

    assert_eq!(client.call("example__echo", json!({ "text": "still" })).await.content(), "still");
    let listed = fleet.ctl("kill-switch list --output json").await.json();
    assert!(!listed["entries"].as_array().unwrap().iter().any(|entry| entry["on"] == true), "{listed}");
}

#[tokio::test]
async fn a_plane_with_an_older_state_on_disk_takes_the_kill_before_it_serves() {
    let mut fleet = started(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let state = fleet.planes[0].data_dir().join("plane");
    let old: Vec<_> = kill_files(&state);
    let _ran = fleet.ctl("kill-switch tool example__echo --reason stop").await.exits(0);

    fleet.planes[0].process.kill().await;
    for path in kill_files(&state) {
        std::fs::remove_file(path.0).unwrap();
    }
    for (path, bytes) in old {
        std::fs::write(path, bytes).unwrap();
    }
    fleet.planes[0].process.restart().await;
    fleet.until_ready().await;

    is_still_killed(&client).await;
}

fn kill_files(state: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(state).unwrap().flatten();
    let files = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("kill."));
    files.map(|entry| (entry.path(), std::fs::read(entry.path()).unwrap())).collect()
}

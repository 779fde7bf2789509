//! `sentinelctl doctor`: nothing to say of a healthy fleet, and the name of what is broken in another.

use std::os::unix::fs::PermissionsExt as _;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::Value;

/// The checks of one state.
fn of<'v>(told: &'v Value, state: &str) -> Vec<&'v Value> {
    told["checks"].as_array().unwrap().iter().filter(|check| check["state"] == state).collect()
}

#[tokio::test]
async fn a_healthy_fleet_has_no_failure() {
    let fleet = Fleet::start(Setup::example()).await;

    let told = fleet.ctl("doctor --output json").await.json();

    assert_eq!(told["ok"], true, "{told}");
    let categories: Vec<&str> = of(&told, "good").iter().map(|check| check["category"].as_str().unwrap()).collect();
    for category in ["control plane", "planes", "backends", "files", "tokens", "disk", "clock", "ports"] {
        assert!(categories.contains(&category), "{category} is not in {told}");
    }
    let shown = fleet.ctl("doctor").await.exits(0);
    let _said = shown.says("√ plane-0: connected").says("backends can read Sentinel's keys");
}

#[tokio::test]
async fn what_is_broken_is_named_with_a_hint_and_the_exit_code_is_1() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let token = fleet.folder().join("control/admin.token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    fleet.planes[0].process.kill().await;
    until("the plane is lost", async || {
        let listed = fleet.ctl("plane list").await;
        if listed.stdout.contains("lost") { Ok(()) } else { Err(listed) }
    })
    .await;

    let ran = fleet.ctl("doctor --output json").await.exits(1);

    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let bad = of(&told, "bad");
    assert!(bad.iter().all(|check| !check["hint"].as_str().unwrap().is_empty()), "{told}");
    let text = bad.iter().map(|check| check.to_string()).collect::<String>();
    assert!(text.contains("plane-0: lost") && text.contains("can be read by others (0644)"), "{told}");
}

#[tokio::test]
async fn without_a_control_plane_the_local_checks_are_made_all_the_same() {
    let mut fleet = Fleet::start(Setup::one_plane()).await;
    fleet.control_plane.kill().await;

    let ran = fleet.ctl("doctor").await.exits(1);

    let _said = ran.says("no control plane answers").says("MiB are free");
}

//! No process that a plane started outlives it, whatever ends the plane.

use std::time::Duration;

use nix::sys::signal::Signal;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::{bearers, descendants, is_alive};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{until, until_within};

/// The requirement says 5 s; a machine that is busy with other tests gets more.
const GONE: Duration = Duration::from_secs(30);

/// A backend with a child, one with a grandchild, and one that leaves its group and ignores signals.
fn family() -> Setup {
    let stubborn = "[[backends]]\nname = \"stubborn\"\ncommand = \"sh\"\n\
        args = [\"-c\", \"trap '' TERM HUP; (trap '' TERM HUP; setsid sleep 3000 & wait) & while :; do sleep 1; done\"]\n";
    Setup::example().wrapped_backend("wrapped").toml(stubborn).not_waiting_for_backends()
}

async fn started() -> (Fleet, Vec<u32>) {
    let fleet = Fleet::start(family()).await;
    let data_dir = fleet.planes[0].data_dir().to_owned();
    let family = until("all children and grandchildren are there", async || {
        let listed = (fleet.received("example").pids().len(), fleet.received("wrapped").pids().len());
        let found = bearers(&data_dir);
        // example, sh and its server, the stubborn shell with its two.
        if listed == (1, 1) && found.len() >= 6 { Ok(found) } else { Err((listed, found)) }
    })
    .await;
    (fleet, family)
}

#[tokio::test]
async fn p12_after_kill_9_of_the_plane_no_child_or_grandchild_is_left() {
    let (mut fleet, family) = started().await;
    let below = descendants(fleet.planes[0].process.pid());
    assert!(family.iter().filter(|pid| below.contains(pid)).count() >= 5, "{family:?} {below:?}");
    let data_dir = fleet.planes[0].data_dir().to_owned();

    fleet.planes[0].process.kill().await;

    until_within(GONE, "none is left", async || {
        let left: Vec<u32> = below.iter().copied().filter(|pid| is_alive(*pid)).chain(bearers(&data_dir)).collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn p12_after_sigterm_none_is_left_when_the_plane_has_ended() {
    let (mut fleet, family) = started().await;
    let data_dir = fleet.planes[0].data_dir().to_owned();

    fleet.planes[0].process.signal(Signal::SIGTERM);
    let status = fleet.planes[0].process.wait_within(Duration::from_secs(60)).await;

    assert_eq!(status.code(), Some(0));
    until_within(GONE, "none is left", async || {
        let left: Vec<u32> = family.iter().copied().filter(|pid| is_alive(*pid)).chain(bearers(&data_dir)).collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn a_killed_plane_that_starts_again_has_each_child_once() {
    let (mut fleet, _) = started().await;
    let data_dir = fleet.planes[0].data_dir().to_owned();

    for _ in 0..3 {
        fleet.planes[0].process.kill().await;
        fleet.planes[0].process.restart().await;
    }
    fleet.until_ready().await;

    until_within(GONE, "each is there once", async || {
        let servers = bearers(&data_dir).into_iter().filter(|pid| is_example_server(*pid)).collect::<Vec<_>>();
        if servers.len() == 2 { Ok(()) } else { Err(servers) }
    })
    .await;
}

fn is_example_server(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path.ends_with("sentinel-example-server"))
}

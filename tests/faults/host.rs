//! F62, F63, F65: the plane is killed, has no descriptors left, is stopped for a while. F64 is in tests/lifecycle.

use std::time::Duration;

use nix::sys::signal::Signal;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::load::Load;
use sentinel_tests::harness::process::{descendants, is_alive};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{DEADLINE, holds, until, until_within};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::PATIENT;

#[tokio::test]
async fn f62_a_killed_plane_serves_from_its_own_disk_within_seconds_and_nothing_false_was_said() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let mut clients = Vec::new();
    for number in 0..4 {
        clients.push(fleet.client(&format!("load-{number}"), "operator").await);
    }
    let load = Load::start(clients);
    load.goes_on_for(200).await;
    // Alone from here on.
    fleet.control_plane.kill().await;
    for _ in 0..3 {
        let family = descendants(fleet.planes[0].process.pid());
        fleet.planes[0].process.kill().await;
        let begun = Instant::now();
        fleet.planes[0].process.restart().await;
        until_within(Duration::from_secs(20), "it serves again", async || fleet.planes[0].ready().await).await;
        println!("ready {:?} after a kill -9", begun.elapsed());
        load.goes_on_for(100).await;
        until("none of the old one's children is left", async || {
            let left: Vec<u32> = family.iter().copied().filter(|pid| is_alive(*pid)).collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        })
        .await;
    }
    assert_eq!(fleet.planes[0].ready().await.unwrap()["source"], "last_known_good");
    fleet.control_plane.restart().await;
    fleet.until_connected().await;
    let seen = load.stop().await;

    for answered in &seen.answered {
        let kind = answered.message["error"]["data"]["kind"].as_str().unwrap_or_default();
        let is_of_a_start = ["not_ready", "unknown_tool", "backend_unavailable"].contains(&kind);
        assert!(answered.is_echo() || is_of_a_start, "{answered:?}");
    }
    let echoed: Vec<_> = seen.answered.iter().filter(|answered| answered.is_echo()).collect();
    for answered in echoed.iter().step_by(echoed.len() / 30 + 1) {
        assert_eq!(fleet.audit_rows(&answered.request_id).await.len(), 1, "{answered:?}");
    }
}

/// User and system time that a process has used.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

#[tokio::test]
async fn f63_without_descriptors_connections_wait_calls_go_on_and_nothing_spins() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    let pid = fleet.planes[0].process.pid();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = open + 8;
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &pid.to_string(), &format!("--nofile={limit}:{limit}")])
        .status()
        .unwrap();
    assert!(limited.success());

    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(TcpStream::connect(fleet.planes[0].address()).await.unwrap());
    }
    until("it says that there are none left", async || {
        holds(fleet.planes[0].process.log().contains("can't accept a connection"))
    })
    .await;
    let (begun, used) = (Instant::now(), cpu(pid));
    for number in 0..20 {
        let text = number.to_string();
        assert_eq!(client.call("example__echo", json!({ "text": text })).await.content(), text);
    }
    until("a second has gone", async || holds(begun.elapsed() > Duration::from_secs(1))).await;
    let (took, used) = (begun.elapsed(), cpu(pid) - used);
    assert!(used < took / 2, "it used {used:?} of {took:?}");
    let lines = fleet.planes[0].process.log().matches("can't accept a connection").count();
    assert_eq!(lines, 1, "it is said once a minute");

    drop(held);
    let late = Client::new(&fleet.planes[0].url(), &client.token);
    until("others get in again", async || late.try_send("{}").await.map(drop)).await;
    let reply = client.call("example__echo", json!({ "text": "last" })).await;
    assert_eq!(fleet.audit_rows(&reply.request_id()).await.len(), 1);
}

#[tokio::test]
async fn f65_after_a_pause_calls_end_by_their_deadlines_and_nothing_is_restarted() {
    let more = "timeout_secs = 2";
    let fleet = Fleet::start(Setup::one_plane().backend_with("example", more).toml(PATIENT)).await;
    let client = fleet.client("claude", "operator").await;
    let pids = fleet.received("example").pids();
    let plane = fleet.planes[0].process.pid();
    let signal =
        |signal: Signal| nix::sys::signal::kill(sentinel_tests::harness::process::pid_of(plane), signal).unwrap();

    let calls = (0..4).map(|_| client.call("example__slow", json!({ "ms": 600_000 })));
    let pause = async {
        until("they are at the backend", async || holds(fleet.received("example").calls("slow").len() == 4)).await;
        signal(Signal::SIGSTOP);
        let begun = Instant::now();
        until("a while has gone", async || holds(begun.elapsed() > Duration::from_secs(7))).await;
        signal(Signal::SIGCONT);
        Instant::now()
    };
    let (replies, resumed) = tokio::join!(futures_util::future::join_all(calls), pause);

    assert!(resumed.elapsed() < Duration::from_secs(3), "told {:?} after the pause", resumed.elapsed());
    for reply in &replies {
        let _id = reply.is_refused("timeout", -31504);
    }
    for _ in 0..10 {
        assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    }
    assert_eq!(fleet.received("example").pids(), pids, "a pause of ours is no fault of theirs");
    assert_eq!(fleet.planes[0].metric("sentinel_backend_restarts_total{backend=\"example\"}").await, Some(0.0));
    until_within(DEADLINE, "the pause was seen", async || {
        holds(fleet.planes[0].process.log().contains("did not run for"))
    })
    .await;
}

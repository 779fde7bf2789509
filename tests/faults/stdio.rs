//! F56, F57, F58, F61: processes that do not start, do not shake hands, die under calls, and do not end.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::{descendants, is_alive, pid_of};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until, until_within};
use serde_json::json;
use tokio::time::Instant;

use crate::{PATIENT, all_is_given_back, row_of, serves, state_of};

pub(crate) async fn beside_rough(more: &str) -> (Fleet, Client) {
    let fleet = Fleet::start(Setup::example().fault_backend("rough", "", more).toml(PATIENT)).await;
    let client = fleet.client("claude", "operator").await;
    (fleet, client)
}

fn child(fleet: &Fleet) -> u32 {
    *fleet.received("rough").pids().last().unwrap()
}

fn kill_child(fleet: &Fleet) {
    kill(pid_of(child(fleet)), Signal::SIGKILL).unwrap();
}

#[tokio::test]
async fn f56_a_crash_loop_answers_at_once_is_given_up_with_its_last_words_and_revived_by_hand() {
    let (fleet, client) = beside_rough("max_restarts = 2").await;
    fleet.manner("rough", "exit");
    kill_child(&fleet);

    until("it is given up", async || {
        let state = state_of(&fleet, "rough").await;
        if state["state"] == "gave_up" { Ok(()) } else { Err(state) }
    })
    .await;
    let begun = Instant::now();
    let refused = client.call("rough__once", json!({ "nonce": "n" })).await;
    let took = begun.elapsed();

    let _id = refused.is_refused("backend_unavailable", -31503);
    assert_eq!(refused.data()["state"], "down");
    assert!(took < Duration::from_secs(1), "nobody waits for what is given up: {took:?}");
    assert_eq!(row_of(&fleet, &refused).await["status"], "error");
    let state = state_of(&fleet, "rough").await;
    assert!(state["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{state}");
    assert_eq!(fleet.planes[0].metric("sentinel_backend_gave_up{backend=\"rough\"}").await, Some(1.0));
    let words = fleet.ctl("backend list --stderr rough").await;
    assert!(words.stdout.contains("word 29: this server can't start"), "{words:?}");
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");

    fleet.manner("rough", "");
    let _ran = fleet.ctl("backend restart rough").await.exits(0);
    serves(&client, "rough").await;
}

#[tokio::test]
async fn f57_who_says_nothing_in_the_handshake_is_ended_at_its_deadline_and_the_reason_is_told() {
    let (fleet, client) = beside_rough("start_timeout_secs = 4\nmax_restarts = 1").await;
    for (manner, says) in [("mute", "not ready within"), ("old", "1999-12-31")] {
        fleet.manner("rough", manner);
        kill_child(&fleet);
        until("the reason is told", async || {
            let state = state_of(&fleet, "rough").await;
            let told = state["reason"].as_str().is_some_and(|reason| reason.contains(says));
            if state["state"] == "gave_up" && told { Ok(()) } else { Err(state) }
        })
        .await;
        let _id = client.call("rough__once", json!({ "nonce": "n" })).await.is_refused("backend_unavailable", -31503);

        let plane = fleet.planes[0].process.pid();
        until("what did not shake hands was ended", async || {
            let servers: Vec<u32> = descendants(plane).into_iter().filter(|pid| is_fault_server(*pid)).collect();
            if servers.is_empty() { Ok(()) } else { Err(servers) }
        })
        .await;
        fleet.manner("rough", "");
        let _ran = fleet.ctl("backend restart rough").await.exits(0);
        serves(&client, "rough").await;
    }
}

fn is_fault_server(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path.ends_with("sentinel-fault-server"))
}

#[tokio::test]
async fn f58_thirty_two_calls_in_flight_at_a_death_are_told_at_once_and_none_is_repeated() {
    const CALLS: usize = 32;
    let (fleet, client) = beside_rough("").await;
    let calls =
        (0..CALLS).map(|number| client.call("rough__slow", json!({ "ms": 600_000, "nonce": number.to_string() })));
    let received = fleet.received("rough");

    let (replies, killed) = tokio::join!(futures_util::future::join_all(calls), async {
        until("all are there", async || holds(received.calls("slow").len() == CALLS)).await;
        kill_child(&fleet);
        Instant::now()
    });

    assert!(killed.elapsed() < Duration::from_secs(5), "told after {:?}", killed.elapsed());
    for reply in &replies {
        let _id = reply.is_refused("backend_error", -31502);
        let row = row_of(&fleet, reply).await;
        assert_eq!((&row["status"], &row["detail"]["sent"]), (&json!("error"), &json!(true)), "{row}");
    }
    serves(&client, "rough").await;
    assert_eq!(received.calls("slow").len(), CALLS, "a call that left is never repeated");
    until("the restart is counted", async || {
        holds(fleet.planes[0].metric("sentinel_backend_restarts_total{backend=\"rough\"}").await == Some(1.0))
    })
    .await;
    all_is_given_back(&fleet, "rough").await;
}

#[tokio::test]
async fn f61_whoever_ignores_every_word_and_has_left_the_group_ends_all_the_same() {
    let setup = Setup::example().fault_backend("rough", "stubborn", "").toml(PATIENT);
    let fleet = Fleet::start(setup).await;
    let client = fleet.client("claude", "operator").await;
    serves(&client, "rough").await;
    let first = child(&fleet);
    let family = until("its grandchildren are there", async || {
        let mut family = descendants(first);
        family.push(first);
        if family.len() >= 3 { Ok(family) } else { Err(family) }
    })
    .await;

    fleet.manner("rough", "");
    let begun = Instant::now();
    let _ran = fleet.ctl("backend restart rough").await.exits(0);
    until_within(Duration::from_secs(30), "none of them is left", async || {
        let left: Vec<u32> = family.iter().copied().filter(|pid| is_alive(*pid)).collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    println!("the ladder took {:?}", begun.elapsed());

    serves(&client, "rough").await;
    assert_ne!(child(&fleet), first);
    assert!(fleet.planes[0].process.log().contains("ended by SIGKILL"), "each step of the ladder is logged");
}

//! Processes that end although they do nothing wrong: unused, or old. Who calls meanwhile only waits.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{PATIENCE, Rig, Spec, lives, until};
use crate::{
    backend::{Sent, State, spec::Life},
    denial::Failure,
};

const IDLE: Duration = Duration::from_millis(400);

fn idling() -> Spec {
    Spec { life: Life { idle_stop: Some(IDLE), most: None }, ..Spec::default() }
}

fn aging(most: Duration) -> Spec {
    Spec { life: Life { idle_stop: None, most: Some(most) }, ..Spec::default() }
}

#[tokio::test]
async fn an_unused_process_ends_and_twenty_calls_at_once_start_one_and_all_are_answered() {
    let rig = Rig::ready(&idling()).await;
    let first = rig.pid();
    let status = rig.is(State::Idle).await;
    assert!(status.planned && status.reason.contains("idle_stop_secs"), "{status:?}");
    assert!(status.pid == 0 && !lives(first));
    assert!(rig.link.look().is_ok(), "explain must not say that a call would fail");

    let tracker = TaskTracker::new();
    let calls: Vec<_> = (0..20).map(|n| rig.call("echo", &json!({ "n": n })).spawn(&tracker)).collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap().said(), json!({ "n": n }));
    }
    let status = rig.is(State::Ready).await;
    assert!(status.pid != 0 && status.restarts == 0, "a planned start is no restart: {status:?}");
    rig.is(State::Idle).await;
}

#[tokio::test]
async fn a_call_in_flight_keeps_it_from_idling_however_long_it_takes() {
    let rig = Rig::ready(&idling()).await;
    let tracker = TaskTracker::new();
    let (pid, held) = (rig.pid(), rig.call("hold", &json!({})).spawn(&tracker));
    let begun = Instant::now();
    until("three times the idle time", || async { (begun.elapsed() > IDLE * 3).then_some(()) }).await;
    assert_eq!((rig.link.status().state, rig.pid()), (State::Ready, pid));
    assert_eq!(rig.says("release", json!({})).await["held"], json!(1));
    assert_eq!(held.await.unwrap().said(), json!(0));
    rig.is(State::Idle).await;
}

#[tokio::test]
async fn calls_as_it_goes_idle_are_never_refused() {
    let rig = Rig::ready(&idling()).await;
    // Around the moment of its end, again and again: whichever side of it a call falls on, it is answered.
    for round in 0..12_u32 {
        let pause = IDLE + IDLE / 40 * round;
        let begun = Instant::now();
        until("the pause", || async { (begun.elapsed() >= pause).then_some(()) }).await;
        assert_eq!(rig.says("echo", json!(round)).await, json!(round));
    }
    assert_eq!(rig.link.status().restarts, 0);
}

#[tokio::test]
async fn one_that_cannot_be_started_again_is_told_and_one_that_waits_can_be_ended() {
    let rig = Rig::ready(&Spec { max_restarts: 0, start_timeout: Duration::from_secs(1), ..idling() }).await;
    rig.is(State::Idle).await;
    std::fs::write(rig.directory.path().join("silent"), "").unwrap();
    let begun = Instant::now();
    let done = rig.call("echo", &json!({})).send().await;
    assert!(matches!(done.sent, Sent::Never(Failure::BackendUnavailable { .. })) && !done.was_sent, "{:?}", done.sent);
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert!(rig.is(State::GaveUp).await.reason.contains("not ready within 1 s"));
    assert!(!rig.link.status().planned);
}

#[tokio::test]
async fn one_that_idles_is_started_by_the_operator_and_stopped_at_once() {
    let rig = Rig::ready(&idling()).await;
    rig.is(State::Idle).await;
    rig.link.restart();
    rig.is(State::Ready).await;
    rig.is(State::Idle).await;
    rig.link.stop().await;
    let status = rig.link.status();
    assert_eq!((status.state, status.planned), (State::Stopped, false));
}

#[tokio::test]
async fn a_crash_is_no_plan() {
    let rig = Rig::ready(&Spec { restart_on_exit: false, ..idling() }).await;
    kill(Pid::from_raw(rig.pid()), Signal::SIGKILL).unwrap();
    let status = rig.is(State::Stopped).await;
    assert!(!status.planned && status.reason.contains("SIGKILL"), "{status:?}");
}

#[tokio::test]
async fn an_old_process_is_replaced_when_no_call_runs_and_nobody_is_refused() {
    let mut rig = Rig::ready(&aging(Duration::from_secs(1))).await;
    let pid = rig.pid();
    let (mut answered, begun) = (0, Instant::now());
    while rig.pid() == 0 || rig.pid() == pid {
        assert_eq!(rig.says("echo", json!(1)).await, json!(1));
        answered += 1;
        assert!(begun.elapsed() < PATIENCE, "it is never replaced");
    }
    assert!(begun.elapsed() > Duration::from_millis(500) && answered > 2 && !lives(pid));
    let status = rig.is(State::Ready).await;
    assert_eq!((status.restarts, status.planned), (0, false));
    // It is listed anew: what it offers may be another.
    rig.listed().await;
}

#[tokio::test]
async fn a_lifetime_that_ends_under_a_long_call_lets_it_end_and_others_wait() {
    let rig = Rig::ready(&aging(Duration::from_secs(1))).await;
    let (pid, tracker) = (rig.pid(), TaskTracker::new());
    let mut held = rig.call("until_file", &json!({})).spawn(&tracker);
    // No quiet moment comes: it stops taking calls, with one in flight.
    let status = rig.is(State::Draining).await;
    assert!(status.planned && status.reason.contains("max_lifetime_secs"), "{status:?}");
    let mut waits = rig.call("echo", &json!("late")).spawn(&tracker);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut waits).await.is_err(), "it waits");
    assert!(tokio::time::timeout(Duration::ZERO, &mut held).await.is_err() && lives(pid));
    std::fs::write(rig.directory.path().join("go"), "").unwrap();
    assert_eq!(held.await.unwrap().said(), json!("gone on"));
    assert_eq!(waits.await.unwrap().said(), json!("late"));
    assert!(rig.pid() != pid && !lives(pid));
}

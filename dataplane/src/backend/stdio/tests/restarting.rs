//! Starts that fail, and starts after an end.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{Rig, Spec, until};
use crate::{
    backend::{Sent, State},
    denial::{Failure, Unavailable},
};

#[tokio::test]
async fn a_crash_loop_spends_its_budget_and_is_given_up_until_the_operator_says_otherwise() {
    let rig = Rig::start(&Spec { mode: "exit", max_restarts: 2, ..Spec::default() });
    let status = rig.is(State::GaveUp).await;
    assert!(status.reason.contains("status 1") && status.restarts == 2, "{status:?}");
    assert!(status.retry_after.unwrap() > Duration::from_secs(290));
    assert!(rig.link.stderr().contains(&"no, thank you".to_owned()));

    let begin = Instant::now();
    let done = rig.call("echo", &json!({})).send().await;
    let Sent::Never(Failure::BackendUnavailable { state, retry_after, .. }) = done.sent else {
        panic!("{:?}", done.sent)
    };
    assert_eq!(state, Unavailable::Down);
    assert!(retry_after.unwrap() > Duration::from_secs(60) && begin.elapsed() < Duration::from_secs(1));

    rig.link.restart();
    until("new starts", || async { (rig.link.status().restarts > 4).then_some(()) }).await;
    rig.is(State::GaveUp).await;
}

#[tokio::test]
async fn a_program_that_writes_much_and_exits_has_its_restarts_and_one_that_only_writes_has_none() {
    let rig = Rig::start(&Spec { mode: "usage", max_restarts: 2, ..Spec::default() });
    let status = rig.is(State::GaveUp).await;
    assert!(status.reason.contains("it ended after it had sent too much") && status.restarts == 2, "{status:?}");

    let rig = Rig::start(&Spec { mode: "noise", max_restarts: 2, ..Spec::default() });
    let status = rig.is(State::GaveUp).await;
    assert!(status.reason.contains("it sends too much that is no message") && status.restarts == 0, "{status:?}");
}

#[tokio::test]
async fn a_command_that_is_not_there_is_named_with_advice() {
    let rig = Rig::start(&Spec { command: "no-such-program", max_restarts: 0, ..Spec::default() });
    let status = rig.is(State::GaveUp).await;
    assert!(status.reason.contains("\"no-such-program\"") && status.reason.contains("PATH"), "{}", status.reason);
}

#[tokio::test]
async fn no_call_waits_for_a_first_start_and_a_hanging_handshake_can_be_stopped() {
    let rig = Rig::start(&Spec { mode: "silent", ..Spec::default() });
    until("a process", || async { (rig.link.status().pid != 0).then_some(()) }).await;
    let begin = Instant::now();
    let done = rig.call("echo", &json!({})).send().await;
    assert!(
        matches!(done.sent, Sent::Never(Failure::BackendUnavailable { state: Unavailable::Starting, .. })),
        "{:?}",
        done.sent
    );
    assert!(begin.elapsed() < Duration::from_secs(1));
    rig.link.stop().await;
    assert_eq!(rig.link.status().pid, 0);
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_ends_the_process_sooner_once_it_was_ready() {
    let second = Duration::from_secs(1);
    let rig = Rig::ready(&Spec { max_restarts: 0, start_timeout: second, ..Spec::default() }).await;
    // The next start finds a server that says nothing: start_timeout is 1 s here, not the 120 s of a first start.
    std::fs::write(rig.directory.path().join("silent"), "").unwrap();
    rig.link.restart();
    let status = rig.is(State::GaveUp).await;
    assert!(status.reason.contains("not ready within 1 s"), "{}", status.reason);
}

#[tokio::test]
async fn a_restart_by_the_operator_lets_calls_end_and_starts_anew() {
    let rig = Rig::ready(&Spec::default()).await;
    let (pid, tracker) = (rig.pid(), TaskTracker::new());
    let slow = rig.call("slow", &json!({})).spawn(&tracker);
    until("it in flight", || async { (rig.in_flight.len() == 1).then_some(()) }).await;
    tokio::task::yield_now().await;
    rig.link.restart();
    assert_eq!(slow.await.unwrap().said(), json!("slow"));
    until("another process", || async { (rig.is(State::Ready).await.pid != pid.unsigned_abs()).then_some(()) }).await;
    assert_eq!(rig.says("echo", json!(5)).await, json!(5));
}

//! SIGTERM: what was accepted is answered and recorded.

use std::time::Duration;

use nix::sys::signal::Signal;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::load::Load;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until};
use serde_json::json;

use crate::clients;

const RUNNING: usize = 12;

#[tokio::test]
async fn p14_at_sigterm_every_call_in_flight_is_answered_and_recorded_and_the_exit_is_0() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let slow = clients(&fleet, RUNNING).await;
    let load = Load::start(clients(&fleet, 4).await);
    load.goes_on_for(100).await;

    let calls = slow.iter().map(|client| client.call("example__slow", json!({ "ms": 3000 })));
    let calls = futures_util::future::join_all(calls);
    let received = fleet.received("example");
    let plane = &mut fleet.planes[0].process;
    let term = async {
        until("all are at the backend", async || holds(received.calls("slow").len() == RUNNING)).await;
        plane.signal(Signal::SIGTERM);
        plane.wait().await
    };
    let (replies, status) = tokio::join!(calls, term);
    let seen = load.stop().await;

    assert_eq!(status.code(), Some(0));
    for reply in &replies {
        assert_eq!(reply.content(), "done after 1 steps");
    }
    for answered in &seen.answered {
        let is_refused = answered.message["error"]["data"]["kind"] == "not_ready";
        assert!(answered.is_echo() || is_refused, "{answered:?}");
    }
    // Each worker can meet the closed port; none may be cut off within a call.
    for failed in &seen.failed {
        assert!(is_refused_connection(failed), "{failed}");
    }
    for reply in replies {
        assert_eq!(fleet.audit_rows(&reply.request_id()).await.len(), 1);
    }
    let echoed: Vec<_> = seen.answered.iter().filter(|answered| answered.is_echo()).collect();
    for answered in echoed.iter().rev().take(20) {
        assert_eq!(fleet.audit_rows(&answered.request_id).await.len(), 1, "{answered:?}");
    }
}

/// No connection was made, or one that lay idle had been closed before anything of an answer came.
fn is_refused_connection(failed: &str) -> bool {
    [
        "ConnectionRefused",
        "connection closed before message completed",
        "IncompleteMessage",
        "ConnectionReset",
        "Canceled",
    ]
    .iter()
    .any(|word| failed.contains(word))
        && !failed.starts_with("Reply")
}

#[tokio::test]
async fn f64_a_second_sigterm_ends_calls_in_a_second_with_an_answer_and_a_record() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let received = fleet.received("example");
    let plane = &mut fleet.planes[0].process;

    let call = client.call("example__slow", json!({ "ms": 600_000 }));
    let term = async {
        until("it is at the backend", async || holds(!received.calls("slow").is_empty())).await;
        plane.signal(Signal::SIGTERM);
        until("it drains", async || holds(plane.log().contains("draining"))).await;
        plane.signal(Signal::SIGTERM);
        plane.wait_within(Duration::from_secs(60)).await
    };
    let (reply, status) = tokio::join!(call, term);

    let id = reply.is_refused("not_ready", -31530);
    assert_eq!(reply.data()["reason"], "draining");
    assert_eq!(status.code(), Some(0));
    assert!(fleet.planes[0].process.log().contains("hurrying"));
    assert_eq!(fleet.audit_rows(&id).await.len(), 1);
}

#[tokio::test]
async fn ready_turns_503_before_the_end_and_a_sighup_or_sigpipe_changes_nothing() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    fleet.planes[0].process.signal(Signal::SIGHUP);
    fleet.planes[0].process.signal(Signal::SIGPIPE);
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");

    let received = fleet.received("example");
    let call = client.call("example__slow", json!({ "ms": 3000 }));
    let (reply, ()) = tokio::join!(call, async {
        until("it is at the backend", async || holds(!received.calls("slow").is_empty())).await;
        fleet.planes[0].process.signal(Signal::SIGTERM);
        until("/ready says so", async || match fleet.planes[0].ops("/ready").await {
            Some((503, _)) => Ok(()),
            other => Err(other),
        })
        .await;
    });

    assert_eq!(reply.content(), "done after 1 steps");
    assert!(fleet.planes[0].process.wait().await.success());
}

#[tokio::test]
async fn a_control_plane_ends_with_0_and_calls_go_on_without_it() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let load = Load::start(clients(&fleet, 4).await);
    load.goes_on_for(50).await;

    fleet.control_plane.signal(Signal::SIGTERM);
    let status = fleet.control_plane.wait().await;
    load.goes_on_for(100).await;
    fleet.control_plane.restart().await;
    fleet.until_ready().await;
    load.goes_on_for(50).await;
    let seen = load.stop().await;

    assert_eq!(status.code(), Some(0));
    assert!(seen.failed.is_empty(), "{:?}", seen.failed);
    assert!(seen.answered.iter().all(|answered| answered.is_echo()));
}

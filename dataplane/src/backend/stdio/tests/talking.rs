//! What goes over the pipes: answers, progress, cancels, noise.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use serde_json::json;
use tokio_util::task::TaskTracker;

use super::{Rig, Spec, until};
use crate::{
    answering::Event,
    backend::{Housekeeping, Note, Sent, State},
    call::BackendId,
    denial::{Failure, Unavailable},
    in_flight::Why,
    upcall::{feature::Feature, refusal::Refusal},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_at_once_get_each_its_own_answer() {
    let rig = Rig::ready(&Spec { max_concurrency: 1000, ..Spec::default() }).await;
    let tracker = TaskTracker::new();
    let calls: Vec<_> = (0..1000).map(|n| rig.call("gather", &json!({"n": n, "of": 1000})).spawn(&tracker)).collect();
    for (n, call) in calls.into_iter().enumerate() {
        let done = call.await.unwrap();
        assert!(done.was_sent);
        assert_eq!(done.said(), json!(n));
    }
}

#[tokio::test]
async fn a_child_gets_its_own_group_few_rights_and_nothing_of_our_environment() {
    let rig = Rig::ready(&Spec::default()).await;
    let limits = rig.says("limits", json!({})).await;
    let own_folder = rig.directory.path().join("child");
    assert_eq!(
        limits,
        json!({"files": 4096, "core": 0, "no_new_privs": true, "leads": true, "open": [0, 1, 2], "cwd": own_folder})
    );
    let environment = rig.says("environment", json!({})).await;
    // `cargo test` itself sets the first kind; a python that is a shim adds its own.
    let keys: Vec<_> = environment.as_object().unwrap().keys().collect();
    assert!(keys.iter().all(|key| !key.starts_with("CARGO") && !key.starts_with("RUST")), "{keys:?}");
    assert!(["PATH", "SENTINEL_CHILD", "GIVEN"].iter().all(|key| environment[key].is_string()), "{keys:?}");
    assert!(super::SPAWNER.owns(rig.pid()) && !super::SPAWNER.owns(1));
    let status = rig.link.status();
    assert_eq!((&*status.server, &*status.protocol_version, &*status.reason), ("child 1", "2025-11-25", ""));
}

#[tokio::test]
async fn an_error_of_the_backend_is_passed_on_as_an_answer() {
    let rig = Rig::ready(&Spec::default()).await;
    let done = rig.call("fail", &json!({})).send().await;
    let Sent::Answered(answer) = done.sent else { panic!("{:?}", done.sent) };
    assert!(answer.failed && !answer.tool_error);
    assert!(rig.link.housekeep(Housekeeping::Ping, Duration::from_secs(5)).await.is_ok());
}

#[tokio::test]
async fn noise_on_stdout_changes_no_answer_and_is_counted() {
    let rig = Rig::ready(&Spec::default()).await;
    assert_eq!(rig.says("noise", json!({})).await, json!("right"));
    assert_eq!(rig.says("echo", json!({"a": 1})).await, json!({"a": 1}));
    let counts = rig.link.counts();
    // The banner, the half, the long line; the empty array says nothing. An unknown id, and an answer given twice.
    assert_eq!((counts.garbage.load(Relaxed), counts.unknown_ids.load(Relaxed)), (3, 2));
    assert!(rig.link.stderr()[0].contains("hello, I am a banner"), "{:?}", rig.link.stderr());
}

#[tokio::test]
async fn progress_reaches_its_client_under_the_clients_token() {
    let rig = Rig::ready(&Spec::default()).await;
    let mut done = rig.call("progress", &json!({})).send().await;
    assert_eq!(done.said(), json!(true));
    for step in [1, 2] {
        let Some(Event::Progress(message)) = done.heard.recv().await else { panic!("progress") };
        let message: serde_json::Value = serde_json::from_slice(&message).unwrap();
        let params = json!({"progressToken": format!("t{}", done.n), "progress": step});
        assert_eq!((message["method"].as_str(), &message["params"]), (Some("notifications/progress"), &params));
    }
}

#[tokio::test]
async fn a_cancelled_call_is_told_once_and_its_late_answer_is_swallowed() {
    let rig = Rig::ready(&Spec::default()).await;
    let tracker = TaskTracker::new();
    let cancelled = rig.call("hold", &json!({})).spawn(&tracker);
    let dropped = rig.call("hold", &json!({})).spawn(&tracker);
    // Both are with the server once it has answered what was sent after them.
    rig.says("echo", json!({})).await;
    dropped.abort();
    assert!(dropped.await.is_err());
    rig.end_all(&Why::Cancelled);
    assert!(matches!(cancelled.await.unwrap().sent, Sent::Ended));

    assert_eq!(rig.says("release", json!({})).await, json!({"held": 2, "cancelled": 2}));
    let counts = rig.link.counts();
    assert_eq!((counts.late_answers.load(Relaxed), counts.unknown_ids.load(Relaxed)), (2, 0));
}

#[tokio::test]
async fn a_question_of_the_server_is_handed_up_and_answered_under_its_own_id() {
    let mut rig = Rig::ready(&Spec::default()).await;
    rig.says("ask", json!({})).await;
    let asked = rig.asked.recv().await.unwrap();
    assert_eq!((asked.feature, asked.call, asked.backend), (Feature::Sampling, None, BackendId(7)));
    asked.reply.send(Err(Refusal::Unrelated)).unwrap();
    let told = until("both answers", || async {
        Some(rig.says("told", json!({})).await).filter(|told| told.as_array().is_some_and(|told| told.len() == 2))
    })
    .await;
    assert_eq!(told[0], json!({"jsonrpc": "2.0", "id": "p", "result": {}}));
    assert_eq!((&told[1]["id"], &told[1]["error"]["code"]), (&json!(7), &json!(-32601)));
}

#[tokio::test]
async fn several_changes_of_the_list_make_one_listing_and_logs_are_handed_on() {
    let mut rig = Rig::ready(&Spec::default()).await;
    rig.says("change", json!({})).await;
    let mut logged = false;
    let tools = loop {
        match rig.note().await {
            Note::Log { level, .. } => logged = &*level == "info",
            Note::Listed(offering) => break offering.of(crate::call::Kind::Tool).to_vec(),
            Note::Own { .. } | Note::Elicited { .. } | Note::TaskStatus { .. } | Note::State => {}
        }
    };
    let names: Vec<_> = tools.iter().map(|tool| &*tool.name).collect();
    assert!(logged && names == ["echo", "list-2"], "{names:?}");
    rig.link.housekeep(Housekeeping::List, Duration::from_secs(1)).await.unwrap();
    assert_eq!(&*rig.listed().await[1].name, "list-3");
}

#[tokio::test]
async fn a_change_during_the_handshake_is_listed_after_it() {
    let mut rig = Rig::start(&Spec { mode: "early", ..Spec::default() });
    assert_eq!(&*rig.listed().await[1].name, "list-1");
    assert_eq!(&*rig.listed().await[1].name, "list-2");
}

#[tokio::test]
async fn a_line_over_the_limit_ends_the_process_and_a_long_one_below_it_does_not() {
    let rig = Rig::ready(&Spec { max_response_bytes: 400_000, ..Spec::default() }).await;
    assert_eq!(rig.says("long", json!({"bytes": 390_000})).await.as_str().unwrap().len(), 390_000);
    let pid = rig.pid();
    let done = rig.call("long", &json!({"bytes": 500_000})).send().await;
    let Sent::Failed(Failure::BackendError { what, .. }) = done.sent else { panic!("{:?}", done.sent) };
    assert_eq!(what, "it sent a line above max_response_bytes");
    until("another process", || async { (rig.is(State::Ready).await.pid != pid.unsigned_abs()).then_some(()) }).await;
}

#[tokio::test]
async fn a_backend_that_only_makes_noise_is_given_up() {
    for (line, count) in [("rubbish", 2000), (r#"{"jsonrpc":"2.0","id":77,"result":{}}"#, 200)] {
        let rig = Rig::ready(&Spec::default()).await;
        let done = rig.call("flood", &json!({"line": line, "lines": count})).send().await;
        assert!(matches!(done.sent, Sent::Failed(Failure::BackendError { .. })), "{:?}", done.sent);
        let status = rig.is(State::GaveUp).await;
        assert!(status.reason.contains("too much") && status.retry_after.unwrap() > Duration::from_secs(60));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_reads_nothing_fills_up_stalls_and_is_replaced() {
    let rig = Rig::ready(&Spec::default()).await;
    let pid = rig.pid();
    let large = json!({"a": "x".repeat(1 << 20)});
    // Made before, because making them takes its time.
    let calls: Vec<_> = (0..12).map(|_| rig.call("echo", &large)).collect();
    rig.says("deaf", json!({})).await;
    let tracker = TaskTracker::new();
    let calls: Vec<_> = calls.into_iter().map(|call| call.spawn(&tracker)).collect();
    let (mut stalled, mut full) = (0, 0);
    for call in calls {
        let done = call.await.unwrap();
        match done.sent {
            Sent::Failed(Failure::BackendError { what, .. }) if what.starts_with("stalled") && done.was_sent => {
                stalled += 1;
            }
            Sent::Never(Failure::BackendUnavailable { state: Unavailable::Full, .. }) if !done.was_sent => full += 1,
            other => panic!("{other:?}"),
        }
    }
    // One with the writer, and 8 MiB that wait.
    assert!((8..=9).contains(&stalled) && stalled + full == 12, "{stalled} {full}");
    until("another process", || async { (rig.is(State::Ready).await.pid != pid.unsigned_abs()).then_some(()) }).await;
}

#[tokio::test]
async fn timeouts_in_a_row_without_a_line_lead_to_a_ping_and_to_a_new_process() {
    let rig = Rig::ready(&Spec::default()).await;
    let pid = rig.pid();
    rig.says("deaf", json!({})).await;
    let tracker = TaskTracker::new();
    let calls: Vec<_> = (0..3).map(|_| rig.call("echo", &json!({})).spawn(&tracker)).collect();
    until("three in flight", || async { (rig.in_flight.len() == 3).then_some(()) }).await;
    tokio::task::yield_now().await;
    rig.end_all(&Why::Timeout);
    for call in calls {
        assert!(matches!(call.await.unwrap().sent, Sent::Ended));
    }
    until("another process", || async { (rig.is(State::Ready).await.pid != pid.unsigned_abs()).then_some(()) }).await;
}

//! Which era a process speaks, found out at its start; and what is said in the modern one.

use serde_json::{Value, json};

use super::{Rig, Spec, until};
use crate::{
    backend::{Note, Sent, State, Word, era::Era, isolation::Isolation},
    denial::Failure,
};

fn asked(mode: &'static str) -> Spec {
    Spec { mode, era: None, ..Spec::default() }
}

fn spoken(rig: &Rig) -> String {
    rig.link.status().protocol_version.to_string()
}

#[tokio::test]
async fn a_process_that_knows_the_question_is_spoken_to_in_its_own_era() {
    let mut rig = Rig::ready(&asked("modern")).await;

    let seen = rig.says("seen", json!({"a": 1})).await;

    assert_eq!((spoken(&rig).as_str(), &*rig.link.status().server), ("2026-07-28", "modern 1"));
    let meta = &seen["_meta"];
    assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
    assert_eq!(meta["io.modelcontextprotocol/clientCapabilities"], json!({}));
    assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "sentinel");
    assert!(meta["progressToken"].is_u64(), "ours, in place of the client's: {meta}");
    assert_eq!((&seen["name"], &seen["arguments"]), (&json!("seen"), &json!({"a": 1})));
    assert!(rig.link.housekeep(crate::backend::Housekeeping::Ping, super::PATIENCE).await.is_ok());
    rig.says("change", json!({})).await;
    assert_eq!(rig.listed().await.last().unwrap().name, "list-2".into());
}

#[tokio::test]
async fn what_only_that_era_says_does_not_reach_the_client() {
    let rig = Rig::ready(&asked("modern")).await;

    let done = rig.call("typed", &json!({"type": "complete"})).send().await;

    let Sent::Answered(answer) = done.sent else { panic!("{:?}", done.sent) };
    let message: Value = serde_json::from_slice(&answer.last).unwrap();
    assert_eq!(message["result"], json!({"content": []}));
    let task = rig.call("typed", &json!({"type": "task"})).send().await;
    assert!(matches!(&task.sent, Sent::Answered(answer) if answer.word == Word::Task(None)));
    let other = rig.call("typed", &json!({"type": "other"})).send().await;
    assert!(matches!(&other.sent, Sent::Failed(Failure::BackendError { what, .. }) if what.contains("type")));
}

#[tokio::test]
async fn a_process_that_does_not_know_the_question_or_ends_at_it_is_of_the_legacy_era() {
    for mode in ["good", "startled"] {
        let rig = Rig::ready(&asked(mode)).await;

        assert_eq!(spoken(&rig), "2025-11-25", "{mode}");
        assert_eq!(rig.says("echo", json!({"a": 1})).await, json!({"a": 1}), "{mode}");
        let first = rig.pid();
        drop(rig.call("exit", &json!({})).send().await);
        until("it is ready again", || async {
            (rig.link.status().state == State::Ready && rig.pid() != first).then_some(())
        })
        .await;
        assert_eq!(rig.link.status().restarts, if mode == "good" { 1 } else { 2 }, "it is startled but once: {mode}");
    }
}

#[tokio::test]
async fn a_process_of_both_eras_is_spoken_to_in_the_modern_one_where_all_share_it() {
    for (isolation, wanted) in [(Isolation::Shared, "2026-07-28"), (Isolation::PerSession, "2025-11-25")] {
        let rig = Rig::ready(&Spec { isolation, ..asked("both") }).await;

        assert_eq!(spoken(&rig), wanted, "{isolation:?}");
        assert_eq!(rig.says("echo", json!({"a": 1})).await, json!({"a": 1}));
    }
}

#[tokio::test]
async fn a_process_that_says_nothing_is_asked_again_in_the_other_era_and_one_that_is_late_is_still_heard() {
    let (mute, late) = tokio::join!(Rig::ready_of(asked("mute")), Rig::ready_of(asked("late")));

    assert_eq!((spoken(&mute).as_str(), spoken(&late).as_str()), ("2025-11-25", "2026-07-28"));
}

#[tokio::test]
async fn an_era_that_is_configured_is_not_asked_for() {
    let wrong = Rig::start(&Spec { mode: "good", era: Some(Era::Modern), ..Spec::default() });
    let wrong_too = Rig::start(&Spec { mode: "modern", era: Some(Era::Legacy), ..Spec::default() });

    for (rig, why) in [(&wrong, "its `era` says that it is one"), (&wrong_too, "initialize with an error")] {
        let reason = until(why, || async {
            let status = rig.link.status();
            (status.state == State::Backoff && status.reason.contains(why)).then_some(())
        });
        reason.await;
    }
}

#[tokio::test]
async fn a_refused_revision_fails_the_call_and_leaves_a_good_process_alone() {
    let rig = Rig::ready(&asked("modern")).await;
    let pid = rig.pid();

    let done = rig.call("refuse", &json!({})).send().await;

    assert!(matches!(&done.sent, Sent::Failed(Failure::BackendError { what, .. }) if what.contains("revision")));
    assert_eq!(rig.says("seen", json!({})).await["name"], "seen");
    assert_eq!(rig.pid(), pid);
}

#[tokio::test]
async fn lists_of_a_server_that_tells_no_changes_are_read_when_they_are_asked_for() {
    let mut rig = Rig::ready(&asked("poll")).await;

    assert!(rig.link.housekeep(crate::backend::Housekeeping::List, super::PATIENCE).await.is_ok());

    assert_eq!(rig.listed().await.last().unwrap().name, "list-2".into());
    assert!(!matches!(rig.notes.try_recv(), Ok(crate::backend::BackendNote { note: Note::Listed(_), .. })));
}

//! Promises of revisions, planes and actions.

use super::opening::revision;
use super::promises;
use crate::store::actions::NewAction;
use crate::store::error::StoreError;
use crate::store::fixtures::{Ground, NOW_MS};
use crate::store::planes::{PlaneHello, PlaneSeen};

promises!(
    a_revision_is_current_only_when_it_was_made_so,
    of_two_writers_after_the_same_revision_exactly_one_wins,
    a_rollback_is_a_new_revision_that_remembers_what_it_left,
    a_revision_that_is_not_there_cannot_be_current,
    a_plane_with_another_secret_is_refused_and_changes_nothing,
    a_plane_that_said_goodbye_is_stopped_until_its_next_hello,
    an_action_is_kept_from_its_begin_and_completed_with_its_outcome,
);

async fn a_revision_is_current_only_when_it_was_made_so(ground: Ground) {
    let store = ground.open().await.unwrap();
    assert_eq!(store.current_revision().await.unwrap().map(|r| r.revision.number), None);
    let first = store.append_revision(revision("one")).await.unwrap();
    assert_eq!(first, 1);
    assert!(store.current_revision().await.unwrap().is_none());
    assert!(store.revision_history(10).await.unwrap().is_empty());
    store.make_current(0, first).await.unwrap();
    store.make_current(0, first).await.expect("repeating what won changes nothing");
    // refused by a plane: its number is never given again
    let refused = store.append_revision(revision("refused")).await.unwrap();
    let third = store.append_revision(revision("three")).await.unwrap();
    assert_eq!((refused, third), (2, 3));
    store.make_current(first, third).await.unwrap();
    let current = store.current_revision().await.unwrap().unwrap();
    assert_eq!((current.revision.number, current.text.as_str(), &current.snapshot[..]), (3, "three", &b"three"[..]));
    assert!(current.revision.current);
    let history = store.revision_history(10).await.unwrap();
    assert_eq!(history.iter().map(|r| (r.number, r.current)).collect::<Vec<_>>(), [(3, true), (1, false)]);
    let tried = store.revision(refused).await.unwrap().unwrap();
    assert_eq!((tried.text.as_str(), tried.revision.current), ("refused", false));
}

async fn of_two_writers_after_the_same_revision_exactly_one_wins(ground: Ground) {
    let (one, two) = (ground.open().await.unwrap(), ground.open().await.unwrap());
    let base = one.append_revision(revision("first")).await.unwrap();
    one.make_current(0, base).await.unwrap();
    let (a, b) = tokio::join!(one.append_revision(revision("a")), two.append_revision(revision("b")));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_ne!(a, b, "a number is given once");
    let (won, lost) = tokio::join!(one.make_current(base, a), two.make_current(base, b));
    let one_conflict = matches!((&won, &lost), (Ok(()), Err(StoreError::Conflict { .. })))
        || matches!((&won, &lost), (Err(StoreError::Conflict { .. }), Ok(())));
    assert!(one_conflict, "{won:?} {lost:?}");
}

async fn a_rollback_is_a_new_revision_that_remembers_what_it_left(ground: Ground) {
    let store = ground.open().await.unwrap();
    for (base, text) in [(0, "old"), (1, "new")] {
        let number = store.append_revision(revision(text)).await.unwrap();
        store.make_current(base, number).await.unwrap();
    }
    let mut back = revision("old");
    back.away_from = Some([9; 32]);
    back.note = "rollback to 1".to_owned();
    let number = store.append_revision(back).await.unwrap();
    store.make_current(2, number).await.unwrap();
    let current = store.current_revision().await.unwrap().unwrap();
    assert_eq!((current.revision.number, current.text.as_str()), (3, "old"));
    assert_eq!(current.revision.away_from, Some([9; 32]));
    assert_eq!(current.revision.note, "rollback to 1");
}

async fn a_revision_that_is_not_there_cannot_be_current(ground: Ground) {
    let store = ground.open().await.unwrap();
    let refused = store.make_current(0, 5).await;
    assert!(matches!(refused, Err(StoreError::NoSuchRevision { revision: 5 })), "{refused:?}");
}

async fn a_plane_with_another_secret_is_refused_and_changes_nothing(ground: Ground) {
    let store = ground.open().await.unwrap();
    let unknown = store.plane_proves("p", &[1; 32]).await;
    assert!(matches!(unknown, Err(StoreError::UnknownPlane { .. })), "{unknown:?}");
    store.plane_hello(&hello("mine", 1)).await.unwrap();
    store.plane_hello(&hello("renamed", 1)).await.unwrap();
    let refused = store.plane_hello(&hello("thief", 2)).await;
    assert!(matches!(refused, Err(StoreError::WrongPlaneSecret { .. })), "{refused:?}");
    assert!(matches!(store.plane_proves("p", &[2; 32]).await, Err(StoreError::WrongPlaneSecret { .. })));
    store.plane_proves("p", &[1; 32]).await.unwrap();
    assert_eq!(store.planes().await.unwrap()[0].name, "renamed");
}

async fn a_plane_that_said_goodbye_is_stopped_until_its_next_hello(ground: Ground) {
    let store = ground.open().await.unwrap();
    store.plane_hello(&hello("one", 1)).await.unwrap();
    let seen = PlaneSeen { id: "p".to_owned(), at_unix_ms: NOW_MS + 5, revision: Some(3), epoch: None };
    store.plane_seen(&seen).await.unwrap();
    store.plane_goodbye("p", NOW_MS + 9).await.unwrap();
    let plane = store.planes().await.unwrap().remove(0);
    assert_eq!((plane.stopped, plane.revision, plane.epoch, plane.last_seen_unix_ms), (true, 3, 0, NOW_MS + 9));
    store.plane_hello(&hello("one", 1)).await.unwrap();
    assert!(!store.planes().await.unwrap()[0].stopped);
    assert!(matches!(store.plane_goodbye("q", 0).await, Err(StoreError::UnknownPlane { .. })));
}

async fn an_action_is_kept_from_its_begin_and_completed_with_its_outcome(ground: Ground) {
    let store = ground.open().await.unwrap();
    let action = NewAction {
        at_unix_ms: NOW_MS,
        user: "ana".to_owned(),
        host: "desk".to_owned(),
        verb: "kill".to_owned(),
        target: "tool a".to_owned(),
        reason: "leaks".to_owned(),
    };
    let first = store.begin_action(&action).await.unwrap();
    let second = store.begin_action(&action).await.unwrap();
    store.finish_action(first, "done").await.unwrap();
    let actions = store.actions(10).await.unwrap();
    assert_eq!(actions.iter().map(|a| (a.id, a.outcome.as_str())).collect::<Vec<_>>(), [(second, ""), (first, "done")]);
    assert_eq!((actions[1].user.as_str(), actions[1].reason.as_str()), ("ana", "leaks"));
}

fn hello(name: &str, secret: u8) -> PlaneHello {
    PlaneHello {
        id: "p".to_owned(),
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        secret_hash: [secret; 32],
        at_unix_ms: NOW_MS,
    }
}

//! Promises of kill switches and revocations.

use sentinel_proto::v1::{KillEntry, KillSet, Revocation, Scope};

use super::promises;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::fixtures::{Ground, NOW_MS};
use crate::store::switches::HIGHEST_EPOCH;

promises!(
    the_epoch_only_rises_and_is_shared_by_kills_and_revocations,
    concurrent_kills_get_epochs_of_their_own,
    a_lift_is_an_entry_and_absence_is_none,
    adopting_takes_per_key_the_higher_epoch_and_at_equal_ones_on,
    adopting_in_any_order_gives_the_same_set,
    adopting_fills_in_a_pair_that_was_not_known_and_takes_none_away,
    an_epoch_that_would_stop_the_counter_is_refused_whole,
    revocations_go_after_their_tokens_end,
);

async fn the_epoch_only_rises_and_is_shared_by_kills_and_revocations(ground: Ground) {
    let store = ground.open().await.unwrap();
    assert_eq!(store.set_kill(kill("a", true)).await.unwrap().epoch, 1);
    assert_eq!(store.revoke_token(revocation("t", 0)).await.unwrap().epoch, 2);
    assert_eq!(store.raise_epoch_to(10).await.unwrap(), 10);
    assert_eq!(store.raise_epoch_to(4).await.unwrap(), 10, "it never falls");
    assert_eq!(store.set_kill(kill("a", false)).await.unwrap().epoch, 11);
    drop(store);
    let again = ground.open().await.unwrap();
    assert_eq!(again.epoch().await.unwrap(), 11);
    let set = again.kill_set().await.unwrap();
    assert!(set.whole);
    assert_eq!((set.epoch, set.entries.len(), set.revocations.len()), (11, 1, 1));
    assert_eq!(set.revocations[0].jti, "t");
}

async fn concurrent_kills_get_epochs_of_their_own(ground: Ground) {
    let store = ground.open().await.unwrap();
    let kills = (0..20).map(|n| {
        let store = store.clone();
        async move { store.set_kill(kill(&format!("tool{n}"), true)).await.unwrap().epoch }
    });
    let mut epochs = futures_util::future::join_all(kills).await;
    epochs.sort_unstable();
    assert_eq!(epochs, (1..=20).collect::<Vec<_>>());
}

async fn a_lift_is_an_entry_and_absence_is_none(ground: Ground) {
    let store = ground.open().await.unwrap();
    store.set_kill(kill("a", true)).await.unwrap();
    store.adopt(&KillSet { whole: true, epoch: 5, ..KillSet::default() }).await.unwrap();
    assert!(on(&store, "a").await, "an empty set lifts nothing");
    assert_eq!(store.epoch().await.unwrap(), 5);
    store.set_kill(kill("a", false)).await.unwrap();
    let entries = store.kill_set().await.unwrap().entries;
    assert_eq!(entries.iter().map(|e| (e.on, e.epoch)).collect::<Vec<_>>(), [(false, 6)], "the lift is kept");
}

async fn adopting_takes_per_key_the_higher_epoch_and_at_equal_ones_on(ground: Ground) {
    let store = ground.open().await.unwrap();
    store.set_kill(kill("a", true)).await.unwrap();
    for (epoch, lifted, expected) in [(1, true, true), (7, true, false), (7, false, true), (6, true, true)] {
        let entry = KillEntry { epoch, ..kill("a", !lifted) };
        store.adopt(&KillSet { epoch, entries: vec![entry], ..KillSet::default() }).await.unwrap();
        assert_eq!(on(&store, "a").await, expected, "epoch {epoch}, lifted {lifted}");
    }
    // a plane's own break-glass entry lives beside the centre's
    let local = KillEntry { epoch: 3, origin: "plane".to_owned(), ..kill("a", true) };
    let news = store.adopt(&KillSet { entries: vec![local], ..KillSet::default() }).await.unwrap();
    assert_eq!((news, store.kill_set().await.unwrap().entries.len()), (1, 2));
    assert_eq!(store.epoch().await.unwrap(), 7, "entries without a set's epoch never lower the counter");
}

async fn adopting_in_any_order_gives_the_same_set(ground: Ground) {
    let store = ground.open().await.unwrap();
    let one = KillSet {
        epoch: 4,
        entries: vec![KillEntry { epoch: 4, ..kill("x", true) }],
        revocations: vec![Revocation { epoch: 3, ..revocation("j", 0) }],
        ..KillSet::default()
    };
    let two = KillSet {
        epoch: 9,
        entries: vec![KillEntry { epoch: 9, ..kill("x", false) }],
        revocations: vec![Revocation { epoch: 8, ..revocation("j", 0) }],
        ..KillSet::default()
    };
    for set in [&one, &two, &one, &two] {
        store.adopt(set).await.unwrap();
    }
    let forwards = store.kill_set().await.unwrap();
    assert_eq!(forwards.entries[0].epoch, 9);
    assert_eq!(forwards.revocations[0].epoch, 8);
    assert_eq!(store.adopt(&two).await.unwrap(), 0, "what is known is no news");
    assert_eq!(store.kill_set().await.unwrap(), forwards);
}

async fn adopting_fills_in_a_pair_that_was_not_known_and_takes_none_away(ground: Ground) {
    let store = ground.open().await.unwrap();
    let bare = store.set_kill(kill("n8n__run", true)).await.unwrap();
    let filled = KillEntry { backend: "n8n".to_owned(), own: "run".to_owned(), ..bare.clone() };
    for (entry, news) in [(&filled, 1), (&filled, 0), (&bare, 0)] {
        let set = KillSet { entries: vec![entry.clone()], ..KillSet::default() };
        assert_eq!(store.adopt(&set).await.unwrap(), news);
        assert_eq!(store.kill_set().await.unwrap().entries, std::slice::from_ref(&filled));
    }
}

async fn an_epoch_that_would_stop_the_counter_is_refused_whole(ground: Ground) {
    let store = ground.open().await.unwrap();
    let good = KillEntry { epoch: 2, ..kill("a", true) };
    let mad = KillEntry { epoch: u64::MAX, ..kill("b", true) };
    let set = KillSet { epoch: 2, entries: vec![good, mad], ..KillSet::default() };
    assert!(matches!(store.adopt(&set).await, Err(StoreError::OutOfRange { .. })));
    assert!(matches!(store.raise_epoch_to(HIGHEST_EPOCH + 1).await, Err(StoreError::OutOfRange { .. })));
    assert_eq!((store.epoch().await.unwrap(), store.kill_set().await.unwrap().entries.len()), (0, 0));
}

async fn revocations_go_after_their_tokens_end(ground: Ground) {
    let store = ground.open().await.unwrap();
    for (jti, until) in [("gone", 379), ("in leeway", 380), ("ever", 0)] {
        store.revoke_token(revocation(jti, until)).await.unwrap();
    }
    assert_eq!(store.forget_revocations(500).await.unwrap(), 1);
    let left = store.kill_set().await.unwrap().revocations;
    assert_eq!(left.iter().map(|r| r.jti.as_str()).collect::<Vec<_>>(), ["in leeway", "ever"]);
}

async fn on(store: &Store, name: &str) -> bool {
    store
        .kill_set()
        .await
        .unwrap()
        .entries
        .iter()
        .any(|entry| entry.name == name && entry.origin.is_empty() && entry.on)
}

fn kill(name: &str, on: bool) -> KillEntry {
    KillEntry {
        scope: Scope::Tool.into(),
        name: name.to_owned(),
        on,
        reason: "test".to_owned(),
        by: "ana@desk".to_owned(),
        since_unix_ms: NOW_MS,
        ..KillEntry::default()
    }
}

fn revocation(jti: &str, until_unix: i64) -> Revocation {
    Revocation { jti: jti.to_owned(), until_unix, since_unix_ms: NOW_MS, ..Revocation::default() }
}

//! Promises of pins.

use sentinel_proto::v1::Pin;

use super::promises;
use crate::store::Store;
use crate::store::error::StoreError;
use crate::store::fixtures::{Ground, NOW_MS};
use crate::store::pins::Pinned;
use crate::store::switches::HIGHEST_EPOCH;

promises!(
    the_first_sight_is_pinned_once_and_outlives_a_restart,
    a_decision_takes_the_place_of_what_was_and_keeps_its_definition_unless_told,
    adopting_takes_the_higher_epoch_and_keeps_the_definition_of_the_same_hash,
    a_pin_whose_epoch_would_stop_the_counter_is_refused_whole,
);

async fn the_first_sight_is_pinned_once_and_outlives_a_restart(ground: Ground) {
    let store = ground.open().await.unwrap();
    let first = store.pin_first(&[pinned("read", 1, "{}"), pinned("list", 1, "{}")]).await.unwrap();
    assert_eq!((first.epoch, first.pins.len()), (1, 2));
    let unkept = Pinned { definition: None, ..pinned("stat", 2, "") };
    let again = store.pin_first(&[pinned("read", 2, "[]"), unkept]).await.unwrap();
    assert_eq!(again.pins.iter().map(|pin| &*pin.own).collect::<Vec<_>>(), ["stat"], "one that is pinned stays");
    drop(store);
    let store = ground.open().await.unwrap();
    let all = store.pins().await.unwrap();
    assert_eq!((all.whole, all.epoch, all.pins.len()), (true, 2, 3));
    let read = all.pins.iter().find(|pin| pin.own == "read").unwrap();
    assert_eq!(*read, Pin { epoch: 1, ..pinned("read", 1, "").pin });
    assert_eq!(store.pinned_definition("files", "read").await.unwrap(), "{}");
    assert_eq!(store.pinned_definition("files", "none").await.unwrap(), "");
}

async fn a_decision_takes_the_place_of_what_was_and_keeps_its_definition_unless_told(ground: Ground) {
    let store = ground.open().await.unwrap();
    store.pin_first(&[pinned("read", 1, "one")]).await.unwrap();
    let held = Pin { held: true, reason: "odd".to_owned(), by: "ana@desk".to_owned(), ..pinned("read", 1, "").pin };
    let decided = store.decide_pins(&[Pinned { pin: held.clone(), definition: None }]).await.unwrap();
    assert_eq!(decided.pins, [Pin { epoch: 2, ..held }]);
    assert_eq!(store.pinned_definition("files", "read").await.unwrap(), "one");
    store.decide_pins(&[pinned("read", 2, "two"), pinned("new", 3, "three")]).await.unwrap();
    assert_eq!(store.pinned_definition("files", "read").await.unwrap(), "two");
    let all = store.pins().await.unwrap().pins;
    assert_eq!(
        all.iter().map(|pin| (&*pin.own, pin.held, pin.epoch)).collect::<Vec<_>>(),
        [("new", false, 3), ("read", false, 3)]
    );
}

async fn adopting_takes_the_higher_epoch_and_keeps_the_definition_of_the_same_hash(ground: Ground) {
    let store = ground.open().await.unwrap();
    store.pin_first(&[pinned("read", 1, "one"), pinned("list", 1, "one")]).await.unwrap();
    let of = |own: &str, hash, epoch| Pin { epoch, ..pinned(own, hash, "").pin };
    let news = store.adopt_pins(&[of("read", 1, 7), of("list", 9, 8), of("stat", 5, 3)]).await.unwrap();
    assert_eq!((news.epoch, news.pins.len()), (8, 3));
    let news = store.adopt_pins(&[of("read", 2, 6)]).await.unwrap();
    assert!(news.pins.is_empty(), "an older one is no news");
    assert_eq!(store.pinned_definition("files", "read").await.unwrap(), "one");
    assert_eq!(store.pinned_definition("files", "list").await.unwrap(), "", "that of another hash is not its own");
    assert_eq!(store.decide_pins(&[pinned("read", 4, "")]).await.unwrap().epoch, 9, "the counter stands above all");
}

async fn a_pin_whose_epoch_would_stop_the_counter_is_refused_whole(ground: Ground) {
    let store: Store = ground.open().await.unwrap();
    let good = pinned("read", 1, "").pin;
    let bad = Pin { epoch: HIGHEST_EPOCH + 1, ..pinned("list", 1, "").pin };
    assert!(matches!(store.adopt_pins(&[good, bad]).await, Err(StoreError::OutOfRange { .. })));
    assert_eq!((store.pins().await.unwrap().epoch, store.pins().await.unwrap().pins.len()), (0, 0));
}

fn pinned(own: &str, hash: u8, definition: &str) -> Pinned {
    let pin = Pin {
        backend: "files".to_owned(),
        own: own.to_owned(),
        exposed: format!("files__{own}"),
        hash: vec![hash; 32],
        since_unix_ms: NOW_MS,
        ..Pin::default()
    };
    Pinned { pin, definition: Some(definition.to_owned()) }
}

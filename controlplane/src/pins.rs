//! Pins: which definition of a tool is trusted. Durable before they are sent, one counter, and the planes' words.
//!
//! What a plane trusts at first sight is pinned here for all; what is held waits for an operator (`admin/trust.rs` finds
//! what is meant). It judges no definition: planes do, by what is here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sentinel_proto::v1::{KillAck, Pin, PinSet, Sighting, ToolTrustReply};
use tokio::time::Instant;

use crate::fleet::plane::Plane;
use crate::fleet::{Fleet, Planes};
use crate::keeper::Keeper;
use crate::killswitch::PATIENCE;
use crate::refusal::Refusal;
use crate::store::pins::Pinned;

/// Longest name that is taken of a plane, bytes: what planes expose is shorter.
const LONGEST_NAME: usize = 1024;

/// All pins that are known. Pure: per tool the higher epoch stays, and absence takes nothing back.
#[derive(Clone, Debug, Default)]
pub struct PinsHeld {
    epoch: u64,
    /// By backend and its own name.
    pins: BTreeMap<(String, String), Pin>,
}

impl PinsHeld {
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn find(&self, backend: &str, own: &str) -> Option<&Pin> {
        self.pins.get(&(backend.to_owned(), own.to_owned()))
    }

    /// Pins that were made under this exposed name.
    pub fn named<'p>(&'p self, exposed: &'p str) -> impl Iterator<Item = &'p Pin> {
        self.pins.values().filter(move |pin| pin.exposed == exposed)
    }

    pub fn merge(&mut self, other: &PinSet) {
        self.epoch = self.epoch.max(other.epoch);
        for pin in &other.pins {
            let key = (pin.backend.clone(), pin.own.clone());
            if self.pins.get(&key).is_none_or(|held| (pin.epoch, pin.held) > (held.epoch, held.held)) {
                self.epoch = self.epoch.max(pin.epoch);
                self.pins.insert(key, pin.clone());
            }
        }
    }

    /// All there is, as a plane gets it when it connects.
    pub fn whole(&self) -> PinSet {
        PinSet { whole: true, epoch: self.epoch, pins: self.pins.values().cloned().collect() }
    }
}

/// Clones share the set.
#[derive(Clone, Debug)]
pub struct Pins(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    held: Mutex<PinsHeld>,
    /// One change at a time: the order of epochs is the order of sending.
    turn: tokio::sync::Mutex<()>,
    fleet: Fleet,
    keeper: Keeper,
}

impl Pins {
    pub fn new(fleet: Fleet, keeper: Keeper) -> Self {
        Self(Arc::new(Inner { held: Mutex::default(), turn: tokio::sync::Mutex::default(), fleet, keeper }))
    }

    /// Looks at the set.
    pub fn see<T>(&self, look: impl FnOnce(&PinsHeld) -> T) -> T {
        look(&self.0.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes in what the store holds, at start.
    pub fn load(&self, set: &PinSet) {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).merge(set);
        self.0.fleet.pins(set);
    }

    fn send(&self, set: &PinSet) {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).merge(set);
        self.0.fleet.pins(set);
    }

    /// Pins what a plane trusts at first sight and nobody has pinned; gives how many. Of two planes that see different
    /// definitions the first is heard, and the other plane holds its own.
    ///
    /// Errors: the store's; the plane tells it again.
    pub async fn seen(&self, sightings: &[Sighting], plane: &str, now_unix_ms: i64) -> Result<usize, Refusal> {
        let is_first = |held: &PinsHeld, seen: &Sighting| seen.trusted && held.find(&seen.backend, &seen.own).is_none();
        let any = self.see(|held| sightings.iter().any(|seen| is_first(held, seen)));
        if !any {
            return Ok(0);
        }
        let _turn = self.0.turn.lock().await;
        let first: Vec<Pinned> = self.see(|held| {
            let first = sightings.iter().filter(|seen| is_first(held, seen));
            first.map(|seen| of(seen, &format!("first sight on {plane}"), "", now_unix_ms)).collect()
        });
        if first.is_empty() {
            return Ok(0);
        }
        let set = self.0.keeper.store()?.pin_first(&first).await?;
        self.send(&set);
        Ok(set.pins.len())
    }

    /// Takes in what a plane holds and we do not: durable first, then sent to all. Gives how many were news.
    ///
    /// Errors: the store's; then nothing was adopted.
    pub async fn adopt(&self, brought: Vec<Pin>, plane: &str) -> Result<usize, Refusal> {
        let is_news = |held: &PinsHeld, pin: &Pin| {
            held.find(&pin.backend, &pin.own).is_none_or(|held| (pin.epoch, pin.held) > (held.epoch, held.held))
        };
        let _turn = self.0.turn.lock().await;
        let brought = brought.into_iter().filter(names_are_sane);
        let (alone, known): (Vec<Pin>, Vec<Pin>) = self
            .see(|held| brought.filter(|pin| is_news(held, pin)).collect::<Vec<_>>())
            .into_iter()
            .partition(|pin| pin.epoch == 0);
        let mut count = 0;
        if !known.is_empty() {
            let set = self.0.keeper.store()?.adopt_pins(&known).await?;
            count += set.pins.len();
            self.send(&set);
        }
        if !alone.is_empty() {
            let by = format!("first sight on {plane}");
            let pinned = |pin| Pinned { pin: Pin { by: by.clone(), ..pin }, definition: None };
            let set = self.0.keeper.store()?.pin_first(&alone.into_iter().map(pinned).collect::<Vec<_>>()).await?;
            count += set.pins.len();
            self.send(&set);
        }
        Ok(count)
    }

    /// Puts what an operator decided in force, and waits for the planes.
    ///
    /// Errors: the store's; then nothing was changed or sent.
    pub async fn decide(&self, decided: &[Pinned]) -> Result<ToolTrustReply, Refusal> {
        let turn = self.0.turn.lock().await;
        let set = self.0.keeper.store()?.decide_pins(decided).await?;
        let since = Instant::now();
        self.send(&set);
        drop(turn);
        let (acks, complete) = acknowledged(&self.0.fleet, set.epoch, since).await;
        Ok(ToolTrustReply { note: note(&acks), pins: set.pins, epoch: set.epoch, acks, complete, gone: Vec::new() })
    }

    /// The definition that is trusted, canonical JSON; empty: none is kept. Errors: the store's.
    pub async fn definition(&self, pin: &Pin) -> Result<String, Refusal> {
        Ok(self.0.keeper.store()?.pinned_definition(&pin.backend, &pin.own).await?)
    }
}

/// What trusts the definition that was seen.
pub fn of(seen: &Sighting, by: &str, reason: &str, now_unix_ms: i64) -> Pinned {
    let pin = Pin {
        backend: seen.backend.clone(),
        own: seen.own.clone(),
        exposed: seen.exposed.clone(),
        hash: seen.hash.clone(),
        settled: seen.apart,
        reason: reason.to_owned(),
        by: by.to_owned(),
        since_unix_ms: now_unix_ms,
        ..Pin::default()
    };
    Pinned { pin, definition: Some(seen.definition.clone()) }
}

/// What no plane of ours would say is not kept.
pub fn is_sane(seen: &Sighting) -> bool {
    let sane = |name: &str| !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control);
    sane(&seen.backend) && sane(&seen.own) && sane(&seen.exposed) && seen.hash.len() == 32
}

fn names_are_sane(pin: &Pin) -> bool {
    let sane = |name: &str| !name.is_empty() && name.len() <= LONGEST_NAME && !name.chars().any(char::is_control);
    sane(&pin.backend) && sane(&pin.own) && sane(&pin.exposed) && matches!(pin.hash.len(), 0 | 32)
}

/// Every known plane that has not said goodbye, and whether all of them have it.
async fn acknowledged(fleet: &Fleet, epoch: u64, since: Instant) -> (Vec<KillAck>, bool) {
    let ids: BTreeSet<String> =
        fleet.see(|all| all.values().filter(|plane| !plane.stopped).map(|plane| plane.id.clone()).collect());
    let mut took: BTreeMap<String, Duration> = BTreeMap::new();
    let mut look = |all: &Planes| {
        let mut complete = true;
        for id in &ids {
            match all.get(id) {
                Some(plane) if plane.pins >= epoch => _ = took.entry(id.clone()).or_insert_with(|| since.elapsed()),
                Some(Plane { stopped: true, link: None, .. }) | None => {}
                Some(_) => complete = false,
            }
        }
        complete.then_some(())
    };
    let complete = fleet.until(since + PATIENCE, &mut look).await.is_some();
    let acks = fleet.see(|all| {
        let each = ids.iter().filter_map(|id| all.get(id));
        each.map(|plane| KillAck {
            plane_id: plane.id.clone(),
            plane_name: plane.name.clone(),
            acked: plane.pins >= epoch,
            took_ms: took.get(&plane.id).map_or(0, |took| crate::fleet::plane::millis(*took)),
            last_seen_unix_ms: plane.last_seen_ms,
            state: plane.state_word().to_owned(),
            ..KillAck::default()
        })
        .collect()
    });
    (acks, complete)
}

fn note(acks: &[KillAck]) -> String {
    let missing: Vec<&str> = acks.iter().filter(|ack| !ack.acked).map(|ack| ack.plane_name.as_str()).collect();
    if missing.is_empty() {
        return format!("in force on {} of {} planes", acks.len(), acks.len());
    }
    let (all, has) = (acks.len(), acks.len() - missing.len());
    format!("in force on {has} of {all} planes; without: {}; these take it when they are back", missing.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(own: &str, epoch: u64, held: bool) -> Pin {
        Pin { backend: "files".into(), own: own.into(), epoch, held, ..Pin::default() }
    }

    #[test]
    fn the_higher_epoch_stays_and_absence_takes_nothing_back() {
        let mut pins = PinsHeld::default();
        let set = |pins| PinSet { pins, ..PinSet::default() };
        pins.merge(&set(vec![pin("a", 4, false), pin("b", 3, false)]));
        pins.merge(&PinSet { whole: true, epoch: 9, pins: vec![pin("a", 3, true)] });
        assert_eq!((pins.epoch(), pins.whole().pins.len()), (9, 2));
        assert!(!pins.find("files", "a").unwrap().held);
        pins.merge(&set(vec![pin("a", 4, true)]));
        assert!(pins.find("files", "a").unwrap().held, "at equal epochs the quarantine stays");
    }
}

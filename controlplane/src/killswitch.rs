//! Kill switches and revocations: durable before they are sent, one epoch, and the planes' acknowledgements.
//!
//! It does not judge whether a name exists (`admin/kills.rs` does) and knows nothing of revisions. Kills never wait
//! for a publish.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sentinel_proto::v1::{KillAck, KillEntry, KillReply, KillSet, Revocation};
use tokio::time::Instant;

use crate::fleet::plane::Plane;
use crate::fleet::{Fleet, Planes};
use crate::keeper::Keeper;
use crate::kill_set::Kills;
use crate::refusal::Refusal;

/// How long a command waits for acknowledgements.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Whose acknowledgements a command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Every known plane that has not said goodbye.
    Known,
    /// Those that are connected now.
    Connected,
    Nobody,
}

/// Clones share the set.
#[derive(Clone, Debug)]
pub struct KillSwitch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    held: Mutex<Kills>,
    /// One command at a time: the order of epochs is the order of sending.
    turn: tokio::sync::Mutex<()>,
    fleet: Fleet,
    keeper: Keeper,
}

impl KillSwitch {
    pub fn new(fleet: Fleet, keeper: Keeper) -> Self {
        Self(Arc::new(Inner { held: Mutex::default(), turn: tokio::sync::Mutex::default(), fleet, keeper }))
    }

    /// Looks at the set.
    pub fn see<T>(&self, look: impl FnOnce(&Kills) -> T) -> T {
        look(&self.0.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn merge(&self, set: &KillSet) -> KillSet {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).merge(set)
    }

    /// Takes in what the store holds, at start.
    pub fn load(&self, set: &KillSet) {
        let news = self.merge(set);
        self.0.fleet.kill(&news);
    }

    /// Takes in what a plane holds and we do not: durable first, then sent to all. Gives what was new.
    ///
    /// Errors: the store's; then nothing was adopted.
    pub async fn adopt(&self, set: &KillSet, plane: &str) -> Result<KillSet, Refusal> {
        let (news, behind) = self.see(|held| {
            let mut copy = held.clone();
            (copy.merge(set), copy.epoch() > held.epoch())
        });
        if news.entries.is_empty() && news.revocations.is_empty() && !behind {
            return Ok(news);
        }
        let _turn = self.0.turn.lock().await;
        self.0.keeper.store()?.adopt(&news).await?;
        let news = self.merge(&news);
        tracing::warn!(
            plane,
            epoch = news.epoch,
            entries = news.entries.len(),
            revocations = news.revocations.len(),
            "adopted kill switches that this plane knew and the store did not"
        );
        self.0.fleet.kill(&news);
        Ok(news)
    }

    /// Throws or lifts one switch, and waits as `wait` says. `lifts`: the epoch of the entry that a lift is meant for,
    /// so that nobody lifts what another has just thrown; 0 for whichever stands.
    ///
    /// Errors: another epoch stands than `lifts`; the store's. Then nothing was changed or sent.
    pub async fn set(&self, entry: KillEntry, lifts: u64, wait: Wait) -> Result<KillReply, Refusal> {
        let turn = self.0.turn.lock().await;
        if lifts != 0
            && let Some(held) = self.see(|held| held.of_origin(entry.scope(), &entry.name, &entry.origin).cloned())
            && held.epoch != lifts
        {
            return Err(overtaken(&held, lifts));
        }
        let store = self.0.keeper.store()?;
        store.raise_epoch_to(self.see(Kills::epoch)).await?;
        let entry = store.set_kill(entry).await?;
        let set = KillSet { epoch: entry.epoch, entries: vec![entry], ..KillSet::default() };
        Ok(self.send(&set, wait, turn).await)
    }

    /// Revokes a token, likewise.
    pub async fn revoke(&self, entry: Revocation, wait: Wait) -> Result<KillReply, Refusal> {
        let turn = self.0.turn.lock().await;
        let store = self.0.keeper.store()?;
        store.raise_epoch_to(self.see(Kills::epoch)).await?;
        let entry = store.revoke_token(entry).await?;
        let set = KillSet { epoch: entry.epoch, revocations: vec![entry], ..KillSet::default() };
        Ok(self.send(&set, wait, turn).await)
    }

    async fn send(&self, set: &KillSet, wait: Wait, turn: tokio::sync::MutexGuard<'_, ()>) -> KillReply {
        self.merge(set);
        let since = Instant::now();
        self.0.fleet.kill(set);
        drop(turn);
        acknowledged(&self.0.fleet, set.epoch, wait, since).await
    }

    /// Forgets revocations whose tokens have ended by themselves.
    pub fn forget_ended(&self, now_secs: i64) -> bool {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).forget_ended(now_secs)
    }
}

fn overtaken(held: &KillEntry, lifts: u64) -> Refusal {
    let did = if held.on { "threw it again" } else { "has lifted it already" };
    let why = if held.reason.is_empty() { String::new() } else { format!(" ({})", held.reason) };
    Refusal::state(format!(
        "{} {did} meanwhile{why}: epoch {} stands, and this lift was for epoch {lifts}; see `sentinelctl kill-switch list`",
        held.by, held.epoch
    ))
}

async fn acknowledged(fleet: &Fleet, epoch: u64, wait: Wait, since: Instant) -> KillReply {
    let counts = |plane: &&Plane| match wait {
        Wait::Known => !plane.stopped,
        Wait::Connected | Wait::Nobody => plane.link.is_some(),
    };
    let mut took: Vec<(String, Option<Duration>)> =
        fleet.see(|all| all.values().filter(counts).map(|plane| (plane.id.clone(), None)).collect());
    let mut look = |all: &Planes| {
        let mut complete = true;
        for (id, took) in &mut took {
            match all.get(id) {
                Some(plane) if plane.epoch >= epoch => _ = took.get_or_insert_with(|| since.elapsed()),
                // It said goodbye meanwhile, or was forgotten.
                Some(Plane { stopped: true, link: None, .. }) | None => {}
                Some(_) => complete = false,
            }
        }
        complete.then_some(())
    };
    let complete = match wait {
        Wait::Nobody => fleet.see(&mut look),
        Wait::Known | Wait::Connected => fleet.until(since + PATIENCE, &mut look).await,
    }
    .is_some();
    let acks: Vec<KillAck> = fleet.see(|all| {
        let each = took.iter().filter_map(|(id, took)| Some(all.get(id)?.ack_of(epoch, took.unwrap_or_default())));
        each.collect()
    });
    let note = note(&acks, complete, wait);
    KillReply { epoch, acks, complete, note }
}

fn note(acks: &[KillAck], complete: bool, wait: Wait) -> String {
    let missing: Vec<_> = acks.iter().filter(|ack| !ack.acked).collect();
    match (acks.len(), missing.len()) {
        (0, _) => "no plane is there to hear it; each takes it before it serves".to_owned(),
        (all, 0) => format!("acknowledged by {all} of {all} planes"),
        (_, _) if wait == Wait::Nobody => "stored and sent; nobody was waited for".to_owned(),
        (_, _) if complete => {
            "the planes that have not acknowledged have stopped; they take it before they serve".to_owned()
        }
        (all, left) => {
            let named = missing.iter().map(|ack| match ack.state.as_str() {
                "connected" => format!("{} (connected, no answer in {} s)", ack.plane_name, PATIENCE.as_secs()),
                state => {
                    format!("{} ({state}, last seen {})", ack.plane_name, crate::keeper::stamp(ack.last_seen_unix_ms))
                }
            });
            let named: Vec<_> = named.collect();
            format!(
                "acknowledged by {} of {all} planes; without: {}; these apply it before anything else when they are back",
                all - left,
                named.join(", ")
            )
        }
    }
}

//! Whether the store is there: opens it, asks it each few seconds, and says since when and why not.
//!
//! The control plane stays up without a store; what needs one asks here and fails plainly meanwhile. It does not know
//! what is stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::Store;
use crate::store::error::StoreError;

/// How often the store is asked whether it is there.
const PING: Duration = Duration::from_secs(3);
/// How long an answer to that may take.
const PONG: Duration = Duration::from_secs(2);

/// Records that a second try stores were no trouble.
const HICCUP_MS: i64 = 2_000;
/// A refused batch comes again within half a minute: a plane that has not tried for so long is gone.
const FORGOTTEN_MS: i64 = 60_000;

/// The store is away.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store is away since {since}: {why}; nothing was changed, try again when `sentinelctl status` shows it back"
)]
pub struct Away {
    pub since: String,
    pub why: String,
}

/// Clones share what is known.
#[derive(Clone, Debug)]
pub struct Keeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: watch::Sender<State>,
    /// By plane: whose records the store does not take.
    stuck: Mutex<BTreeMap<String, Stuck>>,
    clock: Clock,
}

#[derive(Debug)]
struct Stuck {
    since_ms: i64,
    last_ms: i64,
    why: String,
}

#[derive(Clone, Debug)]
struct State {
    store: Option<Store>,
    trouble: Option<Away>,
}

impl Keeper {
    /// Nothing is opened yet.
    pub fn new(clock: Clock) -> Self {
        let trouble = Some(Away { since: stamp(clock.unix_ms()), why: "it has not been opened yet".to_owned() });
        Self(Arc::new(Inner {
            state: watch::Sender::new(State { store: None, trouble }),
            stuck: Mutex::default(),
            clock,
        }))
    }

    /// The store, for one operation. Errors: `Away`.
    pub fn store(&self) -> Result<Store, Away> {
        let state = self.0.state.borrow();
        match (&state.store, &state.trouble) {
            (Some(store), None) => Ok(store.clone()),
            (_, Some(away)) => Err(away.clone()),
            (None, None) => Err(Away { since: stamp(self.0.clock.unix_ms()), why: "it is not open".to_owned() }),
        }
    }

    /// `ok`, or since when it is away or takes nothing, and why.
    pub fn word(&self) -> String {
        if let Some(away) = &self.0.state.borrow().trouble {
            return format!("away since {}: {}", away.since, away.why);
        }
        match self.stuck() {
            None => "ok".to_owned(),
            Some((since_ms, why)) => format!("answers, but takes no records since {}: {why}", stamp(since_ms)),
        }
    }

    pub fn is_there(&self) -> bool {
        self.store().is_ok()
    }

    /// It answers, and records of a plane can't be stored all the same: a full disk, a table that is gone.
    pub fn is_stuck(&self) -> bool {
        self.stuck().is_some()
    }

    fn stuck(&self) -> Option<(i64, String)> {
        let now = self.0.clock.unix_ms();
        let held = self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = |one: &&Stuck| now - one.since_ms >= HICCUP_MS && now - one.last_ms < FORGOTTEN_MS;
        held.values().filter(counts).min_by_key(|one| one.since_ms).map(|one| (one.since_ms, one.why.clone()))
    }

    /// It did not take records of this plane, which will come again.
    pub fn refused(&self, plane: &str, why: &str) {
        let now = self.0.clock.unix_ms();
        let mut held = self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, one| now - one.last_ms < FORGOTTEN_MS);
        let fresh = || Stuck { since_ms: now, last_ms: now, why: String::new() };
        let one = held.entry(plane.to_owned()).or_insert_with(fresh);
        one.last_ms = now;
        why.clone_into(&mut one.why);
    }

    /// It took records of this plane.
    pub fn took(&self, plane: &str) {
        self.0.stuck.lock().unwrap_or_else(PoisonError::into_inner).remove(plane);
    }

    /// `sqlite` or `postgres`; empty before it was opened once.
    pub fn kind(&self) -> &'static str {
        self.0.state.borrow().store.as_ref().map_or("", Store::kind)
    }

    /// The store has been opened.
    pub fn opened(&self, store: Store) {
        self.0.state.send_replace(State { store: Some(store), trouble: None });
    }

    /// Waits until the store answers. `None` when `stop` came first.
    pub async fn ready(&self, stop: &CancellationToken) -> Option<Store> {
        let mut state = self.0.state.subscribe();
        tokio::select! {
            () = stop.cancelled() => None,
            there = state.wait_for(|state| state.store.is_some() && state.trouble.is_none()) => {
                there.ok().and_then(|state| state.store.clone())
            }
        }
    }

    /// It did not answer: from the first time on it counts as away.
    pub fn failed(&self, why: &str) {
        self.0.state.send_if_modified(|state| match &mut state.trouble {
            Some(away) if away.why == why => false,
            Some(away) => {
                tracing::error!(why, "the store is away");
                why.clone_into(&mut away.why);
                true
            }
            none => {
                tracing::error!(why, "the store is away");
                *none = Some(Away { since: stamp(self.0.clock.unix_ms()), why: why.to_owned() });
                true
            }
        });
    }

    fn answered(&self) {
        self.0.state.send_if_modified(|state| match state.trouble.take() {
            None => false,
            Some(away) => {
                tracing::info!(since = away.since, "the store is back");
                true
            }
        });
    }
}

/// Opens the store with `open`, again and again until it can, then watches over it; ends with `stop`.
pub async fn keep<F>(keeper: Keeper, open: impl Fn() -> F + Send, stop: CancellationToken)
where
    F: Future<Output = Result<Store, StoreError>> + Send,
{
    let policy = ExponentialBuilder::new().with_jitter().without_max_times();
    let mut pauses = policy.with_min_delay(Duration::from_millis(250)).with_max_delay(Duration::from_secs(15)).build();
    while keeper.0.state.borrow().store.is_none() {
        match open().await {
            Ok(store) => keeper.opened(store),
            Err(why) => {
                keeper.failed(&why.to_string());
                let pause = pauses.next().unwrap_or(Duration::from_secs(15));
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    }
    let Some(store) = keeper.0.state.borrow().store.clone() else {
        return;
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PING) => {}
        }
        match tokio::time::timeout(PONG, store.ping()).await {
            Ok(Ok(())) => keeper.answered(),
            Ok(Err(why)) => keeper.failed(&why.to_string()),
            Err(_) => keeper.failed("it does not answer"),
        }
    }
}

/// A moment as people and their programs read it (RFC 3339, UTC).
pub fn stamp(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map_or_else(|_| unix_ms.to_string(), |at| format!("{at:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_takes_no_records_is_not_well_until_it_takes_them() {
        let clock = Clock::fixed(0);
        let keeper = Keeper::new(clock.clone());
        let dir = tempfile::tempdir().unwrap();
        let place = crate::store::Place::Sqlite(dir.path().join("sentinel.db"));
        keeper.opened(Store::open(&place, 0).await.unwrap());
        keeper.refused("one", "the disk is full");
        assert_eq!(keeper.word(), "ok", "a hiccup");
        clock.set(3_000);
        keeper.refused("one", "the disk is full");
        assert_eq!(keeper.word(), "answers, but takes no records since 1970-01-01T00:00:00Z: the disk is full");
        assert!(keeper.is_stuck() && keeper.is_there());
        keeper.took("two");
        assert!(keeper.is_stuck(), "another plane's records");
        keeper.took("one");
        assert_eq!(keeper.word(), "ok");
    }

    #[test]
    fn a_plane_that_went_is_forgotten() {
        let clock = Clock::fixed(0);
        let keeper = Keeper::new(clock.clone());
        keeper.refused("one", "the disk is full");
        clock.set(30_000);
        assert!(keeper.is_stuck());
        clock.set(FORGOTTEN_MS);
        assert!(!keeper.is_stuck());
    }
}

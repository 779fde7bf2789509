//! Whether the store is there: opens it, asks it each few seconds, and says since when and why not.
//!
//! The control plane stays up without a store; what needs one asks here and fails plainly meanwhile. It does not know
//! what is stored.

use std::sync::Arc;
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
    clock: Clock,
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
        Self(Arc::new(Inner { state: watch::Sender::new(State { store: None, trouble }), clock }))
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

    /// `ok`, or since when it is away and why.
    pub fn word(&self) -> String {
        match &self.0.state.borrow().trouble {
            None => "ok".to_owned(),
            Some(away) => format!("away since {}: {}", away.since, away.why),
        }
    }

    pub fn is_there(&self) -> bool {
        self.store().is_ok()
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

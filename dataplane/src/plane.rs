//! The parts of one data plane, built once in `main` and handed down. No globals.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::trail::Trail,
    backend::registry::Backends,
    clock::Clock,
    denial::NotReady,
    in_flight::InFlight,
    kill::gate::{Gate, Revoked},
    listen::{feeds::Feeds, session::Sessions},
    metrics::Metrics,
    stages::{authn::Tokens, limits::Buckets},
    view::Views,
};

/// How coarse deadlines and keep-alives are: one task looks, so that no call needs a timer (`hot-path.md` 2).
const TICK: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Plane {
    pub views: Views,
    pub tokens: Tokens,
    pub gate: Gate,
    pub revoked: Revoked,
    pub buckets: Arc<Buckets>,
    pub in_flight: Arc<InFlight>,
    pub backends: Backends,
    pub audit: Trail,
    pub sessions: Sessions,
    pub feeds: Feeds,
    pub metrics: Metrics,
    pub clock: Clock,
    pub tracker: TaskTracker,
    pub life: watch::Sender<Life>,
}

/// What the plane as a whole does with new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Not all is read from disk, or the control plane has to be heard first.
    Starting,
    Serving,
    Draining,
}

impl Plane {
    /// Why nothing can be served now, if so.
    pub fn not_ready(&self) -> Option<NotReady> {
        match *self.life.borrow() {
            Life::Starting => Some(NotReady::Starting),
            Life::Draining => Some(NotReady::Draining),
            Life::Serving => None,
        }
    }

    /// Unix seconds, for what is about calendar time: tokens.
    pub fn now(&self) -> i64 {
        i64::try_from(self.clock.now_secs()).unwrap_or(i64::MAX)
    }

    /// Deadlines, keep-alives and sweeps, until `stop`.
    pub async fn tick(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut minutes = tokio::time::interval(Duration::from_secs(60));
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {
                    let keepalive = self.views.load_full().map_or(Duration::from_secs(15), |view| view.policy.gateway.keepalive);
                    self.in_flight.tick(keepalive);
                    self.feeds.tick(self.now(), keepalive);
                }
                _ = minutes.tick() => {
                    self.buckets.sweep();
                    self.tokens.sweep();
                    self.sessions.sweep();
                }
            }
        }
    }
}

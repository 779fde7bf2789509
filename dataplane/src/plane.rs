//! The parts of one data plane, built once in `main` and handed down. No globals.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    audit::trail::Trail,
    backend::registry::Backends,
    call::Principal,
    clock::Clock,
    contact::Contact,
    denial::NotReady,
    in_flight::InFlight,
    input::{parked::Parked, state::States},
    kill::gate::{Gate, Revoked},
    listen::{feeds::Feeds, session::Sessions},
    metrics::Metrics,
    stages::{authn::Tokens, limits::Buckets},
    tasks::Tasks,
    upcall::questions::Questions,
    view::Views,
    workers::Workers,
};

/// How coarse deadlines and keep-alives are: one task looks, so that no call needs a timer (`hot-path.md` 2).
const TICK: Duration = Duration::from_millis(50);
/// A tick that comes later than this was held up by the machine (a suspend, a SIGSTOP, far too few cores), which an
/// operator wants to know who wonders about timeouts.
const PAUSED: Duration = Duration::from_secs(5);

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
    /// Seals what modern clients carry between two rounds.
    pub states: States,
    pub tasks: Tasks,
    /// Calls that wait for their clients' next round.
    pub parked: Parked,
    pub feeds: Feeds,
    /// What servers ask of clients.
    pub questions: Arc<Questions>,
    pub metrics: Metrics,
    pub clock: Clock,
    pub tracker: TaskTracker,
    pub workers: Workers,
    pub life: watch::Sender<Life>,
    pub contact: Arc<Contact>,
}

/// What the plane as a whole does with new work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Not all is read from disk, or the control plane has to be heard first.
    Starting,
    Serving,
    /// The control plane has not been heard for longer than the configuration allows.
    Stale,
    Draining,
}

impl Plane {
    /// Why nothing can be served now, if so.
    pub fn not_ready(&self) -> Option<NotReady> {
        match *self.life.borrow() {
            Life::Starting => Some(NotReady::Starting),
            Life::Draining => Some(NotReady::Draining),
            Life::Stale => Some(NotReady::Stale),
            Life::Serving => None,
        }
    }

    /// Unix seconds, for what is about calendar time: tokens.
    pub fn now(&self) -> i64 {
        i64::try_from(self.clock.now_secs()).unwrap_or(i64::MAX)
    }

    /// Its token is over or revoked, or a kill switch stands for it: what it had to itself ends.
    fn is_gone(&self, principal: &Principal) -> bool {
        let is_revoked = |jti: &str| self.revoked.is_revoked(&principal.issuer, jti);
        principal.until <= self.now()
            || principal.jti.as_deref().is_some_and(is_revoked)
            || self.gate.caller(principal).is_err()
    }

    /// Turns calls away while the control plane was not heard for longer than `most`, and takes them again after.
    fn judge_contact(&self, most: Option<Duration>) {
        let is_stale = most.is_some_and(|most| self.contact.missed_for().is_some_and(|missed| missed > most));
        let turned = self.life.send_if_modified(|life| {
            let next = match *life {
                Life::Serving if is_stale => Life::Stale,
                Life::Stale if !is_stale => Life::Serving,
                Life::Starting | Life::Serving | Life::Stale | Life::Draining => return false,
            };
            *life = next;
            true
        });
        match (turned, is_stale) {
            (true, true) => {
                tracing::error!("the control plane was not heard for max_staleness_secs: calls are refused")
            }
            (true, false) => tracing::info!("the control plane is heard again: calls are taken"),
            (false, _) => {}
        }
    }

    /// Has servers send the log notes that somebody asked for, and no others.
    pub fn spread_levels(&self) {
        let lowest = self.sessions.lowest_level();
        for backend in self.backends.all() {
            let Some(instances) = &backend.instances else {
                backend.wanted.set_level(lowest);
                continue;
            };
            for instance in instances.all() {
                instance.backend.wanted.set_level(match instance.session {
                    Some(leg) => self.sessions.level(leg),
                    None => self.sessions.lowest_level_of(&instance.principal),
                });
            }
        }
    }

    /// Deadlines, keep-alives and sweeps, until `stop`.
    pub async fn tick(self: Arc<Self>, stop: CancellationToken) {
        let mut last = Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut minutes = tokio::time::interval(Duration::from_secs(60));
        minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {
                    let pause = last.elapsed();
                    last = Instant::now();
                    if pause > PAUSED {
                        tracing::warn!(secs = pause.as_secs(), "this process did not run for {} s", pause.as_secs());
                    }
                    let view = self.views.load_full();
                    let keepalive = view.as_ref().map_or(Duration::from_secs(15), |view| view.policy.gateway.keepalive);
                    self.judge_contact(view.as_ref().and_then(|view| view.policy.gateway.max_staleness));
                    self.in_flight.tick(keepalive);
                    self.feeds.tick(self.now(), keepalive);
                }
                _ = seconds.tick() => {
                    self.backends.sweep(|principal| self.is_gone(principal));
                    // Also for servers that came since.
                    self.spread_levels();
                }
                _ = minutes.tick() => {
                    self.buckets.sweep();
                    self.tokens.sweep();
                    self.sessions.sweep();
                    self.feeds.sweep();
                }
            }
        }
    }
}

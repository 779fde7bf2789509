//! The way out: `/ready` 503, accept no more, finish what runs, end the children, bring the records, say goodbye.
//!
//! A second signal shortens the wait to a second. Each step is logged.

use std::{sync::Arc, time::Duration};

use sentinel_dataplane::{
    in_flight::Why,
    plane::{Life, Plane},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Without a snapshot there is no `drain_secs`.
const DRAIN: Duration = Duration::from_secs(20);
const HURRIED: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);
/// For calls that were ended to be answered and recorded.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// For children to go by the ladder.
const CHILDREN: Duration = Duration::from_secs(15);
/// For the last records and the goodbye.
const LAST_NEWS: Duration = Duration::from_secs(5);

/// SIGTERM and SIGINT alike. SIGHUP is for the control plane: a plane that is sent one goes on.
#[derive(Debug)]
pub(crate) struct Signals {
    term: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Errors: the system gives no handler.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// The next one that asks for an end. Cancel safe.
    pub(crate) async fn asked(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.hang_up.recv() => tracing::info!("SIGHUP: a plane has nothing to reload; send it to the control plane"),
            }
        }
    }
}

/// What is ended in which order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stops {
    /// Listeners for clients.
    pub(crate) listen: CancellationToken,
    /// The trail's aggregates, then the shipping.
    pub(crate) trail: CancellationToken,
    pub(crate) ship: CancellationToken,
    /// The stream to the control plane: its goodbye.
    pub(crate) feed: CancellationToken,
    /// Everything else.
    pub(crate) all: CancellationToken,
}

/// Ends the plane in order. `listeners`: the accept loops and their connections; `news`: what speaks to the control
/// plane.
pub(crate) async fn drain(
    plane: &Arc<Plane>,
    stops: &Stops,
    listeners: &TaskTracker,
    news: &TaskTracker,
    signals: &mut Signals,
) {
    plane.life.send_replace(Life::Draining);
    stops.listen.cancel();
    plane.parked.close();
    let allowed = plane.views.load_full().map_or(DRAIN, |view| view.policy.gateway.drain);
    tracing::info!(in_flight = plane.in_flight.len(), seconds = allowed.as_secs(), "draining");
    let mut until = Instant::now() + allowed;
    while !plane.in_flight.is_empty() && Instant::now() < until {
        tokio::select! {
            () = sleep(LOOK) => {}
            name = signals.asked() => {
                tracing::info!("{name} again: hurrying");
                until = until.min(Instant::now() + HURRIED);
            }
        }
    }
    let ended = plane.in_flight.sweep(|_| Some(Why::Shutdown));
    if ended > 0 {
        tracing::warn!(ended, "calls did not end in time and were ended");
    }
    plane.feeds.close();
    listeners.close();
    if tokio::time::timeout(LAST_WORDS, listeners.wait()).await.is_err() {
        tracing::info!("connections that did not close are cut");
    }
    if tokio::time::timeout(CHILDREN, plane.backends.stop_all()).await.is_err() {
        tracing::warn!("backends did not end in time; the reaper ends them");
    }
    tracing::info!("backends are ended");
    stops.trail.cancel();
    // The last aggregates are appended before the last batch is made.
    sleep(LOOK).await;
    stops.ship.cancel();
    stops.feed.cancel();
    news.close();
    if tokio::time::timeout(LAST_NEWS, news.wait()).await.is_err() {
        tracing::warn!("the control plane did not take the last news in time");
    }
    if let Err(fault) = plane.audit.spool.close() {
        tracing::error!(%fault, "the spool was not closed in order");
    }
    stops.all.cancel();
    tracing::info!(backlog = plane.audit.spool.backlog().records, "drained");
}

//! The spine's smaller tasks: signals, the beginning on the store, and the hourly housekeeping.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use sentinel_proto::v1::ReloadRequest;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;

use super::keep;
use crate::admin;
use crate::audit::retention;
use crate::core::{By, Core};
use crate::fleet::plane::{LEASE, Plane};
use crate::refusal::Refusal;
use crate::revisions::watched::FileWatch;
use crate::revisions::{Start, sentence};
use crate::store::Place;

/// A plane is forgotten after its lease and a day.
const FORGET: Duration = Duration::from_secs(24 * 3600 + LEASE.as_secs());
/// How often housekeeping looks.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
/// A pause after a beginning that failed.
const AGAIN: Duration = Duration::from_secs(2);

/// The signals that mean something, received from the very start on.
#[derive(Clone)]
pub(super) struct Signals(Arc<Mutex<[Signal; 3]>>);

impl Signals {
    /// Errors: the system gives no handler.
    pub(super) fn take() -> io::Result<Self> {
        let of = |kind| signal(kind);
        let all = [of(SignalKind::terminate())?, of(SignalKind::interrupt())?, of(SignalKind::hangup())?];
        Ok(Self(Arc::new(Mutex::new(all))))
    }
}

/// The exit code that the beginning asks for; 0 until it does.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome(Arc<AtomicU8>);

impl Outcome {
    pub(super) fn code(&self) -> u8 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(super) fn run(core: &Core, signals: &Signals, place: Place, watches: bool) {
    core.spine.run("signals", heed(core.clone(), signals.clone()));
    if watches {
        core.spine.run("file watch", watch_file(core.clone()));
    }
    core.spine.run("store", keep(core.clone(), place));
    core.spine.run("housekeeping", housekeeping(core.clone()));
}

async fn heed(core: Core, signals: Signals) {
    let mut signals = signals.0.lock().await;
    let [terminate, interrupt, hangup] = &mut *signals;
    loop {
        tokio::select! {
            () = core.spine.stop().cancelled() => return,
            _ = terminate.recv() => return stop(&core, "SIGTERM"),
            _ = interrupt.recv() => return stop(&core, "SIGINT"),
            _ = hangup.recv() => {
                let core = core.clone();
                core.spine.tracker().clone().spawn(async move { Box::pin(publish(&core, "SIGHUP")).await });
            }
        }
    }
}

/// The file, for whoever asks without waiting for an answer: it stands in the log.
async fn publish(core: &Core, why: &str) {
    match admin::reload_by(core, &By::program(why), ReloadRequest::default()).await {
        Ok(reply) => {
            tracing::info!(revision = reply.revision, "{why}: {}", reply.note);
            for problem in &reply.problems {
                tracing::error!("{}", sentence(problem));
            }
        }
        Err(refused) => tracing::error!("{why}: {refused}"),
    }
}

/// Publishes the file whenever its content has changed and says something else than what is in force.
async fn watch_file(core: Core) {
    let stop = core.spine.stop().clone();
    tokio::select! {
        () = stop.cancelled() => return,
        () = core.begun.cancelled() => {}
    }
    let mut watch = FileWatch::begin(core.revisions.path()).await;
    // What was written between the start's look and now.
    let mut news = core.revisions.file_differs().await;
    loop {
        if news {
            Box::pin(publish(&core, "file watch")).await;
        }
        if watch.changed(&stop).await.is_none() {
            return;
        }
        news = core.revisions.file_differs().await;
    }
}

fn stop(core: &Core, signal: &str) {
    tracing::info!(signal, "stopping");
    core.fleet.close_all("the control plane is stopping");
    core.spine.stop().cancel();
}

/// As soon as the store is there: its kills, planes and revision, then the file.
pub(super) fn begin(core: &Core, outcome: Outcome) {
    let parts = core.clone();
    core.spine.run("beginning", async move {
        loop {
            if parts.keeper.ready(parts.spine.stop()).await.is_none() {
                return;
            }
            match restore(&parts).await {
                Ok(Start::Runs) => return parts.begun.cancel(),
                Ok(Start::Nothing(problems)) => {
                    for problem in &problems {
                        tracing::error!("{}", sentence(problem));
                    }
                    tracing::error!("no configuration can be put in force, and none is stored; ending");
                    outcome.0.store(2, Ordering::SeqCst);
                    return parts.spine.stop().cancel();
                }
                Err(why) => tracing::error!(%why, "could not begin on the store; trying again"),
            }
            tokio::select! {
                () = parts.spine.stop().cancelled() => return,
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    });
}

async fn restore(core: &Core) -> Result<Start, Refusal> {
    let store = core.keeper.store()?;
    core.kills.load(&store.kill_set().await?);
    core.pins.load(&store.pins().await?);
    let planes = store.planes().await?.into_iter().map(|known| {
        let mut plane = Plane::known(known.id, known.name, known.first_seen_unix_ms, known.last_seen_unix_ms);
        plane.version = known.version;
        plane.stopped = known.stopped;
        plane.revision = known.revision;
        plane
    });
    core.fleet.remember(planes);
    core.revisions.start().await
}

/// Notes when planes were last heard, forgets those long gone, ended revocations and old audit rows.
async fn housekeeping(core: Core) {
    let mut beat = tokio::time::interval(HOUSEKEEPING);
    let mut round: u64 = 0;
    loop {
        tokio::select! {
            () = core.spine.stop().cancelled() => return,
            _ = beat.tick() => {}
        }
        if !core.begun.is_cancelled() {
            continue;
        }
        let forget = i64::try_from(FORGET.as_millis()).unwrap_or(i64::MAX);
        for id in core.fleet.forget_before(core.clock.unix_ms() - forget) {
            tracing::info!(id, "a plane that was away for a day is forgotten");
        }
        core.kills.forget_ended(core.clock.unix_secs());
        if let Err(why) = tidy(&core, round.is_multiple_of(60)).await {
            tracing::warn!(%why, "housekeeping could not be done");
        }
        round = round.wrapping_add(1);
    }
}

async fn tidy(core: &Core, hourly: bool) -> Result<(), Refusal> {
    let store = core.keeper.store()?;
    let connected: Vec<_> = core.fleet.see(|all| {
        let here = all.values().filter(|plane| plane.link.is_some());
        let seen = here.map(|plane| crate::store::planes::PlaneSeen {
            id: plane.id.clone(),
            at_unix_ms: plane.last_seen_ms,
            revision: Some(plane.revision),
            epoch: Some(plane.epoch),
        });
        seen.collect()
    });
    for seen in connected {
        store.plane_seen(&seen).await?;
    }
    if hourly {
        store.forget_revocations(core.clock.unix_secs()).await?;
        let days = core.revisions.current().map_or(30, |current| current.retention_days);
        retention::tend(&store, core.clock.unix_ms().saturating_mul(1000), days).await?;
    }
    Ok(())
}

//! The view's one task, the only publisher: it hears prepares, commits and what backends say, joins the newest Policy
//! with the newest offers, and swaps. What costs (schemas, listings) is done here, off the call path.

mod notes;
mod own;
mod pinning;

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use sentinel_proto::v1;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::block_in_place,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use self::{notes::Changed, own::Owns};
use super::{
    Publisher, Stamp, View, Views,
    last_known_good::{Kept, LastKnownGood},
    policy::{Ground, Policy, Problem, Revision},
    resolve::Resolver,
};
use crate::{
    backend::{BackendNote, registry::Backends},
    call::BackendId,
    catalogue::{
        Catalogue,
        merge::{self, Offer, Trust},
        schema,
    },
    clock::Clock,
    kill::Kills,
    listen::watching,
    metrics::Metrics,
    ops::status::Source,
    pins::Pins,
    plane::Plane,
};

/// How long a prepared Policy waits for its commit.
const HELD: Duration = Duration::from_secs(30);
/// What several changes of one moment are joined into one swap for.
const SETTLE: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_secs(1);

/// What the feed (or the start) asks of the task.
#[derive(Debug)]
pub enum ViewMessage {
    /// Build a Policy and keep it. Starts nothing.
    Prepare {
        revision: Revision,
        digest: [u8; 32],
        snapshot: Bytes,
        allow_degraded: bool,
        reply: oneshot::Sender<v1::Prepared>,
    },
    /// Put the prepared one in force.
    Commit {
        revision: Revision,
        digest: [u8; 32],
        reply: oneshot::Sender<Result<v1::Applied, String>>,
    },
    Abort {
        revision: Revision,
        digest: [u8; 32],
    },
    /// Which definitions of tools are trusted. Epoch 0 in the reply: the disk refused.
    Pins {
        set: v1::PinSet,
        reply: oneshot::Sender<v1::PinsApplied>,
    },
    /// From disk, at the start: the first that builds is put in force, unless something newer is.
    Revive {
        kept: Vec<Kept>,
        reply: oneshot::Sender<Result<Revision, Vec<String>>>,
    },
}

/// What is in force, for ops and reports.
#[derive(Clone, Debug, Default)]
pub struct InForce {
    pub revision: Revision,
    pub digest: Vec<u8>,
    pub applied_ms: i64,
    pub source: Source,
    /// Raised with each swap.
    pub generation: u64,
    pub degraded: Vec<(Arc<str>, String)>,
}

/// Everything that the task owns or writes.
#[derive(Debug)]
pub struct ViewTask {
    pub publisher: Publisher,
    pub views: Views,
    pub backends: Backends,
    pub kills: Arc<Kills>,
    pub plane: Arc<Plane>,
    pub metrics: Metrics,
    pub resolver: Resolver,
    pub disk: LastKnownGood,
    pub pins: Pins,
    pub clock: Clock,
    pub in_force: watch::Sender<InForce>,
    pub may_be_anonymous: bool,
}

#[derive(Debug)]
struct Prepared {
    kept: Kept,
    policy: Policy,
    until: Instant,
}

/// What changes while the task runs.
#[derive(Debug, Default)]
struct Known {
    prepared: Option<Prepared>,
    policy: Option<Arc<Policy>>,
    ids: HashMap<Arc<str>, BackendId>,
    offers: HashMap<Arc<str>, Offer>,
    own: Owns,
    stale_since: HashMap<Arc<str>, Instant>,
    schemas: schema::Cache,
    generation: u64,
}

impl ViewTask {
    /// Runs until `stop`. Bounds: `messages` by the feed's manners, `notes` by the channel's size.
    pub async fn run(
        mut self,
        mut messages: mpsc::Receiver<ViewMessage>,
        mut notes: mpsc::Receiver<BackendNote>,
        stop: CancellationToken,
    ) {
        let mut known = Known::default();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                message = messages.recv() => match message {
                    Some(message) => self.hear(&mut known, message),
                    None => return,
                },
                note = notes.recv() => {
                    let Some(note) = note else { return };
                    let mut changed = self.note(&mut known, note);
                    // One swap for what comes together: many backends are ready in one moment after a start.
                    let settled = tokio::time::sleep(SETTLE);
                    tokio::pin!(settled);
                    loop {
                        tokio::select! {
                            () = &mut settled => break,
                            note = notes.recv() => match note {
                                Some(note) => changed = changed.max(self.note(&mut known, note)),
                                None => break,
                            },
                        }
                    }
                    match changed {
                        Changed::Nothing => {}
                        Changed::Own => self.publish_own(&mut known),
                        Changed::All => self.publish(&mut known),
                    }
                }
                _ = ticks.tick() => {
                    if self.expire(&mut known) {
                        self.publish(&mut known);
                    }
                }
            }
        }
    }

    fn hear(&mut self, known: &mut Known, message: ViewMessage) {
        match message {
            ViewMessage::Prepare { revision, digest, snapshot, allow_degraded, reply } => {
                let kept = Kept { revision, digest, snapshot };
                let ready = match self.build(&kept, allow_degraded) {
                    Ok(policy) => {
                        let degraded = policy.degraded.iter().map(|(name, _)| name.to_string()).collect();
                        known.prepared = Some(Prepared { kept, policy, until: Instant::now() + HELD });
                        (Vec::new(), degraded)
                    }
                    Err(problems) => (problems, Vec::new()),
                };
                let (problems, degraded) = ready;
                let told = |Problem { backend, key, message }| v1::PlaneProblem { backend, key, message };
                let problems = problems.into_iter().map(told).collect();
                reply.send(v1::Prepared { revision, digest: digest.to_vec(), problems, degraded }).ok();
            }
            ViewMessage::Commit { revision, digest, reply } => {
                let applied = match known.prepared.take() {
                    Some(prepared) if prepared.kept.revision == revision && prepared.kept.digest == digest => {
                        self.apply(known, &prepared.kept, prepared.policy, Source::ControlPlane)
                    }
                    other => {
                        known.prepared = other;
                        Err(format!("revision {revision} is not prepared here"))
                    }
                };
                reply.send(applied.map(|()| v1::Applied { revision, digest: digest.to_vec() })).ok();
            }
            ViewMessage::Abort { revision, digest } => {
                known.prepared.take_if(|prepared| prepared.kept.revision == revision && prepared.kept.digest == digest);
            }
            ViewMessage::Pins { set, reply } => {
                reply.send(self.pinned(known, &set)).ok();
            }
            ViewMessage::Revive { kept, reply } => {
                reply.send(self.revive(known, kept)).ok();
            }
        }
    }

    fn revive(&mut self, known: &mut Known, found: Vec<Kept>) -> Result<Revision, Vec<String>> {
        let mut faults = Vec::new();
        if let Some(policy) = &known.policy {
            return Ok(policy.revision);
        }
        for kept in found {
            let revision = kept.revision;
            // What the fleet agreed on is served without the backends that can't be built here now.
            let applied = self
                .build(&kept, true)
                .map_err(|problems| {
                    problems
                        .iter()
                        .map(|problem| format!("{}: {}", problem.key, problem.message))
                        .collect::<Vec<_>>()
                        .join("; ")
                })
                .and_then(|policy| self.apply(known, &kept, policy, Source::LastKnownGood));
            match applied {
                Ok(()) => return Ok(revision),
                Err(fault) => faults.push(format!("revision {revision} is not used: {fault}")),
            }
        }
        Err(faults)
    }

    fn build(&self, kept: &Kept, allow_degraded: bool) -> Result<Policy, Vec<Problem>> {
        let unreadable = |message: String| vec![Problem { backend: String::new(), key: "snapshot".into(), message }];
        block_in_place(|| {
            let sum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &kept.snapshot);
            if sum.as_ref() != kept.digest {
                return Err(unreadable("its bytes do not fit its digest".to_owned()));
            }
            let snapshot = v1::Snapshot::decode(kept.snapshot.clone())
                .map_err(|fault| unreadable(format!("it can't be read: {fault}")))?;
            let ground = Ground { resolver: &self.resolver, may_be_anonymous: self.may_be_anonymous, allow_degraded };
            Policy::build(kept.revision, kept.digest, snapshot, &ground)
        })
    }

    /// In force from here on; durable as last-known-good when this returns. Errors: an older revision than what is
    /// in force, or the same with another digest.
    fn apply(&mut self, known: &mut Known, kept: &Kept, policy: Policy, source: Source) -> Result<(), String> {
        if let Some(held) = &known.policy {
            if held.revision > kept.revision {
                return Err(format!(
                    "stale: revision {} is in force here, and {} is older",
                    held.revision, kept.revision
                ));
            }
            if held.revision == kept.revision && held.digest != kept.digest {
                return Err(format!("conflict: revision {} has another digest here", kept.revision));
            }
        }
        let specs: Vec<_> = policy.backends.iter().map(|backend| Arc::clone(&backend.spec)).collect();
        known.ids = self.backends.reconcile(&specs, policy.gateway.drain);
        let Known { ids, offers, own, stale_since, .. } = known;
        own.follow(ids);
        offers.retain(|name, offer| match ids.get(name) {
            None => false,
            Some(id) if *id == offer.backend => true,
            // Another incarnation: what the former offered stays listed until this one has spoken.
            Some(id) => {
                offer.backend = *id;
                offer.stale = true;
                stale_since.insert(Arc::clone(name), Instant::now());
                true
            }
        });
        let digest = policy.digest.to_vec();
        let degraded = policy.degraded.clone();
        self.kills.set_file(&policy.kills);
        known.policy = Some(Arc::new(policy));
        self.publish(known);
        let applied_ms = self.now();
        let generation = known.generation;
        self.in_force.send_replace(InForce {
            revision: kept.revision,
            digest,
            applied_ms,
            source,
            generation,
            degraded,
        });
        if source == Source::ControlPlane
            && let Err(fault) = block_in_place(|| self.disk.write(kept))
        {
            tracing::error!(%fault, "this revision is in force and not kept for a restart");
        }
        Ok(())
    }

    /// Forgets what a backend offered that was down for too long, and a Policy that nobody committed.
    fn expire(&self, known: &mut Known) -> bool {
        known.prepared.take_if(|prepared| prepared.until < Instant::now());
        let Some(keep) = known.policy.as_ref().map(|policy| policy.keep_listed) else { return false };
        let gone: Vec<_> = known
            .stale_since
            .iter()
            .filter(|(_, since)| since.elapsed() > keep)
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in &gone {
            known.stale_since.remove(name);
            known.offers.remove(name);
        }
        !gone.is_empty()
    }

    fn publish(&mut self, known: &mut Known) {
        let Some(policy) = &known.policy else { return };
        let (policy, old) = (Arc::clone(policy), self.views.load_full());
        let trust = Trust { pins: &self.pins, before: old.as_ref().map(|old| &*old.catalogue), now: self.now() };
        let catalogue =
            block_in_place(|| merge::merge(&policy, &known.offers, &trust, &mut known.schemas, &self.metrics));
        self.keep(&catalogue, old.as_deref());
        known.own.doubt();
        let parts = self.judge_own(known, &policy, old.as_deref());
        known.schemas.sweep();
        known.generation += 1;
        let stamp = Stamp { revision: policy.revision, generation: known.generation };
        let catalogue = Arc::new(catalogue);
        self.put_in_force(block_in_place(|| View::new(stamp, &policy, &catalogue, &parts)), old.as_ref());
    }

    /// Writes down what a new catalogue brings, and says what is not exposed or held in it.
    fn keep(&mut self, catalogue: &Catalogue, before: Option<&View>) {
        pinning::tell(catalogue, before);
        if let Err(fault) = block_in_place(|| pinning::keep(&mut self.pins, catalogue)) {
            tracing::error!(%fault, "the pins are in force and not on disk");
        }
        if let Err(fault) = block_in_place(|| self.kills.fill(catalogue)) {
            tracing::error!(%fault, "a kill switch's pair of names can't be written down");
        }
    }

    fn put_in_force(&mut self, view: View, old: Option<&Arc<View>>) {
        let stamp = view.stamp;
        if let Err(stale) = self.publisher.publish(view) {
            tracing::error!(%stale, "a view was not published");
            return;
        }
        if let Some(new) = self.views.load_full() {
            self.plane.feeds.swapped(old, &new);
            watching::follow(&self.plane, &new);
        }
        self.in_force.send_modify(|in_force| in_force.generation = in_force.generation.max(stamp.generation) + 1);
    }

    /// Unix milliseconds.
    fn now(&self) -> i64 {
        i64::try_from(self.clock.now_micros() / 1000).unwrap_or(i64::MAX)
    }
}

//! The live backends of this plane, by incarnation. A reload keeps what did not change, starts what is new, and lets
//! calls in flight end on what is gone.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    BackendNote, Link, LinkParts, Note,
    breaker::Breaker,
    bulkhead::Bulkhead,
    health,
    instances::Instances,
    isolation::{InstanceId, Isolation, Owner},
    repeats::Repeats,
    spec::BackendSpec,
    stdio::{cgroup::Groups, spawner::Spawner},
    wanted::Wanted,
};
use crate::{
    audit::event::session_text,
    call::{BackendId, Principal},
    in_flight::{InFlight, LegKey},
    listen::ClientLeg,
    upcall::{Asked, feature::Features},
    workers::Workers,
};

/// One incarnation of one definition.
#[derive(Debug)]
pub struct Backend {
    pub id: BackendId,
    /// None: it is everybody's, or lists for all.
    pub instance: Option<InstanceId>,
    pub spec: Arc<BackendSpec>,
    pub link: Link,
    pub breaker: Arc<Breaker>,
    pub bulkhead: Bulkhead,
    pub repeats: Repeats,
    /// None: it is shared. Else calls go to one of these, and its own link does what is done for all: it lists.
    pub instances: Option<Instances>,
    /// What clients want of it beside calls. Of one that is not shared: of nobody, each instance has its own.
    pub wanted: Arc<Wanted>,
    /// Ends its tasks.
    stop: CancellationToken,
}

impl Backend {
    /// By the operator: it is started anew, with all that it has.
    pub fn restart(&self) {
        self.link.restart();
        for instance in self.instances.iter().flat_map(Instances::all) {
            instance.backend.link.restart();
        }
    }

    /// What it wrote to stderr; what each client's own process wrote comes after a line that says whose it is.
    pub fn stderr(&self) -> Vec<String> {
        let mut lines = self.link.stderr();
        for instance in self.instances.iter().flat_map(Instances::all) {
            let session = instance.session.map_or_else(String::new, |key| format!(", session {}", session_text(key)));
            lines.push(format!("(of {}{session})", instance.principal.client.escape_debug()));
            lines.extend(instance.backend.link.stderr());
        }
        lines
    }

    /// What all that it has said wrong, by kind.
    pub fn noise(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        let own = self.instances.iter().flat_map(Instances::all).flat_map(|instance| instance.backend.link.noise());
        for (kind, count) in self.link.noise().into_iter().chain(own) {
            *all.entry(kind).or_default() += count;
        }
        all
    }

    /// Whether it may ask this client, which is asked within answers, while a call of its runs: as a legacy server does,
    /// where it can be told whose question it is.
    pub fn may_ask_on_the_way(&self, leg: &ClientLeg, declares: Features) -> bool {
        !leg.is_session()
            && declares != Features::NONE
            && (self.spec.isolation != Isolation::Shared || self.link.tells_calls_apart())
            && self.link.era() == Some(super::era::Era::Legacy)
    }

    /// Ends it by the ladder, with all that it has; returns when nothing of it is left.
    async fn end(&self) {
        let own = self.instances.iter().flat_map(Instances::clear).collect::<Vec<_>>();
        let instances = futures_util::future::join_all(own.iter().map(|instance| instance.link.stop()));
        tokio::join!(self.link.stop(), instances);
        self.stop.cancel();
    }
}

#[derive(Clone, Debug)]
pub struct Backends {
    live: Arc<ArcSwap<foldhash::HashMap<BackendId, Arc<Backend>>>>,
    next: Arc<AtomicU32>,
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    tracker: TaskTracker,
    stop: CancellationToken,
    notes: mpsc::Sender<BackendNote>,
    spawner: Spawner,
    asks: mpsc::Sender<Asked>,
    updates: mpsc::Sender<Arc<Wanted>>,
    in_flight: Arc<InFlight>,
    workers: Workers,
}

impl Backends {
    pub fn new(
        tracker: TaskTracker,
        stop: CancellationToken,
        notes: mpsc::Sender<BackendNote>,
        spawner: Spawner,
        (asks, updates): (mpsc::Sender<Asked>, mpsc::Sender<Arc<Wanted>>),
        in_flight: Arc<InFlight>,
        workers: Workers,
    ) -> Self {
        Self {
            live: Arc::default(),
            next: Arc::new(AtomicU32::new(1)),
            parts: Arc::new(Parts { tracker, stop, notes, spawner, asks, updates, in_flight, workers }),
        }
    }

    /// Where limits of backends can be held.
    pub fn groups(&self) -> &Groups {
        self.parts.spawner.groups()
    }

    /// Where what servers ask of clients is taken.
    pub fn asks(&self) -> &mpsc::Sender<Asked> {
        &self.parts.asks
    }

    pub fn find(&self, id: BackendId) -> Option<Arc<Backend>> {
        self.live.load().get(&id).cloned()
    }

    pub fn named(&self, name: &str) -> Option<Arc<Backend>> {
        self.live.load().values().find(|backend| &*backend.spec.name == name).cloned()
    }

    /// By name.
    pub fn all(&self) -> Vec<Arc<Backend>> {
        let mut all: Vec<_> = self.live.load().values().cloned().collect();
        all.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        all
    }

    /// Makes what is live fit the definitions: unchanged ones are kept by identity, the others start or retire.
    /// Returns the incarnation of each name. `drain`: what calls on a retired one may still take.
    pub fn reconcile(&self, specs: &[Arc<BackendSpec>], drain: Duration) -> HashMap<Arc<str>, BackendId> {
        let held = self.live.load_full();
        let mut next = foldhash::HashMap::with_capacity_and_hasher(specs.len(), foldhash::fast::RandomState::default());
        let mut names = HashMap::with_capacity(specs.len());
        for spec in specs {
            let kept = held
                .values()
                .find(|backend| backend.spec.name == spec.name && backend.spec.fingerprint == spec.fingerprint);
            let backend = kept.cloned().unwrap_or_else(|| self.start(spec));
            names.insert(Arc::clone(&spec.name), backend.id);
            next.insert(backend.id, backend);
        }
        let gone: Vec<_> = held.values().filter(|backend| !next.contains_key(&backend.id)).cloned().collect();
        self.live.store(Arc::new(next));
        for backend in gone {
            self.retire(backend, drain);
        }
        names
    }

    /// Ends all by the ladder, at the same time; returns when nothing of them is left.
    pub async fn stop_all(&self) {
        let all = self.live.swap(Arc::default());
        futures_util::future::join_all(all.values().map(|backend| async {
            backend.end().await;
        }))
        .await;
    }

    fn start(&self, spec: &Arc<BackendSpec>) -> Arc<Backend> {
        let id = BackendId(self.next.fetch_add(1, Relaxed));
        let instances = Instances::new(spec.isolation, spec.max_instances, spec.instance_idle, spec.may_ask);
        // What only lists for all is told of all that may be asked: some servers offer more to a client that can more.
        let declares = if instances.is_some() { spec.may_ask } else { Features::NONE };
        self.make((id, None), spec, self.parts.stop.child_token(), (Owner::Shared, declares), instances)
    }

    fn make(
        &self,
        (id, instance): (BackendId, Option<InstanceId>),
        spec: &Arc<BackendSpec>,
        stop: CancellationToken,
        (owner, declares): (Owner, Features),
        instances: Option<Instances>,
    ) -> Arc<Backend> {
        let wanted = Wanted::new(self.parts.updates.clone());
        let parts = LinkParts {
            id,
            tracker: self.parts.tracker.clone(),
            stop: stop.clone(),
            notes: self.parts.notes.clone(),
            spawner: self.parts.spawner.clone(),
            workers: self.parts.workers.clone(),
            owner,
            instance,
            declares,
            asks: self.parts.asks.clone(),
            wanted: Arc::clone(&wanted),
        };
        let entered = self.parts.workers.enter();
        let backend = Arc::new(Backend {
            id,
            instance,
            link: Link::start(spec, parts),
            breaker: Breaker::new(spec.breaker),
            bulkhead: Bulkhead::new(spec.max_concurrency),
            repeats: Repeats::default(),
            spec: Arc::clone(spec),
            instances,
            wanted,
            stop,
        });
        self.parts.tracker.spawn(health::watch(
            Arc::downgrade(&backend),
            backend.stop.clone(),
            self.parts.notes.clone(),
        ));
        drop(entered);
        backend
    }

    /// The process or session of `backend` that whoever calls so has to itself; started, where there is none yet. `None`:
    /// there are as many as may be.
    pub fn instance(
        &self,
        backend: &Backend,
        instances: &Instances,
        (leg, principal): (ClientLeg, &Arc<Principal>),
    ) -> Option<Arc<Backend>> {
        let start = |owner, declares| {
            let instance = InstanceId(self.next.fetch_add(1, Relaxed));
            let stop = backend.stop.child_token();
            self.make((backend.id, Some(instance)), &backend.spec, stop, (owner, declares), None)
        };
        let (instance, gone) = instances.of(leg, principal, start)?;
        self.end(gone);
        Some(instance)
    }

    /// Ends what this session had to itself.
    pub fn end_session(&self, leg: LegKey) {
        self.of_isolated(|instances| self.end(instances.end(leg)));
    }

    /// Ends instances that idled too long, and those of clients that may not go on.
    pub fn sweep(&self, is_gone: impl Fn(&Principal) -> bool) {
        self.of_isolated(|instances| self.end(instances.sweep(&is_gone)));
    }

    /// The client of this session says that its roots are others now.
    pub fn roots_changed(&self, leg: LegKey, principal: &Principal) {
        self.of_isolated(|instances| {
            instances.hearing_of_roots(leg, principal).iter().for_each(|instance| instance.link.roots_changed());
        });
    }

    fn of_isolated(&self, act: impl Fn(&Instances)) {
        self.live.load().values().filter_map(|backend| backend.instances.as_ref()).for_each(act);
    }

    /// In the background, by the ladder: instances. What one offered for itself is off at once.
    fn end(&self, gone: impl IntoIterator<Item = Arc<Backend>>) {
        for backend in gone {
            let notes = self.parts.notes.clone();
            self.parts.tracker.spawn(async move {
                if let Some(instance) = backend.instance {
                    let note = Note::Own { instance, offering: None };
                    notes.send(BackendNote { backend: backend.id, note }).await.ok();
                }
                backend.end().await;
            });
        }
    }

    /// Calls in flight finish on it, up to `drain`; then they are told so, and it ends.
    fn retire(&self, backend: Arc<Backend>, drain: Duration) {
        let parts = Arc::clone(&self.parts);
        self.parts.tracker.spawn(async move {
            let until = Instant::now() + drain;
            while parts.in_flight.count_of_backend(backend.id) > 0
                && Instant::now() < until
                && !parts.stop.is_cancelled()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            parts.in_flight.sweep_backend(backend.id);
            backend.end().await;
        });
    }
}

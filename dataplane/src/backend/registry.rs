//! The live backends of this plane, by incarnation. A reload keeps what did not change, starts what is new, and lets
//! calls in flight end on what is gone.

use std::{
    collections::HashMap,
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
    BackendNote, Link, LinkParts, breaker::Breaker, bulkhead::Bulkhead, health, isolation::Owner, spec::BackendSpec,
    stdio::spawner::Spawner,
};
use crate::{
    call::BackendId,
    in_flight::InFlight,
    upcall::{Asked, feature::Features},
    workers::Workers,
};

/// One incarnation of one definition.
#[derive(Debug)]
pub struct Backend {
    pub id: BackendId,
    pub spec: Arc<BackendSpec>,
    pub link: Link,
    pub breaker: Arc<Breaker>,
    pub bulkhead: Bulkhead,
    /// Ends its tasks.
    stop: CancellationToken,
}

#[derive(Clone, Debug)]
pub struct Backends {
    live: Arc<ArcSwap<HashMap<BackendId, Arc<Backend>>>>,
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
    in_flight: Arc<InFlight>,
    workers: Workers,
}

impl Backends {
    pub fn new(
        tracker: TaskTracker,
        stop: CancellationToken,
        notes: mpsc::Sender<BackendNote>,
        spawner: Spawner,
        asks: mpsc::Sender<Asked>,
        in_flight: Arc<InFlight>,
        workers: Workers,
    ) -> Self {
        Self {
            live: Arc::default(),
            next: Arc::new(AtomicU32::new(1)),
            parts: Arc::new(Parts { tracker, stop, notes, spawner, asks, in_flight, workers }),
        }
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
        let mut next = HashMap::with_capacity(specs.len());
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
            backend.link.stop().await;
            backend.stop.cancel();
        }))
        .await;
    }

    fn start(&self, spec: &Arc<BackendSpec>) -> Arc<Backend> {
        let id = BackendId(self.next.fetch_add(1, Relaxed));
        let stop = self.parts.stop.child_token();
        let parts = LinkParts {
            id,
            tracker: self.parts.tracker.clone(),
            stop: stop.clone(),
            notes: self.parts.notes.clone(),
            spawner: self.parts.spawner.clone(),
            workers: self.parts.workers.clone(),
            owner: Owner::Shared,
            declares: Features::NONE,
            asks: self.parts.asks.clone(),
        };
        let entered = self.parts.workers.enter();
        let backend = Arc::new(Backend {
            id,
            link: Link::start(spec, parts),
            breaker: Breaker::new(spec.breaker),
            bulkhead: Bulkhead::new(spec.max_concurrency),
            spec: Arc::clone(spec),
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
            backend.link.stop().await;
            backend.stop.cancel();
        });
    }
}

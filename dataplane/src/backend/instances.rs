//! The processes (or HTTP sessions) of a backend that is not shared: one for each client session, or for each client.
//! Each is started by the first call that needs it, and ends with its session, after idling, or when its client may not
//! go on. It decides whose one is; starting and ending is the registry's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    isolation::{InstanceId, Isolation, Owner, Whose},
    registry::Backend,
};
use crate::{call::Principal, in_flight::LegKey, listen::ClientLeg, upcall::feature::Features};

/// Another client's instance is ended for a new one when it was not used for so long.
const SPARED: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Instances {
    isolation: Isolation,
    most: usize,
    idle: Duration,
    /// What its server may ask: what a client declares beyond that is not passed on.
    may_ask: Features,
    held: Mutex<HashMap<Whose, Instance>>,
}

/// One of them, as an operator sees it.
#[derive(Clone, Debug)]
pub struct Instance {
    pub backend: Arc<Backend>,
    /// By the newest token that used it.
    pub principal: Arc<Principal>,
    /// None: its client's, whatever the session.
    pub session: Option<LegKey>,
    declares: Features,
    used: Instant,
}

impl Instance {
    fn is_idle(&self) -> bool {
        // What is watched there would be lost with it.
        self.backend.bulkhead.occupied() == 0 && !self.backend.wanted.is_of_use()
    }
}

impl Instances {
    /// None for `Isolation::Shared`.
    pub fn new(isolation: Isolation, most: usize, idle: Duration, may_ask: Features) -> Option<Self> {
        (isolation != Isolation::Shared).then(|| Self { isolation, most, idle, may_ask, held: Mutex::default() })
    }

    /// The caller's own; `start` makes it where there is none yet. The second is one that had to go for it.
    ///
    /// `None`: there are as many as may be, and none can go.
    pub fn of(
        &self,
        leg: ClientLeg,
        principal: &Arc<Principal>,
        start: impl FnOnce(Owner, Features) -> Arc<Backend>,
    ) -> Option<(Arc<Backend>, Option<Arc<Backend>>)> {
        let declares = leg.features().within(self.may_ask);
        let whose = Whose::of(self.isolation, self.may_ask, leg, principal)?;
        let mut held = self.held();
        if let Some(instance) = held.get_mut(&whose) {
            instance.used = Instant::now();
            if !Arc::ptr_eq(&instance.principal, principal) {
                instance.principal = Arc::clone(principal);
            }
            return Some((Arc::clone(&instance.backend), None));
        }
        let gone = if held.len() < self.most { None } else { Some(room(&mut held, principal)?) };
        let session = match &whose {
            Whose::Session(key) => Some(*key),
            Whose::Client { .. } => None,
        };
        let backend = start(Owner::of(self.isolation, leg, principal), declares);
        let instance = Instance {
            backend: Arc::clone(&backend),
            principal: Arc::clone(principal),
            session,
            declares,
            used: Instant::now(),
        };
        held.insert(whose, instance);
        Some((backend, gone))
    }

    /// None: it has ended.
    pub fn whose(&self, instance: InstanceId) -> Option<Whose> {
        let held = self.held();
        held.iter().find(|(_, one)| one.backend.instance == Some(instance)).map(|(whose, _)| whose.clone())
    }

    /// All, the longest unused first.
    pub fn all(&self) -> Vec<Instance> {
        let mut all: Vec<_> = self.held().values().cloned().collect();
        all.sort_by_key(|instance| instance.used);
        all
    }

    /// Those of this session or client whose servers were told that they would hear of changed roots.
    pub fn hearing_of_roots(&self, leg: LegKey, principal: &Principal) -> Vec<Arc<Backend>> {
        let held = self.held();
        let its = held.values().filter(|instance| match instance.session {
            Some(session) => session == leg,
            None => instance.principal.is_same_as(principal),
        });
        its.filter(|instance| instance.declares.has(Features::ROOTS_CHANGED))
            .map(|instance| Arc::clone(&instance.backend))
            .collect()
    }

    /// Takes out what was of this session.
    pub fn end(&self, leg: LegKey) -> Option<Arc<Backend>> {
        self.held().remove(&Whose::Session(leg)).map(|instance| instance.backend)
    }

    /// Takes out what was not used for too long, and what belongs to a client that may not go on.
    pub fn sweep(&self, is_gone: impl Fn(&Principal) -> bool) -> Vec<Arc<Backend>> {
        let idle = self.idle;
        let over = |instance: &Instance| {
            is_gone(&instance.principal) || (instance.is_idle() && instance.used.elapsed() > idle)
        };
        self.held().extract_if(|_, instance| over(instance)).map(|(_, instance)| instance.backend).collect()
    }

    /// Takes out all.
    pub fn clear(&self) -> Vec<Arc<Backend>> {
        self.held().drain().map(|(_, instance)| instance.backend).collect()
    }

    pub fn most(&self) -> usize {
        self.most
    }

    fn held(&self) -> MutexGuard<'_, HashMap<Whose, Instance>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes room for one more of this client: takes out the longest unused one of the client that has the most, where no
/// call runs on it. Another client's goes only when it was not used for a minute.
fn room(held: &mut HashMap<Whose, Instance>, wants: &Principal) -> Option<Arc<Backend>> {
    let count = |of: &Principal| {
        held.values().filter(|instance| instance.principal.is_same_as(of)).count() + usize::from(of.is_same_as(wants))
    };
    let may_go = |instance: &Instance| {
        instance.is_idle() && (instance.principal.is_same_as(wants) || instance.used.elapsed() >= SPARED)
    };
    let candidates = held.iter().filter(|(_, instance)| may_go(instance));
    let (key, _) = candidates.max_by_key(|(_, instance)| (count(&instance.principal), instance.used.elapsed()))?;
    let key = key.clone();
    held.remove(&key).map(|instance| instance.backend)
}

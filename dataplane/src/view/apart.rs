//! What processes (or server sessions) that are not shared offer for themselves, and the Views of those whose they are:
//! the same View with these backends' entries exchanged, made when one is asked for first.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Listings, View};
use crate::{
    backend::isolation::{Isolation, Whose},
    call::Principal,
    catalogue::{Catalogue, Sighted},
    listen::ClientLeg,
    upcall::feature::Features,
};

/// One backend's processes that offer something else than it does to all.
#[derive(Debug)]
pub struct OfBackend {
    pub isolation: Isolation,
    /// What its server may ask.
    pub may_ask: Features,
    pub parts: HashMap<Whose, Part>,
}

/// What one process offers, judged.
#[derive(Clone, Debug)]
pub struct Part {
    /// Another for each judgement.
    pub number: u64,
    /// Of its backend alone.
    pub catalogue: Arc<Catalogue>,
}

/// Of all backends: at most one a process that is not shared.
#[derive(Debug, Default)]
pub struct Parts(Vec<OfBackend>);

impl Parts {
    /// Each with one part at least.
    pub fn new(all: Vec<OfBackend>) -> Self {
        Self(all)
    }

    /// Those that this client's requests meet, in the order of the backends.
    fn of(&self, leg: ClientLeg, principal: &Principal) -> Vec<&Part> {
        let one = |of: &'_ OfBackend| Whose::of(of.isolation, of.may_ask, leg, principal);
        self.0.iter().filter_map(|of| of.parts.get(&one(of)?)).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Part> {
        self.0.iter().flat_map(|of| of.parts.values())
    }
}

/// Of a View.
#[derive(Debug)]
pub(super) struct Apart {
    parts: Arc<Parts>,
    /// What is offered to all, at `/mcp`.
    whole: Arc<Catalogue>,
    /// By the numbers of what is exchanged in them. As many as there are clients with parts.
    made: Mutex<HashMap<Box<[u64]>, Arc<View>>>,
}

impl Apart {
    /// None: all are offered the same.
    pub(super) fn new(parts: &Arc<Parts>, whole: &Arc<Catalogue>) -> Option<Self> {
        let has_any = !parts.0.is_empty();
        has_any.then(|| Self { parts: Arc::clone(parts), whole: Arc::clone(whole), made: Mutex::default() })
    }

    /// With what was made of parts that are still among `self`'s.
    pub(super) fn keeping(self, before: Option<&Self>) -> Self {
        let is_here = |number: &u64| self.parts.all().any(|part| part.number == *number);
        if let Some(before) = before {
            let held = before.made();
            let kept = held.iter().filter(|(numbers, _)| numbers.iter().all(is_here));
            self.made().extend(kept.map(|(numbers, view)| (numbers.clone(), Arc::clone(view))));
        }
        self
    }

    /// None: it is offered what all are.
    pub(super) fn view(&self, all: &View, leg: ClientLeg, principal: &Principal) -> Option<Arc<View>> {
        let parts = self.parts.of(leg, principal);
        if parts.is_empty() {
            return None;
        }
        let numbers: Box<[u64]> = parts.iter().map(|part| part.number).collect();
        let made = self.made().get(&numbers).cloned();
        if made.is_some() {
            return made;
        }
        let own: Vec<_> = parts.iter().map(|part| Arc::clone(&part.catalogue)).collect();
        let catalogue = self.whole.with(&own);
        let catalogue = match &all.endpoint {
            None => catalogue,
            Some(name) => catalogue.part(all.policy.virtual_servers.iter().find(|server| server.name == *name)?),
        };
        let view = Arc::new(View {
            stamp: all.stamp,
            policy: Arc::clone(&all.policy),
            catalogue: Arc::new(catalogue),
            listings: Arc::new(Listings::default()),
            endpoint: all.endpoint.clone(),
            servers: HashMap::new(),
            apart: None,
        });
        // Made without the lock, which every request of these clients takes: of two made at once the first stays.
        Some(Arc::clone(self.made().entry(numbers).or_insert(view)))
    }

    /// Tools that are not simply as they are pinned, each once.
    pub(super) fn sighted(&self) -> impl Iterator<Item = &Sighted> {
        let all = self.parts.all().flat_map(|part| part.catalogue.sighted());
        let by_name: BTreeMap<_, _> = all.map(|sighted| ((&sighted.target.exposed, sighted.hash), sighted)).collect();
        by_name.into_values()
    }

    pub(super) fn catalogues(&self) -> impl Iterator<Item = &Catalogue> {
        self.parts.all().map(|part| &*part.catalogue)
    }

    fn made(&self) -> MutexGuard<'_, HashMap<Box<[u64]>, Arc<View>>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

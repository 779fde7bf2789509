//! What the view's task knows of processes that are not shared and said that a list of theirs changed: judged as what is
//! offered to all is, for those whose they are. One that never says so is unknown here.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio::task::block_in_place;

use super::{Known, Stamp, View, ViewTask};
use crate::{
    backend::{
        isolation::{InstanceId, Whose},
        listing::Offering,
    },
    call::BackendId,
    catalogue::merge::{self, Offer, Trust},
    view::{
        apart::{OfBackend, Part, Parts},
        policy::Policy,
    },
};

/// What one process offers, until it ends.
#[derive(Debug)]
pub(super) struct Own {
    backend: BackendId,
    name: Arc<str>,
    whose: Whose,
    offer: Offer,
    /// None: it offers what is offered to all.
    part: Option<Part>,
    is_judged: bool,
}

#[derive(Debug, Default)]
pub(super) struct Owns {
    held: BTreeMap<InstanceId, Own>,
    /// How often one was judged.
    judged: u64,
}

impl Owns {
    /// Forgets those of backends that are not there any more.
    pub(super) fn follow(&mut self, ids: &HashMap<Arc<str>, BackendId>) {
        self.held.retain(|_, own| ids.get(&own.name) == Some(&own.backend));
    }

    /// All are judged anew.
    pub(super) fn doubt(&mut self) {
        self.held.values_mut().for_each(|own| own.is_judged = false);
    }
}

impl ViewTask {
    /// True: somebody is offered something else now. `offering`: none, of one that has ended.
    pub(super) fn own(
        &self,
        known: &mut Known,
        (backend, name): (BackendId, &Arc<str>),
        instance: InstanceId,
        offering: Option<Offering>,
    ) -> bool {
        let found = self.backends.find(backend);
        let whose = found.as_ref().and_then(|found| found.instances.as_ref()?.whose(instance));
        let Known { own: Owns { held, .. }, offers, .. } = known;
        // What comes late from one that was ended meanwhile is no news.
        let (Some(whose), Some(offering)) = (whose, offering) else {
            return held.remove(&instance).is_some_and(|own| own.part.is_some());
        };
        let listed = offers.get(name).map(|offer| &offer.offering);
        let last = held.get(&instance).map(|own| &own.offer.offering);
        let offering = match last.or(listed) {
            Some(before) => offering.or(before),
            None => offering,
        };
        if last == Some(&offering) {
            return false;
        }
        // Many servers say at their start that their lists changed.
        let is_news = last.is_some() || listed != Some(&offering);
        let offer = block_in_place(|| Offer::new(backend, offering));
        let part = held.remove(&instance).and_then(|own| own.part);
        held.insert(instance, Own { backend, name: Arc::clone(name), whose, offer, part, is_judged: !is_news });
        is_news
    }

    /// Judges those that are not judged, after what is offered to all.
    pub(super) fn judge_own(&mut self, known: &mut Known, policy: &Policy, before: Option<&View>) -> Arc<Parts> {
        for own in known.own.held.values_mut().filter(|own| !own.is_judged) {
            own.is_judged = true;
            let last = own.part.take();
            // Of a backend that is forgotten nobody sees anything.
            let Some(listed) = known.offers.get(&own.name) else { continue };
            if own.offer.offering == listed.offering {
                continue;
            }
            let last = last.as_ref().map(|last| &*last.catalogue);
            let trust = Trust { pins: &self.pins, before: last, now: self.now() };
            let of = (&*own.name, &own.offer, listed);
            let catalogue = block_in_place(|| merge::alone(policy, of, &trust, &mut known.schemas, &self.metrics));
            self.keep(&catalogue, before);
            known.own.judged += 1;
            own.part = Some(Part { number: known.own.judged, catalogue: Arc::new(catalogue) });
        }
        let mut by_backend: BTreeMap<BackendId, HashMap<Whose, Part>> = BTreeMap::new();
        for own in known.own.held.values() {
            if let Some(part) = &own.part {
                by_backend.entry(own.backend).or_default().insert(own.whose.clone(), part.clone());
            }
        }
        let of = |(id, parts)| {
            let spec = Arc::clone(&self.backends.find(id)?.spec);
            Some(OfBackend { isolation: spec.isolation, may_ask: spec.may_ask, parts })
        };
        Arc::new(Parts::new(by_backend.into_iter().filter_map(of).collect()))
    }

    /// A View in which only what some processes offer for themselves is another: what is offered to all stays as it is.
    pub(super) fn publish_own(&mut self, known: &mut Known) {
        let (Some(policy), Some(old)) = (known.policy.clone(), self.views.load_full()) else { return };
        let parts = self.judge_own(known, &policy, Some(&old));
        known.generation += 1;
        let stamp = Stamp { revision: policy.revision, generation: known.generation };
        self.put_in_force(old.again(stamp, &parts), Some(&old));
    }
}

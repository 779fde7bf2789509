//! What backends say to the view's task: what they offer, how they are, and what they tell beside calls.

use std::sync::Arc;

use tokio::{task::block_in_place, time::Instant};

use super::{Known, ViewTask};
use crate::{
    backend::{BackendNote, Note, listing::Offering},
    call::BackendId,
    catalogue::merge::Offer,
    listen::hearing,
    tasks, upcall,
};

/// What a note makes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Changed {
    Nothing,
    /// What some processes offer for themselves.
    Own,
    All,
}

impl ViewTask {
    pub(super) fn note(&mut self, known: &mut Known, note: BackendNote) -> Changed {
        let Some(name) = known.ids.iter().find(|(_, id)| **id == note.backend).map(|(name, _)| Arc::clone(name)) else {
            return Changed::Nothing;
        };
        let (is_changed, what) = match note.note {
            Note::Listed(offering) => (listed(known, (note.backend, name), *offering), Changed::All),
            Note::Own { instance, offering } => {
                (self.own(known, (note.backend, &name), instance, offering.map(|offering| *offering)), Changed::Own)
            }
            Note::State => (self.stated(known, note.backend, name), Changed::All),
            Note::Log { level, message, of } => {
                hearing::beside(&self.plane, (note.backend, &name), &of, &level, &message);
                return Changed::Nothing;
            }
            Note::Elicited { message, of } => {
                upcall::elicited(&self.plane, note.backend, &of, message);
                return Changed::Nothing;
            }
            Note::TaskStatus { message, of } => {
                tasks::stands(&self.plane, &name, &of, &message);
                return Changed::Nothing;
            }
        };
        if is_changed { what } else { Changed::Nothing }
    }

    /// True: what it offers is stale now.
    fn stated(&self, known: &mut Known, backend: BackendId, name: Arc<str>) -> bool {
        let is_usable = self.backends.find(backend).is_some_and(|backend| backend.link.status().is_usable());
        self.in_force.send_modify(|in_force| in_force.generation += 1);
        let Some(offer) = known.offers.get_mut(&name) else { return false };
        if is_usable {
            return false;
        }
        known.stale_since.entry(name).or_insert_with(Instant::now);
        !std::mem::replace(&mut offer.stale, true)
    }
}

/// True: what it offers to all is another now.
fn listed(known: &mut Known, (backend, name): (BackendId, Arc<str>), offering: Offering) -> bool {
    known.stale_since.remove(&name);
    let held = known.offers.get(&name);
    let offering = match held {
        Some(held) => offering.or(&held.offering),
        None => offering,
    };
    let is_same = |held: &&Offer| held.backend == backend && !held.stale && held.offering == offering;
    if held.filter(is_same).is_some() {
        return false;
    }
    known.offers.insert(name, block_in_place(|| Offer::new(backend, offering)));
    true
}

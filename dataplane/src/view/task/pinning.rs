//! What the view's task does about pins: takes the control plane's, keeps what is trusted at first sight, and says
//! what is not exposed or held. It judges nothing: `pins::Judging` does.

use sentinel_proto::v1::{Pin, PinSet, PinsApplied};
use tokio::task::block_in_place;

use super::{Known, View, ViewTask};
use crate::{
    catalogue::{Catalogue, Refused, Sighted},
    disk::DiskError,
    pins::Pins,
};

/// Entries that are not exposed, named in the log at each swap.
const MOST_SAID: usize = 50;

impl ViewTask {
    /// In force and durable when it returns.
    pub(super) fn pinned(&mut self, known: &mut Known, set: &PinSet) -> PinsApplied {
        let brings = if set.whole { self.brought(set) } else { Vec::new() };
        if self.pins.merge(set) {
            self.publish(known);
        }
        match block_in_place(|| self.pins.save()) {
            Ok(()) => PinsApplied { epoch: self.pins.epoch().max(set.epoch), brings },
            Err(fault) => {
                tracing::error!(%fault, epoch = set.epoch, "pins are in force and not acknowledged: they are not on disk");
                PinsApplied { epoch: 0, brings }
            }
        }
    }

    /// What the control plane does not know. What it will be told as a sighting, with its definition, is left out.
    fn brought(&self, set: &PinSet) -> Vec<Pin> {
        let view = self.views.load_full();
        let is_sighted = |pin: &Pin| {
            let mut sighted = view.iter().flat_map(|view| view.sighted());
            pin.epoch == 0
                && sighted.any(|sighted| {
                    sighted.trusted && *sighted.target.backend_name == *pin.backend && *sighted.target.own == *pin.own
                })
        };
        let mut brought = self.pins.beyond(set);
        brought.retain(|pin| !is_sighted(pin));
        brought
    }
}

/// Pins for this plane what is trusted at first sight; on disk when it returns.
pub(super) fn keep(pins: &mut Pins, catalogue: &Catalogue) -> Result<(), DiskError> {
    let first = catalogue.sighted().filter(|sighted| sighted.trusted).map(|sighted| Pin {
        backend: sighted.target.backend_name.to_string(),
        own: sighted.target.own.to_string(),
        exposed: sighted.target.exposed.to_string(),
        // Who has none of it offers it no less: nothing new is taken for it.
        settled: sighted.apart,
        hash: sighted.hash.to_vec(),
        ..Pin::default()
    });
    pins.trust(first);
    pins.save()
}

/// One line for each entry that is not exposed, and for each tool that has just become another.
pub(super) fn tell(catalogue: &Catalogue, before: Option<&View>) {
    let refused = catalogue.refused();
    for Refused { kind, own, backend, reason, .. } in refused.iter().take(MOST_SAID) {
        tracing::warn!(%backend, list = kind.list_method(), name = %own.escape_debug(), %reason, "not exposed");
    }
    let is_known =
        |sighted: &Sighted| before.is_some_and(|before| before.has_sighted(&sighted.target.exposed, &sighted.hash));
    let untrusted = catalogue.sighted().filter(|sighted| !sighted.trusted);
    let news: Vec<_> = untrusted.filter(|sighted| !is_known(sighted)).collect();
    for sighted in news.iter().take(MOST_SAID) {
        let (tool, why) = (&*sighted.target.exposed, &*sighted.why);
        if sighted.target.held.is_some() {
            tracing::warn!(
                tool,
                why,
                "quarantined; `sentinelctl tool show` has the difference, `tool approve` ends it"
            );
        } else {
            tracing::warn!(tool, why, "in use and not as it is pinned (on_change = \"warn\")");
        }
    }
    if let Some(more) = (refused.len().saturating_sub(MOST_SAID) + news.len().saturating_sub(MOST_SAID)).checked_sub(1)
    {
        tracing::warn!(more = more + 1, "not exposed or not as it is pinned, for like reasons");
    }
}

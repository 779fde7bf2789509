//! Catalogues that are made of another, of the same Targets: the part that a virtual server has (a tool's name means the
//! same everywhere; of several backends with one URI the first that belongs to the server has it there), and the whole
//! as one client has it, to whom a backend offers something else than to all.

use std::sync::Arc;

use super::{Catalogue, Target, merge::MAX_TEMPLATES, template::Template};
use crate::{call::Kind, view::virtual_server::VirtualServer};

/// A Target with its template, where it is one.
type Entry = (Arc<Target>, Option<Template>);

impl Catalogue {
    /// What operators are told (refused, sighted) stays with the whole.
    pub fn part(&self, server: &VirtualServer) -> Self {
        let belongs = |target: &Target| server.has(&target.backend_name, target.kind, &target.exposed);
        let mut part = Self { stale: self.stale.clone(), ..Self::default() };
        for kind in Kind::ALL {
            let mut all = self.entries(kind);
            all.retain(|(target, _)| belongs(target));
            part.put_on(kind, all, |name| self.place(name));
        }
        let shown = |backend: &Arc<str>, kind| {
            server.has_all_of(backend) || part.all(kind).iter().any(|target| target.backend_name == *backend)
        };
        let heard = self.heard.iter().map(|(name, can)| (Arc::clone(name), can.only(|kind| shown(name, kind))));
        let heard = heard.collect();
        Self { heard, ..part }
    }

    /// With these in place of what their backends offer to all; each is of one backend alone. What another backend has
    /// stays that one's, so that no process takes a name from a server that others know by it.
    pub fn with(&self, own: &[Arc<Self>]) -> Self {
        let of = |name: &str| own.iter().find(|own| own.has_heard(name));
        let heard = self.heard.iter().map(|(name, abilities)| {
            let abilities = of(name).and_then(|own| own.heard.first()).map_or(*abilities, |(_, its)| *its);
            (Arc::clone(name), abilities)
        });
        let stale = self.stale.iter().filter(|name| of(name).is_none()).cloned();
        let mut whole = Self { heard: heard.collect(), stale: stale.collect(), ..Self::default() };
        for kind in Kind::ALL {
            let mut all = self.entries(kind);
            all.retain(|(target, _)| of(&target.backend_name).is_none());
            let (anothers, free): (Vec<Entry>, Vec<Entry>) =
                own.iter().flat_map(|own| own.entries(kind)).partition(|(target, _)| {
                    self.find(kind, &target.exposed).is_some_and(|held| held.backend_name != target.backend_name)
                });
            all.extend(free);
            whole.put_on(kind, all, |name| self.place(name));
            if matches!(kind, Kind::Resource | Kind::Template) {
                whole.shadowed.extend(anothers);
            }
        }
        whole
    }

    /// All of one kind: what is listed, what is held, what another backend has.
    fn entries(&self, kind: Kind) -> Vec<Entry> {
        let mut all: Vec<Entry> = match kind {
            Kind::Template => {
                self.matchers.iter().map(|(template, target)| (Arc::clone(target), Some(template.clone()))).collect()
            }
            Kind::Tool | Kind::Prompt | Kind::Resource => {
                let held = self.shelf(kind).by_name.values().filter(|target| target.held.is_some());
                self.all(kind).iter().chain(held).map(|target| (Arc::clone(target), None)).collect()
            }
        };
        all.extend(self.shadowed.iter().filter(|(target, _)| target.kind == kind).cloned());
        all
    }

    /// Where this backend stands in the file, among those that were heard.
    fn place(&self, backend: &str) -> Option<usize> {
        self.heard.iter().position(|(name, _)| **name == *backend)
    }

    /// Takes them in the order of their backends, each where its name is free.
    fn put_on(&mut self, kind: Kind, mut all: Vec<Entry>, place: impl Fn(&str) -> Option<usize>) {
        all.sort_by_cached_key(|(target, _)| place(&target.backend_name));
        for (target, template) in all {
            let has_room = template.is_none() || self.matchers.len() < MAX_TEMPLATES;
            if has_room && self.find(kind, &target.exposed).is_none() {
                self.add(target, template);
            } else if matches!(kind, Kind::Resource | Kind::Template) {
                self.shadowed.push((target, template));
            }
        }
    }
}

//! The part of a Catalogue that a virtual server has: a Catalogue of its own, of the same Targets. A tool's name means the
//! same everywhere; of several backends with one URI the first that belongs to the server has it there.

use std::sync::Arc;

use super::{Catalogue, Target, merge::MAX_TEMPLATES, template::Template};
use crate::{call::Kind, view::virtual_server::VirtualServer};

impl Catalogue {
    /// What operators are told (refused, sighted) stays with the whole.
    pub fn part(&self, server: &VirtualServer) -> Self {
        let belongs = |target: &Target| server.has(&target.backend_name, target.kind, &target.exposed);
        let mut part = Self { stale: self.stale.clone(), ..Self::default() };
        for kind in Kind::ALL {
            let mut all: Vec<(Arc<Target>, Option<Template>)> = match kind {
                Kind::Template => self
                    .matchers
                    .iter()
                    .map(|(template, target)| (Arc::clone(target), Some(template.clone())))
                    .collect(),
                Kind::Tool | Kind::Prompt | Kind::Resource => {
                    let held = self.shelf(kind).by_name.values().filter(|target| target.held.is_some());
                    self.all(kind).iter().chain(held).map(|target| (Arc::clone(target), None)).collect()
                }
            };
            all.extend(self.shadowed.iter().filter(|(target, _)| target.kind == kind).cloned());
            all.retain(|(target, _)| belongs(target));
            all.sort_by_cached_key(|(target, _)| self.heard.iter().position(|(name, _)| *name == target.backend_name));
            for (target, template) in all {
                let has_room = template.is_none() || part.matchers.len() < MAX_TEMPLATES;
                if has_room && part.find(kind, &target.exposed).is_none() {
                    part.add(target, template);
                }
            }
        }
        let shown = |backend: &Arc<str>, kind| {
            server.has_all_of(backend) || part.all(kind).iter().any(|target| target.backend_name == *backend)
        };
        let heard = self.heard.iter().map(|(name, can)| (Arc::clone(name), can.only(|kind| shown(name, kind))));
        let heard = heard.collect();
        Self { heard, ..part }
    }
}

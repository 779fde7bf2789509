//! View = Policy × Catalogue: what a call is judged by, from its first stage to its last.
//!
//! Plain data: no lock that waits, no channel, no socket, no clock. The view's one task is the only publisher.

pub mod apart;
pub mod judge;
pub mod last_known_good;
pub mod pattern;
pub mod policy;
pub mod resolve;
pub mod task;
pub mod virtual_server;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;

pub use self::task::ViewMessage;
use self::{
    apart::{Apart, Parts},
    policy::{Access, Policy, Revision},
    virtual_server::VirtualServer,
};
use crate::{
    backend::abilities::{Abilities, Ability},
    call::{Kind, Principal},
    catalogue::{Catalogue, Sighted},
    listen::ClientLeg,
};

/// Ordered: a newer revision wins, then a newer catalogue under the same revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    pub revision: Revision,
    pub generation: u64,
}

#[derive(Debug)]
pub struct View {
    pub stamp: Stamp,
    pub policy: Arc<Policy>,
    pub catalogue: Arc<Catalogue>,
    pub listings: Arc<Listings>,
    /// The virtual server whose endpoint this is seen from; none: `/mcp`.
    pub endpoint: Option<Arc<str>>,
    servers: HashMap<Arc<str>, Arc<Self>>,
    /// None: all clients are offered the same.
    apart: Option<Apart>,
}

impl View {
    /// With a View of each virtual server. `parts`: what some clients are offered in place of what all are.
    pub fn new(stamp: Stamp, policy: &Arc<Policy>, catalogue: &Arc<Catalogue>, parts: &Arc<Parts>) -> Self {
        let of = |offered, endpoint| {
            let (policy, listings, servers) = (Arc::clone(policy), Arc::default(), HashMap::new());
            let apart = Apart::new(parts, catalogue);
            Self { stamp, policy, catalogue: offered, listings, endpoint, servers, apart }
        };
        let one = |server: &VirtualServer| {
            let name = Arc::clone(&server.name);
            (Arc::clone(&name), Arc::new(of(Arc::new(catalogue.part(server)), Some(name))))
        };
        let servers = policy.virtual_servers.iter().map(one).collect();
        Self { servers, ..of(Arc::clone(catalogue), None) }
    }

    /// The same, newer, with other parts.
    #[must_use]
    pub fn again(&self, stamp: Stamp, parts: &Arc<Parts>) -> Self {
        let of = |view: &Self| Self {
            stamp,
            policy: Arc::clone(&view.policy),
            catalogue: Arc::clone(&view.catalogue),
            listings: Arc::clone(&view.listings),
            endpoint: view.endpoint.clone(),
            servers: HashMap::new(),
            apart: Apart::new(parts, &self.catalogue).map(|apart| apart.keeping(view.apart.as_ref())),
        };
        let servers = self.servers.iter().map(|(name, view)| (Arc::clone(name), Arc::new(of(view)))).collect();
        Self { servers, ..of(self) }
    }

    /// As this client sees it: with what its own processes offer in place of what is offered to all.
    #[must_use]
    pub fn seen_by(self: Arc<Self>, principal: &Principal, leg: ClientLeg) -> Arc<Self> {
        let own = self.apart.as_ref().and_then(|apart| apart.view(&self, leg, principal));
        own.unwrap_or(self)
    }

    /// Tools that are not simply as they are pinned, also those that few are offered.
    pub fn sighted(&self) -> impl Iterator<Item = &Sighted> {
        let is_new = |sighted: &&Sighted| {
            let known = self.catalogue.sighting(&sighted.target.exposed);
            known.is_none_or(|known| known.hash != sighted.hash)
        };
        self.catalogue.sighted().chain(self.apart.iter().flat_map(Apart::sighted).filter(is_new))
    }

    /// Whether this definition is none that is simply as it is pinned.
    pub fn has_sighted(&self, exposed: &str, hash: &[u8; 32]) -> bool {
        let is_its = |catalogue: &Catalogue| catalogue.sighting(exposed).is_some_and(|sighted| sighted.hash == *hash);
        is_its(&self.catalogue) || self.apart().any(is_its)
    }

    /// Of each process that offers something else than is offered to all.
    pub fn apart(&self) -> impl Iterator<Item = &Catalogue> {
        self.apart.iter().flat_map(Apart::catalogues)
    }

    /// Whether this client is listed the same by both.
    pub fn lists_as(&self, other: &Self, kind: Kind, principal: &Principal, tells_tasks: bool) -> bool {
        let is_one = Arc::ptr_eq(&self.catalogue, &other.catalogue) && Arc::ptr_eq(&self.policy, &other.policy);
        is_one || self.listed(kind, principal, tells_tasks) == other.listed(kind, principal, tells_tasks)
    }

    /// As it is seen from this endpoint; none: there is no such virtual server.
    pub fn at(self: &Arc<Self>, endpoint: Option<&str>) -> Option<&Arc<Self>> {
        match endpoint {
            None => Some(self),
            Some(name) => self.servers.get(name),
        }
    }

    /// The `result` of a list for this principal: made once for a set of roles, then from memory. `tells_tasks`: with what
    /// only sessions that know the tasks of 2025-11-25 are told of tools.
    pub fn listed(&self, kind: Kind, principal: &Principal, tells_tasks: bool) -> Bytes {
        let roles = self.policy.deciding_roles(principal);
        let tells_tasks = tells_tasks && kind == Kind::Tool && self.catalogue.has_core_tasks();
        let held = if tells_tasks { &self.listings.telling_tasks } else { self.listings.of(kind) };
        let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
        let key = roles.join("\n");
        if let Some(listing) = held.get(key.as_str()) {
            return listing.clone();
        }
        let listing = self.list(kind, principal, tells_tasks);
        // Sets of roles come from tokens: a bound, so that nobody fills the memory with odd ones.
        if held.len() < MOST_LISTINGS {
            held.insert(key.into(), listing.clone());
        }
        listing
    }

    /// What the backends of which this principal may see something can, together: for `initialize`.
    pub fn abilities(&self, principal: &Principal) -> Abilities {
        let mut all = Abilities::default();
        for backend in self.catalogue.abilities() {
            let shows = |kind| backend.has(kind) && self.policy.allows_any(principal, kind);
            for (ability, can) in [
                (Ability::Tools, shows(Kind::Tool)),
                (Ability::Prompts, shows(Kind::Prompt)),
                (Ability::Resources, shows(Kind::Resource)),
                (Ability::Subscriptions, backend.can(Ability::Subscriptions) && shows(Kind::Resource)),
                (Ability::Tasks, backend.can(Ability::Tasks) && shows(Kind::Tool)),
                (Ability::CoreTasks, backend.can(Ability::CoreTasks) && shows(Kind::Tool)),
                (Ability::CoreTaskCancels, backend.can(Ability::CoreTaskCancels) && shows(Kind::Tool)),
                (Ability::Logging, backend.can(Ability::Logging) && Kind::ALL.into_iter().any(shows)),
                (
                    Ability::Completions,
                    backend.can(Ability::Completions) && (shows(Kind::Prompt) || shows(Kind::Resource)),
                ),
            ] {
                if can {
                    all.add(ability);
                }
            }
        }
        all
    }

    fn list(&self, kind: Kind, principal: &Principal, tells_tasks: bool) -> Bytes {
        let mut text = Vec::with_capacity(4096);
        text.extend_from_slice(b"{\"");
        text.extend_from_slice(kind.entries().as_bytes());
        text.extend_from_slice(b"\":[");
        let start = text.len();
        for target in self.catalogue.all(kind) {
            let Some(definition) = target.listed(tells_tasks) else { continue };
            if matches!(self.policy.access(principal, kind, &target.exposed), Access::Hidden) {
                continue;
            }
            if text.len() > start {
                text.push(b',');
            }
            text.extend_from_slice(definition);
        }
        text.extend_from_slice(b"]}");
        text.into()
    }
}

const MOST_LISTINGS: usize = 1_000;

/// Serialized lists by set of roles; they live and go with their View.
#[derive(Debug, Default)]
pub struct Listings {
    tools: Mutex<ByRoles>,
    /// Tools, where that differs.
    telling_tasks: Mutex<ByRoles>,
    prompts: Mutex<ByRoles>,
    resources: Mutex<ByRoles>,
    templates: Mutex<ByRoles>,
}

type ByRoles = HashMap<Box<str>, Bytes>;

impl Listings {
    const fn of(&self, kind: Kind) -> &Mutex<ByRoles> {
        match kind {
            Kind::Tool => &self.tools,
            Kind::Prompt => &self.prompts,
            Kind::Resource => &self.resources,
            Kind::Template => &self.templates,
        }
    }
}

/// Readers clone this. The `Publisher` exists once and belongs to the view's one task.
#[derive(Clone, Debug)]
pub struct Views(Arc<ArcSwapOption<View>>);

#[derive(Debug)]
pub struct Publisher(Arc<ArcSwapOption<View>>);

#[derive(Debug, thiserror::Error)]
#[error("view {offered:?} is older than {held:?}, which is in force")]
pub struct Stale {
    pub held: Stamp,
    pub offered: Stamp,
}

impl Views {
    /// The pair of ends; no View is in force yet.
    pub fn channel() -> (Self, Publisher) {
        let shared = Arc::new(ArcSwapOption::empty());
        (Self(Arc::clone(&shared)), Publisher(shared))
    }

    /// Take it once, when the caller is known, and carry it to the end: one call is judged by one View.
    pub fn load_full(&self) -> Option<Arc<View>> {
        self.0.load_full()
    }
}

impl Publisher {
    /// Replaces the whole. Errors: `Stale` where `next` is older, so that a late message can't roll back.
    pub fn publish(&mut self, next: View) -> Result<(), Stale> {
        let offered = next.stamp;
        if let Some(held) = self.0.load().as_ref().map(|view| view.stamp)
            && offered < held
        {
            return Err(Stale { held, offered });
        }
        self.0.store(Some(Arc::new(next)));
        Ok(())
    }
}

//! View = Policy × Catalogue: what a call is judged by, from its first stage to its last.
//!
//! Plain data: no lock that waits, no channel, no socket, no clock. The view's one task is the only publisher.

pub mod judge;
pub mod last_known_good;
pub mod policy;
pub mod resolve;
pub mod task;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use self::policy::{Access, Policy, Revision};
pub use self::task::ViewMessage;
use crate::{call::Principal, catalogue::Catalogue};

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
    pub listings: Listings,
}

impl View {
    pub fn new(stamp: Stamp, policy: Arc<Policy>, catalogue: Arc<Catalogue>) -> Self {
        Self { stamp, policy, catalogue, listings: Listings::default() }
    }

    /// The `result` of `tools/list` for this principal: made once for a set of roles, then from memory.
    pub fn tools_for(&self, principal: &Principal) -> Bytes {
        let roles = self.policy.deciding_roles(principal);
        let mut held = self.listings.tools.lock().unwrap_or_else(PoisonError::into_inner);
        let key = roles.join("\n");
        if let Some(listing) = held.get(key.as_str()) {
            return listing.clone();
        }
        let listing = self.list_tools(principal);
        // Sets of roles come from tokens: a bound, so that nobody fills the memory with odd ones.
        if held.len() < MOST_LISTINGS {
            held.insert(key.into(), listing.clone());
        }
        listing
    }

    fn list_tools(&self, principal: &Principal) -> Bytes {
        let mut text = Vec::with_capacity(4096);
        text.extend_from_slice(b"{\"tools\":[");
        let start = text.len();
        for tool in self.catalogue.tools() {
            if matches!(self.policy.access(principal, &tool.exposed), Access::Hidden) {
                continue;
            }
            if text.len() > start {
                text.push(b',');
            }
            text.extend_from_slice(&tool.definition);
        }
        text.extend_from_slice(b"]}");
        text.into()
    }
}

const MOST_LISTINGS: usize = 1_000;

/// Serialized lists by set of roles; they live and go with their View.
#[derive(Debug, Default)]
pub struct Listings {
    tools: Mutex<HashMap<Box<str>, Bytes>>,
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

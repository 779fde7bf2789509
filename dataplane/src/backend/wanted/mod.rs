//! What clients together want of one server session: which resources it shall tell of, and the level of its log notes. It
//! is asked once for all of them, again after a restart, and no more when the last has left. Who wants a resource holds a
//! `Watch`; who talks with the server runs `keep` (legacy), or a stream of its own (modern). Nothing here knows a client.

mod keeping;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{Notify, mpsc, watch};

pub(super) use self::keeping::{Asks, Said, keep};
use crate::listen::session::Level;

/// Resources of one server session that are watched; nobody gets one more.
const MOST: usize = 4_096;
/// Changes that were not handed on yet; above it a part of a resource is told as the resource.
const MOST_UPDATES: usize = 1_024;
/// Server sessions with changes that wait to be told; above it they are told with their next one.
pub const UPDATES: usize = 1_024;

/// What the server said to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    Waiting,
    Held,
    /// Its JSON-RPC error; none: it left the resource out of what it granted.
    Refused(Option<Bytes>),
}

#[derive(Debug)]
pub struct Wanted {
    held: Mutex<Held>,
    changed: Notify,
    acknowledged: watch::Sender<Acknowledged>,
    /// What the server was asked to send; none: nothing, or it has no such thing.
    level: watch::Sender<Option<Level>>,
    /// It can be asked for a level.
    takes_levels: AtomicBool,
    /// Tells that this one has `updates`.
    signal: mpsc::Sender<Arc<Wanted>>,
}

#[derive(Debug, Default)]
struct Held {
    resources: BTreeMap<Arc<str>, Want>,
    updates: BTreeSet<Arc<str>>,
    is_signalled: bool,
    /// Of sessions, the least.
    level: Option<Level>,
    /// Of requests that ask for log notes themselves: how many, by level.
    requests: [u32; Level::ALL.len()],
}

#[derive(Debug)]
struct Want {
    holders: usize,
    standing: watch::Sender<Standing>,
}

/// The newest `notifications/subscriptions/acknowledged` on a pipe that all streams share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// Our number of the request.
    pub number: u64,
    pub granted: BTreeSet<String>,
}

/// One holder's part in a resource that is watched; dropped, it is watched for the others alone.
#[derive(Debug)]
pub struct Watch {
    wanted: Arc<Wanted>,
    uri: Arc<str>,
    standing: watch::Receiver<Standing>,
}

impl Watch {
    /// What the server says to it; `Waiting`: nothing in time.
    pub async fn settled(&self, within: Duration) -> Standing {
        let mut standing = self.standing.clone();
        let settled = tokio::time::timeout(within, standing.wait_for(|standing| *standing != Standing::Waiting)).await;
        match settled {
            Ok(Ok(standing)) => standing.clone(),
            Ok(Err(_)) | Err(_) => Standing::Waiting,
        }
    }

    /// Of this server session.
    pub fn is_of(&self, wanted: &Arc<Wanted>) -> bool {
        Arc::ptr_eq(&self.wanted, wanted)
    }

    /// Whatever happened before it was watched was told to nobody.
    pub fn may_have_changed(&self) {
        self.wanted.told(&self.uri);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut held = self.wanted.lock();
        let Some(want) = held.resources.get_mut(&self.uri) else { return };
        want.holders -= 1;
        if want.holders == 0 {
            held.resources.remove(&self.uri);
            drop(held);
            self.wanted.changed.notify_one();
        }
    }
}

/// Whether a change of `uri` is one of the resource that is watched: of itself, or of a part of it.
pub fn is_about(watched: &str, uri: &str) -> bool {
    uri.strip_prefix(watched).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || watched.ends_with('/'))
}

#[derive(Deserialize)]
struct Updated<'a> {
    #[serde(borrow)]
    uri: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Granting {
    #[serde(rename = "_meta")]
    meta: Marked,
    notifications: Granted,
}

#[derive(Deserialize)]
struct Marked {
    #[serde(rename = "io.modelcontextprotocol/subscriptionId")]
    number: u64,
}

#[derive(Deserialize)]
struct Granted {
    #[serde(default, rename = "resourceSubscriptions")]
    resources: BTreeSet<String>,
}

/// The resources that an acknowledgement grants, and to which request. `None`: it is none.
pub(super) fn granted(params: &[u8]) -> Option<Acknowledged> {
    let Granting { meta, notifications } = serde_json::from_slice(params).ok()?;
    Some(Acknowledged { number: meta.number, granted: notifications.resources })
}

impl Wanted {
    pub fn new(signal: mpsc::Sender<Arc<Self>>) -> Arc<Self> {
        let acknowledged = watch::Sender::new(Acknowledged::default());
        let (level, takes_levels) = (watch::Sender::new(None), AtomicBool::new(false));
        let (held, changed) = (Mutex::default(), Notify::new());
        Arc::new(Self { held, changed, acknowledged, level, takes_levels, signal })
    }

    /// Asks for it, unless it is asked for already. `None`: there are as many as may be.
    pub fn watch(self: &Arc<Self>, uri: &Arc<str>) -> Option<Watch> {
        let mut held = self.lock();
        if !held.resources.contains_key(uri) && held.resources.len() >= MOST {
            return None;
        }
        let want = held
            .resources
            .entry(Arc::clone(uri))
            .or_insert_with(|| Want { holders: 0, standing: watch::Sender::new(Standing::Waiting) });
        want.holders += 1;
        let standing = want.standing.subscribe();
        drop(held);
        self.changed.notify_one();
        Some(Watch { wanted: Arc::clone(self), uri: Arc::clone(uri), standing })
    }

    /// The least that any session asked for; none: nobody asked.
    pub fn set_level(&self, level: Option<Level>) {
        let before = std::mem::replace(&mut self.lock().level, level);
        if before != level {
            self.changed.notify_one();
        }
    }

    /// For one request, as long as it lives; none where this makes no difference.
    pub fn for_request(self: &Arc<Self>, level: Level) -> Option<LevelHold> {
        if !self.takes_levels.load(Relaxed) {
            return None;
        }
        self.lock().count(level, 1);
        self.changed.notify_one();
        Some(LevelHold { wanted: Arc::clone(self), level })
    }

    /// Returns when the server sends what is of this level, or in no time where it can't be asked. Cancel safe.
    pub async fn sends(&self, level: Level, within: Duration) {
        if self.takes_levels.load(Relaxed) {
            let mut held = self.level.subscribe();
            let sent = held.wait_for(|held| held.is_some_and(|held| held <= level));
            tokio::time::timeout(within, sent).await.ok();
        }
    }

    /// Somebody wants something of it.
    pub fn is_of_use(&self) -> bool {
        !self.lock().resources.is_empty()
    }

    /// Its server says that something changed, by `params` of `notifications/resources/updated`.
    pub(super) fn hear(self: &Arc<Self>, params: &[u8]) {
        if let Ok(Updated { uri }) = serde_json::from_slice(params) {
            self.told(&uri);
        }
    }

    /// Of all that is watched nobody knows.
    pub(super) fn may_have_changed(self: &Arc<Self>) {
        let held = self.lock();
        let is_held = |want: &Want| *want.standing.borrow() == Standing::Held;
        let watched: Vec<_> =
            held.resources.iter().filter(|(_, want)| is_held(want)).map(|(uri, _)| Arc::clone(uri)).collect();
        drop(held);
        watched.iter().for_each(|uri| self.told(uri));
    }

    fn told(self: &Arc<Self>, uri: &str) {
        let mut held = self.lock();
        // What nobody watches is nothing to anybody.
        let Some(watched) = held.about(uri) else { return };
        let told = if held.updates.len() < MOST_UPDATES { uri.into() } else { watched };
        held.updates.insert(told);
        if !held.is_signalled {
            held.is_signalled = self.signal.try_send(Arc::clone(self)).is_ok();
        }
    }

    /// All that changed since they were taken last, each once.
    pub fn take_updates(&self) -> BTreeSet<Arc<str>> {
        let mut held = self.lock();
        held.is_signalled = false;
        std::mem::take(&mut held.updates)
    }

    /// On a pipe, by `params` of `notifications/subscriptions/acknowledged`.
    pub(super) fn hear_grant(&self, params: &[u8]) {
        if let Some(acknowledged) = granted(params) {
            self.acknowledged.send_replace(acknowledged);
        }
    }

    /// Waits for what is granted to the request of this number. Cancel safe.
    pub(super) async fn grant_of(&self, number: u64) -> BTreeSet<String> {
        let mut acknowledged = self.acknowledged.subscribe();
        let granted = acknowledged.wait_for(|acknowledged| acknowledged.number == number).await;
        // Its sender is `self`: there is no error.
        granted.map(|acknowledged| acknowledged.granted.clone()).unwrap_or_default()
    }

    pub(super) fn resources(&self) -> BTreeSet<Arc<str>> {
        self.lock().resources.keys().cloned().collect()
    }

    /// Returns when others are wanted than these. Cancel safe.
    pub(super) async fn differs(&self, from: &BTreeSet<Arc<str>>) {
        while self.resources() == *from {
            self.changed.notified().await;
        }
    }

    /// What a stream that asked for `asked` was granted. `goes_on`: until then another one told of what is held.
    pub(super) fn grant(self: &Arc<Self>, asked: &BTreeSet<Arc<str>>, granted: &BTreeSet<String>, goes_on: bool) {
        for uri in asked {
            let is_granted = granted.contains(&**uri);
            self.settle(uri, if is_granted { Standing::Held } else { Standing::Refused(None) }, goes_on);
        }
    }

    /// No stream was to be had: who waits for its first word is told so, and what is held is asked for again.
    pub(super) fn refuse_waiting(&self) {
        for want in self.lock().resources.values() {
            want.standing.send_if_modified(|standing| {
                let waits = *standing == Standing::Waiting;
                if waits {
                    *standing = Standing::Refused(None);
                }
                waits
            });
        }
    }

    fn settle(self: &Arc<Self>, uri: &str, standing: Standing, goes_on: bool) {
        let held = self.lock();
        let Some(want) = held.resources.get(uri) else { return };
        let is_held = standing == Standing::Held;
        let before = want.standing.send_replace(standing);
        drop(held);
        if is_held && before == Standing::Held && !goes_on {
            // Made anew: what changed meanwhile was told to nobody.
            self.told(uri);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's wish for log notes.
#[derive(Debug)]
pub struct LevelHold {
    wanted: Arc<Wanted>,
    level: Level,
}

impl Drop for LevelHold {
    fn drop(&mut self) {
        self.wanted.lock().count(self.level, -1);
        self.wanted.changed.notify_one();
    }
}

impl Held {
    fn count(&mut self, level: Level, by: i32) {
        if let Some(requests) = self.requests.get_mut(level as usize) {
            *requests = requests.saturating_add_signed(by);
        }
    }

    fn level(&self) -> Option<Level> {
        let of_requests = Level::ALL.into_iter().zip(self.requests).find(|(_, requests)| *requests > 0);
        self.level.into_iter().chain(of_requests.map(|(level, _)| level)).min()
    }

    /// The resource that is watched and that a change of `uri` is about.
    fn about(&self, uri: &str) -> Option<Arc<str>> {
        if let Some((watched, _)) = self.resources.get_key_value(uri) {
            return Some(Arc::clone(watched));
        }
        uri.match_indices('/').find_map(|(at, _)| {
            let without = uri.get(..at).and_then(|part| self.resources.get_key_value(part));
            let found = without.or_else(|| uri.get(..=at).and_then(|part| self.resources.get_key_value(part)));
            found.map(|(watched, _)| Arc::clone(watched))
        })
    }
}

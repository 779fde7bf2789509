//! Single resources that clients are told of: by their legacy session, which has them whatever streams it has open, or by
//! one modern stream, with which they go. Each change is judged again for each who hears of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Feed, Feeds, LegKey, Of, Who, newest};
use crate::{
    backend::wanted::{Wanted, Watch, is_about},
    call::{Ask, BackendId, Kind, Principal},
    catalogue::Target,
    kill::gate::Gate,
    view::{View, policy::Access},
    wire::outgoing,
};

/// Resources of one session or stream.
pub const MOST_RESOURCES: usize = 128;
/// Sessions that are told of single resources: of one client, and of all.
const MOST_OF_A_CLIENT: usize = 64;
const MOST_SESSIONS: usize = 10_000;
/// Changes that wait for a session without a stream, each resource once; what is more is lost.
const MOST_LATE: usize = 256;
/// A session that opens no stream and asks for nothing is told of nothing after so long.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// One resource that is watched at a backend's server.
#[derive(Debug)]
pub struct Hold {
    pub backend: BackendId,
    pub watch: Watch,
}

/// By URI; none: not watched now, because it may not be seen, or its backend is another.
#[derive(Debug, Default)]
pub(super) struct Resources(BTreeMap<Arc<str>, Option<Hold>>);

#[derive(Debug)]
pub(super) struct Session {
    who: Who,
    resources: Resources,
    late: BTreeSet<Arc<str>>,
    used: Instant,
}

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Session(LegKey),
    Stream(u64),
}

/// A resource that is to be watched at another server than before.
#[derive(Debug)]
pub struct Job {
    pub holder: Holder,
    pub who: Who,
    pub uri: Arc<str>,
    pub target: Arc<Target>,
}

/// What a client may see and is about this URI now; none: it may not, or there is nothing.
pub(super) fn shown(view: &View, principal: &Principal, uri: &str) -> Option<Arc<Target>> {
    let target = view.catalogue.target(Ask::ReadResource, uri)?;
    let is_hidden = matches!(view.policy.access(principal, Kind::Resource, uri), Access::Hidden);
    (!is_hidden && target.held.is_none()).then(|| Arc::clone(target))
}

impl Resources {
    /// The one that is watched there and that a change of `uri` is about.
    fn about(&self, of: &Arc<Wanted>, uri: &str) -> Option<&Arc<str>> {
        let is_of = |hold: &Option<Hold>| hold.as_ref().is_some_and(|hold| hold.watch.is_of(of));
        let found = self.0.iter().find(|(watched, hold)| is_of(hold) && is_about(watched, uri));
        found.map(|(watched, _)| watched)
    }

    /// Lets go of what this View does not show this client any more; gives what is to be watched elsewhere.
    fn follow(&mut self, view: &View, principal: &Principal) -> Vec<(Arc<str>, Arc<Target>)> {
        let mut elsewhere = Vec::new();
        for (uri, hold) in &mut self.0 {
            match shown(view, principal, uri) {
                None => *hold = None,
                Some(target) if hold.as_ref().is_some_and(|hold| hold.backend == target.backend) => {}
                Some(target) => {
                    *hold = None;
                    elsewhere.push((Arc::clone(uri), target));
                }
            }
        }
        elsewhere
    }
}

/// Whether this client may hear now that `uri` changed, of which it asked to be told by `watched`.
fn may_hear(view: &Arc<View>, who: &Who, (watched, uri): (&str, &str), gate: &Gate) -> bool {
    let (principal, Some(view)) = (&who.principal, who.sees(view)) else { return false };
    let is_shown = |uri: &str| !matches!(view.policy.access(principal, Kind::Resource, uri), Access::Hidden);
    shown(&view, principal, watched).is_some_and(|target| is_shown(uri) && gate.judges(principal, &target).is_none())
}

fn updated(uri: &str) -> Bytes {
    let params = serde_json::json!({ "uri": uri }).to_string();
    outgoing::notification("notifications/resources/updated", Some(params.as_bytes()))
}

impl Feeds {
    /// Whether this session is told of it already.
    pub fn holds(&self, who: &Who, uri: &str) -> bool {
        let mut sessions = self.sessions();
        let Some(session) = sessions.get_mut(&who.leg.key()) else { return false };
        session.used = Instant::now();
        session.resources.0.get(uri).is_some_and(Option::is_some)
    }

    /// Whether one more could be held for it.
    pub fn has_room(&self, who: &Who, uri: &str) -> bool {
        let sessions = self.sessions();
        match sessions.get(&who.leg.key()) {
            Some(session) => session.resources.0.len() < MOST_RESOURCES || session.resources.0.contains_key(uri),
            None => {
                let its = sessions.values().filter(|session| session.who.principal.is_same_as(&who.principal));
                sessions.len() < MOST_SESSIONS && its.count() < MOST_OF_A_CLIENT
            }
        }
    }

    /// From here on this session is told of it.
    pub fn hold(&self, who: &Who, uri: &Arc<str>, hold: Hold) {
        let mut sessions = self.sessions();
        let session = sessions.entry(who.leg.key()).or_insert_with(|| Session {
            who: who.clone(),
            resources: Resources::default(),
            late: BTreeSet::new(),
            used: Instant::now(),
        });
        session.used = Instant::now();
        let before = session.resources.0.insert(Arc::clone(uri), Some(hold));
        drop(sessions);
        drop(before);
    }

    /// This session is told of it no more.
    pub fn let_go(&self, leg: LegKey, uri: &str) {
        let mut sessions = self.sessions();
        let Some(session) = sessions.get_mut(&leg) else { return };
        session.used = Instant::now();
        session.late.remove(uri);
        let before = session.resources.0.remove(uri);
        if session.resources.0.is_empty() {
            sessions.remove(&leg);
        }
        drop(sessions);
        drop(before);
    }

    /// The session has ended.
    pub fn forget(&self, leg: LegKey) {
        let gone = self.sessions().remove(&leg);
        drop(gone);
    }

    /// What a modern stream is granted: its first word. What changed before is told after it.
    pub fn acknowledge(&self, stream: u64, held: Vec<(Arc<str>, Hold)>) {
        let mut feeds = self.lock();
        let Some(feed) = feeds.iter_mut().find(|feed| feed.number == stream) else { return };
        let Of::Subscription(subscription) = &mut feed.of else { return };
        let uris: Vec<&str> = held.iter().map(|(uri, _)| &**uri).collect();
        let words = subscription.acknowledged(&uris);
        feed.resources.0 = held.into_iter().map(|(uri, hold)| (uri, Some(hold))).collect();
        for word in words {
            feed.say(word);
        }
    }

    /// One resource changed, says this server session.
    pub fn updated(&self, of: &Arc<Wanted>, uri: &Arc<str>, view: &Arc<View>, gate: &Gate) {
        let mut sessions = self.sessions();
        let mut feeds = self.lock();
        let mut slow = Vec::new();
        for (leg, session) in &mut *sessions {
            let Some(watched) = session.resources.about(of, uri) else { continue };
            match newest(&mut feeds, *leg, &session.who.principal) {
                // Judged by the token of the stream, which may be newer than that of the asking.
                Some(feed) if may_hear(view, &feed.who, (watched, uri), gate) => {
                    let is_read = feed.say(updated(uri));
                    slow.extend((!is_read).then_some(feed.number));
                }
                Some(_) => {}
                None if session.late.len() < MOST_LATE => {
                    session.late.insert(Arc::clone(uri));
                }
                None => {}
            }
        }
        feeds.retain_mut(|feed| {
            if slow.contains(&feed.number) {
                return false;
            }
            let Some(watched) = feed.resources.about(of, uri) else { return true };
            let Of::Subscription(subscription) = &feed.of else { return true };
            if !may_hear(view, &feed.who, (watched, uri), gate) {
                return true;
            }
            let message = subscription.updated(uri);
            feed.say(message)
        });
    }

    /// What a session missed while it had no stream, on the one that it has opened now.
    pub fn catch_up(&self, who: &Who, view: &Arc<View>, gate: &Gate) {
        let mut sessions = self.sessions();
        let Some(session) = sessions.get_mut(&who.leg.key()) else { return };
        session.used = Instant::now();
        session.who.principal = Arc::clone(&who.principal);
        let mut feeds = self.lock();
        let Some(feed) = newest(&mut feeds, who.leg.key(), &who.principal) else { return };
        for uri in std::mem::take(&mut session.late) {
            let watched = session.resources.0.keys().find(|watched| is_about(watched, &uri));
            if watched.is_some_and(|watched| may_hear(view, who, (watched, &uri), gate)) && !feed.say(updated(&uri)) {
                return;
            }
        }
    }

    /// Fits what is watched to a new View: what is not shown any more is let go. What has to be watched elsewhere is given
    /// back.
    pub fn follow(&self, view: &Arc<View>) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut follow = |resources: &mut Resources, who: &Who, holder: Holder| {
            let Some(view) = who.sees(view) else { return false };
            let elsewhere = resources.follow(&view, &who.principal);
            jobs.extend(elsewhere.into_iter().map(|(uri, target)| Job { holder, who: who.clone(), uri, target }));
            true
        };
        self.sessions().retain(|leg, session| follow(&mut session.resources, &session.who, Holder::Session(*leg)));
        for feed in &mut *self.lock() {
            let Feed { resources, who, number, .. } = feed;
            follow(resources, who, Holder::Stream(*number));
        }
        jobs
    }

    /// It is watched there now, where it is still wanted: the holder is told that it may have changed.
    pub fn moved(&self, holder: Holder, uri: &Arc<str>, hold: Hold) {
        let (mut sessions, mut feeds) = (self.sessions(), self.lock());
        let resources = match holder {
            Holder::Session(leg) => sessions.get_mut(&leg).map(|session| &mut session.resources),
            Holder::Stream(stream) => {
                feeds.iter_mut().find(|feed| feed.number == stream).map(|feed| &mut feed.resources)
            }
        };
        if let Some(held) = resources.and_then(|resources| resources.0.get_mut(uri)) {
            let before = held.replace(hold);
            if let Some(hold) = held {
                hold.watch.may_have_changed();
            }
            drop(before);
        }
    }

    /// Forgets sessions that have had no stream and asked for nothing for half an hour.
    pub fn sweep(&self) {
        let mut sessions = self.sessions();
        for feed in &*self.lock() {
            if let Some(session) = feed.session().and_then(|leg| sessions.get_mut(&leg)) {
                session.used = Instant::now();
            }
        }
        sessions.retain(|_, session| session.used.elapsed() < IDLE);
    }

    fn sessions(&self) -> MutexGuard<'_, std::collections::HashMap<LegKey, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

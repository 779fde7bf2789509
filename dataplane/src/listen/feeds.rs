//! Streams that outlive calls: what the plane tells a client without being asked. Each delivery is judged by the View
//! and the gate of that moment, and a stream ends when its token does.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

use super::{modern::listening::Subscription, session::Sessions};
use crate::{
    backend::isolation::Owner,
    call::{Kind, Principal},
    in_flight::LegKey,
    kill::gate::Gate,
    view::{View, policy::Access},
};

/// Notes that wait for one client; a client that does not read so many is cut off.
const WAITING: usize = 64;
const MOST_OF_A_CLIENT: usize = 16;
const MOST: usize = 2_048;

/// What a stream carries: whole messages, and a sign of life when it was quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Message(Bytes),
    Quiet,
}

#[derive(Debug)]
struct Feed {
    principal: Arc<Principal>,
    of: Of,
    out: mpsc::Sender<Note>,
    told: Instant,
}

/// Whose words a stream carries.
#[derive(Debug)]
enum Of {
    /// A legacy session's; it may hold several.
    Session(LegKey),
    Subscription(Subscription),
}

impl Feed {
    fn session(&self) -> Option<LegKey> {
        match self.of {
            Of::Session(leg) => Some(leg),
            Of::Subscription(_) => None,
        }
    }

    /// The last word of a stream that the plane ends; a legacy one has none.
    fn end(&self) {
        if let Of::Subscription(subscription) = &self.of {
            self.out.try_send(Note::Message(subscription.ended())).ok();
        }
    }
}

#[derive(Debug, Default)]
pub struct Feeds(Mutex<Vec<Feed>>);

/// What the newest stream of each session is told when one of these lists changed.
const CHANGES: [(&[Kind], &[u8]); 3] = [
    (&[Kind::Tool], br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#),
    (&[Kind::Prompt], br#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#),
    (&[Kind::Resource, Kind::Template], br#"{"jsonrpc":"2.0","method":"notifications/resources/list_changed"}"#),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too many open streams")
    }
}

impl Feeds {
    /// Opens a stream of this session; dropping the receiver ends it.
    pub fn open(&self, principal: Arc<Principal>, leg: LegKey) -> Result<mpsc::Receiver<Note>, TooMany> {
        self.add(principal, Of::Session(leg), None)
    }

    /// Opens a stream of its own, which is acknowledged first; dropping the receiver ends it.
    pub fn subscribe(
        &self,
        principal: Arc<Principal>,
        subscription: Subscription,
    ) -> Result<mpsc::Receiver<Note>, TooMany> {
        let first = Note::Message(subscription.acknowledged());
        self.add(principal, Of::Subscription(subscription), Some(first))
    }

    fn add(&self, principal: Arc<Principal>, of: Of, first: Option<Note>) -> Result<mpsc::Receiver<Note>, TooMany> {
        let mut feeds = self.lock();
        feeds.retain(|feed| !feed.out.is_closed());
        let own = feeds.iter().filter(|feed| feed.principal.is_same_as(&principal)).count();
        if own >= MOST_OF_A_CLIENT || feeds.len() >= MOST {
            return Err(TooMany);
        }
        let (out, notes) = mpsc::channel(WAITING);
        if let Some(first) = first {
            out.try_send(first).ok(); // its channel is empty
        }
        feeds.push(Feed { principal, of, out, told: Instant::now() });
        Ok(notes)
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `list_changed`, where what that principal sees differs between the two.
    pub fn swapped(&self, old: Option<&View>, new: &View) {
        let Some(old) = old else { return };
        for (kinds, change) in CHANGES {
            self.tell(|feed| {
                let differs = |kind: &Kind| old.listed(*kind, &feed.principal) != new.listed(*kind, &feed.principal);
                if !kinds.iter().any(differs) {
                    return None;
                }
                match &feed.of {
                    Of::Session(_) => Some(Bytes::from_static(change)),
                    Of::Subscription(subscription) => subscription.changed(kinds),
                }
            });
        }
    }

    /// A log note of a backend that belongs to no call: for those whose level admits it and who see
    /// anything of that backend; of a process that is not shared, for its owner alone.
    pub fn log(
        &self,
        (backend, of): (&str, &Owner),
        level: super::session::Level,
        message: &Bytes,
        view: &View,
        gate: &Gate,
        sessions: &Sessions,
    ) {
        self.tell(|feed| {
            // Never on a modern stream: there they come with the request that asked for them, or not at all.
            let leg = feed.session()?;
            let is_its = match of {
                Owner::Shared => true,
                Owner::Session { leg: its, .. } => its.key() == leg,
                Owner::Client(principal) => principal.is_same_as(&feed.principal),
            };
            if !is_its {
                return None;
            }
            let sees = Kind::ALL.into_iter().flat_map(|kind| view.catalogue.all(kind)).any(|target| {
                &*target.backend_name == backend
                    && !matches!(view.policy.access(&feed.principal, target.kind, &target.exposed), Access::Hidden)
                    && gate.judges(&feed.principal, target).is_none()
            });
            (level >= sessions.level(leg) && sees).then(|| message.clone())
        });
    }

    /// One message for one client's session, on its newest stream. False: it has none that takes it.
    pub fn say(&self, leg: LegKey, who: &Principal, message: Bytes) -> bool {
        let mut feeds = self.lock();
        let of_session =
            |feed: &&mut Feed| feed.session() == Some(leg) && feed.principal.is_same_as(who) && !feed.out.is_closed();
        let Some(feed) = feeds.iter_mut().rev().find(of_session) else { return false };
        feed.told = Instant::now();
        feed.out.try_send(Note::Message(message)).is_ok()
    }

    /// Ends what outlived its token, and gives a sign of life where it was quiet. `now`: Unix seconds.
    pub fn tick(&self, now: i64, keepalive: Duration) {
        self.lock().retain_mut(|feed| {
            if feed.principal.until <= now {
                feed.end();
                return false;
            }
            if feed.out.is_closed() {
                return false;
            }
            if feed.told.elapsed() < keepalive {
                return true;
            }
            feed.told = Instant::now();
            feed.out.try_send(Note::Quiet).is_ok()
        });
    }

    /// Ends all: the plane drains.
    pub fn close(&self) {
        self.lock().drain(..).for_each(|feed| feed.end());
    }

    fn tell(&self, note: impl Fn(&Feed) -> Option<Bytes>) {
        let mut feeds = self.lock();
        // A session may hold several streams: each message goes to exactly one, the newest.
        let newest: Vec<Option<LegKey>> = feeds.iter().map(Feed::session).collect();
        let mut at = 0;
        feeds.retain_mut(|feed| {
            let session = feed.session();
            let is_newest = session.is_none() || !newest.iter().skip(at + 1).any(|later| *later == session);
            at += 1;
            let Some(message) = is_newest.then(|| note(feed)).flatten() else { return true };
            feed.told = Instant::now();
            feed.out.try_send(Note::Message(message)).is_ok()
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Feed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

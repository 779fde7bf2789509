//! Streams that outlive calls: what the plane tells a client without being asked. Each delivery is judged by the View
//! and the gate of that moment, and a stream ends when its token does. Single resources are in `feeds/resources.rs`.

mod resources;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

pub use self::resources::{Hold, Holder, Job, MOST_RESOURCES};
use self::resources::{Resources, Session};
use super::{
    ClientLeg,
    modern::listening::Subscription,
    session::{Level, Sessions},
};
use crate::{
    backend::isolation::Owner,
    call::{Caller, Kind, Principal},
    in_flight::LegKey,
    kill::gate::Gate,
    view::{View, policy::Access},
};

/// Notes that wait for one client; a client that does not read so many is cut off.
const WAITING: usize = 64;
const MOST_OF_A_CLIENT: usize = 16;
const MOST: usize = 16_384;

/// What a stream carries: whole messages, and a sign of life when it was quiet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    Message(Bytes),
    Quiet,
}

/// For whom something is told, and what it is judged by.
#[derive(Clone, Debug)]
pub struct Who {
    pub principal: Arc<Principal>,
    /// The virtual server at which it was asked for; none: `/mcp`.
    pub endpoint: Option<Arc<str>>,
    pub leg: ClientLeg,
}

impl Who {
    /// What it sees of this. None: its virtual server is gone.
    pub fn sees(&self, view: &Arc<View>) -> Option<Arc<View>> {
        let view = view.at(self.endpoint.as_deref())?;
        Some(Arc::clone(view).seen_by(&self.principal, self.leg))
    }

    pub fn of(caller: &Caller) -> Self {
        let (principal, leg) = (Arc::clone(caller.principal()), *caller.leg());
        Self { principal, endpoint: caller.view().endpoint.clone(), leg }
    }
}

#[derive(Debug)]
struct Feed {
    number: u64,
    who: Who,
    of: Of,
    /// Of a stream that is no session's: that has its own, which outlive its streams.
    resources: Resources,
    out: mpsc::Sender<Note>,
    told: Instant,
}

/// Whose words a stream carries.
#[derive(Debug)]
enum Of {
    /// A legacy session's; it may hold several.
    Session,
    Subscription(Subscription),
}

impl Feed {
    fn session(&self) -> Option<LegKey> {
        match self.of {
            Of::Session => Some(self.who.leg.key()),
            Of::Subscription(_) => None,
        }
    }

    /// The last word of a stream that the plane ends; a legacy one has none.
    fn end(&self) {
        if let Of::Subscription(subscription) = &self.of {
            self.out.try_send(Note::Message(subscription.ended())).ok();
        }
    }

    /// False: it does not read, and is cut off.
    fn say(&mut self, message: Bytes) -> bool {
        self.told = Instant::now();
        self.out.try_send(Note::Message(message)).is_ok()
    }
}

#[derive(Debug, Default)]
pub struct Feeds {
    streams: Mutex<Vec<Feed>>,
    /// Legacy sessions that are told of single resources. Locked before `streams`, where both are.
    sessions: Mutex<HashMap<LegKey, Session>>,
    next: AtomicU64,
}

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
    pub fn open(&self, who: Who) -> Result<mpsc::Receiver<Note>, TooMany> {
        self.add(who, Of::Session).map(|(_, notes)| notes)
    }

    /// Opens a stream of its own, by number; dropping the receiver ends it. It says nothing before `acknowledge`.
    pub fn subscribe(&self, who: Who, subscription: Subscription) -> Result<(u64, mpsc::Receiver<Note>), TooMany> {
        self.add(who, Of::Subscription(subscription))
    }

    fn add(&self, who: Who, of: Of) -> Result<(u64, mpsc::Receiver<Note>), TooMany> {
        let mut feeds = self.lock();
        feeds.retain(|feed| !feed.out.is_closed());
        let own = feeds.iter().filter(|feed| feed.who.principal.is_same_as(&who.principal)).count();
        if own >= MOST_OF_A_CLIENT || feeds.len() >= MOST {
            return Err(TooMany);
        }
        let (out, notes) = mpsc::channel(WAITING);
        let number = self.next.fetch_add(1, Relaxed);
        feeds.push(Feed { number, who, of, resources: Resources::default(), out, told: Instant::now() });
        Ok((number, notes))
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `list_changed`, where what that principal sees differs between the two. A virtual server that is gone takes its
    /// streams with it.
    pub fn swapped(&self, old: Option<&Arc<View>>, new: &Arc<View>) {
        let Some(old) = old else { return };
        self.lock().retain(|feed| {
            let stays = new.at(feed.who.endpoint.as_deref()).is_some();
            if !stays {
                feed.end();
            }
            stays
        });
        for (kinds, change) in CHANGES {
            self.tell(|feed| {
                // A stream whose endpoint came with `new` was opened after it, and has nothing to hear of.
                let (old, new) = (feed.who.sees(old)?, feed.who.sees(new)?);
                let tells = feed.who.leg.has_core_tasks();
                let differs = |kind: &Kind| !new.lists_as(&old, *kind, &feed.who.principal, tells);
                if !kinds.iter().any(differs) {
                    return None;
                }
                match &mut feed.of {
                    Of::Session => Some(Bytes::from_static(change)),
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
        level: Level,
        message: &Bytes,
        view: &Arc<View>,
        gate: &Gate,
        sessions: &Sessions,
    ) {
        self.tell(|feed| {
            // Never on a modern stream: there they come with the request that asked for them, or not at all.
            let leg = feed.session()?;
            let principal = &feed.who.principal;
            let is_its = match of {
                Owner::Shared => true,
                Owner::Session { leg: its, .. } => its.key() == leg,
                Owner::Client(its) => its.is_same_as(principal),
            };
            if !is_its {
                return None;
            }
            let view = feed.who.sees(view)?;
            let sees = Kind::ALL.into_iter().flat_map(|kind| view.catalogue.all(kind)).any(|target| {
                &*target.backend_name == backend
                    && !matches!(view.policy.access(principal, target.kind, &target.exposed), Access::Hidden)
                    && gate.judges(principal, target).is_none()
            });
            // Of a server that many share, those hear who asked; of its own, a session hears what servers say unasked.
            let least = match of {
                Owner::Shared => sessions.level(leg)?,
                Owner::Session { .. } | Owner::Client(_) => sessions.level(leg).unwrap_or(Level::UNASKED),
            };
            (level >= least && sees).then(|| message.clone())
        });
    }

    /// One message for one client's session, on its newest stream. False: it has none that takes it.
    pub fn say(&self, leg: LegKey, who: &Principal, message: Bytes) -> bool {
        let mut feeds = self.lock();
        newest(&mut feeds, leg, who).is_some_and(|feed| feed.say(message))
    }

    /// Ends what outlived its token, and gives a sign of life where it was quiet. `now`: Unix seconds.
    pub fn tick(&self, now: i64, keepalive: Duration) {
        self.lock().retain_mut(|feed| {
            if feed.who.principal.until <= now {
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

    fn tell(&self, mut note: impl FnMut(&mut Feed) -> Option<Bytes>) {
        let mut feeds = self.lock();
        // A session may hold several streams: each message goes to exactly one, the newest.
        let open = feeds.iter().filter(|feed| !feed.out.is_closed());
        let newest: HashMap<LegKey, u64> = open.filter_map(|feed| Some((feed.session()?, feed.number))).collect();
        feeds.retain_mut(|feed| {
            let is_newest = feed.session().is_none_or(|session| newest.get(&session) == Some(&feed.number));
            match is_newest.then(|| note(feed)).flatten() {
                Some(message) => feed.say(message),
                None => true,
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Feed>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest stream of a client's session that somebody reads.
fn newest<'f>(feeds: &'f mut [Feed], leg: LegKey, who: &Principal) -> Option<&'f mut Feed> {
    feeds
        .iter_mut()
        .rev()
        .find(|feed| feed.session() == Some(leg) && feed.who.principal.is_same_as(who) && !feed.out.is_closed())
}

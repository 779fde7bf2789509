//! The planes: who is there, what each last said, and a way to wait for what they will say.
//!
//! State in memory behind one lock that is never held across an await. It does not know revisions' contents, the
//! store, or gRPC streams: `watch.rs` tells it what was heard, `publish.rs` and `killswitch.rs` ask.

mod heard;
pub mod outbox;
pub mod plane;
mod sent;
mod shown;
mod turned_away;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sentinel_proto::v1::{Hello, Prepare};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use self::outbox::Outbox;
use self::plane::{LEASE, Link, Plane};
use self::turned_away::TurnedAway;
use crate::clock::Clock;
use crate::secrets::Fingerprint;

/// All planes by id.
pub type Planes = BTreeMap<String, Plane>;

/// Clones share the same fleet.
#[derive(Clone, Debug)]
pub struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    planes: Mutex<Planes>,
    turned: Mutex<Vec<TurnedAway>>,
    changed: watch::Sender<()>,
    links: AtomicU64,
    commands: AtomicU64,
    clock: Clock,
    born: Instant,
}

/// Which stream of which plane: what is heard on an older stream of the same plane counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkId {
    pub plane: String,
    pub link: u64,
}

/// Whether a plane is who it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Not proved since this start: the store knows.
    AskStore,
    Known,
    Wrong,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "plane {id} is already here from {first}, heard {secs} s ago; two processes with one identity: give the second its own --data-dir, or wait {LEASE_SECS} s after the first has gone"
)]
pub struct Taken {
    pub id: String,
    pub first: String,
    pub secs: u64,
}
const LEASE_SECS: u64 = LEASE.as_secs();

/// What a connected plane made of a request to it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unheard {
    #[error("the plane is not connected")]
    Away,
    #[error("the plane takes nothing from its queue")]
    Full,
    #[error("the plane did not answer in time")]
    Silent,
}

impl Fleet {
    pub fn new(clock: Clock) -> Self {
        Self(Arc::new(Inner {
            planes: Mutex::default(),
            turned: Mutex::default(),
            changed: watch::Sender::new(()),
            links: AtomicU64::new(1),
            commands: AtomicU64::new(1),
            clock,
            born: Instant::now(),
        }))
    }

    /// Looks at all planes, under the lock.
    pub fn see<T>(&self, look: impl FnOnce(&Planes) -> T) -> T {
        look(&self.0.planes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn turned(&self) -> MutexGuard<'_, Vec<TurnedAway>> {
        self.0.turned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, with: impl FnOnce(&mut Planes) -> T) -> T {
        let out = with(&mut self.0.planes.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.send_replace(());
        out
    }

    /// Waits until `ask` has an answer, looking again after each change; `None` when `deadline` came first.
    pub async fn until<T>(&self, deadline: Instant, mut ask: impl FnMut(&Planes) -> Option<T>) -> Option<T> {
        let mut changed = self.0.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(answer) = self.see(&mut ask) {
                return Some(answer);
            }
            if !matches!(timeout_at(deadline, changed.changed()).await, Ok(Ok(()))) {
                return self.see(&mut ask);
            }
        }
    }

    // ---- who is there --------------------------------------------------------------------------------------

    /// Takes in what the store remembers of planes; one that is here already keeps what is known of it.
    pub fn remember(&self, planes: impl IntoIterator<Item = Plane>) {
        self.change(|all| {
            for plane in planes {
                all.entry(plane.id.clone()).or_insert(plane);
            }
        });
    }

    pub fn proof(&self, id: &str, secret: &[u8]) -> Proof {
        self.see(|all| match all.get(id).and_then(|plane| plane.secret.as_ref()) {
            None => Proof::AskStore,
            Some(known) if known.fits(secret) => Proof::Known,
            Some(_) => Proof::Wrong,
        })
    }

    /// The store has said that this is the plane's secret.
    pub fn proved(&self, id: &str, secret: &[u8]) {
        self.change(|all| {
            if let Some(plane) = all.get_mut(id) {
                plane.secret = Some(Fingerprint::of(secret));
            }
        });
    }

    /// Whether somebody else holds this identity now; notes the attempt where so. Errors: `Taken`.
    pub fn admit(&self, hello: &Hello, peer: &str) -> Result<(), Taken> {
        self.change(|all| admit(all, hello, peer))
    }

    /// Makes this stream the plane's link; an older one ends. The secret has been checked, and stored if it is new.
    /// `welcome` is the revision in force, sent also to a plane that runs it already.
    ///
    /// Errors: `Taken`.
    pub fn attach(
        &self,
        hello: &Hello,
        peer: &str,
        outbox: &Outbox,
        welcome: Option<&Prepare>,
    ) -> Result<LinkId, Taken> {
        let link = self.0.links.fetch_add(1, Ordering::Relaxed);
        let now = self.0.clock.unix_ms();
        self.let_in(peer);
        self.change(|all| {
            admit(all, hello, peer)?;
            let plane = all
                .entry(hello.plane_id.clone())
                .or_insert_with(|| Plane::known(hello.plane_id.clone(), hello.name.clone(), now, now));
            plane.secret = Some(Fingerprint::of(&hello.secret));
            if plane.boot != hello.boot {
                plane.report = None;
                plane.ahead_ms = 0;
                plane.rival = String::new();
            }
            plane.name.clone_from(&hello.name);
            plane.version.clone_from(&hello.version);
            plane.listen.clone_from(&hello.listen);
            plane.boot = hello.boot;
            plane.revision = hello.revision;
            plane.digest.clone_from(&hello.digest);
            plane.epoch = hello.kill_set.as_ref().map_or(0, |set| set.epoch);
            plane.acks.clear();
            plane.pins = 0;
            plane.sightings.clear();
            plane.reported = false;
            plane.last_seen_ms = now;
            plane.stopped = false;
            plane.problem = String::new();
            let fresh = Link {
                id: link,
                outbox: outbox.clone(),
                peer: peer.to_owned(),
                heard: Instant::now(),
                asked: None,
                applied_since_commit: false,
                commands: VecDeque::new(),
            };
            if let Some(old) = plane.link.replace(fresh) {
                old.outbox.close(tonic::Status::aborted("a newer stream of this plane took over"));
            }
            // Under the same lock: no publish may ask in between, and find its question overwritten.
            if let Some(prepare) = welcome {
                sent::ask(plane, prepare, true);
            }
            Ok(LinkId { plane: hello.plane_id.clone(), link })
        })
    }

    /// The stream has ended; the plane is lost unless it said goodbye.
    pub fn detach(&self, link: &LinkId) {
        self.change(|all| {
            if let Some(plane) = all.get_mut(&link.plane).filter(|plane| is_current(plane, link)) {
                plane.link = None;
            }
        });
    }

    /// Drops planes that have been away since before `unix_ms`; gives their ids.
    pub fn forget_before(&self, unix_ms: i64) -> Vec<String> {
        self.change(|all| {
            let gone = |plane: &Plane| plane.link.is_none() && plane.last_seen_ms < unix_ms;
            let ids: Vec<_> = all.values().filter(|plane| gone(plane)).map(|plane| plane.id.clone()).collect();
            all.retain(|_, plane| !gone(plane));
            ids
        })
    }

    /// Drops one plane that is away, and its secret with it. False: it is here.
    pub fn forget(&self, id: &str) -> bool {
        self.change(|all| {
            let is_here = all.get(id).is_some_and(|plane| plane.link.is_some());
            if !is_here {
                all.remove(id);
            }
            !is_here
        })
    }

    /// Ends every stream, with `why`.
    pub fn close_all(&self, why: &str) {
        self.see(|all| {
            for link in all.values().filter_map(|plane| plane.link.as_ref()) {
                link.outbox.close(tonic::Status::unavailable(why.to_owned()));
            }
        });
    }

    /// Now, as planes are stamped with it.
    pub fn unix_ms(&self) -> i64 {
        self.0.clock.unix_ms()
    }
}

pub fn is_current(plane: &Plane, link: &LinkId) -> bool {
    plane.link.as_ref().is_some_and(|current| current.id == link.link)
}

fn admit(all: &mut Planes, hello: &Hello, peer: &str) -> Result<(), Taken> {
    let Some(plane) = all.get_mut(&hello.plane_id) else {
        return Ok(());
    };
    let Some(link) = &plane.link else {
        return Ok(());
    };
    let quiet = link.heard.elapsed();
    if plane.boot == hello.boot || quiet >= LEASE {
        return Ok(());
    }
    plane.rival = format!("a second process came with this identity from {peer}; the first is at {}", link.peer);
    Err(Taken { id: hello.plane_id.clone(), first: link.peer.clone(), secs: quiet.as_secs() })
}

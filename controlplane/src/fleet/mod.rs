//! The planes: who is there, what each last said, and a way to wait for what they will say.
//!
//! State in memory behind one lock that is never held across an await. It does not know revisions' contents, the
//! store, or gRPC streams: `watch.rs` tells it what was heard, `publish.rs` and `killswitch.rs` ask.

pub mod outbox;
pub mod plane;
mod shown;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sentinel_proto::v1::plane_hears::Hears;
use sentinel_proto::v1::{
    Abort, Applied, Command, CommandDone, Commit, Hello, KillApplied, KillSet, Prepare, Prepared,
    Report,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use self::outbox::Outbox;
use self::plane::{Answer, Asked, LEASE, Link, Plane};
use crate::clock::Clock;
use crate::secrets::Fingerprint;

/// Answers to commands that may lie unread on one link.
const COMMANDS: usize = 16;

/// All planes by id.
pub type Planes = BTreeMap<String, Plane>;

/// Clones share the same fleet.
#[derive(Clone, Debug)]
pub struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    planes: Mutex<Planes>,
    changed: watch::Sender<()>,
    links: AtomicU64,
    commands: AtomicU64,
    clock: Clock,
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
    Known,
    New,
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
            changed: watch::Sender::new(()),
            links: AtomicU64::new(1),
            commands: AtomicU64::new(1),
            clock,
        }))
    }

    /// Looks at all planes, under the lock.
    pub fn see<T>(&self, look: impl FnOnce(&Planes) -> T) -> T {
        look(&self.0.planes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, with: impl FnOnce(&mut Planes) -> T) -> T {
        let out = with(&mut self.0.planes.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.changed.send_replace(());
        out
    }

    /// Waits until `ask` has an answer, looking again after each change; `None` when `deadline` came first.
    pub async fn until<T>(
        &self,
        deadline: Instant,
        mut ask: impl FnMut(&Planes) -> Option<T>,
    ) -> Option<T> {
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
        self.see(|all| match all.get(id) {
            None => Proof::New,
            Some(plane) if plane.secret.fits(secret) => Proof::Known,
            Some(_) => Proof::Wrong,
        })
    }

    /// Whether somebody else holds this identity now; notes the attempt where so. Errors: `Taken`.
    pub fn admit(&self, hello: &Hello, peer: &str) -> Result<(), Taken> {
        self.change(|all| {
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
            plane.rival = format!(
                "a second process came with this identity from {peer}; the first is at {}",
                link.peer
            );
            Err(Taken {
                id: hello.plane_id.clone(),
                first: link.peer.clone(),
                secs: quiet.as_secs(),
            })
        })
    }

    /// Makes this stream the plane's link; an older one ends. The secret has been checked, and stored if it is new.
    pub fn attach(&self, hello: &Hello, peer: &str) -> (LinkId, Outbox) {
        let link = self.0.links.fetch_add(1, Ordering::Relaxed);
        let now = self.0.clock.unix_ms();
        let outbox = Outbox::new();
        self.change(|all| {
            let plane = all.entry(hello.plane_id.clone()).or_insert_with(|| {
                let secret = Fingerprint::of(&hello.secret);
                Plane::known(hello.plane_id.clone(), hello.name.clone(), secret, now, now)
            });
            if plane.boot != hello.boot {
                plane.report = None;
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
                old.outbox.close(tonic::Status::aborted(
                    "a newer stream of this plane took over",
                ));
            }
        });
        (
            LinkId {
                plane: hello.plane_id.clone(),
                link,
            },
            outbox,
        )
    }

    /// The stream has ended; the plane is lost unless it said goodbye.
    pub fn detach(&self, link: &LinkId) {
        self.change(|all| {
            if let Some(plane) = all
                .get_mut(&link.plane)
                .filter(|plane| is_current(plane, link))
            {
                plane.link = None;
            }
        });
    }

    /// Drops planes that have been away since before `unix_ms`; gives their ids.
    pub fn forget_before(&self, unix_ms: i64) -> Vec<String> {
        self.change(|all| {
            let gone = |plane: &Plane| plane.link.is_none() && plane.last_seen_ms < unix_ms;
            let ids: Vec<_> = all
                .values()
                .filter(|plane| gone(plane))
                .map(|plane| plane.id.clone())
                .collect();
            all.retain(|_, plane| !gone(plane));
            ids
        })
    }

    /// Ends every stream, with `why`.
    pub fn close_all(&self, why: &str) {
        self.see(|all| {
            for link in all.values().filter_map(|plane| plane.link.as_ref()) {
                link.outbox
                    .close(tonic::Status::unavailable(why.to_owned()));
            }
        });
    }

    // ---- what was heard ------------------------------------------------------------------------------------

    fn heard<T>(&self, link: &LinkId, with: impl FnOnce(&mut Plane, &mut Link) -> T) -> Option<T> {
        let now = self.0.clock.unix_ms();
        self.change(|all| {
            let plane = all.get_mut(&link.plane)?;
            let mut current = plane.link.take_if(|current| current.id == link.link)?;
            current.heard = Instant::now();
            plane.last_seen_ms = now;
            let out = with(plane, &mut current);
            plane.link = Some(current);
            Some(out)
        })
    }

    /// The plane's word on the last Prepare. One that was catching up is committed, or stays where it is and says why.
    pub fn prepared(&self, link: &LinkId, said: Prepared) {
        self.heard(link, |plane, link| {
            let Some(asked) = &mut link.asked else { return };
            if asked.revision != said.revision || asked.digest != said.digest {
                return;
            }
            let took = asked.at.elapsed();
            if asked.catching_up {
                let (revision, digest) = (said.revision, said.digest.clone());
                let next = if said.problems.is_empty() {
                    plane.problem = String::new();
                    Hears::Commit(Commit { revision, digest })
                } else {
                    plane.problem = format!(
                        "can't run revision {revision}: {}",
                        shown::problems(&said.problems)
                    );
                    let reason = "you can't run it".to_owned();
                    Hears::Abort(Abort {
                        revision,
                        digest,
                        reason,
                    })
                };
                if link.outbox.send(next).is_err() {
                    plane.problem = format!(
                        "does not take revision {revision}: it reads nothing from its stream"
                    );
                }
            }
            asked.answer = Some(Answer {
                problems: said.problems,
                degraded: said.degraded,
                took,
            });
        });
    }

    pub fn applied(&self, link: &LinkId, said: Applied) {
        self.heard(link, |plane, link| {
            link.applied_since_commit = true;
            plane.revision = said.revision;
            plane.digest = said.digest;
            plane.problem = String::new();
        });
    }

    pub fn kill_applied(&self, link: &LinkId, said: KillApplied) {
        self.heard(link, |plane, _| plane.acked(said.epoch, said.cut));
    }

    pub fn report(&self, link: &LinkId, mut said: Report) {
        self.heard(link, |plane, _| {
            if let Some(catalogue) = said.catalogue.take() {
                plane.catalogue = catalogue.tools;
            }
            plane.report = Some(said);
        });
    }

    pub fn goodbye(&self, link: &LinkId) {
        self.heard(link, |plane, _| plane.stopped = true);
    }

    pub fn command_done(&self, link: &LinkId, said: CommandDone) {
        self.heard(link, |_, link| {
            if link.commands.len() == COMMANDS {
                link.commands.pop_front();
            }
            link.commands.push_back(said);
        });
    }

    // ---- what is sent --------------------------------------------------------------------------------------

    /// Hands kills to every connected plane.
    pub fn kill(&self, set: &KillSet) {
        self.see(|all| {
            for link in all.values().filter_map(|plane| plane.link.as_ref()) {
                link.outbox.kill(set.clone());
            }
        });
    }

    /// Sends `prepare` to every connected plane and notes that it was asked; gives the links.
    pub fn ask_all(&self, prepare: &Prepare) -> Vec<LinkId> {
        self.change(|all| {
            all.values_mut()
                .filter_map(|plane| ask(plane, prepare, false))
                .collect()
        })
    }

    /// Sends the revision in force to each connected plane that neither runs it nor was asked already.
    pub fn catch_up(&self, prepare: &Prepare) {
        self.change(|all| {
            for plane in all
                .values_mut()
                .filter(|plane| !plane.runs(prepare.revision, &prepare.digest))
            {
                let asked = plane.link.as_ref().and_then(|link| link.asked.as_ref());
                let underway = asked.is_some_and(|asked| {
                    asked.catching_up
                        && asked.revision == prepare.revision
                        && asked.digest == prepare.digest
                });
                if !underway {
                    ask(plane, prepare, true);
                }
            }
        });
    }

    /// Sends the revision in force to one plane that has just come, also where it runs it already.
    pub fn welcome(&self, link: &LinkId, prepare: &Prepare) {
        self.change(|all| {
            if let Some(plane) = all
                .get_mut(&link.plane)
                .filter(|plane| is_current(plane, link))
            {
                ask(plane, prepare, true);
            }
        });
    }

    /// What these links said of an earlier commit does not count for the one that is about to be sent.
    pub fn unsettle(&self, links: &[LinkId]) {
        self.change(|all| {
            for id in links {
                let plane = all.get_mut(&id.plane).filter(|plane| is_current(plane, id));
                if let Some(link) = plane.and_then(|plane| plane.link.as_mut()) {
                    link.applied_since_commit = false;
                }
            }
        });
    }

    /// Sends a message to these links, as far as they are still there; gives those that took it.
    pub fn tell(&self, links: &[LinkId], message: &Hears) -> Vec<LinkId> {
        self.see(|all| {
            let took = |link: &&LinkId| {
                let plane = all.get(&link.plane).filter(|plane| is_current(plane, link));
                plane
                    .and_then(|plane| plane.link.as_ref())
                    .is_some_and(|link| link.outbox.send(message.clone()).is_ok())
            };
            links.iter().filter(took).cloned().collect()
        })
    }

    /// Asks one plane to do something, and waits for its word. Errors: `Unheard`.
    pub async fn command(
        &self,
        plane: &str,
        what: sentinel_proto::v1::command::What,
        deadline: Instant,
    ) -> Result<CommandDone, Unheard> {
        let id = self.0.commands.fetch_add(1, Ordering::Relaxed);
        let message = Hears::Command(Command {
            id,
            what: Some(what),
        });
        let link = self.see(|all| {
            let link = all
                .get(plane)
                .and_then(|plane| plane.link.as_ref())
                .ok_or(Unheard::Away)?;
            link.outbox.send(message).map_err(|_| Unheard::Full)?;
            Ok(LinkId {
                plane: plane.to_owned(),
                link: link.id,
            })
        })?;
        let answer = self.until(deadline, |all| {
            let Some(plane) = all
                .get(&link.plane)
                .filter(|plane| is_current(plane, &link))
            else {
                return Some(Err(Unheard::Away));
            };
            let done = plane
                .link
                .as_ref()?
                .commands
                .iter()
                .find(|done| done.id == id)?;
            Some(Ok(done.clone()))
        });
        answer.await.unwrap_or(Err(Unheard::Silent))
    }

    /// Now, as planes are stamped with it.
    pub fn unix_ms(&self) -> i64 {
        self.0.clock.unix_ms()
    }
}

pub fn is_current(plane: &Plane, link: &LinkId) -> bool {
    plane
        .link
        .as_ref()
        .is_some_and(|current| current.id == link.link)
}

fn ask(plane: &mut Plane, prepare: &Prepare, catching_up: bool) -> Option<LinkId> {
    let link = plane.link.as_mut()?;
    let mut message = prepare.clone();
    if catching_up {
        // What is missing at a start switches that backend alone off; a plane that has another revision is no start.
        message.allow_degraded |= plane.revision == 0 || plane.digest == prepare.digest;
    }
    link.asked = Some(Asked {
        revision: prepare.revision,
        digest: prepare.digest.clone(),
        at: Instant::now(),
        catching_up,
        answer: None,
    });
    // A full queue shows as silence: there will be no answer.
    link.outbox.send(Hears::Prepare(message)).ok();
    Some(LinkId {
        plane: plane.id.clone(),
        link: link.id,
    })
}

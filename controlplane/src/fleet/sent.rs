//! What planes are sent: kills to all, the two phases of a publish, the revision in force to late ones, commands.

use std::sync::atomic::Ordering;

use sentinel_proto::v1::command::What;
use sentinel_proto::v1::plane_hears::Hears;
use sentinel_proto::v1::{Command, CommandDone, KillSet, PinSet, Prepare};
use tokio::time::Instant;

use super::plane::{Asked, Plane};
use super::{Fleet, LinkId, Unheard, is_current};
use crate::publish::SILENCE;

impl Fleet {
    /// Hands kills to every connected plane.
    pub fn kill(&self, set: &KillSet) {
        self.see(|all| {
            for link in all.values().filter_map(|plane| plane.link.as_ref()) {
                link.outbox.kill(set.clone());
            }
        });
    }

    /// Hands pins to every connected plane.
    pub fn pins(&self, set: &PinSet) {
        self.see(|all| {
            for link in all.values().filter_map(|plane| plane.link.as_ref()) {
                link.outbox.pins(set.clone());
            }
        });
    }

    /// Sends `prepare` to every connected plane and notes that it was asked; gives the links.
    pub fn ask_all(&self, prepare: &Prepare) -> Vec<LinkId> {
        self.change(|all| all.values_mut().filter_map(|plane| ask(plane, prepare, false)).collect())
    }

    /// Sends the revision in force to each connected plane that neither runs it nor was asked already.
    pub fn catch_up(&self, prepare: &Prepare) {
        self.change(|all| {
            for plane in all.values_mut().filter(|plane| !plane.runs(prepare.revision, &prepare.digest)) {
                let asked = plane.link.as_ref().and_then(|link| link.asked.as_ref());
                let underway = asked.is_some_and(|asked| {
                    asked.catching_up && asked.revision == prepare.revision && asked.digest == prepare.digest
                });
                if !underway {
                    ask(plane, prepare, true);
                }
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
    pub async fn command(&self, plane: &str, what: What, deadline: Instant) -> Result<CommandDone, Unheard> {
        let id = self.0.commands.fetch_add(1, Ordering::Relaxed);
        let message = Hears::Command(Command { id, what: Some(what) });
        let link = self.see(|all| {
            let link = all.get(plane).and_then(|plane| plane.link.as_ref()).ok_or(Unheard::Away)?;
            link.outbox.send(message).map_err(|_| Unheard::Full)?;
            Ok(LinkId { plane: plane.to_owned(), link: link.id })
        })?;
        let answer = self.until(deadline, |all| {
            let Some(plane) = all.get(&link.plane).filter(|plane| is_current(plane, &link)) else {
                return Some(Err(Unheard::Away));
            };
            let done = plane.link.as_ref()?.commands.iter().find(|done| done.id == id)?;
            Some(Ok(done.clone()))
        });
        answer.await.unwrap_or(Err(Unheard::Silent))
    }
}

pub(super) fn ask(plane: &mut Plane, prepare: &Prepare, catching_up: bool) -> Option<LinkId> {
    let link = plane.link.as_mut()?;
    // It is building just this for its catching up: that answer will do, and a second question would cancel it.
    if let Some(asked) = link.asked.as_mut().filter(|asked| {
        asked.catching_up
            && asked.answer.is_none()
            && asked.revision == prepare.revision
            && asked.digest == prepare.digest
            && asked.at.elapsed() < SILENCE
    }) {
        asked.catching_up = catching_up;
        return Some(LinkId { plane: plane.id.clone(), link: link.id });
    }
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
    Some(LinkId { plane: plane.id.clone(), link: link.id })
}

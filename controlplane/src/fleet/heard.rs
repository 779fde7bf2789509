//! What planes said, each word taken for the plane of its stream alone.

use sentinel_proto::v1::plane_hears::Hears;
use sentinel_proto::v1::{Abort, Applied, CommandDone, Commit, KillApplied, Prepared, Report, Sighting};
use tokio::time::Instant;

use super::plane::{Answer, Link, Plane};
use super::{Fleet, LinkId, shown};

/// Answers to commands that may lie unread on one link.
const COMMANDS: usize = 16;

impl Fleet {
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
                    plane.problem = format!("can't run revision {revision}: {}", shown::problems(&said.problems));
                    let reason = "you can't run it".to_owned();
                    Hears::Abort(Abort { revision, digest, reason })
                };
                if link.outbox.send(next).is_err() {
                    plane.problem = format!("does not take revision {revision}: it reads nothing from its stream");
                }
            }
            asked.answer = Some(Answer { problems: said.problems, degraded: said.degraded, took });
        });
    }

    pub fn applied(&self, link: &LinkId, said: Applied) {
        self.heard(link, |plane, link| {
            link.applied_since_commit = true;
            plane.reported &= plane.revision == said.revision;
            plane.revision = said.revision;
            plane.digest = said.digest;
            plane.problem = String::new();
        });
    }

    pub fn kill_applied(&self, link: &LinkId, said: KillApplied) {
        self.heard(link, |plane, _| plane.acked(said.epoch, said.cut));
    }

    pub fn pins_applied(&self, link: &LinkId, epoch: u64) {
        self.heard(link, |plane, _| plane.pins = plane.pins.max(epoch));
    }

    pub fn sighted(&self, link: &LinkId, tools: Vec<Sighting>) {
        self.heard(link, |plane, _| plane.sightings = tools);
    }

    pub fn report(&self, link: &LinkId, mut said: Report) {
        let now = self.0.clock.unix_ms();
        self.heard(link, |plane, _| {
            // 0: an older plane, which does not say.
            plane.ahead_ms = if said.clock_unix_ms == 0 { 0 } else { said.clock_unix_ms.saturating_sub(now) };
            if let Some(catalogue) = said.catalogue.take() {
                plane.catalogue = catalogue.tools;
            }
            plane.report = Some(said);
            // Before it has a revision it has nothing to report of.
            plane.reported = plane.revision != 0;
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
}

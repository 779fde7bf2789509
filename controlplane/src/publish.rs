//! The two phases of a publish: every connected plane prepares, and only when all can is it committed.
//!
//! It knows planes and messages, not where a revision comes from nor how it is stored: `revisions.rs` puts the store
//! between the phases.

use std::time::Duration;

use prometheus::Histogram;
use sentinel_proto::v1::plane_hears::Hears;
use sentinel_proto::v1::{Abort, Commit, PlaneOutcome, Prepare};
use tokio::time::Instant;

use crate::fleet::plane::{Answer, Plane, millis};
use crate::fleet::{Fleet, LinkId, Planes, is_current};

/// How long a plane may be silent in either phase.
pub const SILENCE: Duration = Duration::from_secs(5);

/// What is to be published.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub revision: u64,
    pub digest: Vec<u8>,
    pub bytes: Vec<u8>,
    pub allow_degraded: bool,
}

/// The first phase is over and nothing stands in the way.
#[derive(Debug)]
pub struct Ready {
    candidate: Candidate,
    links: Vec<LinkId>,
    outcomes: Vec<PlaneOutcome>,
}

/// The first phase is over and somebody can't: all were told to drop it.
#[derive(Debug)]
pub struct Refused {
    pub outcomes: Vec<PlaneOutcome>,
    /// The whole sentence.
    pub why: String,
}

impl Candidate {
    pub fn prepare(&self) -> Prepare {
        Prepare {
            revision: self.revision,
            digest: self.digest.clone(),
            snapshot: self.bytes.clone(),
            required_capabilities: sentinel_proto::CAPABILITIES.iter().map(|&name| name.to_owned()).collect(),
            allow_degraded: self.allow_degraded,
        }
    }
}

/// Has every connected plane prepare `candidate`, waiting `SILENCE` at most.
///
/// Errors: `Refused` where one can't, or is silent and `skip_unresponsive` is not set.
pub async fn prepare(fleet: &Fleet, candidate: Candidate, skip_unresponsive: bool) -> Result<Ready, Refused> {
    let links = fleet.ask_all(&candidate.prepare());
    let deadline = Instant::now() + SILENCE;
    fleet.until(deadline, |all| links.iter().all(|link| is_settled(all, link, &candidate)).then_some(())).await;

    let outcomes = fleet.see(|all| links.iter().map(|link| prepared(all, link, &candidate)).collect::<Vec<_>>());
    let stands_in_the_way = |outcome: &&PlaneOutcome| match outcome.outcome.as_str() {
        "ready" => false,
        "refused" => true,
        _ => !skip_unresponsive,
    };
    let blocking: Vec<_> = outcomes.iter().filter(stands_in_the_way).collect();
    if !blocking.is_empty() {
        let why = sentence(&blocking);
        abort(fleet, &candidate, &links, &why);
        return Err(Refused { outcomes, why });
    }
    let (ready, rest): (Vec<_>, Vec<_>) =
        links.into_iter().zip(&outcomes).partition(|(_, outcome)| outcome.outcome == "ready");
    let ready: Vec<_> = ready.into_iter().map(|(link, _)| link).collect();
    let rest: Vec<_> = rest.into_iter().map(|(link, _)| link).collect();
    abort(fleet, &candidate, &rest, "no answer in time; it comes again once you answer");
    let outcomes = outcomes.into_iter().map(|outcome| match outcome.outcome.as_str() {
        "silent" => PlaneOutcome { outcome: "skipped".to_owned(), ..outcome },
        _ => outcome,
    });
    Ok(Ready { candidate, links: ready, outcomes: outcomes.collect() })
}

impl Ready {
    pub fn candidate(&self) -> &Candidate {
        &self.candidate
    }

    /// Tells every plane that prepared to drop it; gives what they had said.
    pub fn drop_it(self, fleet: &Fleet, why: &str) -> Vec<PlaneOutcome> {
        abort(fleet, &self.candidate, &self.links, why);
        self.outcomes
    }

    /// Commits on every plane that is ready, and waits `SILENCE` at most for their word.
    pub async fn commit(self, fleet: &Fleet, acks: &Histogram) -> Vec<PlaneOutcome> {
        let Self { candidate, links, mut outcomes } = self;
        let since = Instant::now();
        let commit = Hears::Commit(Commit { revision: candidate.revision, digest: candidate.digest.clone() });
        fleet.unsettle(&links);
        fleet.tell(&links, &commit);
        let mut took: Vec<Option<Duration>> = vec![None; links.len()];
        let all_done = |all: &Planes| {
            let mut done = true;
            for (link, took) in links.iter().zip(&mut took) {
                match all.get(&link.plane).filter(|plane| is_current(plane, link)) {
                    Some(plane) if has_applied(plane, &candidate) => {
                        took.get_or_insert_with(|| since.elapsed());
                    }
                    Some(_) => done = false,
                    None => {}
                }
            }
            done.then_some(())
        };
        fleet.until(since + SILENCE, all_done).await;
        for (link, took) in links.iter().zip(took) {
            let Some(outcome) = outcomes.iter_mut().find(|outcome| outcome.id == link.plane) else {
                continue;
            };
            let there = fleet.see(|all| all.get(&link.plane).is_some_and(|plane| is_current(plane, link)));
            match took {
                Some(took) => {
                    acks.observe(took.as_secs_f64());
                    outcome.outcome = "applied".to_owned();
                    outcome.took_ms = outcome.took_ms.saturating_add(millis(took));
                }
                None if there => outcome.outcome = "silent".to_owned(),
                None => outcome.outcome = "lost".to_owned(),
            }
        }
        outcomes
    }
}

fn has_applied(plane: &Plane, candidate: &Candidate) -> bool {
    plane.runs(candidate.revision, &candidate.digest)
        && plane.link.as_ref().is_some_and(|link| link.applied_since_commit)
}

fn abort(fleet: &Fleet, candidate: &Candidate, links: &[LinkId], why: &str) {
    let message = Abort { revision: candidate.revision, digest: candidate.digest.clone(), reason: why.to_owned() };
    fleet.tell(links, &Hears::Abort(message));
}

/// Answered, or gone.
fn is_settled(all: &Planes, link: &LinkId, candidate: &Candidate) -> bool {
    let Some(plane) = all.get(&link.plane).filter(|plane| is_current(plane, link)) else {
        return true;
    };
    answer(plane, candidate).is_some()
}

/// Its word on this candidate, not on another that it was asked about meanwhile.
fn answer<'a>(plane: &'a Plane, candidate: &Candidate) -> Option<&'a Answer> {
    let asked = plane.link.as_ref()?.asked.as_ref()?;
    let same = asked.revision == candidate.revision && asked.digest == candidate.digest;
    asked.answer.as_ref().filter(|_| same)
}

fn prepared(all: &Planes, link: &LinkId, candidate: &Candidate) -> PlaneOutcome {
    let plane = all.get(&link.plane);
    let mut outcome = PlaneOutcome {
        id: link.plane.clone(),
        name: plane.map_or_else(String::new, |plane| plane.name.clone()),
        ..PlaneOutcome::default()
    };
    let here = plane.filter(|plane| is_current(plane, link));
    outcome.outcome = match (here, here.and_then(|plane| answer(plane, candidate))) {
        (None, _) => "lost",
        (Some(_), None) => "silent",
        (Some(_), Some(answer)) => {
            outcome.took_ms = millis(answer.took);
            outcome.problems.clone_from(&answer.problems);
            outcome.degraded.clone_from(&answer.degraded);
            if answer.problems.is_empty() { "ready" } else { "refused" }
        }
    }
    .to_owned();
    outcome
}

fn sentence(blocking: &[&PlaneOutcome]) -> String {
    let each = blocking.iter().map(|outcome| match outcome.outcome.as_str() {
        "refused" => {
            let count = outcome.problems.len();
            format!("plane {} can't run it ({count} {})", outcome.name, if count == 1 { "problem" } else { "problems" })
        }
        "lost" => format!("plane {} was lost meanwhile", outcome.name),
        _ => format!("plane {} did not answer in {} s", outcome.name, SILENCE.as_secs()),
    });
    let each: Vec<_> = each.collect();
    let advice = if blocking.iter().all(|outcome| outcome.outcome == "refused") {
        "mend that, or publish with --allow-degraded to switch off the backends that can't be built"
    } else {
        "publish with --skip-unresponsive to go on without silent planes; they catch up when they are back"
    };
    format!("nothing was changed: {}; {advice}", each.join(", "))
}

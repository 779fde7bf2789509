//! What is known of one plane: who it is, its link while it has one, and the last that it said.
//!
//! Plain data and questions to it; `fleet/mod.rs` changes it.

use std::collections::VecDeque;
use std::time::Duration;

use sentinel_proto::v1::{
    BackendHealth, CatalogueTool, CommandDone, KillAck, PlaneProblem, PlaneState, Report, Sighting,
};
use tokio::time::Instant;

use super::outbox::Outbox;
use crate::secrets::Fingerprint;

/// How long the first holder of an id is believed to live after it was last heard.
pub const LEASE: Duration = Duration::from_secs(30);

/// A clock that is further away is worth a warning: tokens have 30 s of leeway.
const APART_MS: i64 = 10_000;

/// Kill acknowledgements that are remembered of a plane, so that each command finds its own count of cut calls.
const ACKS: usize = 32;

#[derive(Debug)]
pub struct Plane {
    pub id: String,
    pub name: String,
    /// `None` until the store has proved one since this start.
    pub secret: Option<Fingerprint>,
    pub first_seen_ms: i64,
    pub last_seen_ms: i64,
    /// It said goodbye: nobody waits for it.
    pub stopped: bool,
    pub version: String,
    pub listen: String,
    pub boot: u64,
    pub revision: u64,
    pub digest: Vec<u8>,
    /// Kills up to here are in force there.
    pub epoch: u64,
    /// Pins up to here are in force there.
    pub pins: u64,
    pub link: Option<Link>,
    pub report: Option<Report>,
    /// How far its clock is ahead of ours, as its last report showed; below 0: behind.
    pub ahead_ms: i64,
    /// It has reported since it came and since it applied its revision.
    pub reported: bool,
    pub catalogue: Vec<CatalogueTool>,
    /// Its tools that are not simply as they are pinned.
    pub sightings: Vec<Sighting>,
    /// Why it does not run the current revision.
    pub problem: String,
    /// A second process that came with this id.
    pub rival: String,
    pub acks: VecDeque<(u64, u32)>,
}

/// One Watch stream.
#[derive(Debug)]
pub struct Link {
    pub id: u64,
    pub outbox: Outbox,
    pub peer: String,
    pub heard: Instant,
    pub asked: Option<Asked>,
    /// An Applied came after the last Commit was about to leave.
    pub applied_since_commit: bool,
    pub commands: VecDeque<CommandDone>,
}

/// The last Prepare of this link.
#[derive(Debug)]
pub struct Asked {
    pub revision: u64,
    pub digest: Vec<u8>,
    pub at: Instant,
    /// Committed as soon as the plane is ready: the revision is in force already.
    pub catching_up: bool,
    pub answer: Option<Answer>,
}

#[derive(Clone, Debug)]
pub struct Answer {
    pub problems: Vec<PlaneProblem>,
    pub degraded: Vec<String>,
    pub took: Duration,
}

impl Plane {
    pub fn known(id: String, name: String, first_seen_ms: i64, last_seen_ms: i64) -> Self {
        Self {
            id,
            name,
            secret: None,
            first_seen_ms,
            last_seen_ms,
            stopped: false,
            version: String::new(),
            listen: String::new(),
            boot: 0,
            revision: 0,
            digest: Vec::new(),
            epoch: 0,
            pins: 0,
            link: None,
            report: None,
            ahead_ms: 0,
            reported: false,
            catalogue: Vec::new(),
            sightings: Vec::new(),
            problem: String::new(),
            rival: String::new(),
            acks: VecDeque::new(),
        }
    }

    /// connected | lost | stopped
    pub fn state_word(&self) -> &'static str {
        match (&self.link, self.stopped) {
            (Some(_), _) => "connected",
            (None, true) => "stopped",
            (None, false) => "lost",
        }
    }

    pub fn runs(&self, revision: u64, digest: &[u8]) -> bool {
        self.revision == revision && self.digest == digest
    }

    pub fn backends(&self) -> &[BackendHealth] {
        self.report.as_ref().map_or(&[], |report| &report.backends)
    }

    pub fn backlog(&self) -> u64 {
        self.report.as_ref().map_or(0, |report| report.audit_backlog)
    }

    /// Notes that kills up to `epoch` are in force there.
    pub fn acked(&mut self, epoch: u64, cut: u32) {
        self.epoch = self.epoch.max(epoch);
        if self.acks.len() == ACKS {
            self.acks.pop_front();
        }
        self.acks.push_back((epoch, cut));
    }

    /// The acknowledgement that covered `epoch`; not acked where there was none.
    pub fn ack_of(&self, epoch: u64, took: Duration) -> KillAck {
        let covered = self.acks.iter().find(|(acked, _)| *acked >= epoch);
        let acked = self.epoch >= epoch;
        KillAck {
            plane_id: self.id.clone(),
            plane_name: self.name.clone(),
            acked,
            took_ms: if acked { millis(took) } else { 0 },
            cut: if acked { covered.map_or(0, |(_, cut)| *cut) } else { 0 },
            last_seen_unix_ms: self.last_seen_ms,
            state: self.state_word().to_owned(),
        }
    }

    /// What is to be said of its clock: what is apart by more than a report's way and a little drift is set wrong.
    pub fn clock_warning(&self) -> Option<String> {
        let way = if self.ahead_ms > 0 { "ahead of" } else { "behind" };
        (self.ahead_ms.saturating_abs() > APART_MS).then(|| {
            format!(
                "its clock is {} s {way} the control plane's: tokens are judged and records dated by it; \
                 run a time service on both machines",
                self.ahead_ms.saturating_abs() / 1000
            )
        })
    }

    pub fn shown(&self) -> PlaneState {
        let problem = match (self.problem.is_empty(), self.rival.is_empty()) {
            (_, true) => self.problem.clone(),
            (true, false) => self.rival.clone(),
            (false, false) => format!("{}; {}", self.problem, self.rival),
        };
        PlaneState {
            id: self.id.clone(),
            name: self.name.clone(),
            state: self.state_word().to_owned(),
            version: self.version.clone(),
            revision: self.revision,
            epoch: self.epoch,
            last_seen_unix_ms: self.last_seen_ms,
            audit_backlog: self.backlog(),
            in_flight: self.report.as_ref().map_or(0, |report| report.in_flight),
            listen: self.listen.clone(),
            source: self.report.as_ref().map_or_else(String::new, |report| report.source.clone()),
            problem,
        }
    }
}

/// Milliseconds, rounded up, so that what took time never reads 0.
pub fn millis(took: Duration) -> u32 {
    u32::try_from(took.as_micros().div_ceil(1000)).unwrap_or(u32::MAX)
}

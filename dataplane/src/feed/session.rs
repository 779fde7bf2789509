//! One stream to the control plane from its first message to its end: who is handed what, and what is answered.

use std::{collections::VecDeque, future::Future, pin::Pin, sync::Arc, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use sentinel_proto::{
    CAPABILITIES,
    v1::{
        Applied, Commit, Goodbye, KillApplied, KillSet, PlaneHears, PlaneProblem, PlaneSays, Prepare, Prepared, Report,
        command::What, plane_hears::Hears, plane_says::Says,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{DEBOUNCE, Ended, Feed, PATIENCE, REPORT};
use crate::view::task::ViewMessage;

type Reply = Pin<Box<dyn Future<Output = PlaneSays> + Send>>;

pub(super) struct Session<'f> {
    feed: &'f Feed,
    says: mpsc::Sender<PlaneSays>,
    /// What the view's inbox had no room for yet.
    pending: VecDeque<ViewMessage>,
    /// Answers that the view owes.
    replies: FuturesUnordered<Reply>,
    /// Epoch of a message that is in force and that the disk refused: acknowledged when it is durable.
    owed: Option<u64>,
    /// Digest of the catalogue that this stream was told last.
    told: Option<Vec<u8>>,
    has_kill_set: bool,
    report_at: Option<Instant>,
}

/// The control plane does not take what we say, or is gone.
struct Gone;

impl<'f> Session<'f> {
    pub(super) fn new(feed: &'f Feed, says: mpsc::Sender<PlaneSays>) -> Self {
        Self {
            feed,
            says,
            pending: VecDeque::new(),
            replies: FuturesUnordered::new(),
            owed: None,
            told: None,
            has_kill_set: false,
            report_at: None,
        }
    }

    pub(super) async fn run(mut self, mut hears: Streaming<PlaneHears>, leave: &CancellationToken) -> Ended {
        let feed = self.feed;
        let mut reports = tokio::time::interval(REPORT);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let report_at = self.report_at;
            let done = tokio::select! {
                biased;
                heard = hears.message() => match heard {
                    Ok(Some(PlaneHears { hears: Some(heard) })) => self.hear(heard).await,
                    // A message of a later version: nothing that we must heed.
                    Ok(Some(PlaneHears { hears: None })) => Ok(()),
                    Ok(None) => return Ended::Lost("it closed the stream".into()),
                    Err(status) => return Ended::Lost(sentence(&status)),
                },
                () = leave.cancelled() => return self.leave(hears).await,
                Some(reply) = self.replies.next(), if !self.replies.is_empty() => self.reply(reply).await,
                room = feed.view.reserve(), if !self.pending.is_empty() => {
                    if let (Ok(room), Some(message)) = (room, self.pending.pop_front()) {
                        room.send(message);
                    }
                    Ok(())
                }
                () = feed.changed.notified() => {
                    self.report_soon();
                    Ok(())
                }
                () = sleep_until(report_at.unwrap_or_else(Instant::now)), if report_at.is_some() => self.report().await,
                _ = reports.tick() => self.report().await,
            };
            if done.is_err() {
                return Ended::Lost(format!("it takes no message for {} s", PATIENCE.as_secs()));
            }
        }
    }

    async fn hear(&mut self, heard: Hears) -> Result<(), Gone> {
        match heard {
            Hears::KillSet(set) => self.kill(set).await,
            Hears::Prepare(prepare) => self.prepare(prepare).await,
            Hears::Commit(commit) => {
                self.commit(&commit);
                Ok(())
            }
            Hears::Abort(abort) => {
                if let Ok(digest) = abort.digest.try_into() {
                    self.pending.push_back(ViewMessage::Abort { revision: abort.revision, digest });
                }
                Ok(())
            }
            Hears::Pins(set) => {
                let (reply, applied) = oneshot::channel();
                self.pending.push_back(ViewMessage::Pins { set, reply });
                self.replies.push(Box::pin(async move { say(applied.await.unwrap_or_default()) }));
                Ok(())
            }
            // May build a configuration: not on the stream's task, where kills would wait for it.
            Hears::Command(command) if matches!(command.what, Some(What::Judge(_) | What::Explain(_))) => {
                let operate = self.feed.operate.clone();
                let judged = self.feed.tracker.spawn_blocking(move || (operate.0)(command));
                self.replies.push(Box::pin(async move { say(judged.await.unwrap_or_default()) }));
                Ok(())
            }
            Hears::Command(command) => {
                let done = (self.feed.operate.0)(command);
                self.send(say(done)).await
            }
        }
    }

    /// What is shown of tools is there before the word that a decision about them is in force.
    async fn reply(&mut self, reply: PlaneSays) -> Result<(), Gone> {
        if matches!(reply.says, Some(Says::PinsApplied(_))) {
            self.report().await?;
        }
        self.send(reply).await
    }

    fn report_soon(&mut self) {
        self.report_at.get_or_insert_with(|| Instant::now() + DEBOUNCE);
    }

    /// Disk, gate, sweep, then the ack: on a thread that may block.
    async fn kill(&mut self, set: KillSet) -> Result<(), Gone> {
        let kills = Arc::clone(&self.feed.kills);
        let epoch = set.epoch;
        match self.feed.tracker.spawn_blocking(move || kills.merge(&set)).await {
            Ok(Ok(applied)) => {
                self.heard();
                self.send(say(applied)).await
            }
            Ok(Err(fault)) => {
                tracing::error!(%fault, epoch, "a kill is in force and not acknowledged: it is not on disk");
                self.owed = Some(self.owed.unwrap_or(0).max(epoch));
                self.heard();
                Ok(())
            }
            Err(_) => Err(Gone),
        }
    }

    fn heard(&mut self) {
        if self.has_kill_set {
            return;
        }
        self.has_kill_set = true;
        self.feed.contact.found();
        if let Err(fault) = self.feed.home.forget_goodbye() {
            tracing::warn!(%fault, "the next start will wait for the control plane without need");
        }
        self.feed.heard.send_replace(true);
        tracing::info!(epoch = self.feed.kills.epoch(), "the control plane is heard");
    }

    async fn prepare(&mut self, prepare: Prepare) -> Result<(), Gone> {
        let Prepare { revision, digest: claimed, snapshot, required_capabilities, allow_degraded } = prepare;
        let refuse = |message: String| {
            let problem = PlaneProblem { message, ..PlaneProblem::default() };
            say(Prepared { revision, digest: claimed.clone(), problems: vec![problem], degraded: vec![] })
        };
        if let Some(unknown) = required_capabilities.iter().find(|name| !CAPABILITIES.contains(&name.as_str())) {
            let refused = refuse(format!("this plane does not know the capability {unknown}; update it"));
            return self.send(refused).await;
        }
        let sum: Result<[u8; 32], _> = digest(&SHA256, &snapshot).as_ref().try_into();
        let Some(sum) = sum.ok().filter(|sum| sum[..] == claimed[..]) else {
            return self.send(refuse("the snapshot does not have the digest that it came with".into())).await;
        };
        // The newest wins: what was not begun is not begun.
        self.pending.retain(|message| !matches!(message, ViewMessage::Prepare { .. }));
        let (reply, prepared) = oneshot::channel();
        let snapshot = snapshot.into();
        self.pending.push_back(ViewMessage::Prepare { revision, digest: sum, snapshot, allow_degraded, reply });
        self.replies.push(Box::pin(async move {
            let gone = |_| problem(revision, sum, "a newer one took its place, or the plane stops");
            prepared.await.map_or_else(gone, say)
        }));
        Ok(())
    }

    fn commit(&mut self, commit: &Commit) {
        let revision = commit.revision;
        let Ok(digest) = <[u8; 32]>::try_from(commit.digest.as_slice()) else {
            tracing::error!(revision, "a commit without a digest is not heeded");
            return;
        };
        let (reply, applied) = oneshot::channel::<Result<Applied, String>>();
        self.pending.push_back(ViewMessage::Commit { revision, digest, reply });
        self.report_soon();
        self.replies.push(Box::pin(async move {
            match applied.await {
                Ok(Ok(applied)) => say(applied),
                Ok(Err(why)) => {
                    tracing::error!(revision, why, "the revision was not put in force");
                    problem(revision, digest, &why)
                }
                Err(_) => problem(revision, digest, "the plane stops"),
            }
        }));
    }

    async fn report(&mut self) -> Result<(), Gone> {
        self.report_at = None;
        self.pay().await?;
        let feed = self.feed;
        let status = feed.look.status();
        let is_new = self.told.as_ref() != Some(&status.catalogue_digest);
        let (audit_acked_seq, audit_acked_hash) =
            status.audit_acked.map_or_else(Default::default, |(seq, head)| (seq, head.to_vec()));
        let report = Report {
            audit_acked_seq,
            audit_acked_hash,
            backends: status.backends,
            catalogue_digest: status.catalogue_digest.clone(),
            catalogue: is_new.then(|| feed.look.catalogue()),
            audit_backlog: status.audit_backlog,
            audit_written: status.audit_written,
            audit_dropped: status.audit_dropped,
            in_flight: status.in_flight,
            source: status.source.as_str().into(),
            warnings: status.warnings,
            filled: feed.kills.filled(),
            clock_unix_ms: i64::try_from(feed.clock.now_micros() / 1000).unwrap_or(i64::MAX),
        };
        self.told = Some(status.catalogue_digest);
        self.send(say(report)).await?;
        // Told again until the control plane has pinned what is trusted.
        if is_new || status.unpinned > 0 {
            return self.send(say(feed.look.sightings())).await;
        }
        Ok(())
    }

    /// The disk again, where it refused.
    async fn pay(&mut self) -> Result<(), Gone> {
        let Some(epoch) = self.owed else { return Ok(()) };
        let kills = Arc::clone(&self.feed.kills);
        if let Ok(Ok(())) = self.feed.tracker.spawn_blocking(move || kills.save()).await {
            self.owed = None;
            return self.send(say(KillApplied { epoch, cut: 0 })).await;
        }
        Ok(())
    }

    async fn send(&mut self, message: PlaneSays) -> Result<(), Gone> {
        match timeout(PATIENCE, self.says.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    /// From the goodbye on nobody waits for this plane: so its next start must ask before it serves, and that is on
    /// disk before the goodbye leaves.
    async fn leave(mut self, mut hears: Streaming<PlaneHears>) -> Ended {
        if let Err(fault) = self.feed.home.mark_goodbye() {
            tracing::warn!(%fault, "leaving without a goodbye: kills will wait for this plane");
            return Ended::Left;
        }
        self.send(say(Goodbye { reason: "drained".into() })).await.ok();
        drop(self);
        // Its end of the stream says that the goodbye has arrived.
        let end = async { while let Ok(Some(_)) = hears.message().await {} };
        timeout(Duration::from_secs(1), end).await.ok();
        Ended::Left
    }
}

fn problem(revision: u64, digest: [u8; 32], message: &str) -> PlaneSays {
    let problem = PlaneProblem { message: message.into(), ..PlaneProblem::default() };
    say(Prepared { revision, digest: digest.into(), problems: vec![problem], degraded: vec![] })
}

pub(super) fn say(what: impl Into<Said>) -> PlaneSays {
    PlaneSays { says: Some(what.into().0) }
}

/// A message of ours, whatever it is.
pub(super) struct Said(Says);

macro_rules! said {
    ($($message:ident),+) => {
        $(impl From<sentinel_proto::v1::$message> for Said {
            fn from(message: sentinel_proto::v1::$message) -> Self {
                Self(Says::$message(message))
            }
        })+
    };
}
said!(Hello, Prepared, Applied, KillApplied, Report, Goodbye, CommandDone, Sightings, PinsApplied);

/// What went wrong, for a log line: gRPC's own words, and the causes below them.
pub(super) fn sentence(status: &Status) -> String {
    use std::error::Error as _;
    let mut text = format!("{}: {}", status.code(), status.message());
    let mut cause = status.source();
    while let Some(fault) = cause {
        text = format!("{text}: {fault}");
        cause = fault.source();
    }
    text
}

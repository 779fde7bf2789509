//! The one owner of what is current: start, reload, rollback; each the same way through `publish`.
//!
//! It does not know who asks or how planes are reached. One publish at a time; kill switches never wait for it.

mod again;
mod file;
mod start;
pub mod watched;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::Histogram;
use sentinel_proto::v1::{ConfigProblem, PublishReply, Snapshot};

use crate::clock::Clock;
use crate::config::{BuiltInKey, FileKill, Loaded};
use crate::fleet::Fleet;
use crate::keeper::Keeper;
use crate::publish::{self, Candidate};
use crate::refusal::Refusal;
use crate::secrets::hex;
use crate::store::revisions::{NewRevision, Revision};

pub use self::file::{FileState, read as read_file, sentence, told};
pub use self::start::Start;

/// The revision in force.
#[derive(Debug)]
pub struct Current {
    pub revision: Revision,
    pub snapshot: Snapshot,
    pub kills: Vec<FileKill>,
    pub warnings: Vec<ConfigProblem>,
    pub retention_days: u32,
    bytes: Vec<u8>,
    allow_degraded: bool,
}

impl Current {
    /// What planes are sent of it.
    pub fn candidate(&self) -> Candidate {
        Candidate {
            revision: self.revision.number,
            digest: self.revision.digest.to_vec(),
            bytes: self.bytes.clone(),
            allow_degraded: self.allow_degraded,
        }
    }
}

/// How a publish is asked for.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four flags of a command, independent and named at each use")]
pub struct Options {
    /// Who asks, for the history.
    pub by: String,
    pub dry_run: bool,
    pub skip_unresponsive: bool,
    pub allow_degraded: bool,
    /// Also what was rolled back from.
    pub from_file: bool,
}

/// What a publish would put in force.
struct Draft {
    text: String,
    loaded: Loaded,
    note: String,
    away_from: Option<[u8; 32]>,
}

/// Clones share the same owner.
#[derive(Clone, Debug)]
pub struct Revisions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    built_in: BuiltInKey,
    fleet: Fleet,
    keeper: Keeper,
    clock: Clock,
    /// How long planes take to apply.
    acks: Histogram,
    turn: tokio::sync::Mutex<()>,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    current: Option<Arc<Current>>,
    file: FileState,
}

impl Revisions {
    pub fn new(
        path: PathBuf,
        built_in: BuiltInKey,
        fleet: Fleet,
        keeper: Keeper,
        clock: Clock,
        acks: Histogram,
    ) -> Self {
        let turn = tokio::sync::Mutex::default();
        Self(Arc::new(Inner { path, built_in, fleet, keeper, clock, acks, turn, now: Mutex::default() }))
    }

    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub fn built_in(&self) -> &BuiltInKey {
        &self.0.built_in
    }

    pub fn current(&self) -> Option<Arc<Current>> {
        self.now(|now| now.current.clone())
    }

    /// What is to be said of the file.
    pub fn file(&self) -> FileState {
        self.now(|now| now.file.clone())
    }

    /// Whether a publish of the file by itself would do something: a digest of its own, or new problems. What was rolled
    /// back from is left to an operator.
    pub async fn file_differs(&self) -> bool {
        match (file::read(&self.0.path, &self.0.built_in).await, self.current()) {
            (Ok((_, loaded)), Some(current)) => {
                let digest = loaded.digest;
                current.revision.digest != digest && current.revision.away_from != Some(digest)
                    || matches!(self.file(), FileState::Bad(_))
            }
            (Err(problems), _) => self.file() != FileState::Bad(problems),
            (Ok(_), None) => true,
        }
    }

    fn now<T>(&self, with: impl FnOnce(&mut Now) -> T) -> T {
        with(&mut self.0.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes the file. Problems of the file and planes that can't are told in the reply.
    ///
    /// Errors: `Refusal`, and then nothing was changed.
    pub async fn reload(&self, options: &Options) -> Result<PublishReply, Refusal> {
        let _turn = self.0.turn.lock().await;
        let read = file::read(&self.0.path, &self.0.built_in).await;
        let (text, loaded) = match read {
            Ok(read) => read,
            Err(problems) => {
                if !options.dry_run {
                    self.now(|now| now.file = FileState::Bad(problems.clone()));
                }
                return Ok(PublishReply {
                    problems,
                    note: "nothing was changed: the file can't be published".to_owned(),
                    ..PublishReply::default()
                });
            }
        };
        if !options.from_file
            && let Some(sentence) = self.rolled_away(&loaded.digest)
        {
            if !options.dry_run {
                self.now(|now| now.file = FileState::Differs(sentence.clone()));
            }
            return Err(Refusal::state(format!("{sentence}; mend the file, or publish it with `reload --from-file`")));
        }
        let reply = self.publish(Draft { text, loaded, note: String::new(), away_from: None }, options).await?;
        if reply.published || reply.unchanged {
            self.now(|now| now.file = FileState::Good);
        }
        Ok(reply)
    }

    /// The spine: prepare, store, commit. The turn is held.
    async fn publish(&self, draft: Draft, options: &Options) -> Result<PublishReply, Refusal> {
        let store = self.0.keeper.store()?;
        let before = self.current();
        let unchanged = before.as_ref().filter(|current| current.revision.digest == draft.loaded.digest).cloned();
        let digest = draft.loaded.digest;
        let base = before.as_ref().map_or(0, |current| current.revision.number);
        let number = match (&unchanged, options.dry_run) {
            (Some(current), _) => current.revision.number,
            (None, true) => base.max(self.0.fleet.highest_revision()) + 1,
            (None, false) => {
                store.raise_revision_to(self.0.fleet.highest_revision()).await?;
                store.append_revision(self.new_revision(&draft, &options.by)).await?
            }
        };
        let candidate = Candidate {
            revision: number,
            digest: digest.to_vec(),
            bytes: draft.loaded.bytes.clone(),
            allow_degraded: options.allow_degraded,
        };
        let mut reply =
            PublishReply { digest: hex(&digest), warnings: told(&draft.loaded.warnings), ..PublishReply::default() };
        let ready = match publish::prepare(&self.0.fleet, candidate, options.skip_unresponsive).await {
            Ok(ready) => ready,
            Err(refused) => {
                reply.revision = base;
                reply.planes = refused.outcomes;
                reply.note = refused.why;
                self.catch_up();
                return Ok(reply);
            }
        };
        if options.dry_run {
            reply.revision = base;
            reply.unchanged = unchanged.is_some();
            reply.planes = ready.drop_it(&self.0.fleet, "this was a trial");
            reply.note = match &unchanged {
                Some(current) => format!("a trial: revision {} is this content already", current.revision.number),
                None => {
                    format!("a trial: this would become revision {number}; nothing was changed")
                }
            };
            return Ok(reply);
        }
        if unchanged.is_none()
            && let Err(why) = store.make_current(base, number).await
        {
            ready.drop_it(&self.0.fleet, "the store could not make it current");
            self.catch_up();
            return Err(why.into());
        }
        let revision = match &unchanged {
            Some(current) => current.revision.clone(),
            None => self.revision_of(&draft, number, &options.by),
        };
        self.put(current_of(revision, draft.loaded, options.allow_degraded));
        reply.planes = ready.commit(&self.0.fleet, &self.0.acks).await;
        self.catch_up();
        reply.revision = number;
        reply.published = unchanged.is_none();
        reply.unchanged = unchanged.is_some();
        reply.note = after(&reply);
        tracing::info!(revision = number, unchanged = reply.unchanged, planes = reply.planes.len(), "published");
        Ok(reply)
    }

    fn put(&self, current: Current) {
        self.now(|now| now.current = Some(Arc::new(current)));
    }

    /// Sends the revision in force to each plane that does not run it.
    pub fn catch_up(&self) {
        if let Some(current) = self.current() {
            self.0.fleet.catch_up(&current.candidate().prepare());
        }
    }

    /// Where `digest` is what was rolled back from: the sentence that says so.
    fn rolled_away(&self, digest: &[u8; 32]) -> Option<String> {
        let current = self.current()?;
        (current.revision.away_from.as_ref() == Some(digest)).then(|| self.differs(&current))
    }

    fn differs(&self, current: &Current) -> String {
        let name = self.0.path.file_name().unwrap_or(self.0.path.as_os_str()).to_string_lossy().into_owned();
        format!("revision {} is a {}; {name} differs", current.revision.number, current.revision.note)
    }

    fn new_revision(&self, draft: &Draft, by: &str) -> NewRevision {
        NewRevision {
            text: draft.text.clone(),
            snapshot: draft.loaded.bytes.clone(),
            digest: draft.loaded.digest,
            by: by.to_owned(),
            note: draft.note.clone(),
            at_unix_ms: self.0.clock.unix_ms(),
            away_from: draft.away_from,
        }
    }

    fn revision_of(&self, draft: &Draft, number: u64, by: &str) -> Revision {
        Revision {
            number,
            digest: draft.loaded.digest,
            by: by.to_owned(),
            note: draft.note.clone(),
            at_unix_ms: self.0.clock.unix_ms(),
            away_from: draft.away_from,
            current: true,
        }
    }
}

fn current_of(revision: Revision, loaded: Loaded, allow_degraded: bool) -> Current {
    Current {
        revision,
        warnings: told(&loaded.warnings),
        snapshot: loaded.snapshot,
        kills: loaded.kills,
        retention_days: loaded.ops.audit_retention_days,
        bytes: loaded.bytes,
        allow_degraded,
    }
}

fn after(reply: &PublishReply) -> String {
    let behind: Vec<_> =
        reply.planes.iter().filter(|plane| plane.outcome != "applied").map(|plane| plane.name.as_str()).collect();
    let what = if reply.unchanged {
        format!(
            "revision {} is this content already; it was prepared anew, so rotated secret files are read",
            reply.revision
        )
    } else {
        format!("revision {} is in force", reply.revision)
    };
    match (reply.planes.len(), behind.as_slice()) {
        (0, _) => format!("{what}; no plane is connected, each takes it when it comes"),
        (_, []) => what,
        (_, names) => format!("{what}; not yet on {}, which catch up when they answer", names.join(", ")),
    }
}

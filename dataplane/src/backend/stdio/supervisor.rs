//! The one task that owns a backend's process, from link to link's end, and the only one that writes its state:
//! `Starting → Ready → Draining → Stopped`, with `Backoff` and `GaveUp` aside (`reliability.md` 3).

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use futures_util::FutureExt as _;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    converse::Conversation,
    eras::Memory,
    generation::{self, End},
    process::Process,
    reader::Counts,
    restarts::{Next, Restarts, SLOW_TRY},
    spawner::Plan,
    stderr::Stderr,
    stdio_of,
};
use crate::{
    backend::{
        BackendNote, LinkParts, LinkStatus, Note, State,
        handshake::Agreed,
        spec::{BackendSpec, StdioSpec},
    },
    clock::Clock,
};

/// Package runners download before they serve: so long, until the backend has once been ready under this definition.
const FIRST_START: Duration = Duration::from_secs(120);

/// What the link shows of its supervisor.
#[derive(Debug)]
pub(super) struct Shared {
    /// The process that takes calls; none: nobody is ready.
    pub current: ArcSwapOption<Conversation>,
    pub status: watch::Sender<Published>,
    pub stderr: Arc<Stderr>,
    pub counts: Arc<Counts>,
    pub restart: Notify,
    /// What was found out about its era beside the answers: `eras.rs`.
    pub era: Mutex<Memory>,
    pub stopping: CancellationToken,
    /// Nothing is left.
    pub finished: CancellationToken,
}

#[derive(Clone, Debug)]
pub(super) struct Published {
    pub status: LinkStatus,
    /// It was ready before, under this definition.
    pub was_ready: bool,
    pub next_try: Option<Instant>,
}

impl Shared {
    pub(super) fn new(stdio: Option<&StdioSpec>) -> Arc<Self> {
        let status = LinkStatus {
            state: State::Starting,
            reason: "it is being started".into(),
            since: now_millis(),
            pid: 0,
            restarts: 0,
            server: "".into(),
            protocol_version: "".into(),
            retry_after: None,
        };
        Arc::new(Self {
            current: ArcSwapOption::empty(),
            status: watch::Sender::new(Published { status, was_ready: false, next_try: None }),
            stderr: Arc::new(stdio.map_or_else(Stderr::default, |stdio| Stderr::new(&stdio.args, &stdio.env))),
            counts: Arc::default(),
            restart: Notify::new(),
            era: Mutex::default(),
            stopping: CancellationToken::new(),
            finished: CancellationToken::new(),
        })
    }
}

pub(super) struct Supervisor {
    pub spec: Arc<BackendSpec>,
    pub parts: LinkParts,
    pub shared: Arc<Shared>,
}

/// What to do before the next start.
enum Pause {
    For(Duration, State),
    /// Until the operator restarts it.
    Endless,
}

impl Supervisor {
    /// Until the link is stopped. `stdio` is `spec`'s own.
    pub(super) async fn run(self, stdio: &StdioSpec) {
        let _finished = self.shared.finished.clone().drop_guard();
        let mut restarts = Restarts::new(stdio.max_restarts);
        let mut first = true;
        loop {
            if !first {
                self.shared.status.send_modify(|published| published.status.restarts += 1);
            }
            first = false;
            let ready = OnceLock::new();
            match self.once(stdio, &ready).await {
                End::Stopped | End::Cut => break,
                End::Restarted => {
                    restarts.clear();
                    self.shared.forget_era();
                }
                End::Startled => {}
                End::Itself { why, hopeless } => {
                    let ready_for = ready.get().map(Instant::elapsed);
                    let pause = match restarts.ended(ready_for) {
                        _ if !stdio.restart_on_exit => Pause::Endless,
                        Next::Backoff(delay) if !hopeless => Pause::For(delay, State::Backoff),
                        Next::Backoff(_) | Next::GiveUp => Pause::For(SLOW_TRY, State::GaveUp),
                    };
                    tracing::warn!(backend = &*self.spec.name, why, "a backend's process ended");
                    match self.pause(pause, why).await {
                        Wake::Due => {}
                        Wake::Operator => {
                            restarts.clear();
                            self.shared.forget_era();
                        }
                        Wake::Stop => break,
                    }
                }
            }
        }
        self.publish(State::Stopped, "it was stopped", None);
    }

    async fn once(&self, stdio: &StdioSpec, ready: &OnceLock<Instant>) -> End {
        // Whoever asked for a restart while the last process was ending gets it now.
        self.shared.restart.notified().now_or_never();
        self.publish(State::Starting, "it is being started", None);
        let plan = Plan {
            backend: &self.spec.name,
            command: &stdio.command,
            args: &stdio.args,
            env: &stdio.env,
            cwd: stdio.cwd.as_deref(),
        };
        match self.parts.spawner.spawn(plan).await {
            Ok((process, pipes)) => {
                self.shared.status.send_modify(|published| published.status.pid = process.pid());
                let end = Box::pin(generation::run(self, process, pipes, ready)).await;
                self.shared.status.send_modify(|published| published.status.pid = 0);
                end
            }
            Err(error) => End::Itself { why: error.to_string(), hopeless: false },
        }
    }

    async fn pause(&self, pause: Pause, why: String) -> Wake {
        let next_try = match pause {
            Pause::For(delay, state) => {
                let next_try = Instant::now() + delay;
                self.publish(state, why, Some(next_try));
                Some(next_try)
            }
            Pause::Endless => {
                self.publish(State::Stopped, format!("{why}; restart_on_exit is false"), None);
                None
            }
        };
        let due = async {
            match next_try {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.parts.stop.cancelled() => Wake::Stop,
            () = self.shared.stopping.cancelled() => Wake::Stop,
            () = self.shared.restart.notified() => Wake::Operator,
            () = due => Wake::Due,
        }
    }

    /// How long a handshake may take.
    pub(super) fn handshake_within(&self) -> Duration {
        let usual = stdio_of(&self.spec).map_or(FIRST_START, |stdio| stdio.start_timeout);
        if self.shared.status.borrow().was_ready { usual } else { FIRST_START.max(usual) }
    }

    pub(super) fn became_ready(&self, process: &Process, agreed: Agreed, conversation: &Arc<Conversation>) {
        self.shared.current.store(Some(Arc::clone(conversation)));
        tracing::info!(backend = &*self.spec.name, pid = process.pid(), revision = &*agreed.protocol_version, "ready");
        self.shared.status.send_modify(|published| {
            published.was_ready = true;
            published.status.server = agreed.server.into();
            published.status.protocol_version = agreed.protocol_version.into();
        });
        self.publish(State::Ready, "", None);
    }

    /// Its end is on its way, and after it the next start.
    pub(super) fn failed(&self, why: &str) {
        self.publish(State::Backoff, why, None);
    }

    pub(super) fn draining(&self, why: &str) {
        self.publish(State::Draining, why, None);
    }

    fn publish(&self, state: State, reason: impl Into<Arc<str>>, next_try: Option<Instant>) {
        let reason = reason.into();
        self.shared.status.send_modify(|published| {
            published.status.state = state;
            published.status.reason = reason;
            published.status.since = now_millis();
            published.next_try = next_try;
        });
        // Full: another note is on its way already, and whoever reads it asks for the state.
        self.parts.notes.try_send(BackendNote { backend: self.parts.id, note: Note::State }).ok();
    }
}

enum Wake {
    Due,
    Operator,
    Stop,
}

fn now_millis() -> i64 {
    i64::try_from(Clock::system().now_micros() / 1000).unwrap_or(i64::MAX)
}

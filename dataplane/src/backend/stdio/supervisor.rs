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
    cgroup::Exceeded,
    converse::Conversation,
    eras::Memory,
    generation::{self, End},
    process::Process,
    restarts::{Next, Restarts, SLOW_TRY},
    spawner::Plan,
    stderr::Stderr,
    stdio_of,
};
use crate::{
    backend::{
        BackendNote, LinkParts, LinkStatus, Note, State,
        handshake::Agreed,
        noise::Counts,
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
    /// Calls that wait for a process.
    wanted: watch::Sender<usize>,
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
            planned: false,
            pid: 0,
            restarts: 0,
            exceeded: Exceeded::default(),
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
            wanted: watch::Sender::new(0),
            era: Mutex::default(),
            stopping: CancellationToken::new(),
            finished: CancellationToken::new(),
        })
    }

    /// As long as it is held, somebody waits for a process.
    pub(super) fn want(&self) -> Wanted<'_> {
        self.wanted.send_modify(|count| *count += 1);
        Wanted(self)
    }
}

pub(super) struct Wanted<'a>(&'a Shared);

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.wanted.send_modify(|count| *count -= 1);
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
        let mut why = Start::First;
        loop {
            if why == Start::Again {
                self.shared.status.send_modify(|published| published.status.restarts += 1);
            }
            let ready = OnceLock::new();
            let end = self.once(stdio, why, &ready).await;
            why = Start::Again;
            match end {
                End::Stopped | End::Cut => break,
                End::Idled => match self.rest(stdio).await {
                    Wake::Due => why = Start::Wanted,
                    Wake::Operator => restarts.clear(),
                    Wake::Stop => break,
                },
                End::Aged => why = Start::Aged,
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

    async fn once(&self, stdio: &StdioSpec, why: Start, ready: &OnceLock<Instant>) -> End {
        // Whoever asked for a restart while the last process was ending gets it now.
        self.shared.restart.notified().now_or_never();
        self.publish(State::Starting, why.as_str(), None);
        let plan = Plan {
            backend: &self.spec.name,
            command: &stdio.command,
            args: &stdio.args,
            env: &stdio.env,
            cwd: stdio.cwd.as_deref(),
            limits: stdio.limits,
            user: stdio.user.as_ref(),
            sandbox: stdio.sandbox.as_ref(),
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

    /// Nobody uses it: until a call wants it.
    async fn rest(&self, stdio: &StdioSpec) -> Wake {
        let idle = stdio.life.idle_stop.unwrap_or_default().as_secs();
        self.publish(State::Idle, format!("no call for {idle} s (idle_stop_secs): the next one starts it"), None);
        let mut wanted = self.shared.wanted.subscribe();
        tokio::select! {
            biased;
            () = self.parts.stop.cancelled() => Wake::Stop,
            () = self.shared.stopping.cancelled() => Wake::Stop,
            () = self.shared.restart.notified() => Wake::Operator,
            _ = wanted.wait_for(|count| *count > 0) => Wake::Due,
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

    /// Its limits stopped it; `why` is said as long as it goes on.
    pub(super) fn exceeded(&self, new: Exceeded, why: Option<String>) {
        self.shared.status.send_modify(|published| {
            published.status.exceeded.memory += new.memory;
            published.status.exceeded.pids += new.pids;
        });
        let is_ready = self.shared.status.borrow().status.state == State::Ready;
        if let Some(why) = why.filter(|_| is_ready) {
            self.publish(State::Ready, why, None);
        }
    }

    /// Its lifetime is over; it goes on until no call runs.
    pub(super) fn aging(&self) {
        self.publish(State::Ready, "max_lifetime_secs are over: it is replaced when no call runs", None);
    }

    /// It ends by plan, takes no call from here on, and comes back: who calls meanwhile waits.
    pub(super) fn retiring(&self, why: &str) {
        self.shared.status.send_modify(|published| published.status.planned = true);
        self.publish(State::Draining, why, None);
        self.shared.current.store(None);
    }

    fn publish(&self, state: State, reason: impl Into<Arc<str>>, next_try: Option<Instant>) {
        let reason = reason.into();
        self.shared.status.send_modify(|published| {
            published.status.state = state;
            // What was planned ends with a process that is ready, or with one that is not to be had.
            published.status.planned &= matches!(state, State::Draining | State::Idle | State::Starting);
            published.status.reason = reason;
            published.status.since = now_millis();
            published.next_try = next_try;
        });
        // Full: another note is on its way already, and whoever reads it asks for the state.
        self.parts.notes.try_send(BackendNote { backend: self.parts.id, note: Note::State }).ok();
    }
}

/// Why a process is started.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    First,
    /// After an end that nobody planned, or that the operator wanted.
    Again,
    /// It idled, and a call wants it.
    Wanted,
    /// The one before was there for its lifetime.
    Aged,
}

impl Start {
    const fn as_str(self) -> &'static str {
        match self {
            Self::First | Self::Again => "it is being started",
            Self::Wanted => "it idled, and a call starts it",
            Self::Aged => "max_lifetime_secs were over, and it is started anew",
        }
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

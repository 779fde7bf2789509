//! What all parts of one HTTP link share: client, session, condition. Decides nothing about a call.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::Full;
use tokio::{
    sync::{Notify, Semaphore, mpsc, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    client::{self, Clients},
    fault::Fault,
    pool::Lent,
    session::Session,
};
use crate::{
    backend::{
        BackendNote, LinkParts, Note, State,
        asking::Desk,
        era::Era,
        isolation::InstanceId,
        noise::Counts,
        spec::{BackendSpec, HttpSpec, Transport},
        wanted::Wanted,
    },
    call::BackendId,
    clock::Clock,
    denial::{Failure, Unavailable},
    upcall::feature::Features,
};

/// Our own questions are numbered from here: far above any call's number, and exact in a double.
const OWN_NUMBERS: u64 = 1 << 52;
/// Answers to the server's requests that are on their way at once; above it they are dropped.
const REPLIES: usize = 32;

/// What an operator is told.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub(super) state: State,
    pub(super) reason: Arc<str>,
    pub(super) since: i64,
    pub(super) restarts: u64,
    pub(super) server: Arc<str>,
    pub(super) protocol_version: Arc<str>,
    pub(super) retry_at: Option<Instant>,
}

pub(super) struct Core {
    pub(super) backend: Arc<str>,
    id: BackendId,
    /// None: it lists for all.
    pub(super) instance: Option<InstanceId>,
    pub(super) desk: Desk,
    /// What is told to the server that may be asked.
    pub(super) declares: Features,
    /// As it stands in a request: path and query.
    pub(super) uri: Uri,
    /// The whole of it.
    pub(super) url: Uri,
    pub(super) transport: Transport,
    /// As configured; none: the server is asked.
    pub(super) era: Option<Era>,
    /// Of both, where the server speaks both.
    pub(super) prefers_legacy: bool,
    /// Headers without a session's.
    pub(super) base: HeaderMap,
    pub(super) max_response_bytes: usize,
    clients: Clients,
    /// The newest; it may be lost already. None until the first success.
    pub(super) session: ArcSwapOption<Session>,
    pub(super) condition: watch::Sender<Condition>,
    /// The last connection failed: set once, so that a good call has but a flag to read.
    unreachable: AtomicBool,
    /// `unreachable` was set.
    pub(super) suspect: Notify,
    /// The server said that one of its lists changed.
    pub(super) changed: Notify,
    pub(super) restart: Notify,
    /// It said that it has no GET stream: not asked again.
    pub(super) no_stream: AtomicBool,
    next: AtomicU64,
    pub(super) replies: Arc<Semaphore>,
    clock: Clock,
    pub(super) notes: mpsc::Sender<BackendNote>,
    pub(super) wanted: Arc<Wanted>,
    /// Of a stream that all calls share.
    pub(super) noise: Counts,
    tracker: TaskTracker,
    /// Tasks of this link alone, for `stop` to wait for.
    pub(super) tasks: TaskTracker,
    pub(super) halt: CancellationToken,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl Core {
    pub(super) fn new(spec: &BackendSpec, http: &HttpSpec, parts: LinkParts) -> Arc<Self> {
        let clock = Clock::system();
        let halt = parts.stop.child_token();
        let condition = Condition {
            state: State::Starting,
            reason: "its first session is being made".into(),
            since: millis(&clock),
            restarts: 0,
            server: "".into(),
            protocol_version: "".into(),
            retry_at: None,
        };
        Arc::new(Self {
            backend: Arc::clone(&spec.name),
            id: parts.id,
            instance: parts.instance,
            desk: parts.desk(&spec.name),
            declares: parts.declares,
            base: client::base_headers(&http.url, &http.headers),
            max_response_bytes: spec.max_response_bytes,
            clients: Clients::new(http, spec.max_concurrency, &parts.tracker, &parts.workers, &halt),
            uri: http.url.path_and_query().cloned().map_or_else(Uri::default, Uri::from),
            url: http.url.clone(),
            transport: http.transport,
            era: spec.era,
            prefers_legacy: spec.prefers_legacy(),
            session: ArcSwapOption::empty(),
            condition: watch::Sender::new(condition),
            unreachable: AtomicBool::new(false),
            suspect: Notify::new(),
            changed: Notify::new(),
            restart: Notify::new(),
            no_stream: AtomicBool::new(false),
            next: AtomicU64::new(OWN_NUMBERS),
            replies: Arc::new(Semaphore::new(REPLIES)),
            clock,
            notes: parts.notes,
            wanted: parts.wanted,
            noise: Counts::default(),
            tracker: parts.tracker,
            tasks: TaskTracker::new(),
            halt,
        })
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// One request, to the head of its answer. `to`: path and query.
    pub(super) async fn send(
        &self,
        method: Method,
        to: &Uri,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Lent>, Fault> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = to.clone();
        *request.headers_mut() = headers;
        let response = self.clients.here().send(request).await?;
        if self.unreachable.load(Relaxed) {
            self.is_reached();
        }
        Ok(response)
    }

    /// A task of this link; none is begun once it stops.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if !self.halt.is_cancelled() {
            self.tracker.spawn(self.tasks.track_future(task));
        }
    }

    /// A connection could not be made. The supervisor looks for it from now on; calls still try.
    pub(super) fn is_unreachable(&self, why: &str) {
        if !self.unreachable.swap(true, Relaxed) {
            self.down(&format!("it can't be reached: {why}"), Duration::ZERO);
            self.suspect.notify_one();
        }
    }

    #[cold]
    fn is_reached(&self) {
        if self.unreachable.swap(false, Relaxed) {
            if self.session.load().is_some() {
                self.ready();
            }
            // It may be another program now: then another session comes, and that one lists at its word alone.
            if self.instance.is_none() {
                self.changed.notify_one();
            }
        }
    }

    pub(super) fn ready(&self) {
        self.turn(State::Ready, "", None);
    }

    pub(super) fn down(&self, why: &str, retry: Duration) {
        self.turn(State::Down, why, Some(Instant::now() + retry));
    }

    /// `why`: a sentence, empty when ready.
    pub(super) fn turn(&self, state: State, why: &str, retry_at: Option<Instant>) {
        let mut changed = false;
        self.condition.send_modify(|condition| {
            if condition.state == State::Stopped {
                return;
            }
            changed = condition.state != state;
            if changed {
                condition.since = millis(&self.clock);
            }
            condition.state = state;
            condition.retry_at = retry_at;
            if *condition.reason != *why {
                condition.reason = why.into();
            }
        });
        if changed {
            self.note(Note::State);
        }
    }

    /// Full: it is lost.
    pub(super) fn note(&self, note: Note) {
        self.notes.try_send(BackendNote { backend: self.id, note }).ok();
    }

    /// Waits for room.
    pub(super) async fn note_surely(&self, note: Note) {
        self.notes.send(BackendNote { backend: self.id, note }).await.ok();
    }

    /// What a caller is told who can't be served in this condition.
    pub(super) fn unavailable(&self) -> Failure {
        let condition = self.condition.borrow();
        Failure::BackendUnavailable {
            backend: Arc::clone(&self.backend),
            state: condition.state.unavailable().unwrap_or(Unavailable::Down),
            retry_after: condition.retry_at.map(|at| at.saturating_duration_since(Instant::now())),
        }
    }

    /// The session that comes after a lost one. One is made for all who wait.
    pub(super) async fn after(&self, lost: &Session) -> Result<Arc<Session>, Failure> {
        let mut condition = self.condition.subscribe();
        loop {
            if let Some(session) = self.session.load_full()
                && session.generation > lost.generation
                && !session.is_lost()
            {
                return Ok(session);
            }
            if matches!(condition.borrow_and_update().state, State::Down | State::Stopped) {
                return Err(self.unavailable());
            }
            if condition.changed().await.is_err() {
                return Err(self.unavailable());
            }
        }
    }
}

fn millis(clock: &Clock) -> i64 {
    i64::try_from(clock.now_micros() / 1_000).unwrap_or(i64::MAX)
}

//! Towards servers: the only place that knows that a backend is a process or an HTTP server.
//!
//! Calls come in by `lease` alone, which asks for the last proof of the chain; background traffic has
//! `Housekeeping`, which can't carry a call. A backend never reaches a client's connection: it has `Events`.

pub mod abilities;
pub mod asking;
pub mod breaker;
pub mod bulkhead;
pub mod era;
mod flood;
pub mod handshake;
pub mod health;
pub mod http;
pub mod instances;
pub mod isolation;
pub mod lease;
pub mod listing;
pub mod noise;
pub mod registry;
pub mod repeats;
pub mod spec;
pub mod stdio;
pub mod waiting;
pub mod wanted;

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{asking::Desk, era::Era, isolation::Owner, wanted::Wanted};
use crate::{
    call::{Ask, BackendId, Routed},
    catalogue::mirrored::Mirrored,
    denial::{Failure, Unavailable},
    listen::session::Level,
    tasks::Task,
    upcall::{Asked, feature::Features},
    wire::{neutral::ResultType, outgoing},
    workers::Workers,
};

/// What every link is given at its start.
#[derive(Clone, Debug)]
pub struct LinkParts {
    pub id: BackendId,
    /// Owns all tasks of the link.
    pub tracker: TaskTracker,
    /// Ends them all, at once; the polite way is `Link::stop`.
    pub stop: CancellationToken,
    /// What the backend says without being asked. Full: the newest is dropped (log) or waited for (listing).
    pub notes: mpsc::Sender<BackendNote>,
    pub spawner: stdio::spawner::Spawner,
    /// How many there are: an HTTP link keeps connections for each.
    pub workers: Workers,
    /// Whose it is. Another than `Shared` does not list at its start: that is done once for all of a backend.
    pub owner: Owner,
    /// None: it is the one that lists for all.
    pub instance: Option<isolation::InstanceId>,
    /// What its server is told that may be asked.
    pub declares: Features,
    pub asks: mpsc::Sender<Asked>,
    /// What clients want of its server beside calls.
    pub wanted: Arc<Wanted>,
}

impl LinkParts {
    pub fn desk(&self, name: &Arc<str>) -> Desk {
        Desk { backend: self.id, name: Arc::clone(name), owner: self.owner.clone(), asks: self.asks.clone() }
    }
}

/// Something a backend told the plane, not a call.
#[derive(Debug)]
pub struct BackendNote {
    pub backend: BackendId,
    pub note: Note,
}

#[derive(Debug)]
pub enum Note {
    /// All that the backend offers, newer than the last: made at the handshake and after each `list_changed`.
    Listed(Box<listing::Offering>),
    /// What a process (or session) that is not shared offers, since it said that a list changed. None: what it said holds
    /// no longer, because it has ended.
    Own { instance: isolation::InstanceId, offering: Option<Box<listing::Offering>> },
    /// A `notifications/message` that belongs to no call: its level and its whole bytes.
    Log { level: Box<str>, message: Bytes, of: Owner },
    /// A `notifications/elicitation/complete` that came beside all calls.
    Elicited { message: Bytes, of: Owner },
    /// A `notifications/tasks/status`, which belongs to no call that runs.
    TaskStatus { message: Bytes, of: Owner },
    /// Its state changed: a report is due.
    State,
}

impl Note {
    /// `instance`: none, for the one that lists for all.
    pub fn offers(instance: Option<isolation::InstanceId>, offering: listing::Offering) -> Self {
        let offering = Box::new(offering);
        match instance {
            None => Self::Listed(offering),
            Some(instance) => Self::Own { instance, offering: Some(offering) },
        }
    }
}

/// One call as a link sends it: the bytes as they came, with the backend's own name for the target.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    pub routed: &'a Routed,
    /// The token under which its answer comes back.
    pub client_id: &'a Bytes,
    pub own_name: &'a str,
    /// Arguments that a modern HTTP server wants to see in headers as well.
    pub mirrored: &'a [Mirrored],
    /// The least severe of the log notes that it asks for; none: it asks for none.
    pub level: Option<Level>,
    /// What a modern server is told that its client can be asked.
    pub declares: Features,
    /// What a modern server's params get of a further round, without braces; empty: nothing.
    pub inputs: &'a str,
    /// A legacy server sees that a task is asked for.
    pub keeps_task: bool,
}

impl Outgoing<'_> {
    /// Its message under our number. `line`: as one line, for stdio.
    pub fn message(&self, number: u64, progress_token: Option<u64>, era: Era, line: bool) -> Bytes {
        let Self { routed, own_name, declares, keeps_task, .. } = *self;
        let renamed = routed.name_token().map(|at| (at, own_name));
        let (meta, inputs) = match era {
            Era::Legacy => (Cow::Borrowed(""), ""),
            Era::Modern => (era::meta_of(self.level, declares), self.inputs),
        };
        let keeps_task = keeps_task && era == Era::Legacy;
        let named = outgoing::Named { method: routed.ask.method(), renamed, meta: &meta, inputs, keeps_task };
        outgoing::call(&routed.body, &routed.scanned, named, number, progress_token, line)
    }
}

/// How one sending ended.
#[derive(Debug)]
pub enum Sent {
    /// Not a byte was written to the backend: this may be tried again.
    Never(Failure),
    Answered(Answer),
    Failed(Failure),
    /// It was written, or may have been, and not a byte of an answer came, or only that it is not served now: this may
    /// be tried again if the call may run twice.
    Lost(Failure),
    /// The flight was ended by somebody (`Flight::why`); the backend was told where it can be.
    Ended,
}

/// A backend's answer with the client's id in place. Parts before it went through `Events::deliver`.
#[derive(Debug)]
pub struct Answer {
    pub last: Bytes,
    /// `error` in place of `result`.
    pub failed: bool,
    /// `result.isError`.
    pub tool_error: bool,
    pub word: Word,
}

/// What an answer is to its call. What a modern server says that is not the last comes as it came, but for its type; what
/// we make of it is whole, and in the modern era's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    Last,
    /// A server asks for input, or we ask our client.
    Asks,
    /// A server goes on with the call as a task, or we tell of one; the status, in our answer that gives one.
    Task(Option<&'static str>),
}

impl Word {
    /// Errors: nothing that can be said to this.
    pub fn of(said: ResultType, ask: Ask) -> Result<Self, &'static str> {
        match (said, ask) {
            (ResultType::InputRequired, _) => Ok(Self::Asks),
            (ResultType::Task, Ask::CallTool | Ask::GetTask) => Ok(Self::Task(None)),
            (other, _) => other.fault().map_or(Ok(Self::Last), Err),
        }
    }
}

/// What may be sent without a call: an enum, so that a call can't be smuggled through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Housekeeping {
    /// All lists that it has.
    List,
    Ping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Starting,
    Ready,
    Draining,
    Stopped,
    /// Not there because nobody used it; the next call starts it.
    Idle,
    Backoff,
    GaveUp,
    /// HTTP: the last attempt to reach it failed.
    Down,
}

impl State {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Idle => "idle",
            Self::Backoff => "backoff",
            Self::GaveUp => "gave_up",
            Self::Down => "down",
        }
    }

    /// What a caller is told of a backend in this state.
    pub const fn unavailable(self) -> Option<Unavailable> {
        match self {
            Self::Ready => None,
            Self::Starting | Self::Idle => Some(Unavailable::Starting),
            Self::Draining => Some(Unavailable::Removed),
            Self::Stopped | Self::Backoff | Self::GaveUp | Self::Down => Some(Unavailable::Down),
        }
    }
}

/// What an operator sees of a link.
#[derive(Clone, Debug)]
pub struct LinkStatus {
    pub state: State,
    /// Why, in a sentence; empty when ready.
    pub reason: Arc<str>,
    /// Unix milliseconds.
    pub since: i64,
    /// It idles, or its process is being replaced by plan: what it offers stays listed, and a call waits.
    pub planned: bool,
    /// 0: none.
    pub pid: u32,
    pub restarts: u64,
    /// How often its limits stopped it.
    pub exceeded: stdio::cgroup::Exceeded,
    /// Name and version that it gave in the handshake.
    pub server: Arc<str>,
    pub protocol_version: Arc<str>,
    /// When the next try is due, where one is.
    pub retry_after: Option<Duration>,
}

impl LinkStatus {
    /// A call can be sent there, now or after a moment that was planned.
    pub fn is_usable(&self) -> bool {
        self.planned || self.state == State::Ready
    }
}

/// The two kinds; an enum, not a trait object: both are known, and the call path stays static.
#[derive(Debug)]
pub enum Link {
    Http(http::HttpLink),
    Stdio(stdio::StdioLink),
}

impl Link {
    pub fn start(spec: &Arc<spec::BackendSpec>, parts: LinkParts) -> Self {
        match &spec.kind {
            spec::Kind::Http(http) => Self::Http(http::HttpLink::start(spec, http, parts)),
            spec::Kind::Stdio(_) => Self::Stdio(stdio::StdioLink::start(Arc::clone(spec), parts)),
        }
    }

    pub fn status(&self) -> LinkStatus {
        match self {
            Self::Http(link) => link.status(),
            Self::Stdio(link) => link.status(),
        }
    }

    /// Whether a call could be sent now, as far as it can be told without one. Errors: `BackendUnavailable`.
    pub fn look(&self) -> Result<(), Failure> {
        match self {
            Self::Http(link) => link.look(),
            Self::Stdio(link) => link.look(),
        }
    }

    /// The era that its server speaks, as far as that is known now.
    pub fn era(&self) -> Option<Era> {
        match self {
            Self::Http(link) => link.era(),
            Self::Stdio(link) => link.era(),
        }
    }

    /// One sending of one call, to its end. Never waits for a process to start. Cancel safe: dropped, the call is
    /// abandoned and the backend is told.
    pub async fn call(
        &self,
        call: &Outgoing<'_>,
        flight: &crate::in_flight::Flight,
        events: &crate::answering::Events,
    ) -> Sent {
        match self {
            Self::Http(link) => link.call(call, flight, events).await,
            Self::Stdio(link) => link.call(call, flight, events).await,
        }
    }

    pub async fn housekeep(&self, what: Housekeeping, within: Duration) -> Result<(), Failure> {
        match self {
            Self::Http(link) => link.housekeep(what, within).await,
            Self::Stdio(link) => link.housekeep(what, within).await,
        }
    }

    /// Has its server end a task that it goes on with: for nobody, as a cancel is. Errors: it did not take it in time.
    pub async fn cancel_task(&self, task: &Task, within: Duration) -> Result<(), Failure> {
        match self {
            Self::Http(link) => link.cancel_task(task, within).await,
            Self::Stdio(link) => link.cancel_task(task, within).await,
        }
    }

    /// Its server keeps nothing between requests: what a session asked for goes with each.
    pub fn is_modern(&self) -> bool {
        self.era() == Some(Era::Modern)
    }

    /// By the operator: clears the restart budget, ends what is there by the ladder, starts anew.
    pub fn restart(&self) {
        match self {
            Self::Http(link) => link.restart(),
            Self::Stdio(link) => link.restart(),
        }
    }

    /// Returns when it is ready, or when waiting is of no use: it failed, or the flight was ended.
    pub async fn settled(&self, flight: &crate::in_flight::Flight) {
        match self {
            Self::Http(link) => link.settled(flight).await,
            Self::Stdio(link) => link.settled(flight).await,
        }
    }

    /// Its client's roots are others now. Not ready: it is lost, and it will ask.
    pub fn roots_changed(&self) {
        match self {
            Self::Http(link) => link.roots_changed(),
            Self::Stdio(link) => link.roots_changed(),
        }
    }

    /// The last 200 lines that it wrote to stderr, escaped; none for HTTP.
    pub fn stderr(&self) -> Vec<String> {
        match self {
            Self::Http(_) => Vec::new(),
            Self::Stdio(link) => link.stderr(),
        }
    }

    /// What it said wrong, by kind; nothing where each call has a stream of its own.
    pub fn noise(&self) -> Vec<(&'static str, u64)> {
        let counts = match self {
            Self::Http(link) => link.counts(),
            Self::Stdio(link) => link.counts(),
        };
        counts.by_kind().into_iter().filter(|(_, count)| *count > 0).collect()
    }

    /// What its server asks beside an answer is said on the stream of the call that it belongs to.
    pub fn tells_calls_apart(&self) -> bool {
        match self {
            Self::Http(link) => link.tells_calls_apart(),
            Self::Stdio(_) => false,
        }
    }

    /// Takes no new calls and ends by the ladder; what is in flight was waited for by the caller. Returns when
    /// nothing of it is left.
    pub async fn stop(&self) {
        match self {
            Self::Http(link) => link.stop().await,
            Self::Stdio(link) => link.stop().await,
        }
    }
}

//! The one table of what is running: cancel, deadline, progress, kill sweep and duplicate ids are asked here.
//!
//! An entry lives exactly as long as its `Flight`. Nothing is found by an id alone: the key is the session (or
//! connection) and the client's id, and a cancel must come from the same principal. It knows no transport.

mod beside;
mod flight_ref;

use std::{
    fmt,
    hash::BuildHasher as _,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use foldhash::{HashMap, fast::RandomState};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

pub use self::flight_ref::FlightRef;
use crate::{
    answering::{Event, Events},
    call::{Ask, BackendId, Caller, Principal, RequestId},
    catalogue::Target,
    denial::Disabled,
    listen::ClientLeg,
    stages::rules::Ruled,
};

const SHARDS: usize = 32;

/// The session (or connection) that a request belongs to: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LegKey(pub [u8; 16]);

impl LegKey {
    /// Of a request that belongs to no session; its first half is 0, which no session's is.
    pub fn alone(id: RequestId) -> Self {
        let mut key = [0; 16];
        if let (Some(to), Some(from)) = (key.last_chunk_mut::<8>(), id.uuid().as_bytes().last_chunk::<8>()) {
            *to = *from;
        }
        Self(key)
    }

    pub fn is_alone(self) -> bool {
        self.0.first_chunk::<8>() == Some(&[0; 8])
    }
}

impl fmt::Debug for LegKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LegKey")
    }
}

/// A client's id within its session, with its JSON type: `1` is not `"1"`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallKey {
    pub leg: LegKey,
    pub id: Bytes,
}

/// Why a running call ends before its answer.
#[derive(Clone, Debug)]
pub enum Why {
    /// The client sent `notifications/cancelled`.
    Cancelled,
    /// Nobody waits any more, and the leg says that a hang-up is a cancel.
    HungUp,
    Killed(Disabled),
    /// Its backend was removed or changed, and its time to drain is over.
    Removed,
    /// The plane's own drain is over.
    Shutdown,
    Timeout,
}

/// One running call.
pub struct Running {
    /// Ours, unique in this process, never 0: the JSON-RPC id and the progress token towards the backend.
    number: u64,
    /// The id of its row.
    request: RequestId,
    leg: ClientLeg,
    principal: Arc<Principal>,
    target: Arc<Target>,
    backend: BackendId,
    events: Events,
    progress: Option<Bytes>,
    why: OnceLock<Why>,
    ended: Notify,
    /// Made when a question of its server waits for its end.
    over: OnceLock<CancellationToken>,
    /// Questions of its server that wait for their answers.
    asking: AtomicU32,
    sent: AtomicBool,
    /// Another flight carries the call: see `beside.rs`.
    stands_back: AtomicBool,
    /// Microseconds after the table's origin.
    deadline: AtomicU64,
    last_deadline: u64,
    timeout: Duration,
    progress_renews: bool,
    quiet_at: AtomicU64,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("number", &self.number)
            .field("target", &self.target.exposed)
            .finish_non_exhaustive()
    }
}

impl Running {
    pub fn target(&self) -> &Target {
        &self.target
    }

    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Its backend may have seen it.
    pub fn is_sent(&self) -> bool {
        self.sent.load(Relaxed)
    }

    fn end(&self, why: Why) -> bool {
        let first = self.why.set(why).is_ok();
        if first {
            self.ended.notify_one();
        }
        first
    }
}

/// What `enter` needs to know beside the key.
#[derive(Debug)]
pub struct Entry {
    pub request: RequestId,
    pub leg: ClientLeg,
    pub principal: Arc<Principal>,
    pub target: Arc<Target>,
    pub backend: BackendId,
    pub events: Events,
    pub progress: Option<Bytes>,
    pub arrived: Instant,
    pub timeout: Duration,
    /// Progress renews the deadline by `timeout`, up to `max_timeout` after arrival.
    pub progress_renews: bool,
    pub max_timeout: Duration,
    pub keepalive: Duration,
}

impl Entry {
    /// The entry of a call that passed every stage.
    pub fn of(call: &Ruled, events: &Events) -> Self {
        let target = call.target();
        // It waits for what a call may take that goes on.
        let timeout = match call.call().ask {
            Ask::AwaitTask => target.max_timeout.max(target.timeout),
            _ => target.timeout,
        };
        Self {
            request: call.call().id,
            leg: *call.caller().leg(),
            principal: Arc::clone(call.caller().principal()),
            target: Arc::clone(target),
            backend: target.backend,
            events: events.clone(),
            progress: call.call().progress_token(),
            arrived: call.call().arrived,
            timeout,
            progress_renews: target.progress_renews,
            max_timeout: target.max_timeout,
            keepalive: call.caller().view().policy.gateway.keepalive,
        }
    }
}

#[derive(Debug)]
pub struct InFlight {
    shards: Vec<Mutex<HashMap<CallKey, Arc<Running>>>>,
    hasher: RandomState,
    next: AtomicU64,
    count: AtomicUsize,
    origin: Instant,
}

impl InFlight {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            next: AtomicU64::new(1),
            count: AtomicUsize::new(0),
            origin: Instant::now(),
        })
    }

    pub fn len(&self) -> usize {
        self.count.load(Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `None`: this session has a call of that id running.
    pub fn enter(self: &Arc<Self>, key: CallKey, entry: Entry) -> Option<Flight> {
        let last = self.micros(entry.arrived + entry.max_timeout.max(entry.timeout));
        let running = Arc::new(Running {
            number: self.next.fetch_add(1, Relaxed),
            request: entry.request,
            leg: entry.leg,
            principal: entry.principal,
            target: entry.target,
            backend: entry.backend,
            events: entry.events,
            progress: entry.progress,
            why: OnceLock::new(),
            ended: Notify::new(),
            over: OnceLock::new(),
            asking: AtomicU32::new(0),
            sent: AtomicBool::new(false),
            stands_back: AtomicBool::new(false),
            deadline: AtomicU64::new(self.micros(entry.arrived + entry.timeout)),
            last_deadline: last,
            timeout: entry.timeout,
            progress_renews: entry.progress_renews,
            quiet_at: AtomicU64::new(self.micros(entry.arrived + entry.keepalive)),
        });
        let mut shard = self.shard(&key);
        if shard.contains_key(&key) {
            return None;
        }
        shard.insert(key.clone(), Arc::clone(&running));
        drop(shard);
        self.count.fetch_add(1, Relaxed);
        Some(Flight { table: Arc::clone(self), key, running })
    }

    /// Ends the call that `who` names; unknown, finished or another's: silently nothing.
    pub fn cancel(&self, who: &Caller, key: &CallKey) {
        let running = self.shard(key).get(key).cloned();
        if let Some(running) = running
            && running.principal.is_same_as(who.principal())
        {
            running.end(Why::Cancelled);
        }
    }

    /// Ends every running call for which `why` has a reason; how many that were.
    pub fn sweep(&self, why: impl Fn(&Running) -> Option<Why>) -> usize {
        let mut ended = 0;
        self.each(|running| {
            if let Some(reason) = why(running)
                && running.end(reason)
            {
                ended += 1;
            }
        });
        ended
    }

    /// Ends what runs on this incarnation of a backend.
    pub fn sweep_backend(&self, backend: BackendId) -> usize {
        self.sweep(|running| (running.backend == backend).then_some(Why::Removed))
    }

    pub fn count_of_backend(&self, backend: BackendId) -> usize {
        let mut count = 0;
        self.each(|running| count += usize::from(running.backend == backend));
        count
    }

    /// Ends what is past its deadline, and tells quiet streams so. Called by the plane's one ticking task, so that
    /// no call needs a timer of its own (4 µs each, `hot-path.md` 2).
    pub fn tick(&self, keepalive: Duration) {
        if self.is_empty() {
            return;
        }
        let now = self.micros(Instant::now());
        let pause = u64::try_from(keepalive.as_micros()).unwrap_or(u64::MAX);
        self.each(|running| {
            if running.deadline.load(Relaxed) <= now {
                running.end(Why::Timeout);
            } else if running.quiet_at.load(Relaxed) <= now {
                running.quiet_at.store(now.saturating_add(pause), Relaxed);
                running.events.offer(Event::Quiet);
            }
        });
    }

    fn each(&self, mut act: impl FnMut(&Running)) {
        for shard in &self.shards {
            for running in shard.lock().unwrap_or_else(PoisonError::into_inner).values() {
                act(running);
            }
        }
    }

    fn shard(&self, key: &CallKey) -> std::sync::MutexGuard<'_, HashMap<CallKey, Arc<Running>>> {
        let at = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "`at` is below SHARDS, the vector's length")]
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX)
    }
}

/// A running call's own handle; dropping it takes the call out of the table.
#[derive(Debug)]
pub struct Flight {
    table: Arc<InFlight>,
    key: CallKey,
    running: Arc<Running>,
}

impl Flight {
    /// The JSON-RPC id and progress token of this call towards its backend.
    pub fn number(&self) -> u64 {
        self.running.number
    }

    /// The client's progress token; none: it wants no progress.
    pub fn progress_token(&self) -> Option<&Bytes> {
        self.running.progress.as_ref()
    }

    pub fn why(&self) -> Option<&Why> {
        self.running.why.get()
    }

    /// Ends when somebody ends the call. Cancel safe; one waiter at a time.
    pub async fn ended(&self) -> Why {
        loop {
            if let Some(why) = self.running.why.get() {
                return why.clone();
            }
            self.running.ended.notified().await;
        }
    }

    /// From here on the backend may have seen the call.
    pub fn mark_sent(&self) {
        self.running.sent.store(true, Relaxed);
    }

    pub fn is_sent(&self) -> bool {
        self.running.sent.load(Relaxed)
    }

    /// The backend reported progress: its time begins anew, where the configuration says so, up to the maximum.
    pub fn renew(&self) {
        if self.running.progress_renews {
            let next = self.table.micros(Instant::now() + self.running.timeout).min(self.running.last_deadline);
            self.running.deadline.fetch_max(next, Relaxed);
        }
    }

    /// What is left until the deadline.
    pub fn time_left(&self) -> Duration {
        let now = self.table.micros(Instant::now());
        Duration::from_micros(self.running.deadline.load(Relaxed).saturating_sub(now))
    }

    /// For the side that found the hang-up.
    pub fn hang_up(&self) {
        self.running.end(Why::HungUp);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.table.shard(&self.key).remove(&self.key);
        if !self.running.stands_back.load(Relaxed) {
            self.table.count.fetch_sub(1, Relaxed);
        }
        if let Some(over) = self.running.over.get() {
            over.cancel();
        }
    }
}

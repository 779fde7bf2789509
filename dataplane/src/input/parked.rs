//! Calls that wait for their client to come again: each is known by the name in the client's `requestState`, is had by one
//! retry of its round, and ends by itself when none comes (`protocol.md` 7.2). Bounded for each client and in all.
//!
//! Each is held by a task, which reads on what its server says, so that nothing stands still meanwhile.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Input, errand::Errand};
use crate::{
    audit::event::{Event, Status, session_text},
    call::{Ask, Principal, RequestId},
    catalogue::Target,
    denial::Denial,
    in_flight::{LegKey, Why},
    listen::session::who,
    plane::Plane,
    upcall::refusal::Refusal,
    view::policy::parked::ParkedLimits,
};

/// Calls on their way to the task that holds them.
const COMING: usize = 256;
/// Names that are remembered, so that a state that was used is told from one that is lost; past it the oldest go.
const REMEMBERED: usize = 16_384;

/// Where an errand goes.
type Wanted = oneshot::Sender<Box<Errand>>;

#[derive(Debug)]
pub struct Parked {
    table: Mutex<HashMap<Uuid, Entry>>,
    coming: mpsc::Sender<Held>,
    /// The plane drains: nobody can come again.
    closed: CancellationToken,
}

#[derive(Debug)]
struct Entry {
    who: [u8; 16],
    round: u8,
    until: Instant,
    /// None: its client has come again.
    wanted: Option<oneshot::Sender<Wanted>>,
}

/// Whose call it is.
#[derive(Debug)]
pub struct Of {
    pub principal: Arc<Principal>,
    pub session: LegKey,
    pub target: Arc<Target>,
    pub ask: Ask,
}

/// One call that waits.
#[derive(Debug)]
pub struct Held {
    errand: Box<Errand>,
    wanted: oneshot::Receiver<Wanted>,
    until: Instant,
    of: Of,
}

impl Parked {
    /// The receiver is for `keep`.
    pub fn new() -> (Self, mpsc::Receiver<Held>) {
        let (coming, held) = mpsc::channel(COMING);
        (Self { table: Mutex::default(), coming, closed: CancellationToken::new() }, held)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.table().values().filter(|entry| entry.wanted.is_some()).count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From here on none waits any more.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Errors: this client, or the plane, has as many as may wait: it comes back.
    pub(super) fn hold(&self, errand: Box<Errand>, of: Of, limits: &ParkedLimits) -> Result<(), Box<Errand>> {
        let (now, name, round, who) = (Instant::now(), errand.name, errand.round, who(&of.principal));
        let mut table = self.table();
        table.retain(|_, entry| entry.wanted.is_some() || entry.until > now);
        let waiting = || table.values().filter(|entry| entry.wanted.is_some());
        let is_full = waiting().count() >= limits.most
            || waiting().filter(|entry| entry.who == who).count() >= limits.most_of_a_client;
        if is_full || self.closed.is_cancelled() {
            return Err(errand);
        }
        if table.len() >= REMEMBERED {
            let used = table.iter().filter(|(_, entry)| entry.wanted.is_none());
            if let Some(oldest) = used.min_by_key(|(_, entry)| entry.until).map(|(name, _)| *name) {
                table.remove(&oldest);
            }
        }
        let (wanted, wants) = oneshot::channel();
        let until = now + limits.within;
        self.coming.try_send(Held { errand, wanted: wants, until, of }).map_err(|full| match full {
            mpsc::error::TrySendError::Full(held) | mpsc::error::TrySendError::Closed(held) => held.errand,
        })?;
        table.insert(name, Entry { who, round, until, wanted: Some(wanted) });
        Ok(())
    }

    /// Takes out the call that this retry goes on with; none: it brings no such thing.
    ///
    /// Errors: `InteractionLost` where it is not there (any more), `InvalidParams` for a round that was answered already.
    pub async fn claim(&self, input: &Input, principal: &Principal) -> Result<Option<Box<Errand>>, Denial> {
        let Some((name, round)) = input.parked() else { return Ok(None) };
        let (to, comes) = oneshot::channel();
        let asked = {
            let mut table = self.table();
            let entry = table.get_mut(&name).filter(|entry| entry.who == who(principal));
            let entry = entry.ok_or(Denial::InteractionLost)?;
            let wanted = if entry.round == round { entry.wanted.take() } else { None };
            wanted.ok_or_else(used)?.send(to)
        };
        asked.map_err(|_gone| Denial::InteractionLost)?;
        comes.await.map(Some).map_err(|_gone| Denial::InteractionLost)
    }

    fn forget(&self, name: Uuid) {
        self.table().remove(&name);
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Uuid, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn used() -> Denial {
    let what = "params.requestState was used already: send the one that came last, or start the call again without it";
    Denial::InvalidParams { what: what.into() }
}

/// Holds what comes, each on a task of its own, until `stop`. Bounded by what may wait at all.
pub async fn keep(plane: Arc<Plane>, mut coming: mpsc::Receiver<Held>, stop: CancellationToken) {
    while let Some(Some(held)) = stop.run_until_cancelled(coming.recv()).await {
        plane.tracker.spawn(wait(Arc::clone(&plane), held));
    }
}

/// Why nobody came again.
enum Lost {
    Closed,
    Ended(Why),
    Expired,
}

impl Lost {
    /// What its server is told of its questions, and what the record says.
    const fn parts(&self) -> (Refusal, &'static str) {
        match self {
            Self::Closed | Self::Ended(Why::Shutdown) => (Refusal::Over, "not_ready"),
            Self::Ended(Why::Killed(_)) => (Refusal::Over, "disabled"),
            Self::Ended(Why::Removed) => (Refusal::Over, "backend_unavailable"),
            Self::Ended(Why::Cancelled | Why::HungUp) => (Refusal::Over, ""),
            Self::Expired | Self::Ended(Why::Timeout) => (Refusal::Timeout, "timeout"),
        }
    }
}

async fn wait(plane: Arc<Plane>, held: Held) {
    let Held { mut errand, mut wanted, until, of } = held;
    let lost = loop {
        tokio::select! {
            biased;
            wants = &mut wanted => {
                // Whoever wanted it may be gone by now: then it is dropped, which tells its server.
                if let Ok(to) = wants {
                    to.send(errand).ok();
                }
                return;
            }
            () = plane.parked.closed.cancelled() => break Lost::Closed,
            () = sleep_until(until) => break Lost::Expired,
            () = errand.idle(), if !errand.is_over() => {
                if let Some(why) = errand.ended() {
                    break Lost::Ended(why.clone());
                }
            }
        }
    };
    plane.parked.forget(errand.name);
    let (refusal, kind) = lost.parts();
    errand.refuse(&refusal);
    record(&plane, &of, errand.first, kind);
}

/// A row of its own: the one of the request that asked has long been written.
fn record(plane: &Plane, of: &Of, first: RequestId, kind: &str) {
    let view = plane.views.load_full();
    let (session, roles) =
        (session_text(of.session), of.principal.roles.iter().map(|role| &**role).collect::<Vec<_>>());
    let event = Event {
        client: &of.principal.client,
        issuer: &of.principal.issuer,
        roles: &roles,
        session: &session,
        tool: &of.target.exposed,
        backend: &of.target.backend_name,
        kind,
        revision: view.as_ref().map_or(0, |view| view.stamp.revision),
        sent: Some(true),
        parent: Some(first.uuid()),
        ..Event::new(RequestId::fresh().uuid(), plane.clock.now_micros(), of.ask.method(), Status::Abandoned)
    };
    let kept = plane.audit.spool.reserve().ok().and_then(|room| plane.audit.append(room, &event));
    if kept.is_none() {
        tracing::error!(request_id = %first, "an abandoned call leaves no audit record: the spool takes none");
    }
}

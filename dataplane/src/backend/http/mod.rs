//! A backend that is an HTTP server (MCP Streamable HTTP): one session, shared by all calls.
//!
//! One that only speaks what was there before (HTTP+SSE) is the same link with another kind of session: `sse/`.
//!
//! `exchange.rs` is a call's way; `supervisor.rs` owns the session; `stream.rs` hears what is said unasked; what the
//! modern era does otherwise is in `modern.rs`. Retries,
//! breaker and bulkhead are the lease's; deadlines are the in-flight table's.

pub mod addresses;
mod ask;
mod beside;
mod client;
mod core;
mod exchange;
mod fault;
mod modern;
mod pool;
mod reading;
mod session;
mod sse;
mod stream;
mod supervisor;
#[cfg(test)]
mod tests;
pub mod tls;
mod wants;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use self::{ask::PING, core::Core, fault::Fault};
use super::{
    Housekeeping, LinkParts, LinkStatus, Outgoing, Sent, State,
    era::{DISCOVER, Era},
    noise::Counts,
    spec::{BackendSpec, HttpSpec},
};
use crate::{answering::Events, denial::Failure, in_flight::Flight, tasks::Task};

/// The running link to one HTTP backend.
#[derive(Debug)]
pub struct HttpLink {
    core: Arc<Core>,
}

impl HttpLink {
    /// Begins to make the session; returns at once, in state `Starting`. `http` is the spec's own.
    pub fn start(spec: &BackendSpec, http: &HttpSpec, parts: LinkParts) -> Self {
        let core = Core::new(spec, http, parts);
        core.spawn(supervisor::run(Arc::clone(&core)));
        Self { core }
    }

    pub fn status(&self) -> LinkStatus {
        let condition = self.core.condition.borrow();
        LinkStatus {
            state: condition.state,
            reason: Arc::clone(&condition.reason),
            since: condition.since,
            planned: false,
            pid: 0,
            restarts: condition.restarts,
            exceeded: super::stdio::cgroup::Exceeded::default(),
            server: Arc::clone(&condition.server),
            protocol_version: Arc::clone(&condition.protocol_version),
            retry_after: condition.retry_at.map(|at| at.saturating_duration_since(Instant::now())),
        }
    }

    /// One sending of one call, to its end. Cancel safe.
    pub async fn call(&self, call: &Outgoing<'_>, flight: &Flight, events: &Events) -> Sent {
        // On the heap: the call's own future is moved about, and is to stay small.
        Box::pin(self.core.call(call, flight, events)).await
    }

    pub fn era(&self) -> Option<Era> {
        self.core.session.load().as_ref().map(|session| session.agreed.era)
    }

    pub fn look(&self) -> Result<(), Failure> {
        let held = self.core.session.load_full();
        let is_down = || matches!(self.core.condition.borrow().state, State::Down | State::Stopped);
        match held {
            Some(session) if !session.is_lost() || !is_down() => Ok(()),
            Some(_) | None => Err(self.core.unavailable()),
        }
    }

    /// A ping or a listing. A session that is lost is made anew and says so by its next answer.
    ///
    /// Errors: no session, no answer `within`, an answer that is none.
    pub async fn housekeep(&self, what: Housekeeping, within: Duration) -> Result<(), Failure> {
        let core = &self.core;
        let Some(session) = core.session.load_full() else {
            return Err(core.unavailable());
        };
        if what == Housekeeping::List {
            core.changed.notify_one();
            return Ok(());
        }
        let ping = if session.is_modern() { DISCOVER } else { PING };
        match core.ask(Some(&session), ping, None, within).await {
            Ok(_pong) => Ok(()),
            Err(Fault::Unreachable(why)) => {
                core.is_unreachable(&why);
                Err(core.unavailable())
            }
            Err(fault) => {
                if matches!(fault, Fault::Lost) {
                    // It lives, and knows us no more.
                    session.lose();
                    return Ok(());
                }
                if let Some(channel) = &session.channel {
                    channel.gave_no_sign();
                }
                Err(core.failure(fault))
            }
        }
    }

    /// Errors: no server of its era is there, or it gave no answer `within`. What it answers is its own business.
    pub async fn cancel_task(&self, task: &Task, within: Duration) -> Result<(), Failure> {
        let core = &self.core;
        let session = core.session.load_full().filter(|session| session.agreed.era == task.era);
        let session = session.ok_or_else(|| core.unavailable())?;
        match tokio::time::timeout(within, Box::pin(ask::cancel_task(core, &session, task))).await {
            Ok(taken) => taken.map_err(|fault| core.failure(fault)),
            Err(_elapsed) => Err(Failure::Timeout { backend: Arc::clone(&core.backend), timeout: within }),
        }
    }

    /// What its server said wrong so far, on a stream that all calls share.
    pub fn counts(&self) -> &Counts {
        &self.core.noise
    }

    /// Each call has a stream of its own.
    pub fn tells_calls_apart(&self) -> bool {
        self.core.session.load().as_ref().is_none_or(|session| session.channel.is_none())
    }

    /// Returns when it has a session, or could not get one, or the flight was ended.
    pub async fn settled(&self, flight: &Flight) {
        if self.core.session.load().is_some() {
            return;
        }
        let mut condition = self.core.condition.subscribe();
        tokio::select! {
            _ = condition.wait_for(|condition| condition.state != State::Starting) => {}
            _why = flight.ended() => {}
        }
    }

    pub fn roots_changed(&self) {
        let Some(session) = self.core.session.load_full() else { return };
        let core = Arc::clone(&self.core);
        self.core.spawn(async move {
            // Nobody is left to be told that this failed: the server asks anew when it needs them.
            core.tell(&session, "notifications/roots/list_changed", None).await.ok();
        });
    }

    /// By the operator: a new session, at once.
    pub fn restart(&self) {
        self.core.restart.notify_one();
    }

    /// Ends the session at the backend (a second at most) and all tasks of this link.
    pub async fn stop(&self) {
        let core = &self.core;
        core.halt.cancel();
        core.tasks.close();
        core.turn(State::Stopped, "it was stopped", None);
        let session = core.session.swap(None);
        if let Some(session) = &session {
            session.asking.close();
        }
        let farewell = async {
            if let Some(session) = &session {
                session::delete(core, session).await;
            }
            core.tasks.wait().await;
        };
        // What still runs then ends with its own bound; it holds nothing that anybody waits for.
        tokio::time::timeout(supervisor::FAREWELL, farewell).await.ok();
    }
}

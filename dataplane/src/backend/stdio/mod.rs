//! A backend that is a process of ours and speaks MCP over its stdin and stdout.
//!
//! `spawner` forks, `supervisor` owns the process from spawn to reaped, `converse` talks, `stop` ends, the reaper
//! process ends what outlives a killed plane. The link is the handle on all that; it decides nothing about a call.

pub mod apart;
pub mod cgroup;
pub mod converse;
mod eras;
mod forked;
mod generation;
mod lifetime;
mod limits;
mod pre_exec;
pub mod process;
pub mod reader;
pub mod reaper;
pub mod reaper_line;
mod restarts;
pub mod spawner;
pub mod stderr;
mod stop;
pub mod strays;
mod supervisor;
mod wants;
pub mod writer;

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use self::{
    converse::AskFault,
    supervisor::{Published, Shared, Supervisor},
};
use super::{
    Housekeeping, LinkParts, LinkStatus, Outgoing, Sent, State,
    era::{self, Era},
    noise::Counts,
    spec::{BackendSpec, Kind, StdioSpec},
};
use crate::{
    answering::Events,
    call::Ask,
    denial::{Failure, Unavailable},
    in_flight::Flight,
    tasks::Task,
};

/// A call waits so long for a backend that was ready before and is being started again.
const RESTARTING: Duration = Duration::from_secs(2);
/// When nobody knows better.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The handle on one backend process and its successors. Dropped without `stop`, it ends by the ladder all the same.
#[derive(Debug)]
pub struct StdioLink {
    backend: Arc<str>,
    shared: Arc<Shared>,
}

impl Drop for StdioLink {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
    }
}

/// None for a spec of another kind, for which `Link::start` makes no link of this one.
fn stdio_of(spec: &BackendSpec) -> Option<&StdioSpec> {
    match &spec.kind {
        Kind::Stdio(stdio) => Some(stdio),
        Kind::Http(_) => None,
    }
}

impl StdioLink {
    /// Starts the supervisor, which starts the process; returns at once. `spec` is a stdio backend's.
    pub fn start(spec: Arc<BackendSpec>, parts: LinkParts) -> Self {
        let backend = Arc::clone(&spec.name);
        let shared = Shared::new(stdio_of(&spec));
        let tracker = parts.tracker.clone();
        let supervisor = Supervisor { spec: Arc::clone(&spec), parts, shared: Arc::clone(&shared) };
        tracker.spawn(async move {
            if let Some(stdio) = stdio_of(&spec) {
                supervisor.run(stdio).await;
            }
        });
        Self { backend, shared }
    }

    pub fn status(&self) -> LinkStatus {
        let Published { mut status, next_try, .. } = self.shared.status.borrow().clone();
        status.retry_after = next_try.map(|at| at.saturating_duration_since(Instant::now()));
        status
    }

    /// One sending of one call. Waits for a start that was planned (it starts one that idles), up to 2 s for another
    /// that was ready before, and for no first one. Cancel safe.
    pub async fn call(&self, call: &Outgoing<'_>, flight: &Flight, events: &Events) -> Sent {
        loop {
            // The usual way: one load of a pointer.
            let ready = self.shared.current.load_full();
            let conversation = match ready {
                Some(conversation) => conversation,
                None => {
                    tokio::select! {
                        () = self.restarted() => {}
                        _why = flight.ended() => return Sent::Ended,
                    }
                    match self.shared.current.load_full() {
                        Some(conversation) => conversation,
                        None => return Sent::Never(self.unavailable()),
                    }
                }
            };
            // A kill that came after the gate was asked is seen here, before the first byte.
            if flight.why().is_some() {
                return Sent::Ended;
            }
            match conversation.call(call, flight, events).await {
                // It stopped taking calls between our look and our call.
                Sent::Never(_) if conversation.waiting.is_retired() => tokio::task::yield_now().await,
                sent => return sent,
            }
        }
    }

    /// Returns when it is ready, or when waiting for that is of no use.
    async fn restarted(&self) {
        let _wanted = self.shared.want();
        let mut status = self.shared.status.subscribe();
        // Whoever ends the call ends this; a start has a deadline of its own.
        status.wait_for(|published| !published.status.planned).await.ok();
        let comes_back = |published: &Published| {
            published.was_ready
                && match published.status.state {
                    State::Starting | State::Backoff => true,
                    State::Draining => !self.shared.stopping.is_cancelled(),
                    State::Ready | State::Stopped | State::Idle | State::GaveUp | State::Down => false,
                }
        };
        let is_settled = |published: &Published| !comes_back(published);
        tokio::time::timeout(RESTARTING, status.wait_for(is_settled)).await.ok();
    }

    pub fn era(&self) -> Option<Era> {
        self.shared.current.load().as_ref().map(|conversation| conversation.era())
    }

    pub fn look(&self) -> Result<(), Failure> {
        let is_usable = self.shared.current.load().is_some() || self.shared.status.borrow().status.planned;
        if is_usable { Ok(()) } else { Err(self.unavailable()) }
    }

    /// Returns when its process is ready, or its first start has failed, or the flight was ended.
    pub async fn settled(&self, flight: &Flight) {
        if self.shared.current.load().is_some() {
            return;
        }
        let mut status = self.shared.status.subscribe();
        tokio::select! {
            _ = status.wait_for(|published| published.status.state != State::Starting) => {}
            _why = flight.ended() => {}
        }
    }

    pub fn roots_changed(&self) {
        if let Some(conversation) = self.shared.current.load_full() {
            conversation.tell("notifications/roots/list_changed", None);
        }
    }

    fn unavailable(&self) -> Failure {
        let status = self.status();
        let state = match status.state {
            State::Draining if !self.shared.stopping.is_cancelled() => Unavailable::Starting,
            // Ready a moment ago: it ended between two looks.
            other => other.unavailable().unwrap_or(Unavailable::Down),
        };
        Failure::BackendUnavailable {
            backend: Arc::clone(&self.backend),
            state,
            retry_after: Some(status.retry_after.unwrap_or(TRY_AGAIN)),
        }
    }

    /// A ping ends with its answer. A listing is only asked for: it comes as `Note::Listed`.
    ///
    /// Errors: not ready, no answer in time.
    pub async fn housekeep(&self, what: Housekeeping, within: Duration) -> Result<(), Failure> {
        let conversation = self.shared.current.load_full().ok_or_else(|| self.unavailable())?;
        match what {
            Housekeeping::List => {
                conversation.changed.notify_one();
                Ok(())
            }
            Housekeeping::Ping => match conversation.ping(within).await {
                // Whoever refuses a ping lives.
                Ok(()) | Err(AskFault::Refused { .. }) => Ok(()),
                Err(AskFault::Silent { .. }) => {
                    Err(Failure::Timeout { backend: Arc::clone(&self.backend), timeout: within })
                }
                Err(AskFault::Full | AskFault::Gone) => Err(self.unavailable()),
            },
        }
    }

    /// Errors: no server of its era is there, or it gave no answer `within`. What it answers is its own business.
    pub async fn cancel_task(&self, task: &Task, within: Duration) -> Result<(), Failure> {
        let current = self.shared.current.load_full().filter(|conversation| conversation.era() == task.era);
        let conversation = current.ok_or_else(|| self.unavailable())?;
        let params = era::about_task(task);
        match tokio::time::timeout(within, conversation.question(Ask::CancelTask.method(), Some(&params))).await {
            Ok(Ok(_answer)) => Ok(()),
            Ok(Err(_gone)) => Err(self.unavailable()),
            Err(_elapsed) => Err(Failure::Timeout { backend: Arc::clone(&self.backend), timeout: within }),
        }
    }

    /// Clears the restart budget, ends what is there by the ladder, starts anew. Returns at once.
    pub fn restart(&self) {
        self.shared.restart.notify_one();
    }

    pub fn stderr(&self) -> Vec<String> {
        self.shared.stderr.lines()
    }

    /// What the backend said wrong so far.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Takes no calls from here on; returns when nothing is left of it. Calls in flight are not waited for.
    pub async fn stop(&self) {
        self.shared.stopping.cancel();
        self.shared.finished.cancelled().await;
    }
}

//! What a running call says towards its client before its last word, which is the `Final` that the call's future gives.
//!
//! The channel is bounded: a client that does not read slows its backend's stream, never the plane.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{
    tasks::{Task, related},
    upcall::Upcall,
};

/// Events of one call that wait for its client; a full channel makes the backend's reader wait, or drops progress.
pub const EVENTS: usize = 32;

#[derive(Debug)]
pub enum Event {
    /// A whole `notifications/progress`, with the client's own token.
    Progress(Bytes),
    /// A whole `notifications/message` that belongs to this call.
    Log(Bytes),
    /// A part of the answer, not its last: the client's id is already in place.
    Part(Bytes),
    /// Its server asks its client something. Who can't put the question drops it, and the server is told.
    Question(Upcall),
    /// Nobody waits any more for the answer to the question of this number.
    Withdrawn(u64),
    /// A whole `notifications/elicitation/complete`: what a person did at a URL is done.
    Elicited(Bytes),
    /// Nothing has happened for `keepalive_secs`: time for a comment on the stream.
    Quiet,
}

/// The sending end, cheap to clone. A hang-up of a client that may leave closes the receiving end alone.
#[derive(Clone, Debug)]
pub struct Events {
    out: mpsc::Sender<Event>,
    /// What the call is about: notes that name it say its client's name of it.
    task: Option<Arc<Task>>,
}

impl Events {
    pub fn channel() -> (Self, mpsc::Receiver<Event>) {
        Self::about(None)
    }

    /// Of a call about this task.
    pub fn about(task: Option<Arc<Task>>) -> (Self, mpsc::Receiver<Event>) {
        let (out, receiver) = mpsc::channel(EVENTS);
        (Self { out, task }, receiver)
    }

    /// What the call is about, where that is a task.
    pub fn task(&self) -> Option<&Arc<Task>> {
        self.task.as_ref()
    }

    /// Progress and log notes may be lost by a client that does not read.
    pub fn offer(&self, event: Event) {
        let event = match (event, &self.task) {
            (Event::Log(note), Some(task)) => Event::Log(related::note(&note, task)),
            (Event::Progress(note), Some(task)) => Event::Progress(related::note(&note, task)),
            (event, _) => event,
        };
        self.out.try_send(event).ok();
    }

    /// A part of an answer can't be lost: waits for room. False: nobody listens any more.
    pub async fn deliver(&self, part: Bytes) -> bool {
        self.out.send(Event::Part(part)).await.is_ok()
    }

    /// Errors: nobody listens any more, or too much waits: the question comes back.
    pub fn ask(&self, question: Upcall) -> Result<(), Upcall> {
        match self.out.try_send(Event::Question(question)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(Event::Question(back)) | TrySendError::Closed(Event::Question(back))) => Err(back),
            // What comes back is what was sent.
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => Ok(()),
        }
    }

    pub fn is_deserted(&self) -> bool {
        self.out.is_closed()
    }

    /// Ends when nobody listens any more. Cancel safe.
    pub async fn deserted(&self) {
        self.out.closed().await;
    }
}

//! One message of a verified caller, whatever brought it: what it asks, and who answers. The same for HTTP and stdio.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::Instant};

use super::{
    local,
    watching::{self, Soon},
};
use crate::{
    answering::{Event, Events},
    audit::record::Final,
    backend::era::Era,
    call::{self, Ask, Caller, RequestId, Routed},
    denial::Denial,
    in_flight::CallKey,
    input::Input,
    pipeline,
    plane::Plane,
    tasks::{self, Task},
    upcall::questions::Answer,
    wire::scan::{Kind, Scanned},
};

/// A running call, not yet polled: its future, and what it says before its last word.
#[derive(Debug)]
pub struct Answering {
    pub call: Calling,
    pub events: mpsc::Receiver<Event>,
}

/// A call's future, boxed once: it may outlive its connection.
pub struct Calling {
    future: Pin<Box<dyn Future<Output = Final> + Send>>,
    is_wait: bool,
}

impl Calling {
    /// It does nothing but wait for its client: without one it has no end to go on to.
    pub fn is_wait(&self) -> bool {
        self.is_wait
    }
}

impl Future for Calling {
    type Output = Final;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Final> {
        self.get_mut().future.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Calling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Calling")
    }
}

/// What becomes of one message.
#[derive(Debug)]
pub enum Reply {
    /// Notifications and responses: nothing to say.
    Accepted,
    /// Answered here; with the refusal, where it is one.
    Now(Bytes, Option<Denial>),
    Running(Answering),
    /// Answered once a server has been asked.
    Soon(Soon),
}

/// Everything but `initialize`, which makes a session and so belongs to its transport.
pub fn take(
    plane: &Arc<Plane>,
    caller: Caller,
    body: &Bytes,
    scanned: Scanned,
    id: RequestId,
    traceparent: Option<&str>,
) -> Reply {
    match scanned.kind {
        Kind::Request => request(plane, caller, body, scanned, id, traceparent),
        Kind::Notification => {
            notified(plane, &caller, body, &scanned);
            Reply::Accepted
        }
        Kind::Response => {
            responded(plane, &caller, body, &scanned);
            Reply::Accepted
        }
    }
}

/// Method → who answers. Closed: what is not here is -32601.
fn request(
    plane: &Arc<Plane>,
    caller: Caller,
    body: &Bytes,
    scanned: Scanned,
    id: RequestId,
    traceparent: Option<&str>,
) -> Reply {
    let method = scanned.method.and_then(|method| method.text(body)).unwrap_or_default();
    if let Some(asking) = watching::Asking::read(&method) {
        return Reply::Soon(watching::answer(plane, caller, body, scanned, id, asking));
    }
    let outcome = match &*method {
        "ping" => Ok(Bytes::from_static(b"{}")),
        "logging/setLevel" => match local::set_level(plane, &caller, body, &scanned) {
            Ok(level) => return Reply::Soon(watching::levelled(plane, body, &scanned, level)),
            Err(denial) => Err(denial),
        },
        other => match routed(plane, &caller, body, &scanned, other) {
            Some(Ok(asked)) => {
                let call = call(plane, caller, body, scanned, asked, id, traceparent);
                return Reply::Running(call);
            }
            Some(Err(denial)) => Err(denial),
            None => match call::Kind::listed_by(other) {
                Some(kind) => local::list(plane, &caller, &scanned, kind),
                None => Err(Denial::MethodNotFound),
            },
        },
    };
    if let Err(denial) = &outcome {
        recorded(plane, &caller, &method, id, denial);
    }
    let (bytes, refusal) = local::answer(body, &scanned, id, outcome);
    Reply::Now(bytes, refusal)
}

/// What is asked by a method that reaches a backend. None: it reaches none.
fn routed(
    plane: &Plane,
    caller: &Caller,
    body: &Bytes,
    scanned: &Scanned,
    method: &str,
) -> Option<Result<Asked, Denial>> {
    if let Some(ask) = Ask::of_task(method, Era::Legacy) {
        let about = tasks::read(plane, caller, ask, body, scanned);
        return Some(about.map(|tasks::About { name, task, input }| Asked { ask, name, input, task }));
    }
    let asked = Ask::read(method, scanned, body)?;
    Some(asked.map(|(ask, name)| Asked { ask, name: name.into(), input: None, task: None }))
}

/// Counts and records a refusal of a known caller that is no routed call.
pub(super) fn recorded(plane: &Plane, caller: &Caller, method: &str, id: RequestId, denial: &Denial) {
    plane.audit.refused(caller, method, id, denial);
    plane.metrics.refused(denial.row().recorded);
}

/// What is asked, of what, and what it brings of an earlier request.
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) name: Arc<str>,
    pub(super) input: Option<Box<Input>>,
    pub(super) task: Option<Arc<Task>>,
}

pub(super) fn call(
    plane: &Arc<Plane>,
    caller: Caller,
    body: &Bytes,
    scanned: Scanned,
    Asked { ask, name, input, task }: Asked,
    id: RequestId,
    traceparent: Option<&str>,
) -> Answering {
    let traceparent = traceparent
        .map(Into::into)
        .or_else(|| scanned.traceparent.and_then(|text| text.text(body)).map(|text| text.as_ref().into()));
    let routed =
        Routed { id, body: body.clone(), scanned, ask, name, traceparent, input, task, arrived: Instant::now() };
    let is_wait = routed.ask == Ask::AwaitTask;
    let (sender, events) = Events::about(routed.task.clone());
    let future = Box::pin(pipeline::routed(Arc::clone(plane), caller, routed, sender));
    Answering { call: Calling { future, is_wait }, events }
}

/// An answer to what a server asked; to nothing that this client was asked in this session: dropped and counted.
fn responded(plane: &Plane, caller: &Caller, body: &Bytes, scanned: &Scanned) {
    let answer = match (scanned.result, scanned.error) {
        (Some(result), _) => Some(Answer::Result(body.slice(result.range()))),
        (None, Some(error)) => Some(Answer::Error(body.slice(error.range()))),
        (None, None) => None,
    };
    let is_awaited = answer.zip(scanned.id).is_some_and(|(answer, id)| {
        plane.questions.answer(caller.leg().key(), caller.principal(), id.get(body), answer)
    });
    if !is_awaited {
        plane.metrics.unasked_response();
    }
}

fn notified(plane: &Plane, caller: &Caller, body: &Bytes, scanned: &Scanned) {
    if scanned.method.is_some_and(|method| method.is(body, "notifications/roots/list_changed")) {
        plane.backends.roots_changed(caller.leg().key(), caller.principal());
        return;
    }
    let is_cancel = scanned.method.is_some_and(|method| method.is(body, "notifications/cancelled"));
    if let (true, Some(span)) = (is_cancel, scanned.request_id) {
        let key = CallKey { leg: caller.leg().key(), id: body.slice(span.start as usize..span.end as usize) };
        plane.in_flight.cancel(caller, &key);
    }
}

//! The modern era (MCP 2026-07-28) towards clients: each request stands alone and says of itself in `_meta` what a
//! session said before. The same for HTTP and stdio; headers and statuses are `http/modern.rs`.
//!
//! Behind it the same pipeline runs as for legacy clients; on the way back `voice.rs` puts what it says.

pub mod listening;
mod local;
mod said;
pub mod voice;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;

pub use self::{
    local::SERVER_INFO,
    said::{Said, features},
    voice::Voice,
};
use super::{
    feeds::Note,
    message::{self, Answering, Asked},
};
use crate::{
    backend::{abilities::Ability, era::Era},
    call::{Ask, Caller, Kind, RequestId},
    denial::Denial,
    input::Input,
    listen::local::{answer, list},
    plane::Plane,
    tasks,
    wire::scan::Scanned,
};

/// What becomes of one request.
#[derive(Debug)]
pub enum Reply {
    /// Answered here; with the refusal, where it is one.
    Now(Bytes, Option<Denial>),
    Running(Answering, Voice),
    /// `subscriptions/listen`: its first message waits already.
    Listening(mpsc::Receiver<Note>),
}

/// A request whose `_meta`, headers and version are good. Closed: a method that is not here is -32601.
pub fn take(
    plane: &Arc<Plane>,
    caller: Caller,
    body: &Bytes,
    scanned: Scanned,
    id: RequestId,
    traceparent: Option<&str>,
) -> Reply {
    let method = method(body, &scanned);
    let outcome = match &*method {
        "server/discover" => Ok(local::discover(&caller)),
        "subscriptions/listen" => match listening::open(plane, &caller, body, &scanned) {
            Ok(notes) => return Reply::Listening(notes),
            Err(denial) => Err(denial),
        },
        other => match routed(plane, &caller, body, &scanned, other) {
            Some(Ok((asked, voice))) => {
                let call = message::call(plane, caller, body, scanned, asked, id, traceparent);
                return Reply::Running(call, voice);
            }
            Some(Err(denial)) => Err(denial),
            None => match Kind::listed_by(other) {
                Some(kind) => list(plane, &caller, &scanned, kind).map(|listed| local::list(&listed)),
                None => Err(Denial::MethodNotFound),
            },
        },
    };
    let (bytes, refusal) = match outcome {
        Ok(result) => answer(body, &scanned, id, Ok(result)),
        Err(denial) => {
            let bytes = refuse(plane, &caller, body, &scanned, id, &denial);
            (bytes, Some(denial))
        }
    };
    Reply::Now(bytes, refusal)
}

/// Records and words a refusal.
pub fn refuse(plane: &Plane, caller: &Caller, body: &[u8], scanned: &Scanned, id: RequestId, denial: &Denial) -> Bytes {
    message::recorded(plane, caller, &method(body, scanned), id, denial);
    super::local::refusal(scanned.id.map(|span| span.get(body)), id, denial)
}

fn method<'a>(body: &'a [u8], scanned: &Scanned) -> Cow<'a, str> {
    scanned.method.and_then(|method| method.text(body)).unwrap_or_default()
}

/// What is asked by a method that reaches a backend, and how its words are put. None: it reaches none.
fn routed(
    plane: &Plane,
    caller: &Caller,
    body: &Bytes,
    scanned: &Scanned,
    method: &str,
) -> Option<Result<(Asked, Voice), Denial>> {
    let Some(ask) = Ask::of_task(method, Era::Modern) else {
        return Ask::read(method, scanned, body).map(|asked| called(plane, caller, body, scanned, asked));
    };
    let about = tasks::read(plane, caller, ask, body, scanned);
    Some(about.and_then(|tasks::About { name, task, input }| {
        Ok((Asked { ask, name, input, task }, Voice::of(body, scanned, ask)?))
    }))
}

/// What is asked, of what, and how its words are put. Errors: first `MethodNotFound`, for what `server/discover` does not
/// offer this caller.
fn called(
    plane: &Plane,
    caller: &Caller,
    body: &Bytes,
    scanned: &Scanned,
    asked: Result<(Ask, Cow<'_, str>), Denial>,
) -> Result<(Asked, Voice), Denial> {
    let (ask, name) = asked?;
    let offered = caller.view().abilities(caller.principal());
    let is_offered = match ask {
        Ask::CallTool => true,
        Ask::GetPrompt => offered.can(Ability::Prompts),
        Ask::ReadResource => offered.can(Ability::Resources),
        Ask::CompletePrompt | Ask::CompleteResource => offered.can(Ability::Completions),
        Ask::AwaitTask | Ask::GetTask | Ask::UpdateTask | Ask::CancelTask => offered.can(Ability::Tasks),
    };
    if !is_offered {
        return Err(Denial::MethodNotFound);
    }
    let voice = Voice::of(body, scanned, ask)?;
    let input = Input::read(plane, caller, (ask, &name), body, scanned)?;
    Ok((Asked { ask, name: name.as_ref().into(), input, task: None }, voice))
}

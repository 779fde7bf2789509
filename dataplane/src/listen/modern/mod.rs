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

pub use self::said::Said;
use super::{
    feeds::Note,
    message::{self, Answering},
};
use crate::{
    call::{Ask, Caller, Kind, RequestId},
    denial::Denial,
    listen::local::{answer, list},
    plane::Plane,
    wire::scan::Scanned,
};

/// What becomes of one request.
#[derive(Debug)]
pub enum Reply {
    /// Answered here; with the refusal, where it is one.
    Now(Bytes, Option<Denial>),
    Running(Answering, voice::Voice),
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
        "server/discover" => Ok(local::discover()),
        "tools/list" => list(plane, &caller, &scanned, Kind::Tool).map(|listed| local::list(&listed)),
        "tools/call" => match called(body, &scanned) {
            Ok((name, voice)) => {
                return Reply::Running(
                    message::call(plane, caller, body, scanned, (Ask::CallTool, name), id, traceparent),
                    voice,
                );
            }
            Err(denial) => Err(denial),
        },
        "subscriptions/listen" => match listening::open(plane, &caller, body, &scanned) {
            Ok(notes) => return Reply::Listening(notes),
            Err(denial) => Err(denial),
        },
        _ => Err(Denial::MethodNotFound),
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

/// The tool's name, and how its words are put.
fn called(body: &[u8], scanned: &Scanned) -> Result<(Arc<str>, voice::Voice), Denial> {
    let voice = voice::Voice::of(body, scanned)?;
    if scanned.request_state {
        // No answer of this gateway asks for a second round: what is none of ours was forged.
        return Err(Denial::InvalidParams { what: "params.requestState is none of this gateway's".into() });
    }
    let name = scanned.name.and_then(|name| name.text(body));
    let name = name.ok_or_else(|| Denial::InvalidParams { what: "tools/call needs params.name, a string".into() })?;
    Ok((name.as_ref().into(), voice))
}

//! The modern era over HTTP: which messages are of it, headers that must say what the body says, statuses, and
//! streams. A hang-up is a cancel.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::{
    bare,
    body::{First, HangUp, Reply, first},
    dress,
    head::Accepts,
    json, post,
    post::Known,
    respond, status,
};
use crate::{
    call::{self, Caller, RequestId},
    denial::{Denial, MODERN_REVISION},
    in_flight::LegKey,
    listen::{
        ClientLeg,
        modern::{self, Said},
        revision::Revision,
    },
    plane::Plane,
    upcall::feature::Features,
    view::policy::Access,
    wire::scan::{Kind, Scanned},
};

const VERSION: &str = "mcp-protocol-version";
const METHOD: &str = "mcp-method";
const NAME: &str = "mcp-name";

/// What the head says of the era, before there is a body: the last word is the body's (`protocol.md` 3.2).
#[derive(Clone, Debug)]
pub(super) enum Claim {
    /// No version, or one of the legacy era.
    Legacy,
    Modern,
    /// A version that is served in neither era.
    Unknown(Denial),
}

impl Claim {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(version) = headers.get(VERSION) else { return Self::Legacy };
        let version = version.to_str().unwrap_or_default().trim();
        if version == MODERN_REVISION {
            return Self::Modern;
        }
        if Revision::parse(version).is_some() {
            return Self::Legacy;
        }
        Self::Unknown(Denial::UnsupportedVersion { requested: version.chars().take(64).collect::<String>().into() })
    }
}

/// GET and DELETE exist in the legacy era alone.
pub(super) fn is_later(headers: &HeaderMap) -> bool {
    // Revisions are dates: they compare as text.
    headers.get(VERSION).is_some_and(|version| version.as_bytes().trim_ascii() >= MODERN_REVISION.as_bytes())
}

/// A message whose head claims this era (or none that is served) and whose body does not say so.
pub(super) fn unmarked(
    plane: &Plane,
    known: Known,
    body: &[u8],
    scanned: &Scanned,
    unknown: Option<Denial>,
) -> Response<Reply> {
    let id = known.id;
    let denial = match (unknown, scanned.kind) {
        (Some(denial), _) => denial,
        (None, Kind::Notification) => return bare(StatusCode::ACCEPTED, id),
        (None, Kind::Response) => response_in_this_era(),
        (None, Kind::Request) => match Said::read(body, scanned) {
            Err(denial) => denial,
            Ok(_) => Denial::Internal, // a body that says so is no unmarked one
        },
    };
    let caller = caller(known, Features::NONE);
    refused(id, modern::refuse(plane, &caller, body, scanned, id, &denial), &denial)
}

fn response_in_this_era() -> Denial {
    Denial::InvalidRequest { what: "a client sends no responses in revision 2026-07-28".into(), position: None }
}

/// Arrays are of the legacy era.
pub(super) fn no_batch() -> Denial {
    let what = "there are no batches in revision 2026-07-28; send one message at a time".into();
    Denial::InvalidRequest { what, position: None }
}

fn caller(known: Known, features: Features) -> Caller {
    let leg = ClientLeg::modern(LegKey::alone(known.id), features);
    Caller::new(known.verified, known.view, leg)
}

/// One message that says of itself that it is modern. A session id that came along says nothing.
pub(super) async fn serve(
    plane: &Arc<Plane>,
    known: Known,
    headers: &HeaderMap,
    body: &Bytes,
    scanned: Scanned,
    accepts: Accepts,
) -> Response<Reply> {
    let id = known.id;
    if scanned.kind != Kind::Request {
        // Over HTTP there is nothing to cancel by name: a hang-up is the cancel.
        return bare(StatusCode::ACCEPTED, id);
    }
    let caller = caller(known, modern::features(body, &scanned));
    let judged = judged(headers, body, &scanned).and_then(|()| arguments(headers, &caller, body, &scanned));
    if let Err(denial) = judged {
        return refused(id, modern::refuse(plane, &caller, body, &scanned, id, &denial), &denial);
    }
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    match modern::take(plane, caller, body, scanned, id, traceparent) {
        modern::Reply::Now(bytes, None) => post::whole(id, bytes, None, accepts),
        modern::Reply::Now(bytes, Some(denial)) => refused(id, bytes, &denial),
        modern::Reply::Listening(notes) => stream(id, Reply::Notes(notes)),
        modern::Reply::Running(answering, voice) => match first(answering, HangUp::Cancels(voice)).await {
            First::Last(last, bytes, voice) => match (bytes, last.refusal()) {
                (Some(bytes), Some(denial)) => refused(id, bytes, denial),
                (Some(bytes), None) if voice.is_some_and(|voice| voice.lacks_capability()) => {
                    json(StatusCode::BAD_REQUEST, id, bytes)
                }
                (Some(bytes), None) => post::whole(id, bytes, None, accepts),
                (None, _) => stream(id, Reply::Whole(None)),
            },
            First::Json(answer) => {
                respond(StatusCode::OK, id, Some("application/json"), Reply::Answer(Box::new(answer)))
            }
            First::Stream(answer) => stream(id, Reply::Answer(Box::new(answer))),
        },
    }
}

/// Steps 6 to 10 of `protocol.md` 3.3, in that order.
fn judged(headers: &HeaderMap, body: &[u8], scanned: &Scanned) -> Result<(), Denial> {
    let said = Said::read(body, scanned)?;
    agrees(headers, VERSION, "MCP-Protocol-Version", said.version())?;
    let method = scanned.method.and_then(|method| method.text(body)).unwrap_or_default();
    agrees(headers, METHOD, "Mcp-Method", &method)?;
    let named = match &*method {
        "tools/call" | "prompts/get" => scanned.name,
        "resources/read" => scanned.uri,
        "tasks/get" | "tasks/update" | "tasks/cancel" => scanned.task_id,
        _ => None,
    };
    if let Some(name) = named.and_then(|name| name.text(body)) {
        let sent = only(headers, NAME, "Mcp-Name")?;
        let sent = decoded(sent)
            .ok_or_else(|| Denial::HeaderMismatch { what: "Mcp-Name is marked as base64 and is none".into() })?;
        if sent != name {
            return Err(differs("Mcp-Name", "the body's name"));
        }
    }
    said.is_served()
}

/// Step 14: arguments that the tool's schema wants in headers as well. Of a tool that this caller is not shown nothing is
/// said.
fn arguments(headers: &HeaderMap, caller: &Caller, body: &[u8], scanned: &Scanned) -> Result<(), Denial> {
    let is_call = scanned.method.is_some_and(|method| method.is(body, "tools/call"));
    let Some(name) = scanned.name.filter(|_| is_call).and_then(|name| name.text(body)) else { return Ok(()) };
    let view = caller.view();
    let Some(tool) = view.catalogue.find(call::Kind::Tool, &name).filter(|tool| !tool.mirrored.is_empty()) else {
        return Ok(());
    };
    if matches!(view.policy.access(caller.principal(), call::Kind::Tool, &name), Access::Hidden) {
        return Ok(());
    }
    let arguments = scanned.arguments.and_then(|span| serde_json::from_slice(span.get(body)).ok()).unwrap_or_default();
    for one in &tool.mirrored {
        let mismatch = |what: &str| Denial::HeaderMismatch { what: format!("{} {what}", one.header).into() };
        let sent = match headers.contains_key(&one.header) {
            true => Some(
                decoded(only(headers, one.header.as_str(), one.header.as_str())?)
                    .ok_or_else(|| mismatch("is marked as base64 and is none"))?,
            ),
            false => None,
        };
        if !one.agrees(sent.as_deref(), &arguments) {
            return Err(mismatch(if sent.is_some() { "differs from the body's argument" } else { "is missing" }));
        }
    }
    Ok(())
}

/// The header says exactly this, but for space around it.
fn agrees(headers: &HeaderMap, header: &'static str, shown: &'static str, said: &str) -> Result<(), Denial> {
    if only(headers, header, shown)? == said { Ok(()) } else { Err(differs(shown, "the body")) }
}

fn differs(header: &'static str, from: &'static str) -> Denial {
    Denial::HeaderMismatch { what: format!("{header} differs from what {from} says").into() }
}

/// The header's one value.
fn only<'a>(headers: &'a HeaderMap, header: &str, shown: &str) -> Result<&'a str, Denial> {
    let mut values = headers.get_all(header).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(value)), None) => Ok(value.trim_matches([' ', '\t'])),
        (None, _) => Err(Denial::HeaderMismatch { what: format!("{shown} is missing").into() }),
        (Some(_), _) => Err(Denial::HeaderMismatch { what: format!("{shown} is no single line of ASCII").into() }),
    }
}

/// `=?base64?…?=` is UTF-8 in base64; everything else is what it is. None: marked, and no base64 of UTF-8.
fn decoded(value: &str) -> Option<Cow<'_, str>> {
    let Some(coded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(value));
    };
    String::from_utf8(STANDARD.decode(coded).ok()?).ok().map(Cow::Owned)
}

fn refused(id: RequestId, bytes: Bytes, denial: &Denial) -> Response<Reply> {
    let mut response = json(status::modern(denial), id, bytes);
    dress(&mut response, denial);
    response
}

/// An event stream that no proxy should gather.
fn stream(id: RequestId, body: Reply) -> Response<Reply> {
    let mut response = post::stream(id, body);
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_marked_value_is_base64_of_utf8_and_half_a_mark_is_none() {
        assert_eq!(decoded("=?base64?w6k=?=").as_deref(), Some("é"));
        assert_eq!(decoded("=?base64?w6k?="), None);
        assert_eq!(decoded("=?base64?/w==?="), None);
        assert_eq!(decoded("=?base64?w6k=").as_deref(), Some("=?base64?w6k="));
        assert_eq!(decoded("=?BASE64?w6k=?=").as_deref(), Some("=?BASE64?w6k=?="));
    }

    #[test]
    fn a_header_stands_once_and_space_around_it_does_not_count() {
        assert!(agrees(&head(&[(METHOD, " ping\t")]), METHOD, "Mcp-Method", "ping").is_ok());
        for headers in [head(&[]), head(&[(METHOD, "Ping")]), head(&[(METHOD, "ping"), (METHOD, "ping")])] {
            assert!(matches!(agrees(&headers, METHOD, "Mcp-Method", "ping"), Err(Denial::HeaderMismatch { .. })));
        }
    }

    #[test]
    fn a_head_claims_an_era_by_its_version() {
        assert!(matches!(Claim::of(&head(&[])), Claim::Legacy));
        assert!(matches!(Claim::of(&head(&[(VERSION, "2025-03-26")])), Claim::Legacy));
        assert!(matches!(Claim::of(&head(&[(VERSION, "2026-07-28")])), Claim::Modern));
        assert!(matches!(Claim::of(&head(&[(VERSION, "2027-01-01")])), Claim::Unknown(_)));
        assert!(is_later(&head(&[(VERSION, "2026-07-28")])) && !is_later(&head(&[(VERSION, "2025-11-25")])));
    }
}

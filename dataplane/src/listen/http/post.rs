//! POST: one message (or a batch of 2025-03-26), judged head first: the token is verified before a body is read.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::{
    bare,
    body::{First, HangUp, Reply, first},
    dress,
    head::{self, Accepts},
    json,
    modern::{self, Claim},
    refuse, respond, status,
    watch::Watch,
};
use crate::{
    audit::trail::Who,
    call::{Caller, RequestId},
    denial::Denial,
    listen::{ClientLeg, hearing::Hearing, local, message},
    metrics::Shed,
    plane::Plane,
    stages::authn::Verified,
    view::View,
    wire::scan::{self, Body, Scanned},
};

pub(super) const SESSION: &str = "mcp-session-id";

/// A request whose sender is known.
pub(super) struct Known {
    pub(super) view: Arc<View>,
    pub(super) verified: Verified,
    pub(super) id: RequestId,
}

impl Known {
    /// A refusal that no session or method was read for.
    fn turned_away(&self, plane: &Plane, denial: &Denial) -> Response<Reply> {
        self.record(plane, "POST", denial);
        refuse(denial, self.id)
    }

    /// `method`: HTTP's.
    pub(super) fn record(&self, plane: &Plane, method: &str, denial: &Denial) {
        let (revision, server) = (self.view.stamp.revision, self.view.endpoint.as_deref().unwrap_or_default());
        let who = Who { principal: self.verified.principal(), session: String::new(), revision, server };
        plane.audit.turned_away(&who, method, self.id, denial);
        plane.metrics.refused(denial.row().recorded);
    }
}

pub(super) async fn serve(
    plane: &Arc<Plane>,
    known: Known,
    request: Request<Incoming>,
    watch: &Watch,
) -> Response<Reply> {
    let (parts, incoming) = request.into_parts();
    let id = known.id;
    if !head::is_json(&parts.headers) {
        return bare(StatusCode::UNSUPPORTED_MEDIA_TYPE, id);
    }
    let accepts = head::accepts(&parts.headers);
    if !accepts.json && !accepts.stream {
        return bare(StatusCode::NOT_ACCEPTABLE, id);
    }
    let claim = Claim::of(&parts.headers);
    let session = match session(plane, &parts.headers, &known) {
        Ok(session) => session,
        // No session of this era; refused, where it is, once the body is read: then the answer has the client's own id.
        Err(_) if !matches!(claim, Claim::Legacy) => None,
        Err(denial) => return known.turned_away(plane, &denial),
    };
    let limit = known.view.policy.gateway.max_request_bytes;
    watch.body();
    let body = match collect(incoming, limit).await {
        Ok(body) => body,
        Err(Unread::TooLarge) => {
            plane.metrics.shed(Shed::Body);
            let mut response = known.turned_away(plane, &Denial::TooLarge { limit: limit as u64 });
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
        Err(Unread::Broken) => {
            let mut response = bare(StatusCode::BAD_REQUEST, id);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
    };
    watch.answering();
    let scanned = match scan::body(&body) {
        Ok(Body::One(scanned)) => scanned,
        Ok(Body::Batch(messages)) => {
            return match claim {
                Claim::Unknown(denial) => known.turned_away(plane, &denial),
                Claim::Legacy if !messages.iter().any(Scanned::is_modern) => {
                    batch(plane, known, session, &body, messages).await
                }
                Claim::Legacy | Claim::Modern => known.turned_away(plane, &modern::no_batch()),
            };
        }
        Err(fault) => return known.turned_away(plane, &fault.into()),
    };
    // The body has the last word: what says so is modern, and `initialize` that does not is legacy.
    if scanned.is_modern() {
        return modern::serve(plane, known, &parts.headers, &body, scanned, accepts).await;
    }
    if scanned.method.is_some_and(|method| method.is(&body, "initialize")) {
        return initialize(plane, known, &body, &scanned);
    }
    match claim {
        Claim::Legacy => one(plane, known, session, &parts.headers, &body, scanned, accepts).await,
        Claim::Modern => modern::unmarked(plane, known, &body, &scanned, None),
        Claim::Unknown(denial) => modern::unmarked(plane, known, &body, &scanned, Some(denial)),
    }
}

async fn one(
    plane: &Arc<Plane>,
    known: Known,
    session: Option<ClientLeg>,
    headers: &HeaderMap,
    body: &Bytes,
    scanned: Scanned,
    accepts: Accepts,
) -> Response<Reply> {
    let id = known.id;
    let Some(leg) = session else {
        let denial = Denial::InvalidRequest {
            what: "no session: send initialize first, then its Mcp-Session-Id with every request".into(),
            position: None,
        };
        known.record(plane, "POST", &denial);
        return refused(id, body, &scanned, &denial);
    };
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let leg = if accepts.stream { leg } else { leg.unasked() };
    let caller = Caller::new(known.verified, known.view, leg);
    match message::take(plane, caller, body, scanned, id, traceparent) {
        message::Reply::Accepted => bare(StatusCode::ACCEPTED, id),
        message::Reply::Now(bytes, refusal) => whole(id, bytes, refusal.as_ref(), accepts),
        message::Reply::Soon(answer) => {
            let (bytes, refusal) = answer.await;
            whole(id, bytes, refusal.as_ref(), accepts)
        }
        message::Reply::Running(answering) => {
            match first(answering, HangUp::Outlives(Hearing::new(plane, leg.key()))).await {
                First::Last(last, bytes, _) => match bytes {
                    Some(bytes) => whole(id, bytes, last.refusal(), accepts),
                    // Taken back by its client: no answer, and the stream ends.
                    None => respond(StatusCode::OK, id, Some("text/event-stream"), Reply::Whole(None)),
                },
                First::Json(answer) => {
                    respond(StatusCode::OK, id, Some("application/json"), Reply::Answer(Box::new(answer)))
                }
                First::Stream(answer) => stream(id, Reply::Answer(Box::new(answer))),
            }
        }
    }
}

/// A whole answer: JSON, unless the client takes nothing but event streams.
pub(super) fn whole(id: RequestId, bytes: Bytes, refusal: Option<&Denial>, accepts: Accepts) -> Response<Reply> {
    let mut response = match (refusal.map_or(StatusCode::OK, status::of), accepts.json) {
        (StatusCode::OK, false) => stream(id, Reply::Whole(Some(crate::wire::sse::frame(&bytes, None)))),
        (status, _) => json(status, id, bytes),
    };
    if let Some(denial) = refusal {
        dress(&mut response, denial);
    }
    response
}

pub(super) fn stream(id: RequestId, body: Reply) -> Response<Reply> {
    let mut response = respond(StatusCode::OK, id, Some("text/event-stream"), body);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn refused(id: RequestId, body: &[u8], scanned: &Scanned, denial: &Denial) -> Response<Reply> {
    let client_id = scanned.id.map(|span| span.get(body));
    let mut response = json(status::of(denial), id, local::refusal(client_id, id, denial));
    dress(&mut response, denial);
    response
}

/// A new session; a session id that came along says nothing.
fn initialize(plane: &Arc<Plane>, known: Known, body: &Bytes, scanned: &Scanned) -> Response<Reply> {
    let id = known.id;
    let (revision, features) = match local::negotiate(body, scanned) {
        Ok(agreed) => agreed,
        Err(denial) => {
            known.record(plane, "POST", &denial);
            return refused(id, body, scanned, &denial);
        }
    };
    let endpoint = known.view.endpoint.as_deref();
    let Some((leg, session)) = plane.sessions.begin(known.verified.principal(), endpoint, revision, features) else {
        return refused(id, body, scanned, &Denial::Internal);
    };
    let caller = Caller::new(known.verified, known.view, leg);
    if let Err(denial) = plane.audit.initialized(&caller, id) {
        return refused(id, body, scanned, &denial);
    }
    let (bytes, _) = local::answer(body, scanned, id, Ok(local::initialized(revision, &caller).into()));
    let mut response = json(StatusCode::OK, id, bytes);
    if let Ok(session) = HeaderValue::from_str(&session) {
        response.headers_mut().insert(SESSION, session);
    }
    response
}

/// JSON-RPC batches of 2025-03-26: one head, one caller, each message its own way and row; answers joined.
async fn batch(
    plane: &Arc<Plane>,
    known: Known,
    session: Option<ClientLeg>,
    body: &Bytes,
    messages: Vec<Scanned>,
) -> Response<Reply> {
    let id = known.id;
    let invalid =
        |what: &'static str| known.turned_away(plane, &Denial::InvalidRequest { what: what.into(), position: None });
    let Some(leg) = session.filter(ClientLeg::has_batches) else {
        return invalid("batches exist in revision 2025-03-26 alone; send one message at a time");
    };
    if messages.iter().any(|message| message.method.is_some_and(|method| method.is(body, "initialize"))) {
        return invalid("initialize must not stand in a batch");
    }
    let mut answers: Vec<BoxFuture<'_, Option<Bytes>>> = Vec::new();
    for scanned in messages {
        let verified = known.verified.again();
        // One array for all: what is asked on the way has no place in it.
        let caller = Caller::new(verified, Arc::clone(&known.view), leg.unasked());
        match message::take(plane, caller, body, scanned, RequestId::fresh(), None) {
            message::Reply::Accepted => {}
            message::Reply::Now(bytes, _) => answers.push(Box::pin(std::future::ready(Some(bytes)))),
            message::Reply::Running(answering) => {
                answers.push(Box::pin(super::body::whole(answering, Hearing::new(plane, leg.key()))));
            }
            message::Reply::Soon(answer) => answers.push(Box::pin(async { Some(answer.await.0) })),
        }
    }
    if answers.is_empty() {
        return bare(StatusCode::ACCEPTED, id);
    }
    let mut joined = BytesMut::from(&b"["[..]);
    for answer in futures_util::future::join_all(answers).await.into_iter().flatten() {
        if joined.len() > 1 {
            joined.extend_from_slice(b",");
        }
        joined.extend_from_slice(&answer);
    }
    joined.extend_from_slice(b"]");
    json(StatusCode::OK, id, joined.freeze())
}

/// The session of the head. Errors: `SessionNotFound` for whatever id is not good for this principal at this endpoint.
pub(super) fn session(plane: &Plane, headers: &HeaderMap, known: &Known) -> Result<Option<ClientLeg>, Denial> {
    let (principal, endpoint) = (known.verified.principal(), known.view.endpoint.as_deref());
    let mut ids = headers.get_all(SESSION).iter();
    match (ids.next(), ids.next()) {
        (None, _) => Ok(None),
        (Some(id), None) => {
            plane.sessions.open_id(id.as_bytes(), principal, endpoint).map(Some).ok_or(Denial::SessionNotFound)
        }
        (Some(_), Some(_)) => Err(Denial::SessionNotFound),
    }
}

enum Unread {
    TooLarge,
    Broken,
}

/// The whole body; no copy where it came in one piece.
async fn collect(mut incoming: Incoming, limit: usize) -> Result<Bytes, Unread> {
    use http_body::Body as _;
    if incoming.size_hint().lower() > limit as u64 {
        return Err(Unread::TooLarge);
    }
    let mut whole = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let Ok(piece) = frame.map_err(|_| Unread::Broken)?.into_data() else { continue };
        if whole.is_empty() && joined.is_empty() {
            whole = piece;
        } else {
            joined.extend_from_slice(&std::mem::take(&mut whole));
            joined.extend_from_slice(&piece);
        }
        if whole.len() + joined.len() > limit {
            return Err(Unread::TooLarge);
        }
    }
    Ok(if joined.is_empty() { whole } else { joined.freeze() })
}

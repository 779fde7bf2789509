//! Reads what came for one request: JSON or an event stream, to the answer that bears our number.
//!
//! Beside the answer there may be progress, log notes and questions of the server: `beside.rs`.

use std::{borrow::Cow, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, Method, Response, StatusCode,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use super::{beside, client::printable, core::Core, fault::Fault, pool::Lent, session::Session};
use crate::{
    answering::Events,
    backend::waiting::{Reply, number},
    in_flight::Flight,
    wire::{
        incoming::{self, Incoming as Message},
        sse,
    },
};

/// Answers up to here are collected; larger ones of calls are streamed on.
pub(super) const SMALL: usize = 64 << 10;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Before a broken stream is taken up again, where the server says nothing.
const RETRY: Duration = Duration::from_millis(500);
const SHORTEST_RETRY: Duration = Duration::from_millis(10);
/// Resumptions in a row that gave no event.
const FRUITLESS: u32 = 5;
/// For the end of a stream whose answer has come: then its connection can be used again.
const DRAIN: Duration = Duration::from_secs(2);

/// Who the messages beside the answer are for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose<'a> {
    Call {
        flight: &'a Flight,
        events: &'a Events,
    },
    /// A question of ours, or the GET stream.
    Own,
}

/// One request and all that its answer is read with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange<'a> {
    pub(super) core: &'a Arc<Core>,
    /// None: `initialize`.
    pub(super) session: Option<&'a Arc<Session>>,
    pub(super) number: u64,
    pub(super) whose: Whose<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Json,
    Events,
}

/// What the body of a good answer is. Errors: nothing that we read.
pub(super) fn form(headers: &HeaderMap) -> Result<Form, Fault> {
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(Fault::says("its answer is compressed, which was not asked for"));
    }
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let essence = kind.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next().unwrap_or_default();
    if essence.eq_ignore_ascii_case(b"application/json") {
        Ok(Form::Json)
    } else if essence.eq_ignore_ascii_case(b"text/event-stream") {
        Ok(Form::Events)
    } else if essence.is_empty() {
        Err(Fault::says("it gave no answer (no content type)"))
    } else {
        Err(Fault::said(format!(
            "it answered with {}, neither JSON nor an event stream",
            printable(&String::from_utf8_lossy(essence))
        )))
    }
}

/// The next data of a body; none at its end.
pub(super) async fn next(body: &mut Lent) -> Result<Option<Bytes>, Fault> {
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => return Ok(Some(data)),
            // Trailers.
            Ok(Err(_)) => {}
            Err(error) => {
                return Err(Fault::Cut(Cow::Owned(format!(
                    "the connection broke within its answer ({})",
                    printable(&error.to_string())
                ))));
            }
        }
    }
    Ok(None)
}

pub(super) enum Collected {
    Whole(Bytes),
    /// More than the bound: what was read, not the end.
    More(Bytes),
}

/// The body, up to about `bound` bytes. One chunk is not copied.
pub(super) async fn collect(body: &mut Lent, bound: usize) -> Result<Collected, Fault> {
    let Some(first) = next(body).await? else {
        return Ok(Collected::Whole(Bytes::new()));
    };
    if body.is_end_stream() {
        return Ok(Collected::Whole(first));
    }
    if first.len() > bound {
        return Ok(Collected::More(first));
    }
    let Some(second) = next(body).await? else {
        return Ok(Collected::Whole(first));
    };
    let mut joined = BytesMut::with_capacity((first.len() + second.len()).saturating_mul(2));
    joined.extend_from_slice(&first);
    joined.extend_from_slice(&second);
    while joined.len() <= bound {
        if body.is_end_stream() {
            return Ok(Collected::Whole(joined.freeze()));
        }
        match next(body).await? {
            Some(more) => joined.extend_from_slice(&more),
            None => return Ok(Collected::Whole(joined.freeze())),
        }
    }
    Ok(Collected::More(joined.freeze()))
}

pub(super) fn too_large(limit: usize) -> Fault {
    Fault::said(format!("its answer is larger than {limit} bytes"))
}

/// The answer, collected whole whatever it comes as.
pub(super) async fn whole_answer(exchange: &Exchange<'_>, response: Response<Lent>) -> Result<Reply, Fault> {
    let (head, mut body) = response.into_parts();
    if !head.status.is_success() {
        return refused(exchange, head.status, &head.headers, body).await;
    }
    match form(&head.headers)? {
        Form::Events => events(exchange, body).await,
        Form::Json => {
            let limit = exchange.core.max_response_bytes;
            match collect(&mut body, limit).await? {
                Collected::Whole(whole) if whole.len() <= limit => find(exchange, whole),
                Collected::Whole(_) | Collected::More(_) => Err(too_large(limit)),
            }
        }
    }
}

/// The answer within a JSON body.
pub(super) fn find(exchange: &Exchange<'_>, body: Bytes) -> Result<Reply, Fault> {
    take(exchange, body)?.ok_or_else(|| Fault::says("its answer is no answer to our request"))
}

/// One message, or a batch of them: the answer to our number; what else there is, is seen to.
fn take(exchange: &Exchange<'_>, message: Bytes) -> Result<Option<Reply>, Fault> {
    let broken = |fault: crate::wire::Fault| Fault::said(format!("its answer is broken: {fault}"));
    match incoming::read(&message).map_err(broken)? {
        Message::Response { id, failed, tool_error, result, error, places } => {
            if number(id, &message) != Some(exchange.number) {
                return Err(Fault::says("its answer has another id than our request's"));
            }
            Ok(Some(Reply { message, id, failed, tool_error, result, error, places }))
        }
        Message::Batch(all) => {
            let mut found = None;
            for span in all {
                let one = message.slice(span.range());
                if one.first() == Some(&b'[') {
                    return Err(Fault::says("its answer is a batch within a batch"));
                }
                if let Some(answer) = take(exchange, one)?
                    && found.replace(answer).is_some()
                {
                    return Err(Fault::says("it answered one request twice"));
                }
            }
            Ok(found)
        }
        other @ (Message::Request { .. } | Message::Notification { .. }) => {
            beside::see(exchange.core, exchange.session, exchange.whose, &message, &other);
            Ok(None)
        }
    }
}

/// An answer with a status that is no success: our session refused, a JSON-RPC answer all the same, or a failure.
/// Nothing of the body is told on but a JSON-RPC answer to our number.
pub(super) async fn refused(
    exchange: &Exchange<'_>,
    status: StatusCode,
    headers: &HeaderMap,
    mut body: Lent,
) -> Result<Reply, Fault> {
    let has_id = exchange.session.is_some_and(|session| session.has_id);
    if status == StatusCode::NOT_FOUND && has_id {
        return Err(Fault::Lost);
    }
    let is_modern = exchange.session.is_some_and(|session| session.is_modern());
    // What a server answers that does not know the era: then it may be another program by now.
    let is_absent = matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
    let failed = || match (is_modern, exchange.session) {
        (true, _) if is_absent => Fault::Lost,
        (_, None) if is_absent => Fault::Absent(status),
        _ => Fault::of_status(status),
    };
    if form(headers).ok() != Some(Form::Json) {
        return Err(failed());
    }
    let Collected::Whole(whole) = collect(&mut body, SMALL).await? else {
        return Err(failed());
    };
    if status == StatusCode::BAD_REQUEST && has_id && is_about_session(&whole, exchange.number) {
        return Err(Fault::Lost);
    }
    find(exchange, whole).map_err(|_no_answer| failed())
}

/// A 400 with a JSON-RPC error that is not about the request itself: one without our id, or of the code that the
/// TypeScript SDK has for a session that it does not know.
fn is_about_session(body: &[u8], number: u64) -> bool {
    #[derive(serde::Deserialize)]
    struct Refusal {
        #[serde(default)]
        id: Option<serde_json::Value>,
        error: Code,
    }
    #[derive(serde::Deserialize)]
    struct Code {
        code: i64,
    }
    serde_json::from_slice::<Refusal>(body)
        .is_ok_and(|refusal| refusal.error.code == -32_000 || refusal.id.and_then(|id| id.as_u64()) != Some(number))
}

/// Where a broken stream is taken up again.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) last_id: Option<Bytes>,
    pub(super) retry: Option<Duration>,
}

impl Place {
    pub(super) fn note(&mut self, event: &sse::Event) {
        if let Some(id) = &event.id {
            self.last_id = Some(id.clone()).filter(|id| !id.is_empty());
        }
        if let Some(retry) = event.retry {
            self.retry = Some(Duration::from_millis(retry).max(SHORTEST_RETRY));
        }
    }

    /// Headers of the GET that goes on here.
    pub(super) fn headers(&self, session: &Session) -> HeaderMap {
        let mut headers = session.headers.clone();
        headers.remove(CONTENT_TYPE);
        headers.insert(ACCEPT, http::HeaderValue::from_static("text/event-stream"));
        if let Some(id) = &self.last_id
            && let Ok(id) = http::HeaderValue::from_maybe_shared(id.clone())
        {
            headers.insert(LAST_EVENT_ID, id);
        }
        headers
    }
}

/// The answer in an event stream, taken up again where it breaks off with an event id.
pub(super) async fn events(exchange: &Exchange<'_>, body: Lent) -> Result<Reply, Fault> {
    let limit = exchange.core.max_response_bytes;
    let (mut place, mut total, mut fruitless) = (Place::default(), 0, 0);
    let mut body = body;
    loop {
        let before = total;
        let broke = match one_stream(exchange, body, limit, &mut place, &mut total).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => Fault::Cut("its event stream ended without an answer".into()),
            Err(Stop::Final(fault)) => return Err(fault),
            Err(Stop::Broke(fault)) => fault,
        };
        // What was passed on of it can't be taken back.
        let broke = if total > 0 { broke.settled() } else { broke };
        fruitless = if total == before { fruitless + 1 } else { 0 };
        let Some(session) = exchange.session.filter(|session| !session.is_modern()) else {
            return Err(broke);
        };
        if place.last_id.is_none() || fruitless > FRUITLESS {
            return Err(broke);
        }
        tokio::time::sleep(place.retry.unwrap_or(RETRY)).await;
        let resumed = exchange
            .core
            .send(Method::GET, &session.to, place.headers(session), Bytes::new())
            .await
            // The call itself was written long ago.
            .map_err(|_again| broke.clone())?;
        let (head, next) = resumed.into_parts();
        if !head.status.is_success() || form(&head.headers).ok() != Some(Form::Events) {
            return Err(broke);
        }
        body = next;
    }
}

enum Stop {
    /// The stream broke off: it may be resumed.
    Broke(Fault),
    Final(Fault),
}

async fn one_stream(
    exchange: &Exchange<'_>,
    mut body: Lent,
    limit: usize,
    place: &mut Place,
    total: &mut usize,
) -> Result<Option<Reply>, Stop> {
    let mut parser = sse::Parser::new(limit);
    let mut arrived = Vec::new();
    while let Some(chunk) = next(&mut body).await.map_err(Stop::Broke)? {
        *total = total.saturating_add(chunk.len());
        if *total > limit {
            return Err(Stop::Final(too_large(limit)));
        }
        parser.push(chunk, &mut arrived).map_err(|_too_large| Stop::Final(too_large(limit)))?;
        for event in arrived.drain(..) {
            place.note(&event);
            if event.data.is_empty() {
                continue;
            }
            if let Some(found) = take(exchange, event.data).map_err(Stop::Final)? {
                drain(exchange.core, body);
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// Reads the end of a stream that has nothing more to say: closed early, its connection would be lost for the pool.
pub(super) fn drain(core: &Core, mut body: Lent) {
    let end = futures_util::FutureExt::now_or_never(body.frame());
    if body.is_end_stream() || matches!(end, Some(None)) {
        return;
    }
    core.spawn(async move {
        let end = async {
            let mut left = SMALL;
            while let Ok(Some(more)) = next(&mut body).await {
                left = left.saturating_sub(more.len());
                if left == 0 {
                    return;
                }
            }
        };
        tokio::time::timeout(DRAIN, end).await.ok();
    });
}

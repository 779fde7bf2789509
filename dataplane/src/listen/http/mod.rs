//! Streamable HTTP/1.1, both eras: a hyper accept loop of our own, since `axum::serve` has no header, body or idle
//! timeout. Connection state is watched by one coarse sweep; no request has a timer.

pub mod body;
mod delete;
mod get;
mod head;
mod modern;
mod post;
mod resource;
pub mod server;
pub mod status;
mod watch;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use self::body::Reply;
use crate::{
    call::RequestId,
    denial::{Denial, TokenFault},
    listen::local,
};

/// An answer with our request id; every one carries it.
fn respond(status: StatusCode, id: RequestId, content_type: Option<&'static str>, body: Reply) -> Response<Reply> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    let mut text = [0; 36];
    if let Ok(id) = HeaderValue::from_str(id.encode(&mut text)) {
        headers.insert("x-request-id", id);
    }
    response
}

fn json(status: StatusCode, id: RequestId, body: Bytes) -> Response<Reply> {
    respond(status, id, Some("application/json"), Reply::Whole(Some(body)))
}

/// No JSON-RPC body: 202, 204, 404 without a session, 405, 406, 408, 415.
fn bare(status: StatusCode, id: RequestId) -> Response<Reply> {
    respond(status, id, None, Reply::Whole(None))
}

/// A refusal before or around a message: with a JSON-RPC error without an id, and what HTTP wants beside it.
fn refuse(denial: &Denial, id: RequestId) -> Response<Reply> {
    let mut response = json(status::of(denial), id, local::refusal(None, id, denial));
    dress(&mut response, denial);
    response
}

/// `Retry-After` and `WWW-Authenticate` (RFC 6750 3). Where a server gives tokens, `resource.rs` says so as well.
fn dress(response: &mut Response<Reply>, denial: &Denial) {
    if let Some(wait) = denial.retry_after() {
        let secs = wait.as_millis().div_ceil(1000).max(1);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(u64::try_from(secs).unwrap_or(1)));
    }
    if let Denial::Unauthenticated { reason } = denial {
        let value = match reason {
            TokenFault::Missing => HeaderValue::from_static("Bearer realm=\"sentinel\""),
            TokenFault::Audience
            | TokenFault::Expired
            | TokenFault::Issuer
            | TokenFault::Malformed
            | TokenFault::NotYetValid
            | TokenFault::Revoked
            | TokenFault::Signature
            | TokenFault::UnknownKey => HeaderValue::from_static("Bearer realm=\"sentinel\", error=\"invalid_token\""),
        };
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
}

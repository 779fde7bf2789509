//! What HTTP says of tokens and where they are from: the documents of RFC 9728, and `WWW-Authenticate` (RFC 6750 3, MCP
//! 2025-11-25, authorization). Without a server that gives tokens there are no documents, and the header says `Bearer`.

use http::{HeaderValue, Method, Response, StatusCode, header};

use super::{bare, body::Reply, json, refuse, server::not_allowed};
use crate::{
    call::RequestId,
    denial::{Denial, TokenFault},
    endpoint::{self, Endpoint},
    stages::authn::resource::WELL_KNOWN,
    view::View,
};

/// The endpoint that a document is asked for. `None`: it is no path of a document.
pub(super) fn asked(path: &str) -> Option<Endpoint<'_>> {
    match path.strip_prefix(WELL_KNOWN)? {
        "" | "/" => Some(None),
        of => endpoint::of_path(of),
    }
}

/// The document about this endpoint, for everyone: it is what tells a client how to get a token.
pub(super) fn document(view: &View, method: &Method, id: RequestId) -> Response<Reply> {
    let Some(resource) = view.policy.auth.resource() else { return bare(StatusCode::NOT_FOUND, id) };
    if method != Method::GET {
        return not_allowed(id, "GET");
    }
    json(StatusCode::OK, id, resource.metadata(view.endpoint.as_deref()).into())
}

/// A refusal of a client's token, with what helps to get a better one.
pub(super) fn refused(denial: &Denial, view: &View, id: RequestId) -> Response<Reply> {
    let mut response = refuse(denial, id);
    let Some(resource) = view.policy.auth.resource() else { return response };
    let fault = match denial {
        Denial::Unauthenticated { reason: TokenFault::Missing } => "",
        Denial::InsufficientScope => r#", error="insufficient_scope""#,
        _ => r#", error="invalid_token""#,
    };
    let value = format!(r#"Bearer realm="sentinel"{fault}, {}"#, resource.challenge(view.endpoint.as_deref()));
    if let Ok(value) = HeaderValue::from_str(&value) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

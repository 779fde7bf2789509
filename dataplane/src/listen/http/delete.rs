//! DELETE: the client ends its session; it stays ended through restarts.

use http::{HeaderMap, Response, StatusCode};

use super::{bare, body::Reply, post::Known, post::SESSION, refuse};
use crate::{denial::Denial, plane::Plane};

pub(super) fn serve(plane: &Plane, known: &Known, headers: &HeaderMap) -> Response<Reply> {
    let Some(session) = headers.get(SESSION) else {
        return refuse(&Denial::InvalidRequest { what: "no Mcp-Session-Id to end".into(), position: None }, known.id);
    };
    let (principal, endpoint) = (known.verified.principal(), known.view.endpoint.as_deref());
    let leg = plane.sessions.open_id(session.as_bytes(), principal, endpoint);
    match plane.sessions.end(session.as_bytes(), principal, endpoint) {
        Ok(true) => {
            if let Some(leg) = leg {
                plane.feeds.forget(leg.key());
                plane.backends.end_session(leg.key());
            }
            bare(StatusCode::NO_CONTENT, known.id)
        }
        Ok(false) => refuse(&Denial::SessionNotFound, known.id),
        Err(fault) => {
            tracing::error!(%fault, "an ended session can't be written down: it would come back after a restart");
            known.record(plane, "DELETE", &Denial::Internal);
            refuse(&Denial::Internal, known.id)
        }
    }
}

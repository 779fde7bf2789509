//! GET: the stream for what a client is told without asking (`list_changed`, log notes of shared backends).

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{bare, body::Reply, head, post, post::Known, refuse, respond};
use crate::{denial::Denial, listen::feeds::Who, metrics::Shed, plane::Plane};

pub(super) fn serve(plane: &Arc<Plane>, known: &Known, headers: &HeaderMap) -> Response<Reply> {
    let id = known.id;
    if !head::accepts(headers).stream {
        return bare(StatusCode::NOT_ACCEPTABLE, id);
    }
    let leg = match post::session(plane, headers, known) {
        Ok(Some(leg)) => leg,
        Ok(None) => {
            let what = "no session: send initialize first, then its Mcp-Session-Id with every request".into();
            return refuse(&Denial::InvalidRequest { what, position: None }, id);
        }
        Err(denial) => return refuse(&denial, id),
    };
    let (principal, endpoint) = (Arc::clone(known.verified.principal()), known.view.endpoint.clone());
    let who = Who { principal, endpoint, leg };
    match plane.feeds.open(who.clone()) {
        Ok(notes) => {
            if let Some(view) = plane.views.load_full() {
                plane.feeds.catch_up(&who, &view, &plane.gate);
            }
            let mut response = respond(StatusCode::OK, id, Some("text/event-stream"), Reply::Notes(notes));
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        }
        Err(_) => {
            plane.metrics.shed(Shed::Streams);
            refuse(&Denial::Overloaded, id)
        }
    }
}

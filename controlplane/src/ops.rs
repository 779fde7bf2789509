//! `/health`, `/ready` and `/metrics` of the control plane.
//!
//! On loopback the Host must name this machine (no page of a browser may read us under another name); with
//! SENTINEL_OPS_TOKEN the token decides instead, and only `/health` is open.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;

use crate::core::Core;
use crate::kill_set::Kills;
use crate::revisions::FileState;
use crate::secrets::Fingerprint;

#[derive(Clone)]
struct Ops {
    core: Core,
    token: Option<Arc<Fingerprint>>,
}

/// The three paths; `token`: what `/ready` and `/metrics` ask for.
pub fn router(core: Core, token: Option<Fingerprint>) -> Router {
    let ops = Ops { core, token: token.map(Arc::new) };
    Router::new()
        .route("/health", get(async || "ok\n"))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(ops.clone(), guard))
        .with_state(ops)
}

async fn guard(State(ops): State<Ops>, request: Request, next: Next) -> Response {
    match refused(ops.token.as_deref(), request.uri().path(), request.headers()) {
        None => next.run(request).await,
        Some((status, why)) => (status, format!("{why}\n")).into_response(),
    }
}

fn refused(token: Option<&Fingerprint>, path: &str, headers: &HeaderMap) -> Option<(StatusCode, &'static str)> {
    if let Some(token) = token {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let open = path == "/health" || shown.is_some_and(|shown| token.fits(shown));
        return (!open).then_some((StatusCode::UNAUTHORIZED, "give SENTINEL_OPS_TOKEN as a bearer token"));
    }
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let ours = ["localhost", "127.0.0.1", "[::1]"].iter().any(|known| name.eq_ignore_ascii_case(known));
    (!ours).then_some((
        StatusCode::FORBIDDEN,
        "this Host is not served; set SENTINEL_OPS_TOKEN to be asked by other names",
    ))
}

/// Everything that `unready` can say.
pub const REASONS: [&str; 3] = ["config", "stopping", "store"];

/// Why `/ready` says 503; none: it says 200.
pub fn unready(core: &Core) -> Option<&'static str> {
    if core.spine.stop().is_cancelled() {
        Some("stopping")
    } else if !core.keeper.is_there() || core.keeper.is_stuck() || !core.begun.is_cancelled() {
        Some("store")
    } else if core.revisions.current().is_none() || matches!(core.revisions.file(), FileState::Bad(_)) {
        Some("config")
    } else {
        None
    }
}

async fn ready(State(ops): State<Ops>) -> Response {
    let core = &ops.core;
    let file = core.revisions.file();
    let current = core.revisions.current();
    let reason = unready(core);
    let planes = core.fleet.states();
    let connected = planes.iter().filter(|plane| plane.state == "connected").count();
    let body = json!({
        "ready": reason.is_none(),
        "reason": reason.unwrap_or_default(),
        "store": core.keeper.word(),
        "config": file.word(),
        "revision": current.map_or(0, |current| current.revision.number),
        "epoch": core.kills.see(Kills::epoch),
        "planes": { "connected": connected, "known": planes.len() },
    });
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

async fn metrics(State(ops): State<Ops>) -> Response {
    match ops.core.metrics.text(&ops.core) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(token: Option<&str>, path: &str, headers: &[(&'static str, &str)]) -> Option<u16> {
        let token = token.map(|token| Fingerprint::of(token.as_bytes()));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        refused(token.as_ref(), path, &map).map(|(status, _)| status.as_u16())
    }

    #[test]
    fn without_a_token_the_host_must_name_this_machine() {
        for host in ["localhost", "LOCALHOST:9301", "127.0.0.1:1", "[::1]:9301", "[::1]"] {
            assert_eq!(asked(None, "/ready", &[("host", host)]), None, "{host}");
        }
        for host in ["evil.example", "localhost.evil.example:9301", ""] {
            assert_eq!(asked(None, "/health", &[("host", host)]), Some(403), "{host}");
        }
    }

    #[test]
    fn with_a_token_health_alone_is_open_and_the_host_is_free() {
        let host = ("host", "plane:9301");
        assert_eq!(asked(Some("t"), "/health", &[host]), None);
        assert_eq!(asked(Some("t"), "/metrics", &[host]), Some(401));
        assert_eq!(asked(Some("t"), "/metrics", &[host, ("authorization", "Bearer t")]), None);
        assert_eq!(asked(Some("t"), "/ready", &[host, ("authorization", "Bearer x")]), Some(401));
    }
}

//! `/health`, `/ready`, `/metrics`: on a listener and a small runtime thread of their own, so that they answer when
//! the call runtime does not. Never shed, never on the MCP port.
//!
//! With `SENTINEL_OPS_TOKEN` the token decides for all but `/health`; without it the listener is on loopback and
//! Host must be too (a browser page that was rebound to 127.0.0.1 names its own host).

pub mod status;

use std::{io, net::TcpListener, sync::Arc, thread};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use http::{HeaderMap, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;

use self::status::{Look, PlaneStatus};
use crate::{clock::Clock, metrics::Metrics};

/// What the endpoints need.
#[derive(Debug)]
pub struct Ops {
    pub look: Look,
    pub metrics: Metrics,
    pub clock: Clock,
    /// None: loopback alone.
    pub token: Option<SecretString>,
}

/// Serves until `stop`. The thread ends with it. Errors: the thread or its runtime can't be made.
pub fn start(ops: Ops, listener: TcpListener, stop: CancellationToken) -> io::Result<thread::JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let app = router(Arc::new(ops));
    thread::Builder::new().name("ops".into()).spawn(move || {
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            // Dropping the server closes what is idle or half-read: these answers are short, nothing is lost.
            tokio::select! {
                served = async { axum::serve(listener, app).await } => served,
                () = stop.cancelled() => Ok(()),
            }
        });
        if let Err(fault) = served {
            tracing::error!(%fault, "the ops listener ended; /health, /ready and /metrics are gone until a restart");
        }
    })
}

fn router(ops: Arc<Ops>) -> Router {
    let guarded = Router::new()
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(Arc::clone(&ops), guard));
    Router::new().route("/health", get(health)).merge(guarded).with_state(ops)
}

async fn guard(State(ops): State<Arc<Ops>>, request: Request, next: Next) -> Response {
    match &ops.token {
        Some(token) if !bears(request.headers(), token) => {
            let mut refused = text(StatusCode::UNAUTHORIZED, "send SENTINEL_OPS_TOKEN as a bearer token\n");
            refused.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            refused
        }
        None if !names_loopback(&request) => text(
            StatusCode::FORBIDDEN,
            "this host may not ask here; use localhost, or set SENTINEL_OPS_TOKEN and send it\n",
        ),
        Some(_) | None => next.run(request).await,
    }
}

fn bears(headers: &HeaderMap, token: &SecretString) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    sent.is_some_and(|sent| bool::from(sent.ct_eq(token.expose_secret().as_bytes())))
}

/// The port is not compared: container ports and tunnels change it.
fn names_loopback(request: &Request) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(authority) = host.to_str().unwrap_or_default().parse::<http::uri::Authority>() else { return false };
    matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]")
        && request.uri().authority().is_none_or(|asked| asked.host() == authority.host())
}

async fn health() -> &'static str {
    "ok\n"
}

async fn ready(State(ops): State<Arc<Ops>>) -> Response {
    let status = ops.look.status();
    let code = if status.unready().is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response(code, "application/json", told(&status).to_string())
}

fn told(status: &PlaneStatus) -> serde_json::Value {
    let backends: Vec<_> = status
        .backends
        .iter()
        .map(|backend| {
            json!({
                "name": backend.name,
                "kind": backend.kind,
                "state": backend.state,
                "reason": backend.reason,
                "breaker": backend.breaker,
                "tools": backend.tools,
            })
        })
        .collect();
    json!({
        "ready": status.unready().is_none(),
        "reason": status.unready(),
        "revision": status.revision,
        "epoch": status.kill_epoch,
        "source": status.source.as_str(),
        "backends": backends,
        "audit": {
            "backlog": status.audit_backlog,
            "written": status.audit_written,
            "dropped": status.audit_dropped,
        },
        "in_flight": status.in_flight,
        "warnings": status.warnings,
    })
}

async fn metrics(State(ops): State<Arc<Ops>>) -> Response {
    let now_ms = i64::try_from(ops.clock.now_micros() / 1000).unwrap_or(i64::MAX);
    match ops.metrics.render(&ops.look.status(), now_ms) {
        Ok(text) => response(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text),
        Err(fault) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics can't be written: {fault}\n")),
    }
}

fn text(code: StatusCode, body: impl Into<Body>) -> Response {
    response(code, "text/plain; charset=utf-8", body)
}

fn response(code: StatusCode, kind: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests;

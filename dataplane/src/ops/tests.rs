//! The endpoints as a scraper meets them.

use axum::{body::to_bytes, http::Request};
use sentinel_proto::v1::{BackendHealth, Catalogue};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;

fn app(status: PlaneStatus, token: Option<&str>) -> Router {
    router(Arc::new(Ops {
        look: Look::new(move || status.clone(), Catalogue::default, Default::default),
        metrics: Metrics::new().unwrap(),
        clock: Clock::system(),
        token: token.map(Into::into),
    }))
}

async fn ask(app: Router, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let code = response.status();
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (code, String::from_utf8(body.to_vec()).unwrap())
}

const LOCAL: (&str, &str) = ("host", "127.0.0.1:9201");

fn backend(state: &str) -> BackendHealth {
    BackendHealth { name: "n8n".into(), state: state.into(), ..BackendHealth::default() }
}

#[tokio::test]
async fn ready_says_what_is_missing() {
    let applied = PlaneStatus { revision: 3, ..PlaneStatus::default() };
    for (status, code, reason) in [
        (PlaneStatus::default(), 503, "no_snapshot"),
        (PlaneStatus { backends: vec![backend("down")], ..applied.clone() }, 503, "no_backend"),
        (PlaneStatus { is_draining: true, ..applied.clone() }, 503, "draining"),
        (PlaneStatus { is_starting: true, ..applied.clone() }, 503, "starting"),
        (PlaneStatus { backends: vec![backend("down"), backend("ready")], ..applied.clone() }, 200, ""),
        (applied, 200, ""),
    ] {
        let (told, body) = ask(app(status, None), "/ready", &[LOCAL]).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((told.as_u16(), body["reason"].as_str().unwrap_or("")), (code, reason), "{body}");
    }
}

#[tokio::test]
async fn a_foreign_host_is_refused_where_no_token_decides() {
    for path in ["/ready", "/metrics"] {
        assert_eq!(ask(app(PlaneStatus::default(), None), path, &[("host", "evil.example")]).await.0, 403);
        assert_eq!(ask(app(PlaneStatus::default(), None), path, &[LOCAL, ("host", "evil.example")]).await.0, 403);
    }
    assert_eq!(ask(app(PlaneStatus::default(), None), "/metrics", &[("host", "localhost:1")]).await.0, 200);
    assert_eq!(ask(app(PlaneStatus::default(), None), "/health", &[("host", "evil.example")]).await.0, 200);
}

#[tokio::test]
async fn with_a_token_the_token_decides_and_the_host_does_not() {
    let plane = || app(PlaneStatus::default(), Some("let me in"));
    let host = ("host", "plane:9201");
    assert_eq!(ask(plane(), "/metrics", &[host, ("authorization", "Bearer let me in")]).await.0, 200);
    assert_eq!(ask(plane(), "/metrics", &[host, ("authorization", "Bearer let me")]).await.0, 401);
    assert_eq!(ask(plane(), "/metrics", &[LOCAL]).await.0, 401);
    assert_eq!(ask(plane(), "/health", &[host]).await.0, 200);
}

//! The pooled HTTP client of one backend, and what its errors mean: never written, or broken on the way.
//!
//! No redirects, no proxies, no cookies: hyper-util's client has none of them. A connection that was found dead
//! before the first byte of a request is replaced by the client itself.

use std::{borrow::Cow, error::Error as _, future::Future, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Uri,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioTimer,
};
use tokio_util::task::TaskTracker;

use super::{addresses::Judging, fault::Fault};
use crate::{
    backend::spec::HttpSpec,
    workers::{self, Workers},
};

type Client = legacy::Client<HttpsConnector<HttpConnector<Judging>>, Full<Bytes>>;

/// Below the five seconds after which Node and uvicorn close an idle connection: so the end that closes is ours.
const IDLE: Duration = Duration::from_secs(4);
const CONNECT_LOOPBACK: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(3);

/// Connections are tasks of the plane's tracker.
#[derive(Clone, Debug)]
struct Owned(TaskTracker);

impl<F> hyper::rt::Executor<F> for Owned
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// A client for each worker, and one for what runs on none: a connection is driven by the worker that opened it.
pub(super) struct Clients {
    elsewhere: Client,
    of_workers: Box<[Client]>,
}

impl Clients {
    /// `idle`: connections that each keeps for later.
    pub(super) fn new(spec: &HttpSpec, idle: usize, tracker: &TaskTracker, workers: &Workers) -> Self {
        let fresh = || client(spec, idle, tracker.clone());
        Self { elsewhere: fresh(), of_workers: (0..workers.count()).map(|_| fresh()).collect() }
    }

    /// This thread's.
    pub(super) fn here(&self) -> &Client {
        workers::here().checked_sub(1).and_then(|at| self.of_workers.get(at)).unwrap_or(&self.elsewhere)
    }
}

fn client(spec: &HttpSpec, idle: usize, tracker: TaskTracker) -> Client {
    let mut http = HttpConnector::new_with_resolver(Judging::new(spec.allowed.clone()));
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(if is_loopback(&spec.url) { CONNECT_LOOPBACK } else { CONNECT }));
    let connector = hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config((*spec.tls).clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(http);
    legacy::Client::builder(Owned(tracker))
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(idle)
        .set_host(false)
        .build(connector)
}

/// What every request carries: the configured headers, `Host` as the URL says it, both kinds of answers accepted.
pub(super) fn base_headers(uri: &Uri, configured: &HeaderMap) -> HeaderMap {
    let mut headers = configured.clone();
    // Never resolved or rewritten: some servers serve `localhost` alone.
    if !headers.contains_key(HOST)
        && let Some(host) = uri.host()
        && let Ok(host) = match uri.port_u16() {
            Some(port) => HeaderValue::try_from(format!("{host}:{port}")),
            None => HeaderValue::try_from(host),
        }
    {
        headers.insert(HOST, host);
    }
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers
}

fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A request that got no answer's head.
pub(super) fn judge(error: &legacy::Error) -> Fault {
    // Given back by the connection: it was dead before the first byte.
    let given_back =
        error.source().and_then(|source| source.downcast_ref::<hyper::Error>()).is_some_and(hyper::Error::is_canceled);
    if error.is_connect() || given_back {
        Fault::Unreachable(cause(error))
    } else {
        Fault::Broken(Cow::Owned(format!("the connection broke before its answer ({})", cause(error))))
    }
}

/// The innermost cause, which says what happened; at most 200 characters, nothing unprintable.
fn cause(error: &legacy::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    printable(&innermost.to_string())
}

/// What a peer said, as it may be shown.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

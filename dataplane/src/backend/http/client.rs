//! The way to one HTTP backend: a pool of connections for each worker, the headers of every request, and what errors
//! mean: never written, or broken on the way. No redirects, no proxies, no cookies.

use std::{borrow::Cow, error::Error, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Uri,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    addresses::Judging,
    fault::Fault,
    pool::{Connector, Keep, Pool},
};
use crate::{
    backend::spec::HttpSpec,
    workers::{self, Workers},
};

/// Below the five seconds after which Node and uvicorn close an idle connection: so the end that closes is ours.
const IDLE: Duration = Duration::from_secs(4);
const CONNECT_LOOPBACK: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(3);

/// A pool for each worker, and one for what runs on none: a connection is driven by the worker that opened it.
pub(super) struct Clients {
    elsewhere: Arc<Pool>,
    of_workers: Box<[Arc<Pool>]>,
}

impl Clients {
    /// `idle`: connections that each keeps for later.
    pub(super) fn new(
        spec: &HttpSpec,
        idle: usize,
        tracker: &TaskTracker,
        workers: &Workers,
        halt: &CancellationToken,
    ) -> Self {
        let connector = connector(spec);
        let keep = Keep { most: idle, within: IDLE };
        let fresh = || Pool::new(connector.clone(), spec.url.clone(), keep, tracker.clone(), halt.clone());
        Self { elsewhere: fresh(), of_workers: (0..workers.count()).map(|_| fresh()).collect() }
    }

    /// This thread's.
    pub(super) fn here(&self) -> &Arc<Pool> {
        workers::here().checked_sub(1).and_then(|at| self.of_workers.get(at)).unwrap_or(&self.elsewhere)
    }
}

fn connector(spec: &HttpSpec) -> Connector {
    let mut http = HttpConnector::new_with_resolver(Judging::new(spec.allowed.clone()));
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_connect_timeout(Some(if is_loopback(&spec.url) { CONNECT_LOOPBACK } else { CONNECT }));
    hyper_rustls::HttpsConnectorBuilder::new()
        .with_tls_config((*spec.tls).clone())
        .https_or_http()
        .enable_http1()
        .wrap_connector(http)
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

/// Not a byte of a request was written.
pub(super) fn unreachable(error: &(dyn Error + 'static)) -> Fault {
    Fault::Unreachable(cause(error))
}

/// A request that was written, or may have been, and got no answer's head.
pub(super) fn broken(error: &hyper::Error) -> Fault {
    Fault::Cut(Cow::Owned(format!("the connection broke before its answer ({})", cause(error))))
}

/// The innermost cause, which says what happened; at most 200 characters, nothing unprintable.
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    printable(&innermost.to_string())
}

/// What a peer said, as it may be shown.
pub(super) fn printable(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

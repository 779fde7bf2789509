//! The accept loop: limits on connections, one hyper HTTP/1.1 connection each, a drain that answers what was asked.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Method, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    bare,
    body::{Reply, Timed},
    delete, get, head, modern, post,
    post::Known,
    refuse, resource,
    watch::{SWEEP, Watch, Watched, Watches},
};
use crate::{
    call::RequestId,
    denial::{Denial, NotReady},
    endpoint,
    metrics::{Connection, Shed},
    plane::Plane,
    stages::authn::Peer,
};

/// Bytes of a head; past it 431.
const HEAD_BYTES: usize = 64 * 1024;
const HEADERS: usize = 100;
/// Connections of one address that is not this machine.
const MOST_OF_A_PEER: usize = 128;
const MOST_OF_LOOPBACK: usize = 1_024;
/// Between two lines about connections that can't be accepted.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// What a descriptor shortage waits before the next accept.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug)]
struct Server {
    plane: Arc<Plane>,
    watches: Watches,
    connections: AtomicU64,
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Serves MCP on `listener` until `stop`: then it accepts no more, answers what is being asked, and returns when all
/// connections are gone. `most`: connections at once.
pub async fn serve(plane: Arc<Plane>, listener: TcpListener, most: usize, stop: CancellationToken) {
    let server = Arc::new(Server {
        plane,
        watches: Watches::new(),
        connections: AtomicU64::new(1),
        places: Arc::new(Semaphore::new(most)),
        stop: stop.clone(),
    });
    let sweeping = Arc::clone(&server);
    let connections = tokio_util::task::TaskTracker::new();
    let sweep_stop = CancellationToken::new();
    let sweeper = sweep_stop.clone();
    connections.spawn(async move {
        let mut ticks = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                () = sweeper.cancelled() => return,
                _ = ticks.tick() => sweeping.watches.sweep(|reason| sweeping.plane.metrics.shed(reason)),
            }
        }
    });
    let mut said: Option<Instant> = None;
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&server.places).acquire_owned() => match place { Ok(place) => place, Err(_) => break },
        };
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if server.is_crowded(peer.ip()) {
                        server.plane.metrics.shed(Shed::Connections);
                        continue;
                    }
                    // Given up here, to be taken over by the worker's own reactor.
                    let Ok(stream) = stream.into_std() else { continue };
                    server.plane.workers.spawn(&connections, connection(Arc::clone(&server), stream, peer, place));
                }
                Err(fault) => {
                    if said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
                        said = Some(Instant::now());
                        tracing::error!(%fault, "can't accept a connection; they wait, and are tried again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.close();
    // The sweep ends with the last connection, so that slow ones are still cut while the rest drains.
    while connections.len() > 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sweep_stop.cancel();
    connections.wait().await;
}

async fn connection(server: Arc<Server>, stream: std::net::TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
    let _place = place;
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let watch = server.watches.begin(peer.ip(), CancellationToken::new());
    let number = server.connections.fetch_add(1, Relaxed);
    let from = if peer.ip().is_loopback() { Peer::Connection(number) } else { Peer::Address(peer.ip()) };
    let service = {
        let (server, watch) = (Arc::clone(&server), watch.clone());
        service_fn(move |request| {
            let (server, watch) = (Arc::clone(&server), watch.clone());
            async move {
                let response = answer(&server, request, from, &watch).await;
                watch.answering();
                Ok::<_, Infallible>(response.map(|body| Timed::new(body, watch)))
            }
        })
    };
    let mut builder = http1::Builder::new();
    builder.max_headers(HEADERS).max_buf_size(HEAD_BYTES).half_close(false);
    let gauge = server.plane.metrics.connection(Connection::Active);
    let serving = builder.serve_connection(TokioIo::new(Watched::new(stream, watch.clone())), service);
    tokio::pin!(serving);
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            _ = &mut serving => break,
            () = watch.cut().cancelled() => break,
            () = server.stop.cancelled(), if !draining => {
                draining = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
    drop(gauge);
}

/// Nobody is known yet: counted, and in the minute's row of its peer.
fn not_ready(plane: &Plane, peer: Peer, reason: NotReady, id: RequestId) -> Response<Reply> {
    let denial = Denial::NotReady { reason };
    plane.metrics.refused(denial.row().recorded);
    plane.audit.stranger(peer, &denial);
    refuse(&denial, id)
}

/// Identity before bytes: everything here is judged from the head.
async fn answer(server: &Server, request: Request<Incoming>, peer: Peer, watch: &Watch) -> Response<Reply> {
    let id = RequestId::fresh();
    let plane = &server.plane;
    if head::shape(&request).is_err() {
        let mut response = bare(StatusCode::BAD_REQUEST, id);
        response.headers_mut().insert(header::CONNECTION, http::HeaderValue::from_static("close"));
        return response;
    }
    let path = request.uri().path();
    let document = resource::asked(path);
    let Some(endpoint) = document.or_else(|| endpoint::of_path(path)) else { return bare(StatusCode::NOT_FOUND, id) };
    if let Some(reason) = plane.not_ready() {
        return not_ready(plane, peer, reason, id);
    }
    let Some(view) = plane.views.load_full() else {
        return not_ready(plane, peer, NotReady::NoSnapshot, id);
    };
    let Some(view) = view.at(endpoint).cloned() else { return bare(StatusCode::NOT_FOUND, id) };
    if let Err(denial) = head::origin(request.headers(), &view.policy.gateway) {
        plane.metrics.shed(Shed::Origin);
        plane.audit.stranger(peer, &denial);
        return refuse(&denial, id);
    }
    if document.is_some() {
        return resource::document(&view, request.method(), id);
    }
    let mut tokens = request.headers().get_all(header::AUTHORIZATION).iter();
    let authorization = match (tokens.next(), tokens.next()) {
        (first, None) => first.map(http::HeaderValue::as_bytes),
        (_, Some(_)) => Some(&b""[..]), // two are none: a proxy before us may have judged the other one
    };
    let from = (peer, endpoint);
    let verified = match plane.tokens.authenticate(authorization, from, &view.policy.auth, plane.now()) {
        Ok(verified) => verified,
        Err(denial) => {
            plane.metrics.refused(denial.row().recorded);
            plane.audit.stranger(peer, &denial);
            return resource::refused(&denial, &view, id);
        }
    };
    let known = Known { view, verified, id };
    if known.view.policy.lacks_scope(known.verified.principal()) {
        let denial = Denial::InsufficientScope;
        known.record(plane, request.method().as_str(), &denial);
        return resource::refused(&denial, &known.view, id);
    }
    match *request.method() {
        Method::GET | Method::DELETE if modern::is_later(request.headers()) => not_allowed(id, "POST"),
        Method::POST => post::serve(plane, known, request, watch).await,
        Method::GET => get::serve(plane, &known, request.headers()),
        Method::DELETE => delete::serve(plane, &known, request.headers()),
        _ => not_allowed(id, "POST, GET, DELETE"),
    }
}

pub(super) fn not_allowed(id: RequestId, methods: &'static str) -> Response<Reply> {
    let mut response = bare(StatusCode::METHOD_NOT_ALLOWED, id);
    response.headers_mut().insert(header::ALLOW, http::HeaderValue::from_static(methods));
    response
}

impl Server {
    fn is_crowded(&self, peer: IpAddr) -> bool {
        // Counting walks the table: only where there are enough connections for it to matter.
        let most = if peer.is_loopback() { MOST_OF_LOOPBACK } else { MOST_OF_A_PEER };
        self.connections.load(Relaxed) > most as u64 && self.watches.count_of(peer) >= most
    }
}

/// Connections at once: 16 384, and no more than half of the descriptors.
pub fn most_connections() -> usize {
    let limit =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(1_024, |(soft, _)| soft);
    usize::try_from(limit / 2).unwrap_or(4_096).clamp(16, 16_384)
}

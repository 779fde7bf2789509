//! The example server over HTTP at `/mcp`. As Streamable HTTP: sessions, JSON answers, event streams where a call may
//! send notes (or always, when told), a GET stream for what belongs to no request. A client that hangs up cancels
//! nothing: the legacy era says so. As HTTP+SSE of 2024-11-05 it is in `old`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::old::{MESSAGES, Streams};
use super::{OUTBOX, Server, Session, Work, modern};

const SESSION_ID: &str = "mcp-session-id";

/// A socket that is bound and not yet served.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Port 0 is any free one. Errors: the address is not free or not ours.
    pub async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}; choose another address"))?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// For ever.
    pub async fn serve(self, server: Arc<Server>, way: Way) -> anyhow::Result<()> {
        let tasks = TaskTracker::new();
        let old = Streams::new(Arc::clone(&server), tasks.clone());
        let endpoint = Arc::new(Endpoint { server, way, sessions: Mutex::default(), old, tasks });
        loop {
            let (stream, _) = self.socket.accept().await?;
            let endpoint = Arc::clone(&endpoint);
            let tasks = endpoint.tasks.clone();
            tasks.spawn(async move {
                let service = service_fn(move |request| {
                    let endpoint = Arc::clone(&endpoint);
                    async move { Ok::<_, Infallible>(endpoint.answer(request).await) }
                });
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _peer_went = connection.await.is_err();
            });
        }
    }
}

/// How messages travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    /// Streamable HTTP.
    #[default]
    Streamable,
    /// The same, and each answer is an event stream, as those of the TypeScript servers are.
    AlwaysEvents,
    /// HTTP+SSE: answers come on the one stream of a session.
    Old,
}

pub(super) type Body = BoxBody<Bytes, Infallible>;

struct Endpoint {
    server: Arc<Server>,
    way: Way,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    old: Streams,
    tasks: TaskTracker,
}

impl Endpoint {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let is_there = request.uri().path() == "/mcp";
        if !is_there && (self.way != Way::Old || request.uri().path() != MESSAGES) {
            return empty(StatusCode::NOT_FOUND);
        }
        if let Some(sent) = request.headers().get("authorization") {
            let sent = serde_json::value::to_raw_value(&String::from_utf8_lossy(sent.as_bytes())).ok();
            self.server.log.write("authorization", "", "0", sent.as_deref());
        }
        let session_id = request.headers().get(SESSION_ID).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
        match *request.method() {
            Method::GET if self.way == Way::Old && is_there => self.old.open(),
            Method::POST if self.way == Way::Old && !is_there => self.old.take(request).await,
            _ if self.way == Way::Old => empty(StatusCode::METHOD_NOT_ALLOWED),
            Method::POST if self.server.is_modern => self.post_modern(request).await,
            _ if self.server.is_modern => empty(StatusCode::METHOD_NOT_ALLOWED),
            Method::DELETE => self.end(session_id.as_deref()),
            Method::GET => self.stream(session_id.as_deref()),
            Method::POST => self.post(request, session_id.as_deref()).await,
            _ => empty(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn session(&self, id: Option<&str>) -> Option<Arc<Session>> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(id?).cloned()
    }

    fn end(&self, id: Option<&str>) -> Response<Body> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = id.and_then(|id| sessions.remove(id));
        empty(if ended.is_some() { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
    }

    fn stream(&self, id: Option<&str>) -> Response<Body> {
        if self.session(id).is_none() {
            return empty(StatusCode::NOT_FOUND);
        }
        let (out, outbox) = mpsc::channel(OUTBOX);
        self.server.listen(out);
        events(outbox)
    }

    /// Each request by itself; a hang-up is its cancel.
    async fn post_modern(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let body = body.to_bytes();
        let text = String::from_utf8_lossy(&body);
        let headers: HashMap<String, String> = head
            .headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        self.server.log.write("headers", "", "0", serde_json::value::to_raw_value(&headers).ok().as_deref());
        let session = Session::new(Arc::clone(&self.server));
        let work = match modern::differs(&text, &headers) {
            Some(refusal) if text.contains(modern::REVISION) => Work::Answer(refusal),
            _ => session.accept(&text),
        };
        if work.is_nothing() {
            return empty(StatusCode::ACCEPTED);
        }
        let streams = self.way == Way::AlwaysEvents || work.streams();
        let (out, mut outbox) = mpsc::channel(OUTBOX);
        self.tasks.spawn(async move { Box::pin(session.run(work, &out)).await });
        if streams {
            return events(outbox);
        }
        let Some(answer) = outbox.recv().await else { return events(outbox) };
        let status = StatusCode::from_u16(modern::status(&answer)).unwrap_or_default();
        let mut response = json(answer);
        *response.status_mut() = status;
        response
    }

    async fn post(&self, request: Request<Incoming>, id: Option<&str>) -> Response<Body> {
        let Ok(body) = request.into_body().collect().await else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let body = body.to_bytes();
        let Ok(text) = std::str::from_utf8(&body) else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let begins = id.is_none() && text.contains(r#""initialize""#);
        let Some(session) = (if begins { Some(Session::new(Arc::clone(&self.server))) } else { self.session(id) })
        else {
            let status = if id.is_some() { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
            return empty(status);
        };
        let work = session.accept(text);
        if work.is_nothing() {
            return empty(StatusCode::ACCEPTED);
        }
        let streams = self.way == Way::AlwaysEvents || work.streams();
        let (out, mut outbox) = mpsc::channel(OUTBOX);
        let worker = Arc::clone(&session);
        self.tasks.spawn(async move { Box::pin(worker.run(work, &out)).await });
        let mut response = if streams {
            events(outbox)
        } else {
            // A cancelled call is not answered: its stream ends.
            match outbox.recv().await {
                Some(answer) => json(answer),
                None => events(outbox),
            }
        };
        if begins {
            let id = uuid::Uuid::new_v4().to_string();
            if let Ok(value) = HeaderValue::from_str(&id) {
                response.headers_mut().insert(SESSION_ID, value);
            }
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.insert(id, session);
        }
        response
    }
}

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed());
    *response.status_mut() = status;
    response
}

fn json(text: String) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn events(outbox: mpsc::Receiver<String>) -> Response<Body> {
    events_after(None, outbox)
}

/// `first`: an event before all messages.
pub(super) fn events_after(first: Option<String>, outbox: mpsc::Receiver<String>) -> Response<Body> {
    let messages = futures_util::stream::unfold(outbox, |mut outbox| async move {
        let message = outbox.recv().await?;
        Some((Bytes::from(format!("event: message\ndata: {message}\n\n")), outbox))
    });
    let frames = futures_util::stream::iter(first.map(Bytes::from)).chain(messages);
    let frames = frames.map(|event| Ok::<_, Infallible>(Frame::data(event)));
    let mut response = Response::new(BoxBody::new(StreamBody::new(frames)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

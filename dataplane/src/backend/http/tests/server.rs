//! A scripted MCP server on a free port: good in everything that a test does not take over.

use std::{
    collections::HashSet,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// One request as it came.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) http: Method,
    /// Path and query.
    pub(super) to: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
}

impl Heard {
    pub(super) fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What the script does with a request.
pub(super) enum Reply {
    /// What a good server does.
    Good,
    /// Status, content type, chunks.
    Body(u16, &'static str, Vec<Bytes>),
    /// The same, and then it never ends.
    Endless(u16, &'static str, Vec<Bytes>),
    /// Events as the test sends them, until it drops its end.
    Fed(mpsc::Receiver<String>),
    /// The body's second half comes as an error: the connection is cut.
    Cut(&'static str, Vec<Bytes>),
    /// No answer at all.
    Hang,
}

impl Reply {
    pub(super) fn json(value: &Value) -> Self {
        Self::Body(200, "application/json", vec![value.to_string().into()])
    }

    pub(super) fn events(events: &[String]) -> Self {
        Self::Body(200, "text/event-stream; charset=utf-8", events.iter().cloned().map(Bytes::from).collect())
    }
}

pub(super) fn event(data: &Value) -> String {
    format!("event: message\ndata: {data}\n\n")
}

type Script = Box<dyn Fn(&Heard) -> Reply + Send + Sync>;

struct Shared {
    script: Script,
    heard: Mutex<Vec<Heard>>,
    sessions: Mutex<HashSet<String>>,
    made: AtomicU64,
    connections: AtomicU64,
}

pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    over: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    pub(super) async fn start(script: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// On an address that another server may have left a moment ago.
    pub(super) async fn at(address: SocketAddr, script: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> Self {
        // With SO_REUSEADDR, as tokio sets it.
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            heard: Mutex::default(),
            sessions: Mutex::default(),
            made: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let (over, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(accept(listener, Arc::clone(&shared), over.clone(), tasks.clone()));
        Self { address, shared, over, tasks }
    }

    /// Closes all connections and the port; returns when they are closed.
    pub(super) async fn stop(self) -> SocketAddr {
        self.over.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.address
    }

    pub(super) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.lock().unwrap().clone()
    }

    pub(super) fn asked(&self, method: &str) -> Vec<Heard> {
        self.heard().into_iter().filter(|heard| heard.method() == method).collect()
    }

    pub(super) fn count(&self, method: &str) -> usize {
        self.heard().iter().filter(|heard| heard.method() == method).count()
    }

    pub(super) fn connections(&self) -> u64 {
        self.shared.connections.load(Relaxed)
    }

    pub(super) fn forget_sessions(&self) {
        self.shared.sessions.lock().unwrap().clear();
    }

    pub(super) fn has_sessions(&self) -> bool {
        !self.shared.sessions.lock().unwrap().is_empty()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, over: CancellationToken, tasks: TaskTracker) {
    loop {
        let stream = tokio::select! {
            () = over.cancelled() => return,
            accepted = listener.accept() => accepted.unwrap().0,
        };
        stream.set_nodelay(true).unwrap();
        shared.connections.fetch_add(1, Relaxed);
        let (shared, over) = (Arc::clone(&shared), over.clone());
        tasks.spawn(async move {
            let serve = service_fn(move |request| answer(Arc::clone(&shared), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), serve);
            over.run_until_cancelled(connection).await;
        });
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_or_else(|_cut| Bytes::new(), |whole| whole.to_bytes());
    let heard = Heard {
        http: head.method,
        to: head.uri.to_string(),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    shared.heard.lock().unwrap().push(heard.clone());
    let reply = (shared.script)(&heard);
    if matches!(reply, Reply::Hang) {
        std::future::pending::<()>().await;
    }
    let mut session = None;
    let reply = match reply {
        Reply::Good => good(&shared, &heard, &mut session),
        other => other,
    };
    let (status, kind, chunks, end) = match reply {
        Reply::Fed(fed) => {
            let frames = stream::unfold(fed, async |mut fed| {
                let event = fed.recv().await?;
                Some((Ok(Frame::data(Bytes::from(event))), fed))
            });
            let response = Response::builder().header("content-type", "text/event-stream");
            return Ok(response.body(StreamBody::new(frames).boxed_unsync()).unwrap());
        }
        Reply::Body(status, kind, chunks) => (status, kind, chunks, 0),
        Reply::Endless(status, kind, chunks) => (status, kind, chunks, 1),
        Reply::Cut(kind, chunks) => (200, kind, chunks, 2),
        Reply::Good | Reply::Hang => unreachable!("decided above"),
    };
    let chunks = chunks.into_iter().map(|chunk| Ok(Frame::data(chunk)));
    let body = match end {
        0 => stream::iter(chunks).boxed(),
        1 => stream::iter(chunks).chain(stream::pending()).boxed(),
        _ => {
            let cut = async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            };
            stream::iter(chunks).chain(stream::once(cut)).boxed()
        }
    };
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    if !kind.is_empty() {
        response = response.header("content-type", kind);
    }
    if let Some(id) = session {
        response = response.header("mcp-session-id", id);
    }
    Ok(response.body(StreamBody::new(body).boxed_unsync()).unwrap())
}

fn good(shared: &Shared, heard: &Heard, session: &mut Option<String>) -> Reply {
    let id = &heard.body["id"];
    let known = shared.sessions.lock().unwrap().contains(heard.header("mcp-session-id"));
    let result = |result: Value| Reply::json(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
    if heard.method() == "initialize" {
        let made = format!("s{}-{}", shared.made.fetch_add(1, Relaxed), std::process::id());
        shared.sessions.lock().unwrap().insert(made.clone());
        *session = Some(made);
        return result(json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {"listChanged": true}},
            "serverInfo": {"name": "scripted", "version": "7"},
        }));
    }
    if !known {
        return Reply::Body(404, "text/plain", vec![Bytes::from_static(b"who are you")]);
    }
    match (&heard.http, heard.method()) {
        (&Method::GET, _) => Reply::Body(405, "", vec![]),
        (&Method::DELETE, _) => {
            shared.sessions.lock().unwrap().remove(heard.header("mcp-session-id"));
            Reply::Body(200, "", vec![])
        }
        (_, "tools/list") => result(json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})),
        (_, "tools/call") => result(json!({"content": [], "structuredContent": heard.body["params"]["arguments"]})),
        (_, "ping") => result(json!({})),
        _ => Reply::Body(202, "", vec![]),
    }
}

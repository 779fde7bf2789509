//! Transports of the reference MCP server: Streamable HTTP and stdio.
use crate::mcp::{Answer, Claimed, Server};
use crate::net;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::io::{self, BufRead, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[derive(clap::Args)]
pub struct HttpArgs {
    #[arg(long)]
    port: u16,
    /// Tools in the catalogue: echo, big and sleep, padded up to this number
    #[arg(long, default_value_t = 1)]
    tools: usize,
    /// Open a session on initialize and refuse legacy requests that do not carry it
    #[arg(long)]
    sessions: bool,
    /// Answer requests with a single-event text/event-stream instead of application/json
    #[arg(long)]
    sse: bool,
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(clap::Args)]
pub struct StdioArgs {
    #[arg(long, default_value_t = 1)]
    tools: usize,
}

struct Shared {
    server: Server,
    sessions: bool,
    sse: bool,
    opened: AtomicU64,
}

static SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
static VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
static METHOD: HeaderName = HeaderName::from_static("mcp-method");
static NAME: HeaderName = HeaderName::from_static("mcp-name");

pub fn run_http(args: HttpArgs) -> Result<(), String> {
    let shared = Arc::new(Shared {
        server: Server::new(args.tools),
        sessions: args.sessions,
        sse: args.sse,
        opened: AtomicU64::new(0),
    });
    let make = move || {
        let shared = Rc::new(shared.clone());
        move |stream| {
            let shared = shared.clone();
            async move {
                let service = service_fn(move |request| {
                    let shared = shared.clone();
                    async move { Ok::<_, Infallible>(answer(&shared, request).await) }
                });
                let _ =
                    http1::Builder::new().pipeline_flush(true).serve_connection(TokioIo::new(stream), service).await;
            }
        }
    };
    net::serve(args.port, args.threads, make).map_err(|error| format!("port {}: {error}", args.port))
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

async fn answer(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if head.uri.path() == "/health" {
        return plain(StatusCode::OK);
    }
    if head.method == Method::DELETE {
        return plain(StatusCode::OK);
    }
    if head.method != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(body) = body.collect().await else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let body = body.to_bytes();
    let header = |name: &HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
    let claimed = Claimed { version: header(&VERSION), method: header(&METHOD), name: header(&NAME) };
    let mut opened = None;
    let modern = claimed.version == Some(crate::mcp::MODERN);
    let reply = match shared.server.handle(&body, Some(&claimed)) {
        Answer::Initialized(reply) => {
            if shared.sessions {
                opened = Some(format!("s-{:08}", shared.opened.fetch_add(1, Ordering::Relaxed)));
            }
            reply
        }
        _ if shared.sessions && !modern && !known(shared, header(&SESSION)) => {
            return plain(if header(&SESSION).is_some() { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST });
        }
        Answer::Accepted => return plain(StatusCode::ACCEPTED),
        Answer::Reply(reply) => reply,
        Answer::Later(ms, reply) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            reply
        }
        Answer::Bad(reply) => {
            let mut response = Response::new(Full::new(Bytes::from(reply)));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            return response;
        }
    };
    let (kind, reply) = if shared.sse {
        let mut event = Vec::with_capacity(reply.len() + 32);
        event.extend_from_slice(b"event: message\ndata: ");
        event.extend_from_slice(&reply);
        event.extend_from_slice(b"\n\n");
        ("text/event-stream", event)
    } else {
        ("application/json", reply)
    };
    let mut response = Response::new(Full::new(Bytes::from(reply)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(session) = opened {
        response.headers_mut().insert(SESSION.clone(), HeaderValue::from_str(&session).unwrap());
    }
    response
}

fn known(shared: &Shared, session: Option<&str>) -> bool {
    session
        .and_then(|session| session.strip_prefix("s-"))
        .and_then(|number| number.parse::<u64>().ok())
        .is_some_and(|number| number < shared.opened.load(Ordering::Relaxed))
}

pub fn run_stdio(args: StdioArgs) -> Result<(), String> {
    let server = Server::new(args.tools);
    let mut input = io::BufReader::with_capacity(1 << 20, io::stdin());
    let mut line = Vec::new();
    let write = |mut reply: Vec<u8>| {
        reply.push(b'\n');
        let mut out = io::stdout().lock();
        let _ = out.write_all(&reply).and_then(|()| out.flush());
    };
    loop {
        line.clear();
        if input.read_until(b'\n', &mut line).map_err(|error| error.to_string())? == 0 {
            return Ok(());
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match server.handle(&line, None) {
            Answer::Accepted => {}
            Answer::Reply(reply) | Answer::Initialized(reply) | Answer::Bad(reply) => write(reply),
            Answer::Later(ms, reply) => {
                std::thread::spawn(move || {
                    std::thread::sleep(Duration::from_millis(ms));
                    write(reply);
                });
            }
        }
    }
}

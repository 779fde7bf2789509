//! The bare reference for stdio backends: one child process, each POST body written to it as one
//! line, each line it says sent back to whoever sent that id. Ids are not rewritten: callers must
//! use different ones (as `load` does). A gateway has to do better than that; this is the floor.
use crate::mcp::Request as Message;
use crate::net;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::process::Stdio;
use std::rc::Rc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{Mutex, oneshot};

#[derive(clap::Args)]
pub struct Args {
    #[arg(long)]
    port: u16,
    /// The backend's program and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

struct Bridge {
    input: Mutex<ChildStdin>,
    waiting: RefCell<HashMap<String, oneshot::Sender<Bytes>>>,
}

pub fn run(args: Args) -> Result<(), String> {
    net::run_local(serve(args)).map_err(|error| error.to_string())
}

async fn serve(args: Args) -> std::io::Result<()> {
    let mut child = Command::new(&args.command[0])
        .args(&args.command[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(std::io::Error::other("no pipes"));
    };
    let bridge = Rc::new(Bridge { input: Mutex::new(input), waiting: RefCell::default() });
    let reader = bridge.clone();
    tokio::task::spawn_local(async move {
        let mut output = BufReader::with_capacity(1 << 16, output);
        let mut line = Vec::new();
        while matches!(output.read_until(b'\n', &mut line).await, Ok(1..)) {
            let whole = Bytes::from(std::mem::take(&mut line));
            let id = serde_json::from_slice::<Message<'_>>(&whole).ok().and_then(|message| message.id);
            if let Some(caller) = id.and_then(|id| reader.waiting.borrow_mut().remove(id.get())) {
                let _ = caller.send(whole);
            }
        }
        eprintln!("the backend has closed its output");
        std::process::exit(1);
    });
    let listener = net::listen(args.port)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let _ = stream.set_nodelay(true);
        let bridge = bridge.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| {
                let bridge = bridge.clone();
                async move { Ok::<_, Infallible>(answer(&bridge, request).await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(bridge: &Bridge, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let plain = |status| {
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        response
    };
    if request.method() != Method::POST {
        return plain(if request.uri().path() == "/health" { StatusCode::OK } else { StatusCode::METHOD_NOT_ALLOWED });
    }
    let Ok(body) = request.into_body().collect().await else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let mut line = Vec::from(body.to_bytes());
    let Ok(message) = serde_json::from_slice::<Message<'_>>(&line) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let pending = message.id.map(RawValue::get).map(|id| {
        let (caller, answer) = oneshot::channel();
        bridge.waiting.borrow_mut().insert(id.to_owned(), caller);
        answer
    });
    line.push(b'\n');
    if bridge.input.lock().await.write_all(&line).await.is_err() {
        return plain(StatusCode::BAD_GATEWAY);
    }
    let Some(pending) = pending else {
        return plain(StatusCode::ACCEPTED);
    };
    match pending.await {
        Ok(reply) => {
            let mut response = Response::new(Full::new(reply));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(_) => plain(StatusCode::BAD_GATEWAY),
    }
}

//! The bare reference: forwards every request to one upstream over kept-alive connections and
//! does nothing else. No parsing of the body, no logging, no policy.
use crate::net;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;
use tokio::net::TcpStream;

#[derive(clap::Args)]
pub struct Args {
    #[arg(long)]
    port: u16,
    /// Upstream, e.g. http://127.0.0.1:9100 (its path is ignored: the caller's path is kept)
    #[arg(long)]
    to: String,
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

type Pool = RefCell<Vec<SendRequest<Incoming>>>;

struct Upstream {
    address: String,
    host: HeaderValue,
    idle: Pool,
}

pub fn run(args: Args) -> Result<(), String> {
    let target = net::parse_url(&args.to)?;
    let host = HeaderValue::from_str(&target.authority).map_err(|error| error.to_string())?;
    let make = move || {
        let upstream =
            Rc::new(Upstream { address: target.address.clone(), host: host.clone(), idle: RefCell::default() });
        move |stream| {
            let upstream = upstream.clone();
            async move {
                let service = service_fn(move |request| {
                    let upstream = upstream.clone();
                    async move { Ok::<_, Infallible>(forward(&upstream, request).await) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        }
    };
    net::serve(args.port, args.threads, make).map_err(|error| format!("port {}: {error}", args.port))
}

/// Takes a connection that is free now, or opens one. A connection goes back to the pool as soon
/// as its response head is here; it counts as free again once the response body has been read.
async fn connection(upstream: &Upstream) -> Result<SendRequest<Incoming>, Box<dyn std::error::Error>> {
    {
        let mut idle = upstream.idle.borrow_mut();
        idle.retain(|sender| !sender.is_closed());
        if let Some(free) = idle.iter().position(SendRequest::is_ready) {
            return Ok(idle.swap_remove(free));
        }
    }
    let stream = TcpStream::connect(&upstream.address).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    sender.ready().await?;
    Ok(sender)
}

async fn forward(upstream: &Upstream, mut request: Request<Incoming>) -> Response<BoxBody<Bytes, hyper::Error>> {
    request.headers_mut().insert(HOST, upstream.host.clone());
    request.headers_mut().remove(CONNECTION);
    if let Some(path) = request.uri().path_and_query() {
        *request.uri_mut() = Uri::from(path.clone());
    }
    let outcome = match connection(upstream).await {
        Ok(mut sender) => match sender.send_request(request).await {
            Ok(response) => {
                upstream.idle.borrow_mut().push(sender);
                Ok(response)
            }
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(mut response) => {
            response.headers_mut().remove(CONNECTION);
            response.map(BodyExt::boxed)
        }
        Err(error) => {
            eprintln!("upstream: {error}");
            let mut response = Response::new(Empty::new().map_err(|never| match never {}).boxed());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}

//! Listening sockets and the one-runtime-per-thread server loop shared by `backend` and `proxy`.
use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;

pub fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    socket.listen(4096)
}

/// Runs `threads` single-threaded runtimes and gives them the connections in turn, so that the
/// load is spread evenly however few connections there are. Each connection goes to a handler
/// that is made once per thread: with its own pool, and nothing shared.
pub fn serve<S, M, H>(port: u16, threads: usize, make: M) -> io::Result<()>
where
    S: Fn(TcpStream) -> H + 'static,
    M: Fn() -> S + Send + Clone + 'static,
    H: Future<Output = ()> + 'static,
{
    let mut workers = Vec::new();
    for _ in 1..threads.max(1) {
        let make = make.clone();
        let (give, mut take) = mpsc::unbounded_channel::<std::net::TcpStream>();
        workers.push(give);
        std::thread::spawn(move || {
            run_local(async move {
                let handler = make();
                while let Some(stream) = take.recv().await {
                    tokio::task::spawn_local(handler(TcpStream::from_std(stream)?));
                }
                Ok(())
            })
        });
    }
    // The first runtime accepts for all of them.
    run_local(async move {
        let listener = listen(port)?;
        let handler = make();
        for turn in 0.. {
            let (stream, _) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    eprintln!("accept: {error}");
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            match workers.get(turn % (workers.len() + 1)) {
                Some(worker) => {
                    let _ = worker.send(stream.into_std()?);
                }
                None => {
                    tokio::task::spawn_local(handler(stream));
                }
            }
        }
        Ok(())
    })
}

pub fn run_local(task: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, task)
}

/// `http://host:port/path` taken apart. Only plain HTTP: every process here is on loopback.
#[derive(Clone, Debug)]
pub struct Target {
    pub authority: String,
    pub address: String,
    pub path: String,
}

pub fn parse_url(url: &str) -> Result<Target, String> {
    let uri: hyper::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    if uri.scheme_str() != Some("http") {
        return Err(format!("{url}: only http:// is supported"));
    }
    let host = uri.host().ok_or_else(|| format!("{url}: no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    Ok(Target {
        authority: format!("{host}:{port}"),
        address: format!("{host}:{port}"),
        path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
    })
}

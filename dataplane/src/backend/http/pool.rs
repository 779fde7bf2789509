//! The connections of one worker to one HTTP backend: the newest idle one is taken, or one is made.
//!
//! A call costs a `Vec` pop and push under a lock that nobody else wants: no task, no timer, no look-up. A connection
//! goes back when its answer's body is let go, read to its end.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    client::conn::http1::{self, SendRequest},
};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

use super::{addresses::Judging, client, fault::Fault};

pub(super) type Connector = HttpsConnector<HttpConnector<Judging>>;
type Sender = SendRequest<Full<Bytes>>;

/// For name, connection and TLS handshake together.
const CONNECT: Duration = Duration::from_secs(10);

/// What is kept for later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// Idle connections, at most.
    pub(super) most: usize,
    /// How long each may be idle.
    pub(super) within: Duration,
}

pub(super) struct Pool {
    connector: Connector,
    uri: Uri,
    keep: Keep,
    idle: Mutex<Idle>,
    /// Connections are tasks of the plane's tracker.
    tracker: TaskTracker,
    /// The end of the link.
    halt: CancellationToken,
}

#[derive(Default)]
struct Idle {
    /// The newest last.
    kept: Vec<(Sender, Instant)>,
    /// A task looks for those that have been idle for too long.
    is_swept: bool,
}

impl Pool {
    pub(super) fn new(
        connector: Connector,
        uri: Uri,
        keep: Keep,
        tracker: TaskTracker,
        halt: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self { connector, uri, keep, idle: Mutex::default(), tracker, halt })
    }

    /// One request, to the head of its answer. Cancel safe: dropped, its connection is closed.
    ///
    /// Errors: `Unreachable` where not a byte was written; else `Cut`.
    pub(super) async fn send(self: &Arc<Self>, mut request: Request<Full<Bytes>>) -> Result<Response<Lent>, Fault> {
        while let Some(mut sender) = self.take().await {
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.lend(response, sender)),
                Err(mut error) => match error.take_message() {
                    // It was dead before the first byte.
                    Some(unsent) => request = unsent,
                    None => return Err(client::broken(&error.into_error())),
                },
            }
        }
        let mut sender = Box::pin(self.connect()).await?;
        match sender.try_send_request(request).await {
            Ok(response) => Ok(self.lend(response, sender)),
            Err(error) if error.message().is_some() => Err(client::unreachable(&error.into_error())),
            Err(error) => Err(client::broken(&error.into_error())),
        }
    }

    /// The connection that was used last, of those that live.
    async fn take(&self) -> Option<Sender> {
        loop {
            let (mut sender, since) = self.idle().kept.pop()?;
            if since.elapsed() >= self.keep.within {
                // Older ones lie below.
                self.idle().kept.clear();
                return None;
            }
            if sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    async fn connect(&self) -> Result<Sender, Fault> {
        let made = async {
            let io =
                self.connector.clone().call(self.uri.clone()).await.map_err(|error| client::unreachable(&*error))?;
            http1::handshake(io).await.map_err(|error| client::unreachable(&error))
        };
        let made = timeout(CONNECT, made).await;
        let (sender, connection) =
            made.unwrap_or_else(|_late| Err(Fault::Unreachable("no connection within 10 s".to_owned())))?;
        self.tracker.spawn(async move {
            // What broke it is told to whoever waits for an answer on it.
            connection.await.ok();
        });
        Ok(sender)
    }

    fn lend(self: &Arc<Self>, response: Response<Incoming>, sender: Sender) -> Response<Lent> {
        response.map(|body| Lent { body, is_read: false, of: Some((sender, Arc::clone(self))) })
    }

    fn give_back(self: &Arc<Self>, sender: Sender) {
        if sender.is_closed() || self.halt.is_cancelled() {
            return;
        }
        let mut idle = self.idle();
        if idle.kept.len() >= self.keep.most {
            return;
        }
        idle.kept.push((sender, Instant::now()));
        if !mem::replace(&mut idle.is_swept, true) {
            drop(idle);
            self.sweep();
        }
    }

    /// Lets go of what has been idle for too long, until nothing is.
    fn sweep(self: &Arc<Self>) {
        let (pool, halt, within) = (Arc::downgrade(self), self.halt.clone(), self.keep.within);
        let sweep = async move {
            loop {
                let is_halted = timeout(within, halt.cancelled()).await.is_ok();
                let Some(pool) = pool.upgrade() else { return };
                let mut idle = pool.idle();
                idle.kept.retain(|(sender, since)| !is_halted && !sender.is_closed() && since.elapsed() < within);
                if idle.kept.is_empty() {
                    idle.is_swept = false;
                    return;
                }
            }
        };
        self.tracker.spawn(sweep);
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of an answer, with the connection that it comes on.
pub(super) struct Lent {
    body: Incoming,
    /// It said that it is over. A body of known length may be so without having said it.
    is_read: bool,
    of: Option<(Sender, Arc<Pool>)>,
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.is_read |= matches!(frame, Poll::Ready(None));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.is_read || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some((mut sender, pool)) = self.of.take() else { return };
        if self.is_end_stream() {
            pool.give_back(sender);
        } else if tokio::runtime::Handle::try_current().is_ok() {
            // hyper reads on if the rest is there, and closes the connection if it is not.
            let tracker = pool.tracker.clone();
            tracker.spawn(async move {
                if sender.ready().await.is_ok() {
                    pool.give_back(sender);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http_body_util::BodyExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::backend::http::addresses::Allowed;

    const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    const BEGUN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no";

    fn pool(to: SocketAddr, most: usize, within: Duration) -> (Arc<Pool>, CancellationToken) {
        let halt = CancellationToken::new();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config((*crate::backend::http::tls::settings(None, None).unwrap()).clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector({
                let mut http = HttpConnector::new_with_resolver(Judging::new(Allowed::default()));
                http.enforce_http(false);
                http
            });
        let uri = format!("http://{to}/").parse().unwrap();
        (Pool::new(connector, uri, Keep { most, within }, TaskTracker::new(), halt.clone()), halt)
    }

    fn request() -> Request<Full<Bytes>> {
        Request::builder().uri("/").header("host", "here").body(Full::default()).unwrap()
    }

    /// Reads a request's head, answers it.
    async fn serve(stream: &mut TcpStream, answer: &str) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(answer.as_bytes()).await.unwrap();
    }

    async fn is_closed(stream: &mut TcpStream) -> bool {
        stream.read(&mut [0; 1]).await.map_or(true, |read| read == 0)
    }

    async fn read(response: Response<Lent>) -> Bytes {
        response.into_body().collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn a_connection_whose_answer_was_read_carries_the_next_request() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, _halt) = pool(listener.local_addr().unwrap(), 4, Duration::from_secs(60));
        let server = TaskTracker::new().spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..3 {
                serve(&mut stream, WHOLE).await;
            }
        });
        for _ in 0..3 {
            assert_eq!(read(pool.send(request()).await.unwrap()).await, "ok");
        }
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_whose_answer_was_left_unread_is_closed_and_the_next_request_has_another() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, _halt) = pool(listener.local_addr().unwrap(), 4, Duration::from_secs(60));
        let server = TaskTracker::new().spawn(async move {
            let (mut first, _) = listener.accept().await.unwrap();
            serve(&mut first, BEGUN).await;
            assert!(is_closed(&mut first).await);
            let (mut second, _) = listener.accept().await.unwrap();
            serve(&mut second, WHOLE).await;
        });
        drop(pool.send(request()).await.unwrap());
        assert_eq!(read(pool.send(request()).await.unwrap()).await, "ok");
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_its_server_closed_costs_the_next_request_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, _halt) = pool(listener.local_addr().unwrap(), 4, Duration::from_secs(60));
        let server = TaskTracker::new().spawn(async move {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.unwrap();
                serve(&mut stream, WHOLE).await;
            }
        });
        for _ in 0..2 {
            assert_eq!(read(pool.send(request()).await.unwrap()).await, "ok");
        }
        server.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_idle_for_too_long_or_too_many_or_after_the_end_is_closed_from_here() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let accepted = async |pool: &Arc<Pool>| {
            let (sent, mut stream) = tokio::join!(pool.send(request()), async {
                let (mut stream, _) = listener.accept().await.unwrap();
                serve(&mut stream, WHOLE).await;
                stream
            });
            assert_eq!(read(sent.unwrap()).await, "ok");
            stream.flush().await.unwrap();
            stream
        };
        let (short, _halt) = pool(to, 4, Duration::from_millis(20));
        assert!(is_closed(&mut accepted(&short).await).await);
        let (none, _halt) = pool(to, 0, Duration::from_secs(60));
        assert!(is_closed(&mut accepted(&none).await).await);
        let (ended, halt) = pool(to, 4, Duration::from_secs(60));
        let mut stream = accepted(&ended).await;
        halt.cancel();
        assert!(is_closed(&mut stream).await);
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable_and_a_hang_up_before_the_answer_is_broken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, _halt) = pool(listener.local_addr().unwrap(), 4, Duration::from_secs(60));
        let (sent, ()) = tokio::join!(pool.send(request()), async {
            let (mut stream, _) = listener.accept().await.unwrap();
            serve(&mut stream, "").await;
        });
        assert!(matches!(sent, Err(Fault::Cut(_))));
        drop(listener);
        assert!(matches!(pool.send(request()).await, Err(Fault::Unreachable(_))));
    }
}

//! A way through which bytes pass as long as the test wants them to: delayed, dripping, held, cut, half closed, reset,
//! overtaken by others. It knows no HTTP; small messages come whole, because each is one write.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::port::Port;

/// What happens to everything that passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Each message that much later.
    Delay(Duration),
    /// So many bytes at a time, with that much between.
    Drip(usize, Duration),
    /// Nothing passes; what came is kept.
    Hold,
    /// New connections are reset at once.
    Refuse,
    /// Every other message waits until one of another connection has passed it, or a moment has gone.
    Overtake,
}

/// What happens once, to all connections that are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Closed on both sides.
    Cut,
    /// Towards the server nothing more is said; its words still pass.
    HalfClose,
    Reset,
}

const OVERTAKEN_FOR: Duration = Duration::from_millis(150);
const CHUNK: usize = 64 << 10;

/// Ends with all its connections when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    fault: watch::Sender<Fault>,
    acts: broadcast::Sender<Act>,
    over: CancellationToken,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    to: String,
    open: AtomicUsize,
    passed: watch::Sender<u64>,
}

impl Proxy {
    /// `to`: `127.0.0.1:PORT`; it need not listen yet.
    #[must_use]
    pub fn start(to: &str) -> Self {
        let port = Port::free();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], port.number()))).unwrap();
        let listener = socket.listen(1024).unwrap();
        let (fault, acts) = (watch::Sender::new(Fault::None), broadcast::Sender::new(16));
        let shared = Arc::new(Shared { to: to.into(), open: AtomicUsize::new(0), passed: watch::Sender::new(0) });
        let over = CancellationToken::new();
        let tasks = TaskTracker::new();
        let accepting = accept(listener, Arc::clone(&shared), fault.clone(), acts.clone(), tasks.clone(), over.clone());
        tasks.spawn(over.clone().run_until_cancelled_owned(accepting));
        Self { port, fault, acts, over, shared }
    }

    /// `127.0.0.1:PORT`
    #[must_use]
    pub fn address(&self) -> String {
        self.port.address()
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address())
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Now. Nobody connected: nothing.
    pub fn act(&self, act: Act) {
        let _nobody = self.acts.send(act).is_err();
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    shared: Arc<Shared>,
    fault: watch::Sender<Fault>,
    acts: broadcast::Sender<Act>,
    tasks: TaskTracker,
    over: CancellationToken,
) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if *fault.borrow() == Fault::Refuse {
            reset(client);
            continue;
        }
        let (shared, faults, acts) = (Arc::clone(&shared), fault.subscribe(), acts.subscribe());
        let over = over.clone();
        tasks.spawn(async move {
            shared.open.fetch_add(1, Ordering::Relaxed);
            over.run_until_cancelled(carry(client, &shared, faults, acts)).await;
            shared.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

fn reset(stream: TcpStream) {
    let _gone = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).is_err();
    drop(stream);
}

async fn carry(client: TcpStream, shared: &Shared, fault: watch::Receiver<Fault>, mut acts: broadcast::Receiver<Act>) {
    let Ok(server) = TcpStream::connect(&shared.to).await else { return reset(client) };
    let _slow = (client.set_nodelay(true).is_err(), server.set_nodelay(true).is_err());
    let (client_says, client_hears) = client.into_split();
    let (server_says, server_hears) = server.into_split();
    let hush = CancellationToken::new();
    let both = async {
        tokio::join!(
            hush.run_until_cancelled(pump(client_says, &server_hears, shared, fault.clone())),
            pump(server_says, &client_hears, shared, fault),
        )
    };
    let acted = async {
        while let Ok(act) = acts.recv().await {
            match act {
                Act::HalfClose => {
                    hush.cancel();
                    let half = socket2::SockRef::from(server_hears.as_ref());
                    let _gone = half.shutdown(std::net::Shutdown::Write).is_err();
                }
                other => return other,
            }
        }
        std::future::pending().await
    };
    let ended = tokio::select! {
        _both = both => None,
        act = acted => Some(act),
    };
    if ended == Some(Act::Reset) {
        for half in [&client_hears, &server_hears] {
            let _gone = socket2::SockRef::from(half.as_ref()).set_linger(Some(Duration::ZERO)).is_err();
        }
    }
    // Written halves tell the peer of their end when they are dropped, both of them together the socket's.
}

/// One direction, to its end.
async fn pump(mut from: OwnedReadHalf, to: &OwnedWriteHalf, shared: &Shared, mut fault: watch::Receiver<Fault>) {
    let mut chunk = vec![0; CHUNK];
    let mut turn = 0_u64;
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        let message = &chunk[..count];
        turn += 1;
        let now = *fault.borrow_and_update();
        let written = match now {
            Fault::None | Fault::Refuse => all(to, message).await,
            Fault::Delay(by) => {
                tokio::time::sleep(by).await;
                all(to, message).await
            }
            Fault::Drip(bytes, pause) => drip(to, message, bytes, pause).await,
            Fault::Hold => {
                if fault.wait_for(|fault| *fault != Fault::Hold).await.is_err() {
                    return;
                }
                all(to, message).await
            }
            Fault::Overtake => {
                if turn % 2 == 1 {
                    let mut passed = shared.passed.subscribe();
                    let _nobody = tokio::time::timeout(OVERTAKEN_FOR, passed.changed()).await.is_err();
                }
                all(to, message).await
            }
        };
        shared.passed.send_modify(|count| *count += 1);
        if !written {
            break;
        }
    }
    let _gone = socket2::SockRef::from(to.as_ref()).shutdown(std::net::Shutdown::Write).is_err();
}

/// By the socket itself: both directions may speak of one half.
async fn all(to: &OwnedWriteHalf, mut message: &[u8]) -> bool {
    while !message.is_empty() {
        if to.writable().await.is_err() {
            return false;
        }
        match to.try_write(message) {
            Ok(count) => message = &message[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
    true
}

async fn drip(to: &OwnedWriteHalf, message: &[u8], bytes: usize, pause: Duration) -> bool {
    for piece in message.chunks(bytes) {
        if !all(to, piece).await {
            return false;
        }
        tokio::time::sleep(pause).await;
    }
    true
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::super::until::{holds, until};
    use super::*;

    /// A server that gives back what it hears.
    async fn parrot() -> (String, TaskTracker) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tasks = TaskTracker::new();
        let each = tasks.clone();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                each.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ended = tokio::io::copy(&mut from, &mut to).await.is_err();
                });
            }
        });
        (address, tasks)
    }

    async fn echoes(stream: &mut TcpStream, said: &[u8]) -> std::io::Result<()> {
        stream.write_all(said).await?;
        let mut heard = vec![0; said.len()];
        stream.read_exact(&mut heard).await?;
        assert_eq!(heard, said);
        Ok(())
    }

    #[tokio::test]
    async fn each_fault_is_what_its_name_says() {
        let (address, _tasks) = parrot().await;
        let proxy = Proxy::start(&address);
        let mut one = TcpStream::connect(proxy.address()).await.unwrap();
        for fault in [
            Fault::None,
            Fault::Delay(Duration::from_millis(30)),
            Fault::Drip(2, Duration::from_millis(1)),
            Fault::Overtake,
        ] {
            proxy.set(fault);
            echoes(&mut one, b"a message").await.unwrap();
        }
        proxy.set(Fault::Hold);
        one.write_all(b"kept").await.unwrap();
        let mut heard = [0; 4];
        assert!(tokio::time::timeout(Duration::from_millis(100), one.read_exact(&mut heard)).await.is_err());
        proxy.set(Fault::None);
        one.read_exact(&mut heard).await.unwrap();

        proxy.act(Act::Reset);
        until("the reset arrives", async || holds(echoes(&mut one, b"x").await.is_err())).await;
        proxy.set(Fault::Refuse);
        let mut two = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(echoes(&mut two, b"x").await.is_err());
        until("all are closed", async || holds(proxy.open() == 0)).await;
    }

    #[tokio::test]
    async fn a_half_close_ends_what_the_client_says_and_not_what_it_hears() {
        let (address, _tasks) = parrot().await;
        let proxy = Proxy::start(&address);
        let mut one = TcpStream::connect(proxy.address()).await.unwrap();
        echoes(&mut one, b"before").await.unwrap();
        proxy.act(Act::HalfClose);
        // The parrot hears the end, and ends: that passes back as the end, not as a reset.
        let mut rest = Vec::new();
        assert_eq!(one.read_to_end(&mut rest).await.unwrap(), 0);
        proxy.act(Act::Cut);
        until("it is closed", async || holds(proxy.open() == 0)).await;
    }
}

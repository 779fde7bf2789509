//! Time limits of connections without a timer a request: each connection says what it is doing since when, and one
//! sweep looks (`reliability.md` 4.1; a tokio timer a call costs 3–4 µs, `hot-path.md` 2).

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::metrics::Shed;

/// Seconds.
const HEAD: u32 = 10;
const BODY: u32 = 30;
const IDLE: u32 = 75;
const WRITE: u32 = 30;
/// After this time a body must have brought `SLOWEST` a second.
const BODY_GRACE: u32 = 5;
const SLOWEST: u64 = 1024;
pub(super) const SWEEP: Duration = Duration::from_millis(500);

const DOING_IDLE: u8 = 0;
const DOING_HEAD: u8 = 1;
const DOING_BODY: u8 = 2;
const DOING_ANSWER: u8 = 3;

/// What one connection is doing; shared by its socket, its handler and the sweep.
#[derive(Clone, Debug)]
pub(super) struct Watch(Arc<State>);

#[derive(Debug)]
struct State {
    doing: AtomicU8,
    /// Seconds after the table's origin.
    since: AtomicU32,
    /// When a write began to wait, plus one; 0: none waits.
    stuck: AtomicU32,
    bytes: AtomicU64,
    now: Arc<AtomicU32>,
    cut: CancellationToken,
    peer: IpAddr,
}

impl Watch {
    fn set(&self, doing: u8) {
        self.0.since.store(self.0.now.load(Relaxed), Relaxed);
        self.0.bytes.store(0, Relaxed);
        self.0.doing.store(doing, Relaxed);
    }

    /// A head is read, its body is next.
    pub(super) fn body(&self) {
        self.set(DOING_BODY);
    }

    pub(super) fn answering(&self) {
        self.set(DOING_ANSWER);
    }

    /// The answer is out.
    pub(super) fn idle(&self) {
        self.set(DOING_IDLE);
    }

    /// Ends the connection where it stands.
    pub(super) fn cut(&self) -> &CancellationToken {
        &self.0.cut
    }
}

/// All connections of a listener.
#[derive(Debug)]
pub(super) struct Watches {
    held: Mutex<Vec<Weak<State>>>,
    now: Arc<AtomicU32>,
    origin: Instant,
}

impl Watches {
    pub(super) fn new() -> Self {
        Self { held: Mutex::default(), now: Arc::default(), origin: Instant::now() }
    }

    pub(super) fn begin(&self, peer: IpAddr, cut: CancellationToken) -> Watch {
        let state = Arc::new(State {
            doing: AtomicU8::new(DOING_HEAD),
            since: AtomicU32::new(self.now.load(Relaxed)),
            stuck: AtomicU32::new(0),
            bytes: AtomicU64::new(0),
            now: Arc::clone(&self.now),
            cut,
            peer,
        });
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&state));
        Watch(state)
    }

    pub(super) fn count_of(&self, peer: IpAddr) -> usize {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.iter().filter(|state| state.upgrade().is_some_and(|state| state.peer == peer)).count()
    }

    /// Ends what took too long; `shed` is told why.
    pub(super) fn sweep(&self, shed: impl Fn(Shed)) {
        let now = u32::try_from(self.origin.elapsed().as_secs()).unwrap_or(u32::MAX);
        self.now.store(now, Relaxed);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).retain(|state| {
            let Some(state) = state.upgrade() else { return false };
            if let Some(reason) = state.overdue(now) {
                if let Overdue::Late(reason) = reason {
                    shed(reason);
                }
                state.cut.cancel();
            }
            true
        });
    }
}

/// Why a connection ends: it idled, as it may, or it kept us waiting.
enum Overdue {
    Idle,
    Late(Shed),
}

impl State {
    fn overdue(&self, now: u32) -> Option<Overdue> {
        let spent = now.saturating_sub(self.since.load(Relaxed));
        let stuck = self.stuck.load(Relaxed);
        if stuck > 0 && now.saturating_sub(stuck - 1) > WRITE {
            return Some(Overdue::Late(Shed::SlowReader));
        }
        match self.doing.load(Relaxed) {
            DOING_HEAD if spent > HEAD => Some(Overdue::Late(Shed::HeaderTimeout)),
            DOING_IDLE if spent > IDLE => Some(Overdue::Idle),
            DOING_BODY if spent > BODY => Some(Overdue::Late(Shed::BodyTimeout)),
            DOING_BODY if spent > BODY_GRACE && self.bytes.load(Relaxed) < SLOWEST * u64::from(spent) => {
                Some(Overdue::Late(Shed::BodyTimeout))
            }
            _ => None,
        }
    }
}

/// A socket that notes what passes it.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    watch: Watch,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, watch: Watch) -> Self {
        Self { stream, watch }
    }

    fn wrote<T>(&self, poll: Poll<T>) -> Poll<T> {
        let state = &self.watch.0;
        if poll.is_pending() {
            if state.stuck.load(Relaxed) == 0 {
                state.stuck.store(state.now.load(Relaxed).saturating_add(1), Relaxed);
            }
        } else if state.stuck.load(Relaxed) != 0 {
            state.stuck.store(0, Relaxed);
        }
        poll
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let poll = Pin::new(&mut this.stream).poll_read(cx, buf);
        let came = buf.filled().len() - before;
        if came > 0 {
            let state = &this.watch.0;
            state.bytes.fetch_add(came as u64, Relaxed);
            if state.doing.load(Relaxed) == DOING_IDLE {
                this.watch.set(DOING_HEAD);
            }
        }
        poll
    }
}

impl AsyncWrite for Watched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.wrote(poll)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.wrote(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

//! The transport of MCP 2024-11-05, HTTP+SSE (`protocol.md` 2.3): every message of ours is a POST of its own that is
//! merely taken, and all that the server says comes on one stream, answers by our numbers. The stream is the session:
//! with its end the session is lost, and whoever waits is told.
//!
//! `open.rs` makes the session, `hear.rs` reads its stream, `endpoint.rs` says where the POSTs go. Supervisor, listing
//! and what a call sees are those of Streamable HTTP.

mod endpoint;
mod hear;
mod open;
mod stream;

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

pub(super) use self::open::open;
use super::{core::Core, fault::Fault, reading, session::Session};
use crate::{
    answering::Events,
    backend::waiting::{Progress, Reply, Waiting},
    in_flight::Flight,
};

/// For the POST of a message whose answer came before it was said that it was taken.
const LATE: Duration = Duration::from_secs(2);
/// A stream that ends sooner than this says that the next one may do the same.
const STEADY: Duration = Duration::from_secs(10);
/// Of a session that is replaced: so long its calls may go on.
const LAST_CALLS: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(50);
/// Timeouts in a row, without a byte on the stream, before the server is asked whether it still lives.
const SUSPICIOUS: u32 = 3;

const OVER: &str = "its session ended";

/// Who waits for what on the stream of one session.
#[derive(Debug)]
pub(super) struct Channel {
    waiting: Waiting,
    /// Why it ended, as whoever waited then is told.
    end: OnceLock<Fault>,
    begun: Instant,
    timeouts: AtomicU32,
    /// So many timeouts that a ping is due.
    suspect: Notify,
}

impl Channel {
    fn new() -> Self {
        Self {
            waiting: Waiting::default(),
            end: OnceLock::new(),
            begun: Instant::now(),
            timeouts: AtomicU32::new(0),
            suspect: Notify::new(),
        }
    }

    /// A place for the answer to a call. None: the stream is over.
    pub(super) fn enter(&self, flight: &Flight, events: &Events) -> Option<Place<'_>> {
        let progress = flight.progress_token().map(|token| Progress {
            token: token.clone(),
            events: events.clone(),
            came: Arc::new(Notify::new()),
        });
        let came = progress.as_ref().map(|progress| Arc::clone(&progress.came));
        let reply = self.waiting.enter(flight.number(), progress).ok()?;
        Some(Place { channel: self, number: flight.number(), reply, came })
    }

    /// The same for a question of ours.
    fn enter_beside(&self, number: u64) -> Option<Place<'_>> {
        let reply = self.waiting.enter_beside(number).ok()?;
        Some(Place { channel: self, number, reply, came: None })
    }

    /// All is over: whoever waits is told why, and nobody enters any more.
    pub(super) fn close(&self) {
        self.end.get_or_init(|| Fault::Cut(OVER.into()));
        self.waiting.close();
    }

    pub(super) fn end(&self) -> Fault {
        self.end.get().cloned().unwrap_or_else(|| Fault::Cut(OVER.into()))
    }

    /// It ended soon after it had begun.
    pub(super) fn was_brief(&self) -> bool {
        self.begun.elapsed() < STEADY
    }

    /// Returns when no call waits for its answer here, or they have had their time.
    pub(super) async fn quiet(&self) {
        let until = Instant::now() + LAST_CALLS;
        while self.waiting.calls() > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn heard(&self) {
        self.timeouts.store(0, Relaxed);
    }

    /// A call had no answer in its time.
    pub(super) fn timed_out(&self) {
        if self.timeouts.fetch_add(1, Relaxed).saturating_add(1) >= SUSPICIOUS {
            self.suspect.notify_one();
        }
    }

    /// The same for a ping. While calls run, a server may have no time for one.
    pub(super) fn gave_no_sign(&self) {
        if self.waiting.calls() == 0 {
            self.timed_out();
        }
    }
}

/// A number that waits on the stream. Dropped without its answer, a late one is expected.
#[derive(Debug)]
pub(super) struct Place<'a> {
    channel: &'a Channel,
    number: u64,
    reply: oneshot::Receiver<Reply>,
    came: Option<Arc<Notify>>,
}

impl Place<'_> {
    /// `renew`: at each word of progress.
    async fn answer(mut self, renew: impl Fn()) -> Result<Reply, Fault> {
        let mut is_begun = false;
        loop {
            tokio::select! {
                biased;
                reply = &mut self.reply => return reply.map_err(|_over| {
                    let end = self.channel.end();
                    // What was passed on of it can't be taken back.
                    if is_begun || self.has_progressed() { end.settled() } else { end }
                }),
                () = progressed(self.came.as_deref()) => {
                    is_begun = true;
                    renew();
                }
            }
        }
    }

    fn has_progressed(&self) -> bool {
        self.came.as_ref().is_some_and(|came| futures_util::FutureExt::now_or_never(came.notified()).is_some())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.channel.waiting.bury(self.number);
    }
}

/// Renews nothing where nobody asked for progress: then it never ends.
async fn progressed(came: Option<&Notify>) {
    match came {
        Some(came) => came.notified().await,
        None => std::future::pending().await,
    }
}

/// One call, to its answer.
pub(super) async fn call(
    core: &Arc<Core>,
    to: &Uri,
    place: Place<'_>,
    flight: &Flight,
    (headers, body): (HeaderMap, Bytes),
) -> Result<Reply, Fault> {
    exchanged(core, posting(core, to, headers, body), place.answer(|| flight.renew())).await
}

/// One question of ours, to its answer.
///
/// Errors: `Lost`, for a stream that is over.
pub(super) async fn question(
    core: &Arc<Core>,
    session: &Session,
    channel: &Channel,
    (number, body): (u64, Bytes),
) -> Result<Reply, Fault> {
    let place = channel.enter_beside(number).ok_or(Fault::Lost)?;
    exchanged(core, posting(core, &session.to, session.headers.clone(), body), place.answer(|| ())).await
}

type Posting = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

/// Sends one message; ends when the server has said that it took it. What else it says to that is of no interest: its
/// answers come on the stream.
fn posting(core: &Arc<Core>, to: &Uri, headers: HeaderMap, body: Bytes) -> Posting {
    let (core, to) = (Arc::clone(core), to.clone());
    Box::pin(async move {
        let (head, body) = core.send(Method::POST, &to, headers, body).await?.into_parts();
        reading::drain(&core, body);
        match head.status {
            status if status.is_success() => Ok(()),
            StatusCode::NOT_FOUND => Err(Fault::Lost),
            status => Err(Fault::of_status(status)),
        }
    })
}

/// Both: the message is taken, and `answer` comes; in whichever order.
async fn exchanged<T>(
    core: &Arc<Core>,
    mut posting: Posting,
    answer: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => match answer {
            Ok(answer) => {
                // Cut off, its connection could not be used again.
                core.spawn(async move {
                    tokio::time::timeout(LATE, posting).await.ok();
                });
                Ok(answer)
            }
            // Another's word may have ended the session: of this message it is yet to be said that nobody took it.
            Err(end) => match tokio::time::timeout(LATE, posting).await {
                Ok(Err(fault @ (Fault::Lost | Fault::Unreachable(_)))) => Err(fault),
                Ok(_) | Err(_) => Err(end),
            },
        },
        taken = &mut posting => {
            taken?;
            answer.await
        }
    }
}

//! Talking to one process: calls out by our own numbers, answers back by them, cancels, questions of ours.
//!
//! Writing is `writer.rs`, reading is `reader.rs`; this is what both share, and what a call sees. It starts and ends
//! with one process: the supervisor closes it, and with it everybody who waits.

use std::{
    borrow::Cow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    answering::Events,
    backend::{
        Answer, Outgoing, Sent, Word,
        asking::Asking,
        era::{self, Era},
        waiting::{Progress, Reply, Waiting},
    },
    call::Ask,
    denial::{Failure, Unavailable},
    in_flight::{Flight, Why},
    wire::{incoming, neutral, outgoing},
};

/// Bytes that wait to be written; above it a call is refused as `full` (one that is larger alone is let through).
const QUEUED_BYTES: usize = 8 << 20;
/// Messages of ours beside the calls: cancels, pings, listings, answers to the server's requests.
const BESIDE_CALLS: usize = 64;
/// Answers to the server's requests that wait to be written; above it they are dropped.
const REPLIES: usize = 32;
/// Timeouts in a row, without a line from the process, before it is asked whether it still lives.
const SUSPICIOUS: u32 = 3;
/// Our own questions are numbered from here: far above any call's number, and exact in a double.
const OWN_NUMBERS: u64 = 1 << 52;

/// What the writer takes: one line, with its line end.
#[derive(Debug)]
pub struct Line {
    pub bytes: Bytes,
    /// An answer to a request of the server's.
    pub is_reply: bool,
}

/// What the writer has to know beside its lines.
#[derive(Debug, Default)]
pub struct Queue {
    bytes: AtomicUsize,
    replies: AtomicUsize,
}

impl Queue {
    pub fn took(&self, line: &Line) {
        self.bytes.fetch_sub(line.bytes.len(), Relaxed);
        if line.is_reply {
            self.replies.fetch_sub(1, Relaxed);
        }
    }
}

#[derive(Debug)]
pub struct Conversation {
    backend: Arc<str>,
    pub(super) waiting: Waiting,
    /// What the server asks of clients.
    pub(super) asking: Arc<Asking>,
    outbox: mpsc::Sender<Line>,
    pub(super) queue: Queue,
    next: AtomicU64,
    /// Closes the process's stdin.
    pub(super) hush: CancellationToken,
    /// The server said that one of its lists changed.
    pub(super) changed: Notify,
    timeouts: AtomicU32,
    /// So many timeouts that a ping is due.
    pub(super) suspect: Notify,
    /// It speaks the modern era: said once, before it takes calls.
    modern: AtomicBool,
    /// It refused the revision that it had offered.
    pub(super) doubted: Notify,
    /// What callers are told when all is over.
    end: OnceLock<Cow<'static, str>>,
}

/// How a question of ours ended.
#[derive(Debug, thiserror::Error)]
pub enum AskFault {
    #[error("it does not take more input")]
    Full,
    #[error("it ended")]
    Gone,
    #[error("it answered {method} with an error: {error}")]
    Refused { method: &'static str, error: String },
    #[error("it did not answer {method} within {} ms", within.as_millis())]
    Silent { method: &'static str, within: Duration },
}

impl Conversation {
    /// `calls`: how many may run at once. The receiving end is the writer's.
    pub fn new(backend: Arc<str>, calls: usize) -> (Arc<Self>, mpsc::Receiver<Line>) {
        // Each call may have its cancel queued beside it.
        let bound = calls.saturating_mul(2).saturating_add(BESIDE_CALLS);
        let (outbox, lines) = mpsc::channel(bound);
        let conversation = Arc::new(Self {
            backend,
            waiting: Waiting::default(),
            asking: Asking::new(),
            outbox,
            queue: Queue::default(),
            next: AtomicU64::new(OWN_NUMBERS),
            hush: CancellationToken::new(),
            changed: Notify::new(),
            timeouts: AtomicU32::new(0),
            suspect: Notify::new(),
            modern: AtomicBool::new(false),
            doubted: Notify::new(),
            end: OnceLock::new(),
        });
        (conversation, lines)
    }

    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// One call, to its end. Cancel safe: dropped, the server is told.
    pub async fn call(&self, call: &Outgoing<'_>, flight: &Flight, events: &Events) -> Sent {
        let number = flight.number();
        let line = call.message(number, None, self.era(), true);
        let came = flight.progress_token().map(|token| Progress {
            token: token.clone(),
            events: events.clone(),
            came: Arc::new(Notify::new()),
        });
        let Ok(mut answer) = self.waiting.enter(number, came.clone()) else {
            return Sent::Never(self.unavailable(Unavailable::Down));
        };
        let mut pending = Pending { conversation: self, number, sent: false, why: "the client is gone" };
        match self.enqueue(line, false, || flight.mark_sent()) {
            Ok(()) => pending.sent = true,
            Err(Refusal::Full) => return Sent::Never(self.unavailable(Unavailable::Full)),
            Err(Refusal::Gone) => return Sent::Never(self.unavailable(Unavailable::Down)),
        }
        loop {
            tokio::select! {
                biased;
                reply = &mut answer => return self.answered(reply.ok(), call),
                why = flight.ended() => {
                    pending.why = told(&why);
                    if matches!(why, Why::Timeout) {
                        self.timed_out();
                    }
                    return Sent::Ended;
                }
                () = progressed(came.as_ref()) => flight.renew(),
            }
        }
    }

    fn answered(&self, reply: Option<Reply>, call: &Outgoing<'_>) -> Sent {
        let Some(reply) = reply else { return self.failed(self.end()) };
        match self.era() {
            Era::Legacy => {
                let last = incoming::with_id(&reply.message, reply.id, call.client_id);
                let (failed, tool_error) = (reply.failed, reply.tool_error);
                Sent::Answered(Answer { last, failed, tool_error, word: Word::Last })
            }
            Era::Modern => self.landed(&reply, call.client_id, call.routed.ask),
        }
    }

    /// An answer without what only the modern era says.
    fn landed(&self, reply: &Reply, client_id: &Bytes, ask: Ask) -> Sent {
        if reply.error.and_then(|error| era::about_us(error.get(&reply.message))).is_some() {
            self.doubted.notify_one();
            return self.failed("it refuses the revision that it has offered".into());
        }
        let members = neutral::members_of(ask);
        let (last, said) = neutral::whole(&reply.message, reply.id, &reply.places, client_id, members);
        let (failed, tool_error) = (reply.failed, reply.tool_error);
        match Word::of(said, ask) {
            Ok(word) => Sent::Answered(Answer { last, failed, tool_error, word }),
            Err(what) => self.failed(what.into()),
        }
    }

    fn failed(&self, what: Cow<'static, str>) -> Sent {
        Sent::Failed(Failure::BackendError { backend: Arc::clone(&self.backend), what })
    }

    pub fn era(&self) -> Era {
        if self.modern.load(Relaxed) { Era::Modern } else { Era::Legacy }
    }

    /// From here on all is said in this era.
    pub(super) fn speaks(&self, era: Era) {
        self.modern.store(era == Era::Modern, Relaxed);
    }

    /// Whether it lives. Errors: as `ask`.
    pub async fn ping(&self, within: Duration) -> Result<(), AskFault> {
        let method = match self.era() {
            Era::Legacy => "ping",
            Era::Modern => era::DISCOVER,
        };
        self.ask(method, None, within).await.map(drop)
    }

    /// A question of ours; gives the `result`.
    ///
    /// Errors: no answer within the time (the server is told that we gave up), an error as answer, an end.
    pub async fn ask(&self, method: &'static str, params: Option<&str>, within: Duration) -> Result<Bytes, AskFault> {
        let marked = (self.era() == Era::Modern).then(|| era::params(params));
        let asked = self.question(method, marked.as_deref().or(params));
        let reply = match tokio::time::timeout(within, asked).await {
            Ok(reply) => reply?,
            Err(_elapsed) => return Err(AskFault::Silent { method, within }),
        };
        match (reply.result, reply.error) {
            (Some(result), _) => Ok(reply.message.slice(result.range())),
            (None, error) => {
                let error = error.map_or_else(Bytes::new, |error| reply.message.slice(error.range()));
                let shown: String = String::from_utf8_lossy(&error).chars().take(200).collect();
                Err(AskFault::Refused { method, error: super::stderr::escaped(&shown) })
            }
        }
    }

    /// The same with its whole answer, be it an error, and as long as that takes. `params` go out as they are. Cancel
    /// safe: dropped, the server is told.
    pub(super) async fn question(&self, method: &'static str, params: Option<&str>) -> Result<Reply, AskFault> {
        self.numbered(self.number(), method, params).await
    }

    /// For one question.
    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Relaxed)
    }

    /// The same with a number that the asker knows.
    pub(super) async fn numbered(
        &self,
        number: u64,
        method: &'static str,
        params: Option<&str>,
    ) -> Result<Reply, AskFault> {
        let answer = self.waiting.enter_beside(number).map_err(|_refused| AskFault::Gone)?;
        let mut pending = Pending { conversation: self, number, sent: false, why: "no answer in time" };
        let line = outgoing::line(&outgoing::request(method, params.map(str::as_bytes), number));
        self.enqueue(line, false, || ()).map_err(|refusal| match refusal {
            Refusal::Full => AskFault::Full,
            Refusal::Gone => AskFault::Gone,
        })?;
        // The specification forbids to cancel this one.
        pending.sent = method != "initialize";
        answer.await.map_err(|oneshot::error::RecvError { .. }| AskFault::Gone)
    }

    /// A notification of ours. Full: it is lost.
    pub fn tell(&self, method: &str, params: Option<&[u8]>) {
        self.enqueue(outgoing::line(&outgoing::notification(method, params)), false, || ()).ok();
    }

    /// An answer to a request of the server's. False: too many wait already, and it is dropped.
    pub fn reply(&self, message: &[u8]) -> bool {
        if self.queue.replies.fetch_add(1, Relaxed) < REPLIES
            && self.enqueue(outgoing::line(message), true, || ()).is_ok()
        {
            return true;
        }
        self.queue.replies.fetch_sub(1, Relaxed);
        false
    }

    /// The server will not answer this question of ours.
    pub(super) fn ended_by_server(&self, number: Option<u64>) {
        if let Some(own) = number.filter(|number| *number >= OWN_NUMBERS) {
            self.waiting.leave(own);
        }
    }

    /// The process said something: it lives.
    pub fn heard(&self) {
        self.timeouts.store(0, Relaxed);
    }

    fn timed_out(&self) {
        if self.timeouts.fetch_add(1, Relaxed).saturating_add(1) >= SUSPICIOUS {
            self.suspect.notify_one();
        }
    }

    /// All is over: who waits is told `why`, and nobody enters any more.
    pub fn close(&self, why: impl Into<Cow<'static, str>>) {
        self.end.get_or_init(|| why.into());
        self.asking.close();
        self.waiting.close();
    }

    fn end(&self) -> Cow<'static, str> {
        self.end.get().cloned().unwrap_or(Cow::Borrowed("its process died"))
    }

    fn unavailable(&self, state: Unavailable) -> Failure {
        let retry_after = Some(Duration::from_secs(1));
        Failure::BackendUnavailable { backend: Arc::clone(&self.backend), state, retry_after }
    }

    /// `handing` is done at the last moment before the writer may see the line.
    fn enqueue(&self, bytes: Bytes, is_reply: bool, handing: impl FnOnce()) -> Result<(), Refusal> {
        let permit = self.outbox.try_reserve().map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(()) => Refusal::Full,
            mpsc::error::TrySendError::Closed(()) => Refusal::Gone,
        })?;
        let before = self.queue.bytes.fetch_add(bytes.len(), Relaxed);
        if before > 0 && before.saturating_add(bytes.len()) > QUEUED_BYTES {
            self.queue.bytes.fetch_sub(bytes.len(), Relaxed);
            return Err(Refusal::Full);
        }
        handing();
        permit.send(Line { bytes, is_reply });
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Refusal {
    Full,
    Gone,
}

/// Renews nothing where nobody asked for progress: then it never ends.
async fn progressed(progress: Option<&Progress>) {
    match progress {
        Some(progress) => progress.came.notified().await,
        None => std::future::pending().await,
    }
}

/// What a server is told of a cancel.
const fn told(why: &Why) -> &'static str {
    match why {
        Why::Cancelled => "the client cancelled",
        Why::HungUp => "the client is gone",
        Why::Killed(_) => "stopped by the operator",
        Why::Removed | Why::Shutdown => "the gateway is stopping this server",
        Why::Timeout => "the time is over",
    }
}

/// A number that waits: dropped without its answer, the server is told once, and a late answer is expected.
#[derive(Debug)]
struct Pending<'a> {
    conversation: &'a Conversation,
    number: u64,
    sent: bool,
    why: &'static str,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.sent {
            self.conversation.waiting.leave(self.number);
        } else if self.conversation.waiting.bury(self.number) {
            let params = format!(r#"{{"requestId":{},"reason":"{}"}}"#, self.number, self.why);
            self.conversation.tell("notifications/cancelled", Some(params.as_bytes()));
        }
    }
}

//! The task that brings records to the control plane: batches up one stream, acks down it, and the spool
//! forgets what was acked. It waits for nobody's call, and nobody's call waits for it.

use std::collections::VecDeque;
use std::time::Duration;

use sentinel_proto::v1::audit_service_client::AuditServiceClient;
use sentinel_proto::v1::{AuditBatch, IngestAck};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};
use uuid::Uuid;

use super::event::hex;
use super::spool::{Batch, Cursor, Mark, ReadError, Spool, SpoolError};

/// Batches that were sent and not acked.
const IN_FLIGHT: usize = 4;
/// How old a record may become before it is sent: what comes within it goes together, so that neither side turns for
/// each (measured: 20 % of a busy plane's CPU).
const EVERY: Duration = Duration::from_millis(50);
/// Without an ack for so long, the stream is taken for dead.
const NO_ACK: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(15);
/// How long a shutdown waits for what is left.
const LAST_FLUSH: Duration = Duration::from_secs(3);

/// How the control plane knows this plane.
#[derive(Clone)]
pub struct Credentials {
    metadata: MetadataMap,
}

/// A token or secret with characters that no header may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the plane's token holds characters that cannot be sent; see plane.token")]
pub struct BadToken;

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// # Errors
    /// When the token cannot stand in a header.
    pub fn new(token: &str, plane: Uuid, secret: &[u8]) -> Result<Self, BadToken> {
        let value = |text: String| -> Result<MetadataValue<Ascii>, BadToken> {
            let mut value: MetadataValue<Ascii> = text.parse().map_err(|_| BadToken)?;
            value.set_sensitive(true);
            Ok(value)
        };
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", value(format!("Bearer {token}"))?);
        metadata.insert("sentinel-plane-id", value(plane.to_string())?);
        metadata.insert("sentinel-plane-secret", value(hex(secret))?);
        Ok(Self { metadata })
    }
}

/// Why a stream ended.
#[derive(Debug, Error)]
enum Ended {
    #[error("the control plane did not take the audit stream: {0}")]
    Refused(#[from] Status),
    #[error("the control plane did not answer within {} s", CONNECT.as_secs())]
    NoAnswer,
    #[error("the control plane acked nothing for {} s", NO_ACK.as_secs())]
    NoAck,
    #[error("the control plane ended the audit stream")]
    Closed,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Forget(#[from] SpoolError),
    #[error("a task that reads the spool ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Ships until `stop`, then tries for 3 s to bring the rest. `connect` gives a (lazy) channel and what to show,
/// anew for each stream.
pub async fn run<C>(spool: Spool, connect: C, stop: CancellationToken)
where
    C: Fn() -> (Channel, Credentials) + Send + Sync,
{
    let mut tries = 0_u32;
    while !stop.is_cancelled() {
        let mut stream = Stream::new(&spool, &stop);
        match stream.run(&connect).await {
            Ok(()) => return,
            Err(ended) => {
                tries = if stream.acked { 0 } else { tries.saturating_add(1) };
                tracing::warn!(error = %ended, backlog = spool.backlog().records, "audit records wait");
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(pause(tries)) => {}
        }
    }
    let mut last = Stream::new(&spool, &stop);
    if !matches!(timeout(LAST_FLUSH, last.run(&connect)).await, Ok(Ok(()))) {
        tracing::warn!(backlog = spool.backlog().records, "audit records stay in the spool until the next start");
    }
}

/// Full jitter: anything up to the doubled pause.
fn pause(tries: u32) -> Duration {
    let most = BACKOFF.saturating_mul(1_u32.checked_shl(tries.min(16)).unwrap_or(u32::MAX)).min(BACKOFF_CAP);
    let mut random = [0; 4];
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        return most;
    }
    most.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
}

/// What of the spool a look has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    Nothing,
    /// All that was there.
    All,
    Part,
}

/// One stream's life.
struct Stream<'a> {
    spool: &'a Spool,
    stop: &'a CancellationToken,
    from: Cursor,
    sent: VecDeque<Mark>,
    heard: Instant,
    /// It was of use.
    acked: bool,
}

impl<'a> Stream<'a> {
    fn new(spool: &'a Spool, stop: &'a CancellationToken) -> Self {
        let from = spool.first_unacked();
        Self { spool, stop, from, sent: VecDeque::new(), heard: Instant::now(), acked: false }
    }

    /// `Ok`: stopped, and everything is stored (or the time for that is over).
    async fn run<C>(&mut self, connect: &C) -> Result<(), Ended>
    where
        C: Fn() -> (Channel, Credentials),
    {
        let (up, batches) = mpsc::channel(IN_FLIGHT);
        // a server may answer only once it has heard something: the first batch goes before the answer
        while self.send_next(&up).await? == Looked::Nothing {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(EVERY) => {}
            }
        }
        let (channel, credentials) = connect();
        let mut request = Request::new(ReceiverStream::new(batches));
        *request.metadata_mut() = credentials.metadata;
        let mut client = AuditServiceClient::new(channel);
        let stopping = self.stop.is_cancelled();
        let asked = tokio::select! {
            asked = timeout(CONNECT, client.ingest(request)) => asked,
            // the last try has a bound of its own
            () = self.stop.cancelled(), if !stopping => return Err(Ended::NoAnswer),
        };
        let mut acks = asked.map_err(|_| Ended::NoAnswer)??.into_inner();
        self.heard = Instant::now();
        self.exchange(&up, &mut acks).await
    }

    async fn exchange(&mut self, up: &mpsc::Sender<AuditBatch>, acks: &mut Streaming<IngestAck>) -> Result<(), Ended> {
        let mut give_up = None;
        let mut look = Instant::now();
        loop {
            if self.stop.is_cancelled() && give_up.is_none() {
                give_up = Some(Instant::now() + LAST_FLUSH);
                look = Instant::now();
            }
            while self.sent.len() < IN_FLIGHT && look <= Instant::now() {
                match self.send_next(up).await? {
                    Looked::Part => {}
                    // The end does not linger.
                    Looked::All if give_up.is_some() => {}
                    Looked::All | Looked::Nothing => look = Instant::now() + EVERY,
                }
            }
            if give_up.is_some_and(|at| self.sent.is_empty() || at <= Instant::now()) {
                return Ok(());
            }
            let dead = (!self.sent.is_empty()).then(|| self.heard + NO_ACK);
            let wake = if self.sent.len() < IN_FLIGHT { look } else { Instant::now() + EVERY };
            tokio::select! {
                ack = acks.message() => self.take(&ack?.ok_or(Ended::Closed)?).await?,
                () = sleep_until(wake) => {}
                () = self.stop.cancelled(), if give_up.is_none() => {}
            }
            if dead.is_some_and(|at| at <= Instant::now()) {
                return Err(Ended::NoAck);
            }
        }
    }

    async fn send_next(&mut self, up: &mpsc::Sender<AuditBatch>) -> Result<Looked, Ended> {
        let (spool, from) = (self.spool.clone(), self.from);
        let read = tokio::task::spawn_blocking(move || spool.next_batch(from)).await?;
        let Some(Batch { epoch, records, last, more }) = read? else {
            return Ok(Looked::Nothing);
        };
        up.send(AuditBatch { epoch, records }).await.map_err(|_| Ended::Closed)?;
        if self.sent.is_empty() {
            self.heard = Instant::now();
        }
        self.from = last.next;
        self.sent.push_back(last);
        Ok(if more { Looked::Part } else { Looked::All })
    }

    /// An ack speaks for the batches of its epoch up to its number. Only from the oldest on: what the spool
    /// forgets has no holes.
    async fn take(&mut self, ack: &IngestAck) -> Result<(), Ended> {
        if ack.quarantined > 0 {
            tracing::warn!(records = ack.quarantined, "the control plane put audit records into quarantine");
        }
        let mut done = Vec::new();
        while self.sent.front().is_some_and(|mark| mark.epoch == ack.epoch && mark.seq <= ack.seq) {
            done.extend(self.sent.pop_front());
        }
        if done.is_empty() {
            return Ok(());
        }
        self.heard = Instant::now();
        self.acked = true;
        let spool = self.spool.clone();
        let forgotten = tokio::task::spawn_blocking(move || done.iter().try_for_each(|mark| spool.acked(mark)));
        Ok(forgotten.await??)
    }
}

#[cfg(test)]
mod tests;

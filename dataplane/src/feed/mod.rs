//! The Watch stream: what the control plane says is decoded and handed over at once, what this plane has to say is
//! sent.
//!
//! Nothing here waits for a slow part: kills go to `kill/` (disk, gate, sweep, then the ack), the rest to the view's
//! inbox as soon as it has room, newest first; a spawn that takes its time holds no kill. It judges no snapshot and
//! starts no backend.

pub mod endpoint;
mod session;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use sentinel_proto::{
    CAPABILITIES, MAX_MESSAGE_BYTES,
    v1::{Command, CommandDone, Hello, config_service_client::ConfigServiceClient},
};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, transport::Channel};

use self::{endpoint::TokenSource, session::Session};
use crate::{
    clock::Clock,
    contact::Contact,
    identity::{Home, Identity},
    kill::Kills,
    ops::status::Look,
    view::task::ViewMessage,
};

/// Messages on their way to the control plane; full: it does not read, and the stream is made anew.
const OUTGOING: usize = 64;
/// For the control plane to answer, or to take a message.
const PATIENCE: Duration = Duration::from_secs(15);
const REPORT: Duration = Duration::from_secs(5);
/// Changes that come together make one report.
const DEBOUNCE: Duration = Duration::from_millis(200);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(15);
/// A stream that lasted so long starts the waits anew; a failure is said again after as long.
const STEADY: Duration = Duration::from_secs(60);

/// What the operator may ask of this plane's backends. Boxed: rare, and the feed knows no backend.
#[derive(Clone)]
pub struct Operate(Arc<dyn Fn(Command) -> CommandDone + Send + Sync>);

impl Operate {
    /// `act` returns at once.
    pub fn new(act: impl Fn(Command) -> CommandDone + Send + Sync + 'static) -> Self {
        Self(Arc::new(act))
    }
}

impl fmt::Debug for Operate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Operate")
    }
}

/// The parts that the stream speaks for.
#[derive(Debug)]
pub struct Feed {
    pub channel: Channel,
    pub token: TokenSource,
    pub home: Arc<Home>,
    pub identity: Arc<Identity>,
    /// For people: `--plane-name`.
    pub name: String,
    /// Where MCP is served.
    pub listen: String,
    pub kills: Arc<Kills>,
    pub view: mpsc::Sender<ViewMessage>,
    pub look: Look,
    /// Something changed that a report should say.
    pub changed: Arc<Notify>,
    pub operate: Operate,
    /// Becomes true when the control plane's kill set is in force here.
    pub heard: watch::Sender<bool>,
    pub contact: Arc<Contact>,
    pub clock: Clock,
    pub tracker: TaskTracker,
}

/// How one stream ended.
#[derive(Debug)]
enum Ended {
    /// We said goodbye.
    Left,
    Lost(String),
}

impl Feed {
    /// Until `leave`; then says goodbye where somebody listens. A cut is mended by itself, with growing pauses (full
    /// jitter, so that a fleet does not come back in one step).
    pub async fn run(self, leave: CancellationToken) {
        let mut pauses = pauses();
        let mut said: Option<Instant> = None;
        loop {
            let began = Instant::now();
            let ended = self.stream(&leave).await;
            let why = match ended {
                Ended::Left => return,
                Ended::Lost(_) if leave.is_cancelled() => return,
                Ended::Lost(why) => why,
            };
            self.contact.lost(&why);
            if began.elapsed() > STEADY {
                pauses = self::pauses();
            }
            if said.is_none_or(|at| at.elapsed() > STEADY) {
                said = Some(Instant::now());
                tracing::warn!(
                    why,
                    "no stream to the control plane; calls go on by what is known here, and it is tried \
                    again"
                );
            }
            let pause = jittered(pauses.next().unwrap_or(LAST_RETRY));
            tokio::select! {
                () = leave.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn stream(&self, leave: &CancellationToken) -> Ended {
        let bearer = tokio::select! {
            () = leave.cancelled() => return Ended::Lost("leaving".into()),
            bearer = self.token.bearer() => bearer,
        };
        let (says, outgoing) = mpsc::channel(OUTGOING);
        if says.try_send(session::say(self.hello())).is_err() {
            return Ended::Lost("the stream takes no hello".into());
        }
        let mut request = Request::new(ReceiverStream::new(outgoing));
        request.metadata_mut().insert("authorization", bearer);
        let mut client = ConfigServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let opened = tokio::select! {
            () = leave.cancelled() => return Ended::Lost("leaving".into()),
            opened = timeout(PATIENCE, client.watch(request)) => opened,
        };
        match opened {
            Ok(Ok(response)) => Box::pin(Session::new(self, says).run(response.into_inner(), leave)).await,
            Ok(Err(status)) => Ended::Lost(session::sentence(&status)),
            Err(_) => Ended::Lost(format!("it did not answer within {} s", PATIENCE.as_secs())),
        }
    }

    fn hello(&self) -> Hello {
        let status = self.look.status();
        Hello {
            plane_id: self.identity.id.to_string(),
            secret: self.identity.secret.to_vec(),
            boot: self.identity.boot,
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            capabilities: CAPABILITIES.map(str::to_owned).into(),
            revision: status.revision,
            digest: status.digest,
            kill_set: Some(self.kills.to_message()),
            listen: self.listen.clone(),
        }
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::new().with_min_delay(FIRST_RETRY).with_max_delay(LAST_RETRY).without_max_times().build()
}

/// Anything between nothing and the whole pause.
fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 4];
    if aws_lc_rs::rand::fill(&mut random).is_err() {
        return pause;
    }
    pause.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
}

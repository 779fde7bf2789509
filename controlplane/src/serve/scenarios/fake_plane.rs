//! A plane made of the generated client: it says what a test tells it to.

use std::time::Duration;

use sentinel_proto::v1::config_service_client::ConfigServiceClient;
use sentinel_proto::v1::plane_hears::Hears;
use sentinel_proto::v1::plane_says::Says;
use sentinel_proto::v1::{
    Applied, Goodbye, Hello, KillApplied, Pin, PinSet, PinsApplied, PlaneHears, PlaneProblem, PlaneSays, Prepare,
    Prepared,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::{Rig, channel, with_token};

pub(super) struct FakePlane {
    says: mpsc::Sender<PlaneSays>,
    hears: Streaming<PlaneHears>,
    /// What it heard of pins; each is acknowledged at once.
    pub(super) pins: Vec<PinSet>,
}

/// The hello of plane number `n`, which has nothing yet.
pub(super) fn hello(n: u8) -> Hello {
    Hello {
        plane_id: uuid::Uuid::from_u128(u128::from(n)).to_string(),
        secret: vec![n; 32],
        boot: 1000 + u64::from(n),
        name: format!("plane-{n}"),
        version: "0.1.0".to_owned(),
        ..Hello::default()
    }
}

impl FakePlane {
    pub(super) async fn open(rig: &Rig, hello: Hello) -> Self {
        let (says, out) = mpsc::channel(16);
        says.send(PlaneSays { says: Some(Says::Hello(hello)) }).await.unwrap();
        let mut client = ConfigServiceClient::new(channel(&rig.home).await);
        let request = with_token(&rig.home.plane_token(), ReceiverStream::new(out));
        let hears = client.watch(request).await.unwrap().into_inner();
        Self { says, hears, pins: Vec::new() }
    }

    /// Connects and runs the revision in force.
    pub(super) async fn ready(rig: &Rig, hello: Hello) -> Self {
        let mut plane = Self::open(rig, hello).await;
        plane.take_kills().await;
        plane.take_revision().await;
        plane
    }

    pub(super) async fn say(&self, says: Says) {
        self.says.send(PlaneSays { says: Some(says) }).await.unwrap();
    }

    /// Says goodbye and waits until it was heard.
    pub(super) async fn leave(mut self) {
        self.say(Says::Goodbye(Goodbye { reason: "drained".to_owned() })).await;
        while self.next().await.unwrap().is_some() {}
    }

    /// What comes next. Errors: the status that ended the stream.
    pub(super) async fn hear(&mut self) -> Result<Hears, Status> {
        Ok(self.next().await?.expect("the stream has not ended"))
    }

    /// The next that is not about pins; none: the stream has ended.
    async fn next(&mut self) -> Result<Option<Hears>, Status> {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.hears.message());
            match next.await.expect("something is heard")?.map(|message| message.hears.unwrap()) {
                Some(Hears::Pins(set)) => self.pinned(set).await,
                other => return Ok(other),
            }
        }
    }

    async fn pinned(&mut self, set: PinSet) {
        self.say(Says::PinsApplied(PinsApplied { epoch: set.epoch, brings: Vec::new() })).await;
        self.pins.push(set);
    }

    /// The next pin that it hears.
    pub(super) async fn take_pin(&mut self) -> Pin {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(10), self.hears.message());
            let message = next.await.expect("something is heard").unwrap();
            let Some(Hears::Pins(set)) = message.unwrap().hears else { panic!("a set of pins") };
            let pin = set.pins.first().cloned();
            self.pinned(set).await;
            if let Some(pin) = pin {
                return pin;
            }
        }
    }

    pub(super) async fn take_kills(&mut self) -> sentinel_proto::v1::KillSet {
        let Hears::KillSet(set) = self.hear().await.unwrap() else { panic!("kills come first") };
        self.say(Says::KillApplied(KillApplied { epoch: set.epoch, cut: 2 })).await;
        set
    }

    pub(super) async fn asked(&mut self) -> Prepare {
        match self.hear().await.unwrap() {
            Hears::Prepare(prepare) => prepare,
            other => panic!("a Prepare, not {other:?}"),
        }
    }

    pub(super) async fn answer(&self, prepare: &Prepare, problems: Vec<PlaneProblem>) {
        let prepared =
            Prepared { revision: prepare.revision, digest: prepare.digest.clone(), problems, degraded: Vec::new() };
        self.say(Says::Prepared(prepared)).await;
    }

    /// Prepares, is committed, and applies; gives the revision.
    pub(super) async fn take_revision(&mut self) -> u64 {
        let prepare = self.asked().await;
        self.answer(&prepare, Vec::new()).await;
        let Hears::Commit(commit) = self.hear().await.unwrap() else { panic!("a Commit follows") };
        assert_eq!((commit.revision, &commit.digest), (prepare.revision, &prepare.digest));
        let (revision, digest) = (commit.revision, commit.digest);
        self.say(Says::Applied(Applied { revision, digest })).await;
        revision
    }
}

/// A reason to refuse.
pub(super) fn problem() -> PlaneProblem {
    PlaneProblem {
        backend: "echo".to_owned(),
        key: "env.API_KEY".to_owned(),
        message: "API_KEY is not set here".to_owned(),
    }
}

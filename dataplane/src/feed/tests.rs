//! The stream against a control plane of a few lines, over a Unix socket in a folder of its own.

use std::path::{Path, PathBuf};

use prost::Message as _;
use sentinel_proto::v1::{
    Abort, Applied, Commit, KillEntry, KillSet, PlaneHears, PlaneProblem, PlaneSays, Prepare, Prepared, RestartBackend,
    Scope, command::What, config_service_server::ConfigService, config_service_server::ConfigServiceServer,
    plane_hears::Hears, plane_says::Says,
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Response, Status, Streaming};

use super::*;
use crate::{clock::Clock, in_flight::InFlight, ops::status::PlaneStatus};

type Opened = (Streaming<PlaneSays>, mpsc::Sender<Result<PlaneHears, Status>>);

/// Hands every stream that is opened to the test.
struct Fake(mpsc::Sender<Opened>);

#[tonic::async_trait]
impl ConfigService for Fake {
    type WatchStream = ReceiverStream<Result<PlaneHears, Status>>;

    async fn watch(&self, request: Request<Streaming<PlaneSays>>) -> Result<Response<Self::WatchStream>, Status> {
        if request.metadata().get("authorization").is_none_or(|token| token != "Bearer token") {
            return Err(Status::unauthenticated("not our token"));
        }
        let (hears, outgoing) = mpsc::channel(8);
        self.0.send((request.into_inner(), hears)).await.ok();
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }
}

struct Rig {
    dir: tempfile::TempDir,
    streams: mpsc::Receiver<Opened>,
    view: mpsc::Receiver<ViewMessage>,
    heard: watch::Receiver<bool>,
    kills: Arc<Kills>,
    home: Arc<Home>,
    leave: CancellationToken,
    tracker: TaskTracker,
}

fn socket(dir: &Path) -> PathBuf {
    dir.join("grpc.sock")
}

impl Rig {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tracker = TaskTracker::new();
        let leave = CancellationToken::new();
        let (opened, streams) = mpsc::channel(4);
        let listener = UnixListener::bind(socket(dir.path())).unwrap();
        let server = tonic::transport::Server::builder().add_service(ConfigServiceServer::new(Fake(opened)));
        tracker.spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
        let home = Arc::new(Home::open(&dir.path().join("state")).unwrap());
        let (kills, _) = Kills::open(home.plane(), InFlight::new(), Clock::system());
        let kills = Arc::new(kills);
        let (inbox, view) = mpsc::channel(1);
        let (heard, is_heard) = watch::channel(false);
        let feed = Feed {
            channel: endpoint::ControlPlane::Unix(socket(dir.path())).channel(None).unwrap(),
            token: TokenSource::Given("token".into()),
            identity: Arc::new(home.identity().unwrap()),
            home: Arc::clone(&home),
            name: "here".into(),
            listen: "127.0.0.1:9200".into(),
            kills: Arc::clone(&kills),
            view: inbox,
            look: Look::new(
                || PlaneStatus { revision: 3, ..PlaneStatus::default() },
                Default::default,
                Default::default,
            ),
            changed: Arc::default(),
            operate: Operate::new(|command| CommandDone { id: command.id, ok: true, ..CommandDone::default() }),
            heard,
            contact: Arc::new(Contact::none_yet()),
            clock: Clock::standing_at(7_000_000),
            tracker: tracker.clone(),
        };
        tracker.spawn(feed.run(leave.clone()));
        Self { dir, streams, view, heard: is_heard, kills, home, leave, tracker }
    }

    async fn stream(&mut self) -> Talk {
        let (says, hears) = within(self.streams.recv()).await.unwrap();
        let mut talk = Talk { says, hears };
        let Says::Hello(hello) = talk.says().await else { panic!("a plane speaks first, and says hello") };
        assert_eq!((hello.revision, hello.secret.len(), &*hello.name), (3, 32, "here"));
        talk
    }
}

struct Talk {
    says: Streaming<PlaneSays>,
    hears: mpsc::Sender<Result<PlaneHears, Status>>,
}

impl Talk {
    async fn tell(&self, hears: Hears) {
        self.hears.send(Ok(PlaneHears { hears: Some(hears) })).await.unwrap();
    }

    /// The next that is no report.
    async fn says(&mut self) -> Says {
        loop {
            match within(self.says.message()).await.unwrap().unwrap().says.unwrap() {
                Says::Report(_) | Says::Sightings(_) => {}
                other => return other,
            }
        }
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(10), what).await.expect("it did not happen within ten seconds")
}

fn kill(epoch: u64) -> Hears {
    let entry = KillEntry { scope: Scope::All.into(), epoch, on: true, ..KillEntry::default() };
    Hears::KillSet(KillSet { whole: false, epoch, entries: vec![entry], revocations: vec![] })
}

fn prepare(revision: u64, snapshot: &[u8]) -> Prepare {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, snapshot).as_ref().to_vec();
    Prepare { revision, digest, snapshot: snapshot.to_vec(), ..Prepare::default() }
}

#[tokio::test]
async fn a_kill_is_on_disk_and_in_force_when_it_is_acknowledged() {
    let mut rig = Rig::start();
    let mut talk = rig.stream().await;
    talk.tell(kill(7)).await;
    let Says::KillApplied(applied) = talk.says().await else { panic!("an ack is due") };
    assert_eq!(applied.epoch, 7);
    let disk = crate::disk::StateFile::new(rig.home.plane(), "kill.state").read().unwrap().unwrap();
    assert_eq!(KillSet::decode(&*disk.bytes).unwrap().epoch, 7);
    assert_eq!(rig.kills.epoch(), 7);
    within(rig.heard.wait_for(|heard| *heard)).await.unwrap();
}

#[tokio::test]
async fn a_kill_does_not_wait_for_a_view_that_is_busy() {
    let mut rig = Rig::start();
    let mut talk = rig.stream().await;
    // The inbox has room for one; nobody reads it.
    for revision in 4..8 {
        talk.tell(Hears::Prepare(prepare(revision, b"snapshot"))).await;
    }
    talk.tell(kill(9)).await;
    loop {
        match talk.says().await {
            Says::KillApplied(applied) => break assert_eq!(applied.epoch, 9),
            // What a newer one replaced is refused by name.
            Says::Prepared(prepared) => assert!(!prepared.problems.is_empty()),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn what_the_view_says_to_prepare_and_commit_is_what_the_control_plane_hears() {
    let mut rig = Rig::start();
    let mut talk = rig.stream().await;
    talk.tell(Hears::Prepare(prepare(4, b"bad"))).await;
    let Some(ViewMessage::Prepare { revision: 4, digest, reply, .. }) = within(rig.view.recv()).await else {
        panic!("the view is asked")
    };
    let problem = PlaneProblem { backend: "n8n".into(), key: "env.KEY".into(), message: "is not set".into() };
    reply.send(Prepared { revision: 4, digest: digest.into(), problems: vec![problem], degraded: vec![] }).unwrap();
    let Says::Prepared(told) = talk.says().await else { panic!("an answer is due") };
    assert_eq!(told.problems[0].backend, "n8n");

    talk.tell(Hears::Commit(Commit { revision: 5, digest: digest.into() })).await;
    let Some(ViewMessage::Commit { reply, .. }) = within(rig.view.recv()).await else { panic!("the view is told") };
    reply.send(Ok(Applied { revision: 5, digest: digest.into() })).unwrap();
    assert!(matches!(talk.says().await, Says::Applied(Applied { revision: 5, .. })));

    talk.tell(Hears::Abort(Abort { revision: 6, digest: digest.into(), reason: String::new() })).await;
    assert!(matches!(within(rig.view.recv()).await, Some(ViewMessage::Abort { revision: 6, .. })));
}

#[tokio::test]
async fn a_snapshot_with_another_digest_or_an_unknown_capability_never_reaches_the_view() {
    let mut rig = Rig::start();
    let mut talk = rig.stream().await;
    let torn = Prepare { snapshot: b"torn".to_vec(), ..prepare(4, b"whole") };
    let later = Prepare { required_capabilities: vec!["snapshot.9".into()], ..prepare(4, b"whole") };
    for (sent, word) in [(torn, "digest"), (later, "snapshot.9")] {
        talk.tell(Hears::Prepare(sent)).await;
        let Says::Prepared(refused) = talk.says().await else { panic!("a refusal is due") };
        assert!(refused.problems[0].message.contains(word), "{refused:?}");
    }
    assert!(rig.view.try_recv().is_err());
}

#[tokio::test]
async fn a_cut_stream_is_made_anew_and_commands_are_answered_on_it() {
    let mut rig = Rig::start();
    let talk = rig.stream().await;
    talk.hears.send(Err(Status::unavailable("going down"))).await.unwrap();
    drop(talk);
    let mut talk = rig.stream().await;
    let what = What::RestartBackend(RestartBackend { name: "n8n".into() });
    talk.tell(Hears::Command(Command { id: 11, what: Some(what) })).await;
    assert!(matches!(talk.says().await, Says::CommandDone(CommandDone { id: 11, ok: true, .. })));
}

#[tokio::test]
async fn a_goodbye_is_remembered_before_it_is_said_and_taken_back_when_the_kill_set_came() {
    let mut rig = Rig::start();
    rig.home.mark_goodbye().unwrap();
    let mut talk = rig.stream().await;
    talk.tell(kill(1)).await;
    assert!(matches!(talk.says().await, Says::KillApplied(_)));
    assert!(!rig.home.said_goodbye());
    rig.leave.cancel();
    assert!(matches!(talk.says().await, Says::Goodbye(_)));
    assert!(rig.home.said_goodbye());
    assert!(!rig.tracker.is_closed() && rig.dir.path().exists());
}

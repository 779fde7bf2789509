//! Real children, scripted in `child.py`. Found by our marker or by the pid that they wrote down, ended by pid alone.

mod apart;
mod ending;
mod eras;
mod lifetime;
mod restarting;
mod talking;

use std::{
    future::Future,
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    StdioLink,
    apart::{Sandbox, User},
    cgroup::Limits,
    spawner::Spawner,
    strays,
};
use crate::{
    answering::{Event, Events},
    backend::{
        BackendNote, LinkParts, LinkStatus, Note, Outgoing, Sent, State,
        era::Era,
        isolation::{Isolation, Owner},
        listing::Offered,
        spec::{BackendSpec, Breaker, Health, Kind, Life, StdioSpec},
        wanted::Wanted,
    },
    call::{Ask, BackendId, Principal, RequestId, Routed},
    catalogue::Target,
    in_flight::{CallKey, Entry, Flight, InFlight, LegKey, Why},
    listen::ClientLeg,
    upcall::{Asked, feature::Features},
    wire::scan::{self, Body},
    workers::Workers,
};

const PATIENCE: Duration = Duration::from_secs(20);
static SPAWNER: LazyLock<Spawner> = LazyLock::new(|| Spawner::start(Uuid::now_v7(), Uuid::now_v7()).unwrap());

/// Waits until `is` gives something; fails loudly with what it waited for.
async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut is: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = is().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The pid that a child wrote into `path`.
async fn pid_in(path: &Path) -> i32 {
    until("a pid file", || async { std::fs::read_to_string(path).ok()?.parse().ok() }).await
}

fn lives(pid: i32) -> bool {
    strays::look(pid).is_some_and(|seen| !seen.zombie)
}

struct Rig {
    link: Arc<StdioLink>,
    notes: mpsc::Receiver<BackendNote>,
    asked: mpsc::Receiver<Asked>,
    in_flight: Arc<InFlight>,
    next: AtomicU64,
    directory: tempfile::TempDir,
}

struct Spec {
    mode: &'static str,
    command: &'static str,
    era: Option<Era>,
    isolation: Isolation,
    max_concurrency: usize,
    max_response_bytes: usize,
    restart_on_exit: bool,
    max_restarts: u32,
    start_timeout: Duration,
    life: Life,
    limits: Limits,
    user: Option<User>,
    sandbox: Option<Sandbox>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            mode: "good",
            command: "python3",
            era: Some(Era::Legacy),
            isolation: Isolation::Shared,
            max_concurrency: 64,
            max_response_bytes: 1 << 20,
            restart_on_exit: true,
            max_restarts: 5,
            start_timeout: PATIENCE,
            life: Life::default(),
            limits: Limits::default(),
            user: None,
            sandbox: None,
        }
    }
}

impl Rig {
    fn start(spec: &Spec) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/backend/stdio/tests/child.py");
        let stdio = StdioSpec {
            command: spec.command.to_owned(),
            args: [script, spec.mode, directory.path().to_str().unwrap()].map(Into::into).to_vec(),
            env: vec![("GIVEN".to_owned(), "a secret".into())],
            cwd: None,
            restart_on_exit: spec.restart_on_exit,
            max_restarts: spec.max_restarts,
            start_timeout: spec.start_timeout,
            life: spec.life,
            limits: spec.limits,
            user: spec.user.clone(),
            sandbox: spec.sandbox.clone(),
        };
        let spec = BackendSpec {
            name: "child".into(),
            kind: Kind::Stdio(stdio),
            era: spec.era,
            max_concurrency: spec.max_concurrency,
            max_response_bytes: spec.max_response_bytes,
            attempts: 1,
            breaker: Breaker { failures: 5, open_for: PATIENCE, half_open_calls: 1 },
            health: Health { interval: PATIENCE, timeout: PATIENCE, unhealthy_after: 3 },
            isolation: spec.isolation,
            max_instances: 0,
            instance_idle: PATIENCE,
            may_ask: Features::NONE,
            fingerprint: [0; 32],
        };
        let (sender, notes) = mpsc::channel(1024);
        let (asks, asked) = mpsc::channel(256);
        let parts = LinkParts {
            id: BackendId(7),
            tracker: TaskTracker::new(),
            stop: CancellationToken::new(),
            notes: sender,
            spawner: SPAWNER.clone().with_state(directory.path()),
            workers: Workers::default(),
            owner: Owner::Shared,
            instance: None,
            declares: Features::NONE,
            asks,
            wanted: Wanted::new(mpsc::channel(1).0),
        };
        let link = Arc::new(StdioLink::start(Arc::new(spec), parts));
        Self { link, notes, asked, in_flight: InFlight::new(), next: AtomicU64::new(1), directory }
    }

    async fn ready(spec: &Spec) -> Self {
        let mut rig = Self::start(spec);
        rig.is(State::Ready).await;
        rig.listed().await;
        rig
    }

    async fn ready_of(spec: Spec) -> Self {
        Self::ready(&spec).await
    }

    async fn is(&self, state: State) -> LinkStatus {
        let found = || async { Some(self.link.status()).filter(|status| status.state == state) };
        until(&format!("{state:?}, with {:?}", self.link.stderr()), found).await
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.link.status().pid).unwrap()
    }

    async fn note(&mut self) -> Note {
        tokio::time::timeout(PATIENCE, self.notes.recv()).await.unwrap().unwrap().note
    }

    async fn listed(&mut self) -> Vec<Offered> {
        loop {
            if let Note::Listed(offering) = self.note().await {
                return offering.of(crate::call::Kind::Tool).to_vec();
            }
        }
    }

    /// A call as the pipeline would make it: the client's own id is `"c<n>"`, its progress token `"t<n>"`.
    fn call(&self, tool: &str, arguments: &Value) -> Call {
        let n = self.next.fetch_add(1, Relaxed);
        let body = Bytes::from(
            json!({
                "jsonrpc": "2.0", "id": format!("c{n}"), "method": "tools/call",
                "params": {"name": format!("x__{tool}"), "arguments": arguments, "_meta": {"progressToken": format!("t{n}")}},
            })
            .to_string(),
        );
        let Body::One(scanned) = scan::body(&body).unwrap() else { panic!("one message") };
        let routed = Routed {
            id: RequestId::fresh(),
            body,
            scanned,
            ask: Ask::CallTool,
            name: format!("x__{tool}").into(),
            traceparent: None,
            input: None,
            task: None,
            arrived: Instant::now(),
        };
        let (events, heard) = Events::channel();
        let entry = Entry {
            request: routed.id,
            leg: ClientLeg::modern(LegKey([0; 16]), Features::NONE),
            principal: Arc::new(principal()),
            target: Arc::new(tool_of(tool)),
            backend: BackendId(7),
            events: events.clone(),
            progress: routed.progress_token(),
            arrived: Instant::now(),
            timeout: PATIENCE,
            progress_renews: true,
            max_timeout: PATIENCE * 2,
            keepalive: PATIENCE,
        };
        let flight = self.in_flight.enter(CallKey { leg: LegKey([0; 16]), id: routed.client_id() }, entry).unwrap();
        Call { link: Arc::clone(&self.link), n, own_name: tool.to_owned(), routed, flight, events, heard }
    }

    async fn says(&self, tool: &str, arguments: Value) -> Value {
        self.call(tool, &arguments).send().await.said()
    }

    fn end_all(&self, why: &Why) {
        self.in_flight.sweep(|_| Some(why.clone()));
    }
}

struct Call {
    link: Arc<StdioLink>,
    n: u64,
    own_name: String,
    routed: Routed,
    flight: Flight,
    events: Events,
    heard: mpsc::Receiver<Event>,
}

struct Done {
    n: u64,
    sent: Sent,
    heard: mpsc::Receiver<Event>,
    was_sent: bool,
}

impl Call {
    async fn send(self) -> Done {
        let client_id = self.routed.client_id();
        let outgoing = Outgoing {
            routed: &self.routed,
            client_id: &client_id,
            own_name: &self.own_name,
            mirrored: &[],
            level: None,
            declares: Features::NONE,
            inputs: "",
            keeps_task: false,
        };
        let sent = self.link.call(&outgoing, &self.flight, &self.events).await;
        Done { n: self.n, sent, heard: self.heard, was_sent: self.flight.is_sent() }
    }

    /// In the background, until somebody asks.
    fn spawn(self, tracker: &TaskTracker) -> tokio::task::JoinHandle<Done> {
        tracker.spawn(self.send())
    }
}

impl Done {
    /// The text of the answer, which is JSON; under the client's own id.
    fn said(&self) -> Value {
        let Sent::Answered(answer) = &self.sent else { panic!("{:?}", self.sent) };
        let message: Value = serde_json::from_slice(&answer.last).unwrap();
        assert_eq!(message["id"], json!(format!("c{}", self.n)));
        serde_json::from_str(message["result"]["content"][0]["text"].as_str().unwrap()).unwrap()
    }
}

fn principal() -> Principal {
    Principal { issuer: "i".into(), client: "c".into(), roles: Box::default(), jti: None, until: i64::MAX }
}

fn tool_of(name: &str) -> Target {
    Target {
        kind: crate::call::Kind::Tool,
        exposed: format!("x__{name}").into(),
        own: name.into(),
        backend: BackendId(7),
        backend_name: "child".into(),
        definition: Bytes::new(),
        core_tasks: None,
        check: crate::catalogue::schema::Check::Open,
        quota: crate::view::policy::Quota { requests: 1, per_secs: 1, burst: 1 },
        timeout: Duration::from_secs(30),
        progress_renews: true,
        max_timeout: Duration::from_secs(60),
        mirrored: Box::default(),
        metrics: crate::metrics::Metrics::new().unwrap().tool(name),
        may_repeat: false,
        held: None,
        tasks: None,
    }
}

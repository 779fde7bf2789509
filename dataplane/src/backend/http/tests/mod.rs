//! The link against a scripted server on loopback (`server.rs`): calls, faults, sessions.

mod calls;
mod eras;
mod faults;
mod secured;
mod server;
mod sessions;
mod sse;
mod streams;
mod watched;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{HttpLink, addresses::Allowed};
use crate::{
    answering::{Event, Events},
    backend::{
        BackendNote, LinkParts, LinkStatus, Note, Outgoing, Sent, State,
        era::Era,
        isolation::{Isolation, Owner},
        listing::Offered,
        spec::{BackendSpec, Breaker, Health, HttpSpec, Kind, Transport},
        wanted::Wanted,
    },
    call::{Ask, BackendId, Principal, RequestId, Routed},
    catalogue::{Target, schema},
    in_flight::{CallKey, Entry, Flight, InFlight, LegKey, Why},
    listen::ClientLeg,
    metrics::Metrics,
    upcall::{Asked, feature::Features},
    view::policy::Quota,
    wire::scan::{self, Body},
    workers::Workers,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `is` gives something; fails loudly with what it waited for.
async fn until<T>(what: &str, mut is: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = is() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Rig {
    link: Arc<HttpLink>,
    notes: mpsc::Receiver<BackendNote>,
    asked: mpsc::Receiver<Asked>,
    in_flight: Arc<InFlight>,
    next: AtomicU64,
    tracker: TaskTracker,
    wanted: Arc<Wanted>,
}

impl Rig {
    fn start(address: SocketAddr) -> Self {
        Self::bounded(address, 4 << 20)
    }

    fn bounded(address: SocketAddr, max_response_bytes: usize) -> Self {
        Self::of(&format!("http://{address}/mcp"), max_response_bytes)
    }

    fn of(url: &str, max_response_bytes: usize) -> Self {
        Self::secured(url, max_response_bytes, &super::tls::settings(None, None).unwrap())
    }

    fn secured(url: &str, max_response_bytes: usize, tls: &Arc<rustls::ClientConfig>) -> Self {
        Self::speaking(url, max_response_bytes, tls, Some(Era::Legacy), Isolation::Shared)
    }

    /// Of a server whose era is not said.
    async fn asked(address: SocketAddr) -> Self {
        Self::asked_as(address, None, Isolation::Shared).await
    }

    async fn asked_as(address: SocketAddr, era: Option<Era>, isolation: Isolation) -> Self {
        let tls = super::tls::settings(None, None).unwrap();
        let mut rig = Self::speaking(&format!("http://{address}/mcp"), 4 << 20, &tls, era, isolation);
        rig.listed().await;
        rig.state(State::Ready).await;
        rig
    }

    fn speaking(
        url: &str,
        max_response_bytes: usize,
        tls: &Arc<rustls::ClientConfig>,
        era: Option<Era>,
        isolation: Isolation,
    ) -> Self {
        Self::made(Transport::Auto, url, max_response_bytes, tls, (era, isolation))
    }

    fn over(
        transport: Transport,
        url: &str,
        max_response_bytes: usize,
        tls: &Arc<rustls::ClientConfig>,
        era: Option<Era>,
    ) -> Self {
        Self::made(transport, url, max_response_bytes, tls, (era, Isolation::Shared))
    }

    fn made(
        transport: Transport,
        url: &str,
        max_response_bytes: usize,
        tls: &Arc<rustls::ClientConfig>,
        (era, isolation): (Option<Era>, Isolation),
    ) -> Self {
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", http::HeaderValue::from_static("Bearer configured"));
        let http = || HttpSpec {
            url: url.parse().unwrap(),
            transport,
            headers: headers.clone(),
            tls: Arc::clone(tls),
            allowed: Allowed::default(),
        };
        let spec = BackendSpec {
            name: "scripted".into(),
            kind: Kind::Http(http()),
            era,
            max_concurrency: 64,
            max_response_bytes,
            attempts: 1,
            breaker: Breaker { failures: 5, open_for: PATIENCE, half_open_calls: 1 },
            health: Health { interval: PATIENCE, timeout: PATIENCE, unhealthy_after: 3 },
            isolation,
            max_instances: 0,
            instance_idle: PATIENCE,
            may_ask: Features::NONE,
            fingerprint: [0; 32],
        };
        let (sender, notes) = mpsc::channel(256);
        let (asks, asked) = mpsc::channel(256);
        let (tracker, wanted) = (TaskTracker::new(), Wanted::new(mpsc::channel(1).0));
        let parts = LinkParts {
            id: BackendId(7),
            tracker: tracker.clone(),
            stop: CancellationToken::new(),
            notes: sender,
            spawner: spawner(),
            workers: Workers::default(),
            owner: Owner::Shared,
            instance: None,
            declares: Features::NONE,
            asks,
            wanted: Arc::clone(&wanted),
        };
        Self {
            link: Arc::new(HttpLink::start(&spec, &http(), parts)),
            notes,
            asked,
            in_flight: InFlight::new(),
            next: AtomicU64::new(1),
            tracker,
            wanted,
        }
    }

    async fn ready(address: SocketAddr) -> Self {
        let mut rig = Self::start(address);
        rig.listed().await;
        rig.state(State::Ready).await;
        rig
    }

    async fn state(&self, state: State) -> LinkStatus {
        until(state.as_str(), || Some(self.link.status()).filter(|status| status.state == state)).await
    }

    async fn noted<T>(&mut self, what: &str, mut is: impl FnMut(Note) -> Option<T>) -> T {
        let wait = async {
            loop {
                let note = self.notes.recv().await.unwrap();
                assert_eq!(note.backend, BackendId(7));
                if let Some(found) = is(note.note) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no note: {what}"))
    }

    async fn listed(&mut self) -> Vec<Offered> {
        self.noted("a listing", |note| match note {
            Note::Listed(offering) => Some(offering.of(crate::call::Kind::Tool).to_vec()),
            Note::Own { .. } | Note::Elicited { .. } | Note::TaskStatus { .. } | Note::Log { .. } | Note::State => None,
        })
        .await
    }

    fn call(&self, arguments: &Value) -> Call {
        self.call_as(&json!(self.next.fetch_add(1, Relaxed)), arguments, None)
    }

    /// Each call comes from a session of its own: client ids may be equal.
    fn call_as(&self, id: &Value, arguments: &Value, token: Option<&str>) -> Call {
        let mut params = json!({"name": "x__echo", "arguments": arguments});
        if let Some(token) = token {
            params["_meta"] = json!({"progressToken": token});
        }
        let body = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let body = Bytes::from(body.to_string());
        let Body::One(scanned) = scan::body(&body).unwrap() else { panic!("one message") };
        let routed = Routed {
            id: RequestId::fresh(),
            body,
            scanned,
            ask: Ask::CallTool,
            name: "x__echo".into(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            input: None,
            task: None,
            arrived: Instant::now(),
        };
        let (events, heard) = Events::channel();
        let principal =
            Principal { issuer: "i".into(), client: "c".into(), roles: Box::default(), jti: None, until: i64::MAX };
        let entry = Entry {
            request: routed.id,
            leg: ClientLeg::modern(LegKey([0; 16]), Features::NONE),
            principal: Arc::new(principal),
            target: Arc::new(tool()),
            backend: BackendId(7),
            events: events.clone(),
            progress: routed.progress_token(),
            arrived: Instant::now(),
            timeout: PATIENCE,
            progress_renews: true,
            max_timeout: PATIENCE * 2,
            keepalive: PATIENCE,
        };
        let mut leg = [0; 16];
        leg[..8].copy_from_slice(&self.next.fetch_add(1, Relaxed).to_be_bytes());
        let key = CallKey { leg: LegKey(leg), id: routed.client_id() };
        let flight = self.in_flight.enter(key, entry).unwrap();
        Call { link: Arc::clone(&self.link), routed, flight, events, heard }
    }

    async fn says(&self, arguments: &Value) -> Value {
        self.call(arguments).send().await.said()
    }

    fn end_all(&self, why: &Why) -> usize {
        self.in_flight.sweep(|_| Some(why.clone()))
    }
}

struct Call {
    link: Arc<HttpLink>,
    routed: Routed,
    flight: Flight,
    events: Events,
    heard: mpsc::Receiver<Event>,
}

struct Done {
    sent: Sent,
    parts: Vec<Bytes>,
    others: Vec<Event>,
    was_sent: bool,
}

impl Call {
    async fn send(self) -> Done {
        let Self { link, routed, flight, events, mut heard } = self;
        let client_id = routed.client_id();
        let outgoing = Outgoing {
            routed: &routed,
            client_id: &client_id,
            own_name: "echo",
            mirrored: &[],
            level: None,
            declares: Features::NONE,
            inputs: "",
            keeps_task: false,
        };
        let calling = async {
            let sent = Box::pin(link.call(&outgoing, &flight, &events)).await;
            drop(events);
            let was_sent = flight.is_sent();
            drop(flight);
            (sent, was_sent)
        };
        let hearing = async {
            let (mut parts, mut others) = (Vec::new(), Vec::new());
            while let Some(event) = heard.recv().await {
                match event {
                    Event::Part(part) => parts.push(part),
                    other => others.push(other),
                }
            }
            (parts, others)
        };
        let both = async { tokio::join!(calling, hearing) };
        let ((sent, was_sent), (parts, others)) = tokio::time::timeout(PATIENCE, both).await.unwrap();
        Done { sent, parts, others, was_sent }
    }
}

impl Done {
    /// The whole answer as the client gets it.
    fn bytes(self) -> Vec<u8> {
        let Sent::Answered(answer) = self.sent else { panic!("no answer: {:?}", self.sent) };
        let mut whole = self.parts.concat();
        whole.extend_from_slice(&answer.last);
        whole
    }

    fn said(self) -> Value {
        serde_json::from_slice(&self.bytes()).unwrap()
    }

    /// What the failure says, with how it ended.
    fn failed(self) -> (&'static str, String) {
        match self.sent {
            Sent::Never(failure) => ("never", failure.message()),
            Sent::Failed(failure) => ("failed", failure.message()),
            Sent::Lost(failure) => ("lost", failure.message()),
            Sent::Ended => ("ended", String::new()),
            Sent::Answered(answer) => panic!("answered: {:?}", answer.last),
        }
    }
}

fn tool() -> Target {
    Target {
        kind: crate::call::Kind::Tool,
        exposed: "x__echo".into(),
        own: "echo".into(),
        backend: BackendId(7),
        backend_name: "scripted".into(),
        definition: Bytes::new(),
        core_tasks: None,
        check: schema::Check::Open,
        quota: Quota { requests: 1, per_secs: 1, burst: 1 },
        timeout: PATIENCE,
        progress_renews: true,
        max_timeout: PATIENCE,
        mirrored: Box::default(),
        metrics: Metrics::new().unwrap().tool("x__echo"),
        may_repeat: false,
        held: None,
        tasks: None,
    }
}

fn spawner() -> crate::backend::stdio::spawner::Spawner {
    use std::sync::LazyLock;

    use crate::backend::stdio::spawner::Spawner;
    static SPAWNER: LazyLock<Spawner> =
        LazyLock::new(|| Spawner::start(uuid::Uuid::now_v7(), uuid::Uuid::now_v7()).unwrap());
    SPAWNER.clone()
}

//! Clients that call without a pause, and keep what they saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::random::Random;
use sentinel_tests::harness::until::{holds, until};
use sentinel_tests::history::{Answer, Made};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::scene::{BACKENDS, Scene};

const CLIENTS: usize = 6;
/// Workers of one client; they share its session.
const EACH: usize = 2;
/// Above the backends' `timeout_secs`: who waits longer was forgotten.
const PATIENCE: Duration = Duration::from_secs(8);
/// After a refusal, as clients do; nothing waits for it.
const BACK_OFF: Duration = Duration::from_millis(10);

/// What any transport may be told to do, then what only one knows.
const BAD: [&str; 10] = ["ask", "error", "hang", "huge", "no_result", "rubbish", "twice", "wrong_id", "flood", ""];
const BAD_STDIO: [&str; 5] = ["banner", "fork", "unknown", "die", "exit"];
const BAD_HTTP: [&str; 18] = [
    "close",
    "cut_head",
    "cut_body",
    "events_cut",
    "events_drip",
    "events_empty",
    "events_silent",
    "gzip",
    "hang_body",
    "hang_head",
    "drip_body",
    "longer",
    "two",
    "reset",
    "reset_body",
    "html",
    "status 500",
    "forget",
];

const BAD_OLD: [&str; 14] = [
    "event_half",
    "event_other",
    "forget",
    "garbage",
    "noise",
    "post_hang",
    "post_reset",
    "post_silent",
    "status 500",
    "status 503 Later",
    "stream_cut",
    "stream_end",
    "stream_reset",
    "unasked",
];

/// Set while only good calls are asked for.
#[derive(Debug, Default)]
struct Shared {
    is_calm: AtomicBool,
    /// Calls that are over, answered or not.
    over: AtomicUsize,
    /// Results of good calls in a row, by backend and all clients together.
    good: [AtomicUsize; BACKENDS.len()],
    /// Somebody is to let `rough` start a process of its own; and it has.
    is_fork_due: AtomicBool,
    has_forked: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct Load {
    shared: Arc<Shared>,
    stop: CancellationToken,
    workers: Vec<JoinHandle<Vec<Made>>>,
}

impl Load {
    /// Clients with sessions, made before anything goes wrong.
    pub(crate) async fn start(scene: &Scene, random: &mut Random) -> Self {
        let (shared, stop, tracker) = (Arc::new(Shared::default()), CancellationToken::new(), TaskTracker::new());
        let mut workers = Vec::new();
        for number in 0..CLIENTS {
            let name = format!("chaos-{number}");
            let token = scene.fleet.token(&name, "operator").await;
            // Every third goes around the proxy.
            let url = if number % 3 == 0 { scene.fleet.planes[0].url() } else { scene.front.url() };
            let client = Arc::new(Client::connected(&url, &token).await);
            for worker in 0..EACH {
                let work = Worker {
                    name: name.clone(),
                    number: number * EACH + worker,
                    client: Arc::clone(&client),
                    random: random.fork(),
                    shared: Arc::clone(&shared),
                };
                workers.push(tracker.spawn(work.until(stop.clone())));
            }
        }
        Self { shared, stop, workers }
    }

    /// Until so many more are over.
    pub(crate) async fn goes_on_for(&self, more: usize) {
        let goal = self.shared.over.load(Ordering::Relaxed) + more;
        until("the load goes on", async || holds(self.shared.over.load(Ordering::Relaxed) >= goal)).await;
    }

    /// From now on nobody asks for anything bad.
    pub(crate) fn calms(&self) {
        self.shared.is_calm.store(true, Ordering::Relaxed);
        self.shared.good.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    /// Until `rough` has a process of its own making, so that its end always has something to leave behind.
    pub(crate) async fn forks(&self) {
        self.shared.is_fork_due.store(true, Ordering::Relaxed);
        until("a server has forked", async || holds(self.shared.has_forked.load(Ordering::Relaxed))).await;
    }

    /// Results of good calls of this backend since `calms`.
    pub(crate) fn good(&self, backend: usize) -> usize {
        self.shared.good[backend].load(Ordering::Relaxed)
    }

    /// Lets each worker finish its call; gives what all saw.
    pub(crate) async fn stop(self) -> Vec<Made> {
        self.stop.cancel();
        let mut all = Vec::new();
        for worker in self.workers {
            all.extend(worker.await.unwrap());
        }
        all
    }
}

struct Worker {
    name: String,
    number: usize,
    client: Arc<Client>,
    random: Random,
    shared: Arc<Shared>,
}

/// A call to be made.
struct Plan {
    backend: usize,
    tool: &'static str,
    arguments: serde_json::Value,
    may_repeat: bool,
    echoes: bool,
}

impl Worker {
    async fn until(mut self, stop: CancellationToken) -> Vec<Made> {
        let mut seen = Vec::new();
        while !stop.is_cancelled() {
            let nonce = format!("{}-{}", self.number, seen.len());
            let plan = self.plan(&nonce);
            let (backend, tool) = (BACKENDS[plan.backend], plan.tool);
            let exposed = format!("{backend}__{tool}");
            let answer = self.call(&exposed, &plan.arguments).await;
            let is_good = matches!(answer, Answer::Result { .. });
            self.shared.over.fetch_add(1, Ordering::Relaxed);
            if self.shared.is_calm.load(Ordering::Relaxed) && plan.arguments["how"] == "fork" {
                let to = if is_good { &self.shared.has_forked } else { &self.shared.is_fork_due };
                to.store(true, Ordering::Relaxed);
            }
            if is_good && tool != "bad" {
                self.shared.good[plan.backend].fetch_add(1, Ordering::Relaxed);
            }
            seen.push(Made {
                client: self.name.clone(),
                backend: backend.into(),
                tool: exposed,
                nonce,
                may_repeat: plan.may_repeat,
                echoes: plan.echoes,
                answer,
            });
            if !is_good {
                tokio::time::sleep(BACK_OFF).await;
            }
        }
        seen
    }

    fn plan(&mut self, nonce: &str) -> Plan {
        let backend = usize::try_from(self.random.below(BACKENDS.len() as u64)).unwrap();
        let plain =
            |tool, may_repeat| Plan { backend, tool, arguments: json!({ "nonce": nonce }), may_repeat, echoes: true };
        if backend == 0 {
            return Plan { arguments: json!({ "text": nonce, "nonce": nonce }), ..plain("echo", false) };
        }
        if backend == 1 && self.shared.is_fork_due.swap(false, Ordering::Relaxed) {
            let arguments = json!({ "nonce": nonce, "how": "fork" });
            return Plan { arguments, echoes: false, ..plain("bad", false) };
        }
        match self.random.below(20) {
            0..=9 => plain("once", false),
            10..=13 => plain("look", true),
            14..=18 => {
                let ms = self.random.below(300);
                Plan { arguments: json!({ "nonce": nonce, "ms": ms }), ..plain("slow", false) }
            }
            _ if self.shared.is_calm.load(Ordering::Relaxed) => plain("once", false),
            _ => {
                let own: &[&str] = [&[][..], &BAD_STDIO, &BAD_HTTP, &BAD_OLD][backend];
                let how = *if self.random.below(2) == 0 { self.random.pick(&BAD) } else { self.random.pick(own) };
                Plan { arguments: json!({ "nonce": nonce, "how": how }), echoes: false, ..plain("bad", false) }
            }
        }
    }

    async fn call(&self, tool: &str, arguments: &serde_json::Value) -> Answer {
        let message = self.client.message("tools/call", &json!({ "name": tool, "arguments": arguments }));
        let reply = match tokio::time::timeout(PATIENCE, self.client.try_send(&message)).await {
            Err(_elapsed) => return Answer::None { why: "nothing came in time".into() },
            Ok(Err(error)) => return Answer::None { why: format!("{error:?}") },
            Ok(Ok(reply)) => reply,
        };
        let request_id = reply.header("x-request-id").to_owned();
        let message = &reply.message;
        if let Some(said) = message["result"]["content"][0]["text"].as_str() {
            return Answer::Result { request_id, said: said.to_owned() };
        }
        if let Some(kind) = message["error"]["data"]["kind"].as_str() {
            return Answer::Refused { request_id, kind: kind.to_owned() };
        }
        if message["error"].is_object() {
            return Answer::Passed { request_id };
        }
        Answer::None { why: format!("HTTP {}: {:.100}", reply.status, reply.text) }
    }
}

//! A small MCP server of the legacy era, or of the modern one: what `sentinel-example-server` runs, and what the tests
//! call. It knows messages and sessions; lines and HTTP are in `stdio` and `http`, the tools in `tools`, what the modern
//! era does otherwise in `modern`, all else in `features`.
//!
//! It does not check arguments against its own schemas: that is the gateway's work, and the tests want to see what
//! came through. It writes each received call to a receive log, before it does anything about it.

mod asking;
pub mod core_tasks;
pub mod features;
pub mod http;
mod messages;
pub mod modern;
mod old;
mod receive_log;
mod rounds;
pub mod stdio;
mod tasks;
pub mod tools;
mod watched;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use receive_log::ReceiveLog;

use messages::{Incoming, answer, fault, note};
use modern::Subscriber;

/// Messages that wait to be written to one peer or stream.
pub const OUTBOX: usize = 256;

/// Newest first; what a client asks for is spoken if it stands here, else the newest.
const REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// Log levels of MCP, least first.
const LEVELS: [&str; 8] = ["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"];

/// What all sessions share: what has grown, what is counted, the receive log.
#[derive(Debug, Default)]
pub struct Server {
    log: ReceiveLog,
    misbehaves: bool,
    is_modern: bool,
    /// Tools more, as the text of a list without its brackets.
    more_tools: Option<PathBuf>,
    executions: AtomicU64,
    grown: AtomicU64,
    /// To which its clients were sent.
    visits: Mutex<std::collections::HashSet<String>>,
    features: features::Grown,
    watched: watched::Watched,
    jobs: tasks::Jobs,
    has_core_tasks: bool,
    chores: core_tasks::Chores,
    listeners: Mutex<Vec<(mpsc::Sender<String>, Option<Subscriber>)>>,
}

impl Server {
    /// `misbehaves` adds the tool that breaks the protocol on request; `more_tools` is read at each list, if it is there.
    #[must_use]
    pub fn new(log: ReceiveLog, misbehaves: bool, more_tools: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { log, misbehaves, more_tools, ..Self::default() })
    }

    /// As they stand in the file: nothing is judged, so that a test may write anything.
    fn more_tools(&self) -> String {
        let read = self.more_tools.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        read.map(|text| text.trim().to_owned()).unwrap_or_default()
    }

    /// The same, which speaks revision 2026-07-28 and no other.
    #[must_use]
    pub fn modern(log: ReceiveLog, misbehaves: bool, more_tools: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { log, misbehaves, more_tools, is_modern: true, ..Self::default() })
    }

    /// As `new`, with tasks of revision 2025-11-25.
    #[must_use]
    pub fn with_tasks(log: ReceiveLog, misbehaves: bool, more_tools: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { log, misbehaves, more_tools, has_core_tasks: true, ..Self::default() })
    }

    /// From now on notes that belong to no request also go there; until it is closed.
    pub fn listen(&self, out: mpsc::Sender<String>) {
        if !self.is_modern {
            self.add(out, None);
        }
    }

    fn subscribe(&self, out: mpsc::Sender<String>, subscriber: Subscriber) {
        self.add(out, Some(subscriber));
    }

    fn add(&self, out: mpsc::Sender<String>, subscriber: Option<Subscriber>) {
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|(old, _)| !old.is_closed());
        listeners.push((out, subscriber));
    }

    /// A listener whose outbox is full misses the note: it is a hint, the list can be asked for.
    fn tell_all(&self, message: &str) {
        let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        let uri = updated(message);
        for (out, subscriber) in listeners.iter() {
            let told = match subscriber {
                Some(subscriber) => subscriber.told(message),
                None => uri.as_ref().is_none_or(|uri| self.watched.has(uri)).then(|| message.to_owned()),
            };
            let _full = told.is_some_and(|told| out.try_send(told).is_err());
        }
    }
}

/// One client's conversation.
#[derive(Debug)]
pub struct Session {
    server: Arc<Server>,
    /// What is being worked on, by the text of the request's id.
    running: Mutex<HashMap<String, CancellationToken>>,
    /// Index into `LEVELS`.
    level: AtomicU8,
    /// What the client declared in `initialize`.
    declared: Mutex<Value>,
    /// What the client was asked and has not answered, by the ids of the questions.
    questions: Mutex<HashMap<u64, oneshot::Sender<Value>>>,
    last_question: AtomicU64,
}

/// A message that was accepted and now wants to be worked on.
#[derive(Debug)]
pub enum Work {
    /// A notification, or a response: nothing comes back.
    Nothing,
    /// The answer is known already.
    Answer(String),
    Await(core_tasks::Await),
    Call(tools::Call),
    Read(features::Read),
    Listen(modern::Listen),
}

impl Work {
    /// It may send notes before its answer, so that an HTTP answer must be a stream.
    #[must_use]
    pub fn streams(&self) -> bool {
        match self {
            Self::Call(call) => call.streams(),
            Self::Read(read) => read.streams(),
            Self::Await(_) | Self::Listen(_) => true,
            Self::Nothing | Self::Answer(_) => false,
        }
    }

    /// Nothing will be answered.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        matches!(self, Self::Nothing)
    }
}

impl Session {
    #[must_use]
    pub fn new(server: Arc<Server>) -> Arc<Self> {
        Arc::new(Self {
            server,
            running: Mutex::default(),
            level: AtomicU8::new(1),
            declared: Mutex::default(),
            questions: Mutex::default(),
            last_question: AtomicU64::new(0),
        })
    }

    /// Reads one message. A call is in the receive log and can be cancelled when this returns.
    pub fn accept(&self, text: &str) -> Work {
        let Ok(incoming) = serde_json::from_str::<Incoming<'_>>(text) else {
            return Work::Answer(fault("null", -32700, "this is not a JSON-RPC message"));
        };
        let Some(method) = incoming.method.as_deref() else {
            self.answered(text);
            return Work::Nothing;
        };
        let Some(id) = incoming.id.map(RawValue::get) else {
            self.notified(method, &incoming);
            return Work::Nothing;
        };
        if !self.server.is_modern {
            return self.asked(method, id, &incoming);
        }
        self.server.log.write("modern", method, id, incoming.params);
        if let Some(refusal) = modern::refuses(id, method, &incoming) {
            return Work::Answer(refusal);
        }
        let asked = modern::level(&incoming).and_then(|level| LEVELS.iter().position(|known| *known == level));
        self.level.store(asked.and_then(|level| u8::try_from(level).ok()).unwrap_or(u8::MAX), Ordering::Relaxed);
        let of_this_era =
            modern::accept(method, id, &incoming).or_else(|| self.server.jobs.accept(method, id, &incoming));
        match of_this_era.unwrap_or_else(|| self.asked(method, id, &incoming)) {
            Work::Answer(text) => Work::Answer(modern::dressed(text, modern::is_kept(method))),
            other => other,
        }
    }

    fn asked(&self, method: &str, id: &str, incoming: &Incoming<'_>) -> Work {
        match method {
            "initialize" => Work::Answer(self.initialize(id, incoming)),
            "logging/setLevel" => Work::Answer(self.set_level(id, incoming)),
            "ping" => Work::Answer(answer(id, "{}")),
            "tools/call" => self.accept_call(id, incoming),
            "tools/list" => Work::Answer(answer(id, &tools::list(&self.server))),
            other if self.server.has_core_tasks && other.starts_with("tasks/") => {
                core_tasks::accept(self, other, id, incoming)
                    .unwrap_or_else(|| Work::Answer(fault(id, -32601, "this server has no such method")))
            }
            other => features::accept(self, other, id, incoming)
                .or_else(|| watched::accept(&self.server, other, id, incoming))
                .unwrap_or_else(|| Work::Answer(fault(id, -32601, "this server has no such method"))),
        }
    }

    /// Sends what the work brings to `out`; a cancelled call sends no answer.
    pub async fn run(&self, work: Work, out: &mpsc::Sender<String>) {
        let is_kept = match work {
            Work::Call(_) => false,
            Work::Read(_) => true,
            other => return self.work(other, out).await,
        };
        if !self.server.is_modern {
            return self.work(work, out).await;
        }
        let (inside, mut said) = mpsc::channel(OUTBOX);
        let works = async {
            self.work(work, &inside).await;
            drop(inside);
        };
        let speaks = async {
            while let Some(message) = said.recv().await {
                send(out, modern::dressed(message, is_kept)).await;
            }
        };
        tokio::select! {
            _ = async { tokio::join!(works, speaks) } => {}
            () = out.closed() => self.server.log.write("hangup", "", "0", None),
        }
    }

    async fn work(&self, work: Work, out: &mpsc::Sender<String>) {
        match work {
            Work::Nothing => {}
            Work::Answer(text) => send(out, text).await,
            Work::Call(call) => {
                let id = call.id().to_owned();
                Box::pin(tools::run(self, call, out)).await;
                self.end(&id);
            }
            Work::Await(wait) => {
                Box::pin(core_tasks::answered(self, &wait, out)).await;
                self.end(&wait.id);
            }
            Work::Read(read) => {
                let id = read.id.clone();
                features::run(self, read, out).await;
                self.end(&id);
            }
            Work::Listen(listen) => modern::listen(self, listen, out).await,
        }
    }

    /// From here on the request can be cancelled.
    fn begin(&self, id: &str) -> CancellationToken {
        let cancel = CancellationToken::new();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.insert(id.to_owned(), cancel.clone());
        cancel
    }

    fn end(&self, id: &str) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(id);
    }

    fn notified(&self, method: &str, incoming: &Incoming<'_>) {
        if method == "notifications/roots/list_changed" {
            self.server.log.write("roots_changed", "", "null", None);
        }
        if method != "notifications/cancelled" {
            return;
        }
        let Some(id) = incoming.member("requestId") else {
            return;
        };
        self.server.log.write("cancel", "", id.get(), None);
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cancel) = running.get(id.get()) {
            cancel.cancel();
        }
    }

    fn accept_call(&self, id: &str, incoming: &Incoming<'_>) -> Work {
        let Some(name) = incoming.text("name") else {
            return Work::Answer(fault(id, -32602, "params.name is missing"));
        };
        let arguments = incoming.member("arguments");
        self.server.log.write("call", &name, id, arguments);
        let task = core_tasks::is_asked_for(incoming);
        if let Some(task) = &task {
            self.server.log.write("as_task", &name, id, Some(task));
        }
        let cancel = self.begin(id);
        Work::Call(tools::Call::new(
            id.to_owned(),
            name,
            arguments.map(RawValue::to_owned),
            incoming.progress_token(),
            rounds::Inputs::read(incoming),
            task.is_some(),
            cancel,
        ))
    }

    fn initialize(&self, id: &str, incoming: &Incoming<'_>) -> String {
        let asked = incoming.text("protocolVersion").unwrap_or_default();
        let spoken = REVISIONS.into_iter().find(|revision| *revision == asked).unwrap_or(REVISIONS[0]);
        self.server.log.write("initialize", &asked, id, None);
        let declared = incoming.member("capabilities").and_then(|raw| serde_json::from_str(raw.get()).ok());
        *self.declared.lock().unwrap_or_else(PoisonError::into_inner) = declared.unwrap_or_default();
        let version = env!("CARGO_PKG_VERSION");
        let tasks = if self.server.has_core_tasks { core_tasks::DECLARED } else { "" };
        answer(
            id,
            &format!(
                r#"{{"protocolVersion":"{spoken}","capabilities":{{{tasks}"tools":{{"listChanged":true}},"resources":{{"listChanged":true,"subscribe":true}},"prompts":{{"listChanged":true}},"completions":{{}},"logging":{{}}}},"serverInfo":{{"name":"sentinel-example-server","version":"{version}"}},"instructions":"To try a gateway with."}}"#
            ),
        )
    }

    fn set_level(&self, id: &str, incoming: &Incoming<'_>) -> String {
        let asked = incoming.text("level").unwrap_or_default();
        self.server.log.write("level", &asked, id, None);
        let found = LEVELS.iter().position(|level| *level == asked);
        match found.and_then(|index| u8::try_from(index).ok()) {
            Some(index) => {
                self.level.store(index, Ordering::Relaxed);
                answer(id, "{}")
            }
            None => fault(id, -32602, "this is not a log level"),
        }
    }

    /// A log note; none: the session's level does not admit it.
    fn log_text(&self, level: &str, text: &str) -> Option<String> {
        let index = LEVELS.iter().position(|known| *known == level);
        let is_heard = index.is_some_and(|index| index >= usize::from(self.level.load(Ordering::Relaxed)));
        let params = serde_json::json!({ "level": level, "logger": "example", "data": text });
        is_heard.then(|| note("notifications/message", &params))
    }

    /// Sends a log note, if the session's level admits it.
    async fn log_note(&self, level: &str, text: &str, out: &mpsc::Sender<String>) {
        if let Some(text) = self.log_text(level, text) {
            send(out, text).await;
        }
    }
}

/// The resource that this message says has changed.
fn updated(message: &str) -> Option<String> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_one = message.get("method")?.as_str() == Some("notifications/resources/updated");
    is_one.then(|| message.pointer("/params/uri")?.as_str().map(ToOwned::to_owned)).flatten()
}

/// A peer that went away is not told.
async fn send(out: &mpsc::Sender<String>, text: String) {
    let _gone = out.send(text).await.is_err();
}

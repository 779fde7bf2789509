//! Tasks of revision 2025-11-25, which a call's client asks for. A chore is what its arguments say; it goes on when it is
//! looked at, not by the clock, and asks what it asks on the stream of `tasks/result`.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::messages::{Incoming, answer, fault, note};
use super::{Session, Work, asking, send};

/// What `initialize` says of them, as a member with a comma behind it.
pub(super) const DECLARED: &str = r#""tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}},"#;
const RELATED: &str = "io.modelcontextprotocol/related-task";

pub(super) fn tools() -> Vec<Value> {
    let tool = |name: &str, support: &str| {
        json!({
            "name": name,
            "description": "Goes on as a task where it is called as one: is working for so many looks, then asks this on \
                            the stream of its result, then is completed with what was answered, or failed.",
            "inputSchema": { "type": "object", "properties": {
                "looks": { "type": "integer" }, "asks": { "type": "object" }, "fails": { "enum": ["tool", "protocol"] },
                "says": { "type": "object" }, "bytes": { "type": "integer" }, "id": { "type": "string" },
                "holds": { "type": "boolean" }, "notes": { "type": "boolean" }, "tells": { "type": "boolean" },
                "answers": { "enum": ["plainly", "unasked"] },
            } },
            "execution": { "taskSupport": support, "com.example/kept": 1 },
        })
    };
    vec![tool("chore", "optional"), tool("must", "required")]
}

/// By their ids.
#[derive(Debug, Default)]
pub(super) struct Chores {
    all: Mutex<HashMap<String, Chore>>,
    turned: Notify,
}

#[derive(Clone, Debug)]
struct Chore {
    arguments: Value,
    looks: u64,
    is_answered: bool,
    is_cancelled: bool,
}

/// `tasks/result`, read.
#[derive(Debug)]
pub struct Await {
    pub(super) id: String,
    own: String,
    cancel: CancellationToken,
}

/// What a call of one of the tools brings: a result, or the code and the message of an error.
pub(super) fn called(session: &Session, tool: &str, arguments: &Value, is_task: bool) -> Result<String, String> {
    let wants = arguments.get("answers").and_then(Value::as_str);
    match (is_task, wants) {
        (true, Some("plainly")) | (false, None) if tool == "chore" => Ok(result(arguments, &json!({}), None)),
        (true, _) | (false, Some("unasked")) => Ok(session.server.chores.begin(arguments)),
        (false, _) => Err(format!("{tool} can be called as a task alone")),
    }
}

impl Chores {
    /// The result of a call that begins one.
    fn begin(&self, arguments: &Value) -> String {
        let looks = arguments.get("looks").and_then(Value::as_u64).unwrap_or(0);
        let named = arguments.get("id").and_then(Value::as_str);
        let id = named.map_or_else(|| format!("own-{}", uuid::Uuid::new_v4()), ToOwned::to_owned);
        let chore = Chore { arguments: arguments.clone(), looks, is_answered: false, is_cancelled: false };
        let told = json!({ "_meta": { "com.example/kept": 1 }, "task": chore.told(&id, "working") }).to_string();
        self.all().insert(id, chore);
        told
    }

    fn of(&self, own: &str) -> Option<Chore> {
        self.all().get(own).cloned()
    }

    fn change(&self, own: &str, change: impl FnOnce(&mut Chore)) {
        if let Some(chore) = self.all().get_mut(own) {
            change(chore);
        }
        self.turned.notify_waiters();
    }

    /// Returns when it works no more.
    async fn rests(&self, own: &str) {
        loop {
            let mut turned = pin!(self.turned.notified());
            turned.as_mut().enable();
            if self.of(own).is_none_or(|chore| chore.status() != "working") {
                return;
            }
            turned.await;
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Chore>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// None: it is about no task.
pub(super) fn accept(session: &Session, method: &str, id: &str, incoming: &Incoming<'_>) -> Option<Work> {
    if !["tasks/get", "tasks/result", "tasks/list", "tasks/cancel"].contains(&method) {
        return None;
    }
    let server = &session.server;
    server.log.write("task", method, id, incoming.params);
    let own = incoming.text("taskId").unwrap_or_default();
    if method == "tasks/list" {
        let all = server.chores.all();
        let all: Vec<Value> = all.iter().map(|(own, chore)| chore.told(own, chore.status())).collect();
        return Some(Work::Answer(answer(id, &json!({ "tasks": all }).to_string())));
    }
    let Some(chore) = server.chores.of(&own) else {
        return Some(Work::Answer(fault(id, -32602, "no such task here")));
    };
    let told = match method {
        "tasks/result" => {
            let cancel = session.begin(id);
            return Some(Work::Await(Await { id: id.to_owned(), own, cancel }));
        }
        "tasks/cancel" => {
            server.chores.change(&own, |chore| chore.is_cancelled = true);
            chore.told(&own, "cancelled")
        }
        _ => {
            server.chores.change(&own, |chore| chore.looks = chore.looks.saturating_sub(1));
            let chore = server.chores.of(&own).unwrap_or(chore);
            let told = chore.told(&own, chore.status());
            if chore.arguments.get("tells") == Some(&Value::Bool(true)) {
                server.tell_all(&note("notifications/tasks/status", &told));
            }
            told
        }
    };
    Some(Work::Answer(answer(id, &told.to_string())))
}

/// Blocks until the task has its answer: asks what it asks, and notes what it notes.
pub(super) async fn answered(session: &Session, Await { id, own, cancel }: &Await, out: &mpsc::Sender<String>) {
    let chores = &session.server.chores;
    let Some(chore) = chores.of(own) else { return };
    if cancel.run_until_cancelled(chores.rests(own)).await.is_none() {
        return session.server.log.write("cancelled", "tasks/result", id, None);
    }
    let of_task = json!({ RELATED: { "taskId": own } });
    let mut answers = Map::new();
    for (key, question) in chore.arguments.get("asks").and_then(Value::as_object).cloned().unwrap_or_default() {
        let method = question.get("method").and_then(Value::as_str).unwrap_or_default();
        let mut params = question.get("params").cloned().unwrap_or_else(|| json!({}));
        if let Some(params) = params.as_object_mut() {
            params.insert("_meta".to_owned(), of_task.clone());
        }
        answers.insert(key, asking::ask(session, method, &params, out).await);
    }
    if chore.arguments.get("notes") == Some(&Value::Bool(true)) {
        let params = json!({ "level": "warning", "data": "nearly done", "_meta": of_task });
        send(out, note("notifications/message", &params)).await;
    }
    if chore.arguments.get("holds") == Some(&Value::Bool(true)) {
        cancel.cancelled().await;
        return session.server.log.write("cancelled", "tasks/result", id, None);
    }
    chores.change(own, |chore| chore.is_answered = true);
    let said = match chore.arguments.get("fails").and_then(Value::as_str) {
        Some("protocol") => fault(id, -32603, "it broke"),
        _ => answer(id, &result(&chore.arguments, &Value::Object(answers), Some(own))),
    };
    send(out, said).await;
}

/// A tool's result; `own`: the task that it is about.
fn result(arguments: &Value, answers: &Value, own: Option<&str>) -> String {
    let bytes = arguments.get("bytes").and_then(Value::as_u64).and_then(|bytes| usize::try_from(bytes).ok());
    let text = format!("{answers}{}", "x".repeat(bytes.unwrap_or(0)));
    let fails = arguments.get("fails").and_then(Value::as_str) == Some("tool");
    let mut result = json!({ "content": [{ "type": "text", "text": text }], "isError": fails });
    if let (Some(own), Some(result)) = (own, result.as_object_mut()) {
        result.insert("_meta".to_owned(), json!({ RELATED: { "taskId": own }, "com.example/kept": 1 }));
    }
    result.to_string()
}

impl Chore {
    fn status(&self) -> &'static str {
        let fails = self.arguments.get("fails").is_some();
        let asks = self.arguments.get("asks").is_some() && !self.is_answered;
        match (self.is_cancelled, self.looks > 0, asks, fails) {
            (true, ..) => "cancelled",
            (_, true, ..) => "working",
            (_, _, true, _) => "input_required",
            (.., true) => "failed",
            (.., false) => "completed",
        }
    }

    fn told(&self, own: &str, status: &str) -> Value {
        let mut told = json!({
            "taskId": own, "status": status, "createdAt": "2026-11-26T22:00:00Z",
            "lastUpdatedAt": "2026-11-26T22:00:00Z", "ttl": null, "pollInterval": 100,
        });
        if let Some(told) = told.as_object_mut() {
            told.extend(self.arguments.get("says").and_then(Value::as_object).cloned().unwrap_or_default());
        }
        told
    }
}

/// `params.task` of a call.
pub(super) fn is_asked_for(incoming: &Incoming<'_>) -> Option<Box<RawValue>> {
    incoming.member("task").map(RawValue::to_owned)
}

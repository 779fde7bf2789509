//! Calls that go on as tasks (the extension of 2026-07-28). A job is what its arguments say; it goes on when it is asked
//! for, not by the clock, so that a test sees each of its states. It makes a task whatever the request declared.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

use super::Work;
use super::messages::{Incoming, answer, fault};

pub(super) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

pub(super) fn tool() -> Value {
    json!({
        "name": "job",
        "description": "Goes on as a task: is working for so many looks, then asks for this, then is completed with \
                        what was answered, or failed. `says`: members more in all that is said of it.",
        "inputSchema": { "type": "object", "properties": {
            "looks": { "type": "integer" }, "asks": { "type": "object" }, "fails": { "enum": ["tool", "protocol"] },
            "says": { "type": "object" }, "bytes": { "type": "integer" }, "id": { "type": "string" },
        } },
    })
}

/// By their ids.
#[derive(Debug, Default)]
pub(super) struct Jobs(Mutex<HashMap<String, Job>>);

#[derive(Debug)]
struct Job {
    arguments: Value,
    looks: u64,
    asks: Map<String, Value>,
    answers: Map<String, Value>,
    is_cancelled: bool,
}

impl Jobs {
    /// The result of a call that begins one.
    pub(super) fn begin(&self, arguments: &Value) -> String {
        let looks = arguments.get("looks").and_then(Value::as_u64).unwrap_or(0);
        let asks = arguments.get("asks").and_then(Value::as_object).cloned().unwrap_or_default();
        let named = arguments.get("id").and_then(Value::as_str);
        let id = named.map_or_else(|| format!("own-{}", uuid::Uuid::new_v4()), ToOwned::to_owned);
        let job = Job { arguments: arguments.clone(), looks, asks, answers: Map::new(), is_cancelled: false };
        // The type comes first: what dresses results knows it by that.
        let rest = job.told(&id, "working", Map::new());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id, job);
        format!(r#"{{"resultType":"task",{}"#, rest.trim_start_matches('{'))
    }

    /// None: it is about no task.
    pub(super) fn accept(&self, method: &str, id: &str, incoming: &Incoming<'_>) -> Option<Work> {
        if !["tasks/get", "tasks/update", "tasks/cancel"].contains(&method) {
            return None;
        }
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = incoming.text("taskId").unwrap_or_default();
        let Some(job) = jobs.get_mut(&own) else { return Some(Work::Answer(fault(id, -32602, "no such task here"))) };
        let result = match method {
            "tasks/get" => job.look(&own),
            "tasks/cancel" => {
                job.is_cancelled = true;
                // More than it should be: a gateway lets none of it out.
                json!({ "taskId": own }).to_string()
            }
            _ => {
                let said = incoming.member("inputResponses").and_then(|raw| serde_json::from_str(raw.get()).ok());
                let said: Map<String, Value> = said.unwrap_or_default();
                job.asks.retain(|key, _| !said.contains_key(key));
                job.answers.extend(said);
                "{}".to_owned()
            }
        };
        Some(Work::Answer(answer(id, &result)))
    }
}

impl Job {
    fn look(&mut self, own: &str) -> String {
        let member = |name: &str, value: Value| Map::from_iter([(name.to_owned(), value)]);
        if self.is_cancelled {
            return self.told(own, "cancelled", Map::new());
        }
        if self.looks > 0 {
            self.looks -= 1;
            return self.told(own, "working", Map::new());
        }
        if !self.asks.is_empty() {
            return self.told(own, "input_required", member("inputRequests", Value::Object(self.asks.clone())));
        }
        let fails = self.arguments.get("fails").and_then(Value::as_str);
        if fails == Some("protocol") {
            return self.told(own, "failed", member("error", json!({ "code": -32603, "message": "it broke" })));
        }
        let bytes = self.arguments.get("bytes").and_then(Value::as_u64).and_then(|bytes| usize::try_from(bytes).ok());
        let text = format!("{}{}", Value::Object(self.answers.clone()), "x".repeat(bytes.unwrap_or(0)));
        let result = json!({ "content": [{ "type": "text", "text": text }], "isError": fails == Some("tool") });
        self.told(own, "completed", member("result", result))
    }

    fn told(&self, own: &str, status: &str, more: Map<String, Value>) -> String {
        let mut told = json!({
            "taskId": own, "status": status, "createdAt": "2026-11-26T22:00:00Z",
            "lastUpdatedAt": "2026-11-26T22:00:00Z", "ttlMs": null, "pollIntervalMs": 100,
        });
        if let Some(told) = told.as_object_mut() {
            told.extend(self.arguments.get("says").and_then(Value::as_object).cloned().unwrap_or_default());
            told.extend(more);
        }
        told.to_string()
    }
}

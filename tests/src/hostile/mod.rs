//! A backend that does each bad thing on command, over stdio, over HTTP and over HTTP+SSE: what `sentinel-fault-server` runs.
//!
//! Two ways to command it. A call of the tool `bad` names what is done with that call. A *manner*, one line in a file
//! that is read again at each occasion, says how it behaves where no call can tell it: at its start, in the handshake,
//! for every request. It is good in everything else, and writes each call to a receive log before it does anything.

pub mod deeds;
pub mod http;
mod old;
pub mod stdio;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::example::ReceiveLog;
use deeds::Deed;

/// The one revision that it speaks.
const REVISION: &str = "2025-11-25";

/// What all connections share.
#[derive(Debug, Default)]
pub struct Hostile {
    log: ReceiveLog,
    manner: Option<PathBuf>,
    executions: AtomicU64,
    /// Nonces of calls that failed because they were the first with it.
    failed_first: Mutex<HashSet<String>>,
}

/// One message that came.
#[derive(Debug)]
pub struct Asked {
    /// None: a notification.
    id: Option<Value>,
    method: String,
    params: Value,
}

impl Asked {
    /// None: it is no request and no notification.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut message: Value = serde_json::from_str(text).ok()?;
        let method = message.get("method")?.as_str()?.to_owned();
        let id = message.get("id").cloned();
        Some(Self { id, method, params: message.get_mut("params").map(Value::take).unwrap_or_default() })
    }
}

impl Hostile {
    /// `manner`: the file; not there is good.
    #[must_use]
    pub fn new(log: ReceiveLog, manner: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { log, manner, ..Self::default() })
    }

    /// How it behaves now: the first line of its file, empty for good.
    fn manner(&self) -> String {
        let read = self.manner.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        read.unwrap_or_default().lines().next().unwrap_or_default().trim().to_owned()
    }

    /// What it does about a message; none for a notification. A call is in the log when this returns.
    fn deed(&self, asked: &Asked) -> Option<Deed> {
        let Some(id) = &asked.id else {
            if asked.method == "notifications/cancelled" {
                let params = &asked.params;
                self.log.write("cancel", "", &params["requestId"].to_string(), None);
            }
            return None;
        };
        Some(match asked.method.as_str() {
            "initialize" => {
                self.log.write("initialize", "", "0", None);
                let revision = if self.manner() == "old" { "1999-12-31" } else { REVISION };
                Deed::answer(
                    id,
                    &json!({ "protocolVersion": revision, "capabilities": { "tools": {}, "logging": {} },
                    "serverInfo": { "name": "fault-server", "version": "1" } }),
                )
            }
            "ping" | "logging/setLevel" => Deed::answer(id, &json!({})),
            "tools/list" => Deed::answer(id, &json!({ "tools": tools() })),
            "tools/call" => self.called(id, &asked.params),
            _ => Deed::fault(id, -32601, "this server has no such method"),
        })
    }

    /// With `fails_first` the first call of a nonce is done that to, and the second is good: was it sent again?
    fn fails_first(&self, arguments: &Value) -> bool {
        let nonce = arguments["nonce"].as_str().unwrap_or_default();
        let mut failed = self.failed_first.lock().unwrap_or_else(PoisonError::into_inner);
        arguments["fails_first"].is_string() && failed.insert(nonce.to_owned())
    }

    fn called(&self, id: &Value, params: &Value) -> Deed {
        let (tool, arguments) = (params["name"].as_str().unwrap_or_default(), &params["arguments"]);
        let raw = serde_json::value::to_raw_value(arguments).ok();
        self.log.write("call", tool, &id.to_string(), raw.as_deref());
        let count = self.executions.fetch_add(1, Ordering::Relaxed) + 1;
        if self.fails_first(arguments) {
            return deeds::bad(id, &json!({ "how": arguments["fails_first"], "nonce": arguments["nonce"] }));
        }
        match tool {
            "echo" | "once" | "look" => Deed::answer(id, &text(&arguments["nonce"])),
            "slow" => {
                Deed::Late { ms: arguments["ms"].as_u64().unwrap_or(0), text: good(id, &text(&arguments["nonce"])) }
            }
            "counter" => Deed::answer(id, &text(&json!(count.to_string()))),
            "bad" => deeds::bad(id, arguments),
            _ => Deed::fault(id, -32602, "there is no such tool here"),
        }
    }
}

/// A tool's result with one text.
fn text(said: &Value) -> Value {
    json!({ "content": [{ "type": "text", "text": said.as_str().unwrap_or("done") }] })
}

/// A whole good answer.
fn good(id: &Value, result: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string()
}

fn tools() -> Value {
    let tool = |name: &str, description: &str| json!({ "name": name, "description": description, "inputSchema": { "type": "object" } });
    json!([
        tool("echo", "Gives back the nonce."),
        tool("once", "Gives back the nonce; must not be repeated."),
        { "name": "look", "description": "Gives back the nonce; may be repeated.", "inputSchema": { "type": "object" },
            "annotations": { "readOnlyHint": true } },
        tool("slow", "Gives back the nonce after so many milliseconds."),
        tool("counter", "How many calls came so far."),
        tool("bad", "Does with this call what `how` says."),
    ])
}

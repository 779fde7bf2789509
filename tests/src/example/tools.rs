//! The tools: what they are called, what they take, what they do. Arguments that are missing count as zero or empty:
//! refusing them is the gateway's work.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::messages::{answer, fault, fault_with, note, text_result};
use super::{Server, Session, asking, core_tasks, features, modern, rounds, send, tasks, watched};

/// One `tools/call`, read.
#[derive(Debug)]
pub struct Call {
    id: String,
    tool: String,
    arguments: Option<Box<RawValue>>,
    progress: Option<Box<RawValue>>,
    inputs: rounds::Inputs,
    is_task: bool,
    cancel: CancellationToken,
}

impl Call {
    pub(super) fn new(
        id: String,
        tool: String,
        arguments: Option<Box<RawValue>>,
        progress: Option<Box<RawValue>>,
        inputs: rounds::Inputs,
        is_task: bool,
        cancel: CancellationToken,
    ) -> Self {
        Self { id, tool, arguments, progress, inputs, is_task, cancel }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn streams(&self) -> bool {
        self.tool == "slow" && self.progress.is_some() || asking::streams(&self.tool)
    }
}

/// The result of `tools/list`.
pub(super) fn list(server: &Server) -> String {
    let mut tools: Vec<Value> = vec![
        tool("echo", "Gives back the text.", json!({ "text": { "type": "string" } }), &["text"]),
        json!({
            "name": "add", "title": "Add", "description": "Adds two numbers.",
            "inputSchema": { "type": "object", "additionalProperties": false, "required": ["a", "b"],
                "properties": { "a": { "type": "number" }, "b": { "type": "number" } } },
            "outputSchema": { "type": "object", "required": ["sum"], "properties": { "sum": { "type": "number" } } },
            "annotations": { "readOnlyHint": true, "idempotentHint": true },
        }),
        tool(
            "slow",
            "Takes its time, with progress in between; can be cancelled.",
            json!({ "ms": { "type": "integer", "minimum": 0, "maximum": 600_000 }, "steps": { "type": "integer", "minimum": 1, "maximum": 1000 } }),
            &["ms"],
        ),
        tool(
            "raw",
            "Gives back a JSON text as structured content, byte for byte.",
            json!({ "json": { "type": "string" } }),
            &["json"],
        ),
        tool("fail", "Fails, as a tool does.", json!({ "message": { "type": "string" } }), &[]),
        tool(
            "big",
            "Gives back so many bytes of text.",
            json!({ "bytes": { "type": "integer", "minimum": 0, "maximum": 67_108_864 } }),
            &["bytes"],
        ),
        tool("counter", "Counts how often it was called.", json!({}), &[]),
        tool("env", "Names the variables of its environment, without their values.", json!({}), &[]),
        tool("crash", "Ends this server at once.", json!({}), &[]),
        tool(
            "grow",
            "Adds a tool to this server, or a resource, or a prompt.",
            json!({ "what": { "enum": ["tool", "resource", "prompt"] } }),
            &[],
        ),
    ];
    if server.is_modern {
        tools.push(tool(
            "route",
            "Gives back its arguments; one of them is wanted in a header as well.",
            json!({ "region": { "type": "string", "x-mcp-header": "Region" }, "query": { "type": "string" } }),
            &["query"],
        ));
        tools.extend(rounds::tools());
        tools.push(tasks::tool());
    } else {
        tools.extend(asking::tools());
    }
    if server.has_core_tasks {
        tools.extend(core_tasks::tools());
    }
    if server.misbehaves {
        tools.push(tool(
            "misbehave",
            "Breaks the protocol: rubbish, twice, wrong_id, silent, error, lacks, version, no_result, task, relist. Or does what only a test wants: touch URI, log LEVEL, say LEVEL.",
            json!({ "how": { "type": "string" } }),
            &["how"],
        ));
    }
    for number in 1..=server.grown.load(Ordering::Relaxed) {
        tools.push(tool(&format!("grown_{number}"), "Has grown.", json!({}), &[]));
    }
    let listed = tools.iter().map(Value::to_string).chain(Some(server.more_tools()).filter(|more| !more.is_empty()));
    format!(r#"{{"tools":[{}]}}"#, listed.collect::<Vec<_>>().join(","))
}

#[expect(clippy::needless_pass_by_value, reason = "made in the call: a reference would only be noise")]
fn tool(name: &str, description: &str, properties: Value, required: &[&str]) -> Value {
    let schema = match required {
        [] => json!({ "type": "object", "properties": properties }),
        required => json!({ "type": "object", "properties": properties, "required": required }),
    };
    json!({ "name": name, "description": description, "inputSchema": schema })
}

pub(super) async fn run(session: &Session, call: Call, out: &mpsc::Sender<String>) {
    let server = &*session.server;
    let arguments: Value =
        call.arguments.as_deref().and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let result = match call.tool.as_str() {
        "add" => add(&arguments),
        "big" => text_result(&"x".repeat(whole(&arguments, "bytes")), false),
        "counter" => {
            let count = server.executions.fetch_add(1, Ordering::Relaxed) + 1;
            text_result(&count.to_string(), false)
        }
        "crash" => {
            let _still_here = raise(Signal::SIGKILL).is_err();
            return;
        }
        "echo" => text_result(text(&arguments, "text"), false),
        "env" => text_result(&environment(), false),
        "fail" => text_result(text(&arguments, "message"), true),
        "grow" => {
            let grown = features::grow(server, text(&arguments, "what")).unwrap_or_else(|| {
                let number = server.grown.fetch_add(1, Ordering::Relaxed) + 1;
                server.tell_all(&note("notifications/tools/list_changed", &json!({})));
                format!("grown_{number}")
            });
            text_result(&grown, false)
        }
        "misbehave" if server.misbehaves => {
            if text(&arguments, "how") == "relist" {
                server.tell_all(&note("notifications/tools/list_changed", &json!({})));
            }
            match text(&arguments, "how").split_once(' ') {
                Some(("touch", uri)) => watched::touch(server, uri),
                Some(("log", level)) => {
                    session.log_text(level, "beside all calls").iter().for_each(|said| server.tell_all(said));
                }
                Some(("say", level)) => session.log_note(level, "within the call", out).await,
                _ => {}
            }
            return misbehave(&call, text(&arguments, "how"), out).await;
        }
        "route" if server.is_modern => text_result(&modern::routed(call.arguments.as_deref()), false),
        "job" if server.is_modern => server.jobs.begin(&arguments),
        tool @ ("chore" | "must") if server.has_core_tasks => {
            match core_tasks::called(session, tool, &arguments, call.is_task) {
                Ok(result) => result,
                Err(message) => return send(out, fault(&call.id, -32601, &message)).await,
            }
        }
        "raw" => format!(r#"{{"content":[],"structuredContent":{}}}"#, text(&arguments, "json")),
        "slow" => match slow(session, &call, &arguments, out).await {
            Some(result) => result,
            None => return,
        },
        "visit" if !server.is_modern => match asking::visits(server, &arguments) {
            Some(data) => return send(out, fault_with(&call.id, -32042, "visit these first", &data)).await,
            None => text_result("visited", false),
        },
        name if is_grown(name, server) || server.more_tools().contains(&format!("\"{name}\"")) => {
            text_result(name, false)
        }
        name => {
            let asked = if server.is_modern {
                rounds::run(&call.inputs, name, &arguments)
            } else {
                Box::pin(asking::run(session, name, &arguments, out)).await.map(Ok)
            };
            match asked.unwrap_or_else(|| Err(format!("there is no tool {name} here"))) {
                Ok(result) => result,
                Err(message) => return send(out, fault(&call.id, -32602, &message)).await,
            }
        }
    };
    send(out, answer(&call.id, &result)).await;
}

fn text<'a>(arguments: &'a Value, name: &str) -> &'a str {
    arguments.get(name).and_then(Value::as_str).unwrap_or("")
}

fn whole(arguments: &Value, name: &str) -> usize {
    let number = arguments.get(name).and_then(Value::as_u64).unwrap_or(0);
    usize::try_from(number).unwrap_or(0)
}

fn add(arguments: &Value) -> String {
    let whole = |name| arguments.get(name).and_then(Value::as_i64);
    let float = |name| arguments.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let exact = whole("a").zip(whole("b")).and_then(|(a, b)| a.checked_add(b));
    let sum = exact.map_or_else(|| json!(float("a") + float("b")), Value::from);
    let shown = Value::from(sum.to_string());
    format!(r#"{{"content":[{{"type":"text","text":{shown}}}],"structuredContent":{{"sum":{sum}}}}}"#)
}

fn environment() -> String {
    let mut names: Vec<String> = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names.join("\n")
}

fn is_grown(name: &str, server: &Server) -> bool {
    let number = name.strip_prefix("grown_").and_then(|number| number.parse::<u64>().ok());
    number.is_some_and(|number| (1..=server.grown.load(Ordering::Relaxed)).contains(&number))
}

/// None: it was cancelled, and nothing is to be answered.
async fn slow(session: &Session, call: &Call, arguments: &Value, out: &mpsc::Sender<String>) -> Option<String> {
    let steps = u32::try_from(whole(arguments, "steps").max(1)).unwrap_or(1);
    let ms = u64::try_from(whole(arguments, "ms")).unwrap_or(0);
    let pause = Duration::from_millis(ms) / steps;
    if call.streams() {
        session.log_note("info", "slow has begun", out).await;
    }
    for step in 1..=steps {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = call.cancel.cancelled() => {
                session.server.log.write("cancelled", &call.tool, &call.id, None);
                return None;
            }
        }
        if let Some(token) = &call.progress {
            let params =
                json!({ "progressToken": token, "progress": step, "total": steps, "message": format!("step {step}") });
            send(out, note("notifications/progress", &params)).await;
        }
    }
    Some(text_result(&format!("done after {steps} steps"), false))
}

/// For tests of what a gateway does about it.
async fn misbehave(call: &Call, how: &str, out: &mpsc::Sender<String>) {
    let good = answer(&call.id, &text_result("as asked", false));
    let messages = match how {
        "error" => vec![fault(&call.id, -32000, "the backend's own error")],
        "lacks" => vec![fault(&call.id, -32021, "sampling is needed")],
        "version" => vec![fault(&call.id, -32022, "no such revision")],
        "no_result" => vec![format!(r#"{{"jsonrpc":"2.0","id":{}}}"#, call.id)],
        "rubbish" => vec![r#"{"jsonrpc":"2.0","id":"#.to_owned()],
        "task" => vec![answer(&call.id, r#"{"resultType":"task","taskId":"t"}"#)],
        "silent" => {
            call.cancel.cancelled().await;
            vec![]
        }
        "twice" => vec![good.clone(), good],
        "wrong_id" => vec![answer("987654321", &text_result("not yours", false))],
        _ => vec![good],
    };
    for message in messages {
        send(out, message).await;
    }
}

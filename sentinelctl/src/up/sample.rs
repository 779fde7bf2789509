//! A tool call that works as pasted: one of the tools that the gateway lists, with arguments that its schema takes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::fault::Fault;
use crate::mcp::Session;

const TOOLS_WITHIN: Duration = Duration::from_secs(8);
const BETWEEN: Duration = Duration::from_millis(300);

/// A tool with arguments that its schema takes, for the lines to paste.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Exposed name.
    pub name: String,
    /// A JSON object.
    pub arguments: String,
}

/// Waits for a first tool. None: there is none yet, and `missing` says why.
pub(super) async fn sample_tool(gateway: &str, token: Option<&str>, missing: &mut Vec<String>) -> Option<Sample> {
    let deadline = Instant::now() + TOOLS_WITHIN;
    let mut held = None;
    let found = loop {
        let why = match listed(&mut held, gateway, token).await {
            Ok(tools) => match choose(&tools) {
                Some(sample) => break Some(sample),
                None => {
                    "no tool is listed for this role yet; `sentinelctl backend list` shows how far the backends are"
                        .to_owned()
                }
            },
            Err(fault) => fault.to_string(),
        };
        if Instant::now() >= deadline {
            missing.push(why);
            break None;
        }
        tokio::time::sleep(BETWEEN).await;
    };
    if let Some(session) = held {
        session.close().await;
    }
    found
}

/// One session for all tries: each `initialize` is a row in the audit.
async fn listed(held: &mut Option<Session>, gateway: &str, token: Option<&str>) -> Result<Vec<Value>, Fault> {
    let session = match held {
        Some(session) => session,
        None => held.insert(Session::open(gateway, token).await?),
    };
    let answered = session.ask("tools/list", &json!({}), &mut |_| {}).await;
    if answered.is_err() {
        *held = None;
    }
    let result: Value = serde_json::from_str(answered?.result.get()).unwrap_or_default();
    Ok(result.get("tools").and_then(Value::as_array).cloned().unwrap_or_default())
}

/// An echo if there is one, else a tool that asks for the least.
fn choose(tools: &[Value]) -> Option<Sample> {
    let name_of = |tool: &Value| tool.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let asks = |tool: &Value| tool.pointer("/inputSchema/required").and_then(Value::as_array).map_or(0, Vec::len);
    let chosen = tools.iter().min_by_key(|tool| (!name_of(tool).ends_with("echo"), asks(tool)))?;
    let arguments = sample_of(chosen.get("inputSchema").unwrap_or(&Value::Null), 0);
    let arguments = if arguments.is_object() { arguments } else { json!({}) };
    Some(Sample { name: name_of(chosen), arguments: arguments.to_string() })
}

/// A value that the schema probably takes: what it requires and no more.
fn sample_of(schema: &Value, depth: u8) -> Value {
    for given in ["const", "default"] {
        if let Some(value) = schema.get(given) {
            return value.clone();
        }
    }
    for list in ["enum", "examples"] {
        if let Some(value) = schema.get(list).and_then(Value::as_array).and_then(|values| values.first()) {
            return value.clone();
        }
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => json!("hello"),
        Some("number" | "integer") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") if depth < 4 => {
            let required = schema.get("required").and_then(Value::as_array);
            let names = required.into_iter().flatten().filter_map(Value::as_str);
            let member = |name: &str| {
                let property =
                    schema.get("properties").and_then(|properties| properties.get(name)).unwrap_or(&Value::Null);
                (name.to_owned(), sample_of(property, depth.saturating_add(1)))
            };
            Value::Object(names.map(member).collect())
        }
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_call_holds_what_the_schema_requires() {
        let tools = [
            json!({ "name": "x__big", "inputSchema": { "type": "object", "required": ["a", "b"], "properties": {} } }),
            json!({ "name": "x__echo", "inputSchema": { "type": "object", "required": ["message", "n"],
                "properties": { "message": { "type": "string" }, "n": { "type": "integer", "minimum": 3 } } } }),
        ];
        let sample = choose(&tools).unwrap();
        assert_eq!(sample, Sample { name: "x__echo".to_owned(), arguments: r#"{"message":"hello","n":3}"#.to_owned() });
        assert_eq!(choose(&[]), None);
    }
}

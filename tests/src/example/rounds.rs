//! What this server asks in the era of 2026-07-28: within an answer that wants another round. It keeps nothing between
//! two of them: how far it is comes back as its own `requestState`, which must be the very text that it gave. It asks
//! whatever the request declared: to refuse is the gateway's work, and the tests want to see it.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::messages::{Incoming, text_result};

/// Its tools, as `tools/list` has them.
pub(super) fn tools() -> Vec<Value> {
    let tool = |name: &str, description: &str, properties: Value| json!({ "name": name, "description": description, "inputSchema": { "type": "object", "properties": properties } });
    let rounds = json!({ "type": "integer", "minimum": 1, "maximum": 100 });
    vec![
        tool(
            "sample",
            "Asks the client's model; gives back what was answered.",
            json!({ "tools": { "type": "boolean" } }),
        ),
        tool(
            "elicit",
            "Asks the person at the client, so many times, by a form or by a URL; gives back what was answered last.",
            json!({
                "message": { "type": "string" }, "url": { "type": "string" }, "rounds": rounds,
                "stateless": { "type": "boolean" }, "bytes": { "type": "integer" },
            }),
        ),
        tool("roots", "Asks the client for its roots; gives back what was answered.", json!({})),
        tool("all", "Asks for everything at once; gives back what was answered.", json!({})),
        tool("again", "Wants another round so many times, and asks nothing.", json!({ "rounds": rounds })),
        tool("declared", "What the request says that its client can be asked.", json!({})),
    ]
}

/// What a request brings of earlier rounds.
#[derive(Debug)]
pub(super) struct Inputs {
    responses: Value,
    state: Option<String>,
    declared: Value,
}

impl Inputs {
    pub(super) fn read(incoming: &Incoming<'_>) -> Self {
        let read = |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
        let meta = read(incoming.member("_meta")).unwrap_or_default();
        Self {
            responses: read(incoming.member("inputResponses")).unwrap_or_default(),
            state: incoming.text("requestState"),
            declared: meta.get("io.modelcontextprotocol/clientCapabilities").cloned().unwrap_or_default(),
        }
    }
}

/// Not only letters: it must come back as it went.
fn state_of(tool: &str, round: u64) -> String {
    format!("\u{e9}\u{1f980} \"{tool}\"\\ {round}")
}

/// The result of one of these tools, or what is wrong with the request; none: it is another tool.
pub(super) fn run(inputs: &Inputs, tool: &str, arguments: &Value) -> Option<Result<String, String>> {
    if tool == "declared" {
        return Some(Ok(text_result(&inputs.declared.to_string(), false)));
    }
    let is_stateless = arguments.get("stateless") == Some(&Value::Bool(true));
    let wanted = arguments.get("rounds").and_then(Value::as_u64).unwrap_or(1);
    let asked = match &inputs.state {
        Some(state) => {
            let round = state.rsplit(' ').next().and_then(|round| round.parse().ok()).unwrap_or(0);
            if *state != state_of(tool, round) {
                return Some(Err("this requestState is none of mine".to_owned()));
            }
            round
        }
        None => u64::from(inputs.responses.is_object()),
    };
    let lacks = |questions: &Value| {
        let mut keys = questions.as_object().into_iter().flat_map(|all| all.keys());
        keys.any(|key| !inputs.responses.get(key).is_some_and(Value::is_object))
    };
    let round = if asked == 0 || lacks(&questions(tool, arguments, asked)?) { asked.max(1) } else { asked + 1 };
    if round > wanted {
        return Some(Ok(text_result(&inputs.responses.to_string(), false)));
    }
    let questions = questions(tool, arguments, round)?;
    // The type comes first: what dresses results knows it by that.
    let mut result = r#"{"resultType":"input_required""#.to_owned();
    if questions.as_object().is_some_and(|all| !all.is_empty()) {
        result.push_str(&format!(r#","inputRequests":{questions}"#));
    }
    if !is_stateless {
        result.push_str(&format!(r#","requestState":{}"#, Value::from(state_of(tool, round))));
    }
    Some(Ok(format!("{result}}}")))
}

/// By key; none: it is another tool.
fn questions(tool: &str, arguments: &Value, round: u64) -> Option<Value> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str);
    let padding = arguments.get("bytes").and_then(Value::as_u64).and_then(|bytes| usize::try_from(bytes).ok());
    let message = format!("{}{}", text("message").unwrap_or("Sure?"), "x".repeat(padding.unwrap_or(0)));
    let sure = json!({ "type": "object", "properties": { "sure": { "type": "boolean", "default": true } } });
    let form = json!({ "method": "elicitation/create", "params": { "message": message, "requestedSchema": sure } });
    let elicit = match text("url") {
        Some(url) => {
            json!({ "method": "elicitation/create", "params": { "mode": "url", "message": message, "url": url } })
        }
        None => form.clone(),
    };
    let content = json!({ "type": "text", "text": "hello" });
    let mut sampling = json!({ "messages": [{ "role": "user", "content": content }], "maxTokens": 16 });
    if let (Some(true), Some(params)) = (arguments.get("tools").and_then(Value::as_bool), sampling.as_object_mut()) {
        params.insert("tools".to_owned(), json!([{ "name": "t", "inputSchema": { "type": "object" } }]));
    }
    let sample = json!({ "method": "sampling/createMessage", "params": sampling });
    let roots = json!({ "method": "roots/list" });
    let key = format!("q \"{round}\"");
    Some(match tool {
        "elicit" => json!({ key: elicit }),
        "sample" => json!({ key: sample }),
        "roots" => json!({ key: roots }),
        "all" => json!({ "form": form, "model": sample, "roots": roots }),
        "again" => json!({}),
        _ => return None,
    })
}

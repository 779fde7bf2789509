//! What Sentinel says itself, held against the official schema of the revision that is spoken. Objects of MCP are open,
//! so what only another era says is looked for besides.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

pub(crate) const MODERN: &str = "2026-07-28";
pub(crate) const LEGACY: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];

/// All definitions of each revision.
static SCHEMAS: LazyLock<HashMap<&str, Value>> = LazyLock::new(|| {
    let texts = [
        ("2024-11-05", include_str!("schemas/2024-11-05.json")),
        ("2025-03-26", include_str!("schemas/2025-03-26.json")),
        ("2025-06-18", include_str!("schemas/2025-06-18.json")),
        ("2025-11-25", include_str!("schemas/2025-11-25.json")),
        ("2026-07-28", include_str!("schemas/2026-07-28.json")),
    ];
    texts.into_iter().map(|(revision, text)| (revision, serde_json::from_str(text).unwrap())).collect()
});

type Known = HashMap<(String, String), Arc<Validator>>;
static VALIDATORS: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

fn validator(revision: &str, definition: &str) -> Arc<Validator> {
    let mut known = VALIDATORS.lock().unwrap();
    let of = || {
        let mut schema = SCHEMAS[revision].clone();
        let place = if schema["$defs"].is_object() { "$defs" } else { "definitions" };
        assert!(schema[place][definition].is_object(), "the schema of {revision} has no {definition}");
        if place == "definitions" {
            // Before 2019-09 whatever stands beside a `$ref` is not looked at.
            let all = schema[place].clone();
            schema = json!({ "$schema": schema["$schema"], "definitions": all, "allOf": [{ "$ref": format!("#/definitions/{definition}") }] });
        } else {
            schema["$ref"] = json!(format!("#/$defs/{definition}"));
        }
        Arc::new(jsonschema::validator_for(&schema).unwrap())
    };
    Arc::clone(known.entry((revision.to_owned(), definition.to_owned())).or_insert_with(of))
}

/// Panics unless the message is what the schema of this revision calls `definition`.
pub(crate) fn fits(revision: &str, definition: &str, message: &Value) {
    let validator = validator(revision, definition);
    let faults: Vec<String> =
        validator.iter_errors(message).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "no {definition} of {revision}: {faults:?} in {message}");
}

/// As `fits`, of the modern revision.
pub(crate) fn is_a(definition: &str, message: &Value) {
    fits(MODERN, definition, message);
}

/// What the result of a method is called.
fn result_of(method: &str) -> &'static str {
    match method {
        "initialize" => "InitializeResult",
        "server/discover" => "DiscoverResult",
        "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => "EmptyResult",
        "tools/list" => "ListToolsResult",
        "tools/call" | "tasks/result" => "CallToolResult",
        "tools/call as a task" => "CreateTaskResult",
        "tasks/get" => "GetTaskResult",
        "tasks/cancel" => "CancelTaskResult",
        "resources/list" => "ListResourcesResult",
        "resources/templates/list" => "ListResourceTemplatesResult",
        "resources/read" => "ReadResourceResult",
        "prompts/list" => "ListPromptsResult",
        "prompts/get" => "GetPromptResult",
        "completion/complete" => "CompleteResult",
        "subscriptions/listen" => "SubscriptionsListenResult",
        other => panic!("nothing is known of the result of {other}"),
    }
}

/// Members that only results of the modern era have.
const OF_MODERN_RESULTS: [&str; 5] = ["resultType", "ttlMs", "cacheScope", "inputRequests", "requestState"];

/// Panics unless it is what a server of this revision may say: in answer to `method`, or unasked. Gives what kind of
/// message it was.
pub(crate) fn said_by_a_server(revision: &str, method: &str, message: &Value) -> String {
    let is_modern = revision == MODERN;
    if let Some(name) = message["method"].as_str() {
        if message.get("id").is_none() {
            fits(revision, "JSONRPCNotification", message);
            fits(revision, "ServerNotification", message);
            return name.to_owned();
        }
        assert!(!is_modern, "a modern server asks nobody: {message}");
        fits(revision, "JSONRPCRequest", message);
        fits(revision, "ServerRequest", message);
        return format!("{name}?");
    }
    if let Some(error) = message.get("error") {
        fault(revision, message);
        return format!("error {}", error["code"]);
    }
    let definition = result_of(method);
    if is_modern {
        fits(revision, &format!("{definition}Response"), message);
        return if message["result"]["resultType"] == "input_required" {
            "input_required".into()
        } else {
            method.into()
        };
    }
    let envelope = if revision == "2025-11-25" { "JSONRPCResultResponse" } else { "JSONRPCResponse" };
    fits(revision, envelope, message);
    fits(revision, definition, &message["result"]);
    for member in OF_MODERN_RESULTS {
        assert!(message["result"].get(member).is_none(), "{member} is of another era: {message}");
    }
    let meta = message["result"]["_meta"].as_object();
    let is_its = |key: &str| revision == "2025-11-25" && key == "io.modelcontextprotocol/related-task";
    let is_foreign = |key: &&String| key.starts_with("io.modelcontextprotocol/") && !is_its(key);
    let foreign = meta.and_then(|meta| meta.keys().find(is_foreign));
    assert_eq!(foreign, None, "of another era: {message}");
    method.into()
}

/// A JSON-RPC error. Where the request could not be read there is no id to give back, and `null` no revision allows;
/// those before 2025-11-25 have no word for an error without one, so there the rest is judged.
fn fault(revision: &str, message: &Value) {
    let is_old = revision < "2025-11-25";
    let mut judged = message.clone();
    if is_old && judged.get("id").is_none() {
        assert!(matches!(message["error"]["code"].as_i64(), Some(-32700 | -32600 | -31401 | -31404)), "{message}");
        judged["id"] = json!(0);
    }
    fits(revision, if is_old { "JSONRPCError" } else { "JSONRPCErrorResponse" }, &judged);
    if revision != MODERN {
        if message["error"]["code"] == -32042 {
            fits(revision, "URLElicitationRequiredError", message);
        }
        return;
    }
    match message["error"]["code"].as_i64() {
        Some(-32020) => fits(revision, "HeaderMismatchError", message),
        Some(-32021) => fits(revision, "MissingRequiredClientCapabilityError", message),
        Some(-32022) => fits(revision, "UnsupportedProtocolVersionError", message),
        Some(-32600) => fits(revision, "InvalidRequestError", &message["error"]),
        Some(-32601) => fits(revision, "MethodNotFoundError", &message["error"]),
        Some(-32602) => fits(revision, "InvalidParamsError", &message["error"]),
        Some(-32603) => fits(revision, "InternalError", &message["error"]),
        Some(-32700) => fits(revision, "ParseError", &message["error"]),
        _ => {}
    }
}

#[test]
fn a_message_that_is_none_is_told_from_one_that_is() {
    let error = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32020, "message": "m" } });
    is_a("HeaderMismatchError", &error);
    let result = json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": [] } });
    assert!(std::panic::catch_unwind(|| is_a("CallToolResultResponse", &result)).is_err());
    for revision in LEGACY {
        assert_eq!(said_by_a_server(revision, "tools/call", &result), "tools/call");
        let wrong = json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": {} } });
        assert!(std::panic::catch_unwind(|| said_by_a_server(revision, "tools/call", &wrong)).is_err(), "{revision}");
        let foreign = json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": [], "ttlMs": 1 } });
        assert!(std::panic::catch_unwind(|| said_by_a_server(revision, "tools/call", &foreign)).is_err());
        let note = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": { "progress": 1 } });
        assert!(std::panic::catch_unwind(|| said_by_a_server(revision, "", &note)).is_err(), "it has no token");
    }
}

//! What Sentinel says of itself in the modern era, held against the official schema of the revision.

use std::sync::LazyLock;

use serde_json::{Value, json};

/// What a server of tools sends, from the official schema.
static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("schema-2026-07-28.json")).unwrap());

/// Panics unless the message is what the schema calls `definition`.
pub(crate) fn is_a(definition: &str, message: &Value) {
    let mut schema = SCHEMA.clone();
    assert!(schema["$defs"][definition].is_object(), "the schema has no {definition}");
    schema["$ref"] = json!(format!("#/$defs/{definition}"));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let faults: Vec<String> =
        validator.iter_errors(message).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    assert!(faults.is_empty(), "no {definition}: {faults:?} in {message}");
}

#[test]
fn a_message_that_is_none_is_told_from_one_that_is() {
    let error = json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": -32020, "message": "m" } });
    is_a("HeaderMismatchError", &error);
    let result = json!({ "jsonrpc": "2.0", "id": 1, "result": { "content": [] } });
    assert!(std::panic::catch_unwind(|| is_a("CallToolResultResponse", &result)).is_err());
}

//! Answers taken apart and checked: the envelope, the id, and the results that the scenarios ask for.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Outcome;

/// An answer, its result taken apart in the same pass: a second look at a megabyte would cost as
/// much as some of the targets do.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
pub(super) struct Message<'a, T> {
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    pub(super) result: Option<T>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct CallResult<'a> {
    #[serde(borrow)]
    pub(super) content: Vec<Content<'a>>,
    #[serde(default, rename = "isError")]
    pub(super) is_error: bool,
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
pub(super) struct ListResult<'a> {
    #[serde(borrow)]
    pub(super) tools: Vec<Tool<'a>>,
    #[serde(rename = "nextCursor")]
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Tool<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow, rename = "inputSchema")]
    pub(super) schema: &'a RawValue,
}

#[derive(Deserialize)]
pub(super) struct InitResult<'a> {
    #[serde(borrow, rename = "protocolVersion")]
    pub(super) version: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct DiscoverResult {
    #[serde(rename = "supportedVersions")]
    pub(super) versions: Vec<String>,
}

pub(super) fn result_of<'a, T: Deserialize<'a>>(payload: &'a [u8], id: u64) -> Outcome<T> {
    let message: Message<'a, T> = serde_json::from_slice(payload).map_err(|error| {
        format!(
            "not the answer that was asked for ({error}): {}",
            String::from_utf8_lossy(&payload[..payload.len().min(200)])
        )
    })?;
    if message.id.is_none_or(|got| got.get().parse() != Ok(id)) {
        return Err(format!("answer has id {} instead of {id}", message.id.map_or("none", RawValue::get)));
    }
    if let Some(error) = message.error {
        return Err(format!("JSON-RPC error: {}", error.get().chars().take(200).collect::<String>()));
    }
    message.result.ok_or_else(|| "neither result nor error".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{}}";

    #[test]
    fn refuses_wrong_answers() {
        assert!(result_of::<&RawValue>(ANSWER.as_bytes(), 7).is_ok());
        assert!(result_of::<&RawValue>(ANSWER.as_bytes(), 8).is_err());
        assert!(result_of::<&RawValue>(b"{\"jsonrpc\":\"2.0\",\"id\":\"7\",\"result\":{}}", 7).is_err());
        assert!(result_of::<&RawValue>(b"{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":1}}", 7).is_err());
        assert!(result_of::<&RawValue>(b"<html>", 7).is_err());
    }
}

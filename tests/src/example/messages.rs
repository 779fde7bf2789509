//! JSON-RPC messages as text: what comes in is borrowed and kept raw where tests want the very bytes back, what goes out
//! is put together from raw parts. No judgement of what a method means.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A message, with its parts as they came.
#[derive(Debug, Deserialize)]
pub(super) struct Incoming<'a> {
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) params: Option<&'a RawValue>,
}

impl<'a> Incoming<'a> {
    /// A member of `params`, raw.
    pub(super) fn member(&self, name: &str) -> Option<&'a RawValue> {
        member(self.params?, name)
    }

    /// A member of `params` that is a string.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.member(name)?.get()).ok()
    }

    /// `params._meta.progressToken`, raw.
    pub(super) fn progress_token(&self) -> Option<Box<RawValue>> {
        let token = member(self.member("_meta")?, "progressToken")?;
        Some(token.to_owned())
    }
}

fn member<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    let mut members: std::collections::HashMap<Cow<'a, str>, &'a RawValue> = serde_json::from_str(object.get()).ok()?;
    members.remove(name)
}

/// A response whose `result` is the given JSON text, byte for byte.
pub(super) fn answer(id: &str, result: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#)
}

/// A response that is a JSON-RPC error.
pub(super) fn fault(id: &str, code: i64, message: &str) -> String {
    let message = Value::from(message);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}}}}}"#)
}

/// The same with `data`.
pub(super) fn fault_with(id: &str, code: i64, message: &str, data: &Value) -> String {
    let message = Value::from(message);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message},"data":{data}}}}}"#)
}

/// A notification.
pub(super) fn note(method: &str, params: &Value) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#)
}

/// A tool's result with one text.
pub(super) fn text_result(text: &str, is_error: bool) -> String {
    let text = Value::from(text);
    let mark = if is_error { r#","isError":true"# } else { "" };
    format!(r#"{{"content":[{{"type":"text","text":{text}}}]{mark}}}"#)
}

//! What came back for one request, and what a test wants to know of it.

use reqwest::header::HeaderMap;
use serde_json::Value;

/// An answered request.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP; 0 over stdio.
    pub status: u16,
    pub headers: HeaderMap,
    /// Notifications before the answer.
    pub notes: Vec<Value>,
    /// The response; null where there was none.
    pub message: Value,
    /// Its very text.
    pub text: String,
}

impl Reply {
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// Panics unless it is a result.
    #[must_use]
    pub fn result(&self) -> &Value {
        let result = &self.message["result"];
        assert!(!result.is_null(), "no result: {self:?}");
        result
    }

    /// The text of a tool's result. Panics for anything else.
    #[must_use]
    pub fn content(&self) -> &str {
        self.result()["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text: {self:?}"))
    }

    /// The bytes of `result` as they came.
    #[must_use]
    pub fn result_text(&self) -> String {
        let members: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_str(&self.text).unwrap();
        members["result"].get().to_owned()
    }

    /// Panics unless it is an error of ours of this kind and code, whose request id the header has too. Gives the id.
    #[must_use]
    pub fn is_refused(&self, kind: &str, code: i64) -> String {
        let error = &self.message["error"];
        assert_eq!((error["data"]["kind"].as_str(), error["code"].as_i64()), (Some(kind), Some(code)), "{self:?}");
        let id = error["data"]["requestId"].as_str().unwrap_or_else(|| panic!("no request id: {self:?}"));
        if self.status != 0 {
            assert_eq!(self.header("x-request-id"), id, "{self:?}");
        }
        id.to_owned()
    }

    /// `error.data`
    #[must_use]
    pub fn data(&self) -> &Value {
        &self.message["error"]["data"]
    }

    /// `x-request-id`. Panics where it is missing.
    #[must_use]
    pub fn request_id(&self) -> String {
        let id = self.header("x-request-id");
        assert!(!id.is_empty(), "no x-request-id: {self:?}");
        id.to_owned()
    }
}

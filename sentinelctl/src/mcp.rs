//! A small MCP client over Streamable HTTP, legacy era: what `tool call` and `up` need to call through the gateway.
//!
//! It goes the way that every client goes: token, initialize, session, call. It knows no control plane and no backend.

use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::client::root_cause;
use crate::fault::Fault;

/// The revision it asks for; the gateway may answer an older one.
const PROTOCOL: &str = "2025-11-25";
/// Longest answer that is taken into memory.
const LARGEST: usize = 64 * 1024 * 1024;

/// One session at a gateway. Prints nothing of its token.
pub struct Session {
    http: reqwest::Client,
    url: String,
    headers: HeaderMap,
    next_id: u64,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("url", &self.url).finish_non_exhaustive()
    }
}

/// What a request was answered with.
#[derive(Debug)]
pub struct Answered {
    /// The `result`, as the JSON text that came.
    pub result: Box<RawValue>,
    /// `x-request-id`: the key to the audit row.
    pub request_id: String,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Value>,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<RpcError>,
}

#[derive(Debug, Deserialize)]
struct RpcError {
    code: i64,
    message: String,
    #[serde(default)]
    data: Option<Value>,
}

impl Session {
    /// Initializes a session. Errors: `Usage` for a URL of a wrong form, `Failed` for anything the gateway answers.
    pub async fn open(url: &str, token: Option<&str>) -> Result<Self, Fault> {
        if url.starts_with("https://") {
            return Err(Fault::Usage(format!(
                "{url}: this client speaks http:// alone; name the plane's own listener, or a local end of the tunnel"
            )));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(token) = token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Fault::Usage("SENTINEL_TOKEN holds characters that no token has".to_owned()))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none()) // a token follows nobody's redirect
            .build()
            .map_err(|error| Fault::Failed(format!("no HTTP client: {}", root_cause(&error))))?;
        let mut session = Self { http, url: url.to_owned(), headers, next_id: 1 };
        let hello = json!({
            "protocolVersion": PROTOCOL, "capabilities": {},
            "clientInfo": { "name": "sentinelctl", "version": env!("CARGO_PKG_VERSION") },
        });
        let response = session.post(&session.request("initialize", &hello)).await?;
        let session_id = response.headers().get("mcp-session-id").cloned();
        let answered = session.answer(response, &mut |_| {}).await?;
        let version = serde_json::from_str::<Value>(answered.result.get()).ok();
        let version = version
            .as_ref()
            .and_then(|result| result.get("protocolVersion"))
            .and_then(Value::as_str)
            .unwrap_or(PROTOCOL);
        if let Ok(version) = HeaderValue::from_str(version) {
            session.headers.insert("mcp-protocol-version", version);
        }
        if let Some(id) = session_id {
            session.headers.insert("mcp-session-id", id);
        }
        session.next_id = 2;
        let told = session.post(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await?;
        if told.status().is_success() { Ok(session) } else { session.answer(told, &mut |_| {}).await.map(|_| session) }
    }

    /// Asks, and waits for the answer; `on_note` gets progress and log messages on the way, one sentence each.
    pub async fn ask(
        &mut self,
        method: &str,
        params: &Value,
        on_note: &mut dyn FnMut(&str),
    ) -> Result<Answered, Fault> {
        let request = self.request(method, params);
        self.next_id = self.next_id.saturating_add(1);
        let response = self.post(&request).await?;
        self.answer(response, on_note).await
    }

    /// Ends the session. What goes wrong here changes nothing for the caller.
    pub async fn close(self) {
        let asked = self.http.delete(&self.url).headers(self.headers).timeout(Duration::from_secs(2)).send().await;
        let _unheard = asked.is_err(); // sessions also end by themselves
    }

    fn request(&self, method: &str, params: &Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": self.next_id, "method": method, "params": params })
    }

    async fn post(&self, message: &Value) -> Result<Response, Fault> {
        self.http.post(&self.url).headers(self.headers.clone()).body(message.to_string()).send().await.map_err(
            |error| {
                if error.is_builder() {
                    return Fault::Usage(format!("the gateway `{}` is no http:// address", self.url));
                }
                Fault::Failed(format!(
                    "the gateway {} cannot be reached: {}; is a plane running there? (--gateway)",
                    self.url,
                    root_cause(&error)
                ))
            },
        )
    }

    async fn answer(&self, mut response: Response, on_note: &mut dyn FnMut(&str)) -> Result<Answered, Fault> {
        let status = response.status();
        let request_id =
            response.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned();
        let stream = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .is_some_and(|kind| kind.starts_with("text/event-stream"));
        let mut body = Vec::new();
        let mut read = 0_usize;
        loop {
            let chunk = response.chunk().await.map_err(|error| {
                Fault::Failed(format!(
                    "the gateway's answer broke off: {} (requestId {request_id})",
                    root_cause(&error)
                ))
            })?;
            let Some(chunk) = chunk else { break };
            read = read.saturating_add(chunk.len());
            if read > LARGEST {
                return Err(Fault::Failed(format!("the answer is larger than 64 MiB (requestId {request_id})")));
            }
            body.extend_from_slice(&chunk);
            if !stream {
                continue;
            }
            while let Some(data) = next_event(&mut body) {
                let Ok(message) = serde_json::from_str::<Message>(&data) else {
                    continue;
                };
                match note_of(&message) {
                    Some(note) => on_note(&note),
                    None if message.id.is_some() => return concluded(message, request_id),
                    None => {}
                }
            }
        }
        if stream {
            return Err(Fault::Failed(format!(
                "the gateway's event stream ended without an answer (requestId {request_id})"
            )));
        }
        match serde_json::from_slice::<Message>(&body) {
            Ok(message) => concluded(message, request_id),
            Err(_) if status == StatusCode::ACCEPTED => concluded_empty(request_id),
            Err(_) => Err(Fault::Failed(format!(
                "the gateway {} answered {status} and no JSON-RPC: {}",
                self.url,
                String::from_utf8_lossy(&body).chars().take(200).collect::<String>()
            ))),
        }
    }
}

fn concluded_empty(request_id: String) -> Result<Answered, Fault> {
    let result = RawValue::from_string("{}".to_owned()).map_err(|error| Fault::Failed(error.to_string()))?;
    Ok(Answered { result, request_id })
}

fn concluded(message: Message, request_id: String) -> Result<Answered, Fault> {
    if let Some(error) = message.error {
        let of_data = |key: &str| error.data.as_ref().and_then(|data| data.get(key)).and_then(Value::as_str);
        let kind = of_data("kind").unwrap_or("the backend's own");
        let request_id = of_data("requestId").unwrap_or(&request_id);
        return Err(Fault::Failed(format!(
            "{} (kind {kind}, code {}, requestId {request_id})",
            error.message, error.code
        )));
    }
    match message.result {
        Some(result) => Ok(Answered { result, request_id }),
        None => Err(Fault::Failed(format!("the gateway answered neither result nor error (requestId {request_id})"))),
    }
}

fn note_of(message: &Message) -> Option<String> {
    let params = message.params.as_ref()?;
    let text = |key: &str| params.get(key).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    match message.method.as_deref()? {
        "notifications/progress" => {
            let total = text("total").map(|total| format!(" of {total}")).unwrap_or_default();
            let said = text("message").map(|said| format!(": {said}")).unwrap_or_default();
            Some(format!("progress {}{total}{said}", text("progress").unwrap_or_default()))
        }
        "notifications/message" => {
            Some(format!("{}: {}", text("level").unwrap_or_default(), text("data").unwrap_or_default()))
        }
        _ => Some(String::new()).filter(|_| message.id.is_none()),
    }
}

/// Takes one whole event off the front of `buffer`; gives its data, empty for a comment. None: not whole yet.
fn next_event(buffer: &mut Vec<u8>) -> Option<String> {
    let text = buffer.as_slice();
    let (at, length) = (0..text.len()).find_map(|at| {
        let rest = text.get(at..)?;
        [&b"\r\n\r\n"[..], b"\n\n", b"\r\r"].into_iter().find(|end| rest.starts_with(end)).map(|end| (at, end.len()))
    })?;
    let event: Vec<u8> = buffer.drain(..at.saturating_add(length)).collect();
    let event = String::from_utf8_lossy(&event);
    let data: Vec<&str> = event
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| data.strip_prefix(' ').unwrap_or(data))
        .collect();
    Some(data.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_and_in_order() {
        let mut buffer = b": ping\n\nid: 1\nevent: message\ndata: {\"a\":\ndata: 1}\n\ndata: {".to_vec();
        assert_eq!(next_event(&mut buffer).as_deref(), Some(""));
        assert_eq!(next_event(&mut buffer).as_deref(), Some("{\"a\":\n1}"));
        assert_eq!(next_event(&mut buffer), None);
        assert_eq!(buffer, b"data: {");
    }

    #[test]
    fn an_error_names_its_kind_and_request_id() {
        let message = serde_json::from_str(
            r#"{"jsonrpc":"2.0","id":2,"error":{"code":-31423,"message":"stopped","data":{"kind":"disabled","requestId":"r1"}}}"#,
        )
        .unwrap();
        let fault = concluded(message, "other".to_owned()).unwrap_err();
        assert_eq!(fault.to_string(), "stopped (kind disabled, code -31423, requestId r1)");
        assert_eq!(fault.exit_code(), 1);
    }
}

//! A plain MCP client of the modern era over HTTP: no session, everything in each request; headers from the body,
//! unless a test says otherwise.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::client::whole;
use super::reply::Reply;
use super::sse::Messages;

pub const REVISION: &str = "2026-07-28";

/// What every request says of itself.
#[must_use]
pub fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": REVISION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "harness", "version": "1" },
    })
}

/// `params` with this `_meta`, and what they had in it.
#[must_use]
pub fn with_meta(mut params: Value) -> Value {
    let mut all = meta();
    if let Some(own) = params["_meta"].as_object() {
        for (key, value) in own {
            all[key] = value.clone();
        }
    }
    params["_meta"] = all;
    params
}

/// One client.
#[derive(Debug)]
pub struct ModernClient {
    http: reqwest::Client,
    url: String,
    pub token: String,
    next_id: AtomicU64,
}

impl ModernClient {
    #[must_use]
    pub fn new(url: &str, token: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, url: url.into(), token: token.into(), next_id: AtomicU64::new(1) }
    }

    pub async fn call(&self, tool: &str, arguments: Value) -> Reply {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// The names of the tools that it is shown.
    pub async fn tools(&self) -> Vec<String> {
        let listed = self.request("tools/list", json!({})).await;
        let tools = listed.result()["tools"].as_array().unwrap().clone();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn request(&self, method: &str, params: Value) -> Reply {
        self.send(&self.message(method, params)).await
    }

    /// A request with the next id and all that `_meta` needs.
    #[must_use]
    pub fn message(&self, method: &str, params: Value) -> Value {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": with_meta(params) })
    }

    pub async fn send(&self, message: &Value) -> Reply {
        whole(self.post(message).send().await.unwrap()).await
    }

    /// With these headers in place of, or beside, those that fit; an empty value leaves the header out.
    pub async fn send_with(&self, message: &Value, headers: &[(&'static str, &str)]) -> Reply {
        let mut request = self.post(message).build().unwrap();
        for (name, value) in headers {
            let _was = request.headers_mut().remove(*name);
            if !value.is_empty() {
                let value = reqwest::header::HeaderValue::from_bytes(value.as_bytes()).unwrap();
                let _none = request.headers_mut().insert(*name, value);
            }
        }
        whole(self.http.execute(request).await.unwrap()).await
    }

    /// The answer, as it comes.
    pub async fn open(&self, message: &Value) -> (u16, HeaderMap, Messages) {
        let response = self.post(message).send().await.unwrap();
        (response.status().as_u16(), response.headers().clone(), Messages::of(response))
    }

    /// A stream that tells what changes: what it is granted, and the rest.
    pub async fn listen(&self, id: Value, filter: Value) -> (Value, Messages) {
        let params = with_meta(json!({ "notifications": filter }));
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": "subscriptions/listen", "params": params });
        let (status, _headers, mut messages) = self.open(&message).await;
        assert_eq!((status, messages.is_stream()), (200, true));
        (messages.next_json().await.unwrap(), messages)
    }

    /// A POST with the headers that fit the message.
    pub fn post(&self, message: &Value) -> reqwest::RequestBuilder {
        let params = &message["params"];
        let mut post = self
            .http
            .post(&self.url)
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(message.to_string());
        if let Some(version) = params["_meta"]["io.modelcontextprotocol/protocolVersion"].as_str() {
            post = post.header("mcp-protocol-version", version);
        }
        if let Some(method) = message["method"].as_str() {
            post = post.header("mcp-method", method);
        }
        match ["name", "uri", "taskId"].into_iter().find_map(|named| params[named].as_str()) {
            Some(name) => post.header("mcp-name", name),
            None => post,
        }
    }
}

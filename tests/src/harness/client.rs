//! A plain MCP client of the legacy era over HTTP: what it sends is what the test says, byte for byte.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::reply::Reply;
use super::sse::Messages;
use super::until::until;

/// One client with its session.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    pub token: String,
    /// None: before `initialize`.
    pub session: Option<String>,
    next_id: AtomicU64,
}

impl Client {
    /// Without a session.
    #[must_use]
    pub fn new(url: &str, token: &str) -> Self {
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            url: url.into(),
            token: token.into(),
            session: None,
            next_id: AtomicU64::new(1),
        }
    }

    /// With a session: `initialize` and `notifications/initialized` are done.
    pub async fn connected(url: &str, token: &str) -> Self {
        let mut client = Self::new(url, token);
        client.initialize("2025-11-25").await;
        client
    }

    /// With a session of a client that can be asked these things.
    pub async fn able(url: &str, token: &str, capabilities: Value) -> Self {
        let mut client = Self::new(url, token);
        client.begin("2025-11-25", capabilities).await;
        client
    }

    /// Begins a session. Gives the answer to `initialize`.
    pub async fn initialize(&mut self, revision: &str) -> Reply {
        self.begin(revision, json!({})).await
    }

    /// Begins a session of a client that declares this.
    pub async fn begin(&mut self, revision: &str, capabilities: Value) -> Reply {
        let info = json!({ "name": "harness", "version": "1" });
        let params = json!({ "protocolVersion": revision, "capabilities": capabilities, "clientInfo": info });
        let reply = self.request("initialize", params).await;
        assert_eq!(reply.result()["protocolVersion"], revision);
        self.session = Some(reply.header("mcp-session-id").to_owned()).filter(|id| !id.is_empty());
        assert!(self.session.is_some(), "no session: {reply:?}");
        self.notify("notifications/initialized", json!({})).await;
        reply
    }

    pub async fn call(&self, tool: &str, arguments: Value) -> Reply {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    /// As `call`, of a plane that has just started: until it knows the tool.
    pub async fn call_once_known(&self, tool: &str, arguments: Value) -> Reply {
        until("the plane knows the tool", async || {
            let reply = self.call(tool, arguments.clone()).await;
            if reply.data()["kind"] == "unknown_tool" { Err(reply) } else { Ok(reply) }
        })
        .await
    }

    /// The names of the tools that it is shown.
    pub async fn tools(&self) -> Vec<String> {
        let listed = self.request("tools/list", json!({})).await;
        let tools = listed.result()["tools"].as_array().unwrap().clone();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn request(&self, method: &str, params: Value) -> Reply {
        self.send(&self.message(method, &params)).await
    }

    /// A request with the next id, as text.
    #[must_use]
    pub fn message(&self, method: &str, params: &Value) -> String {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
    }

    pub async fn notify(&self, method: &str, params: Value) -> Reply {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }).to_string()).await
    }

    /// Answers what a server asked.
    pub async fn respond(&self, id: &Value, result: Value) -> Reply {
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": result }).to_string()).await
    }

    /// A call of a tool whose server asks something on the way.
    pub async fn calling(&self, tool: &str, arguments: Value) -> Messages {
        let (status, _, messages) =
            self.open(&self.message("tools/call", &json!({ "name": tool, "arguments": arguments }))).await;
        assert_eq!(status, 200);
        messages
    }

    /// These bytes, and the whole answer.
    pub async fn send(&self, body: &str) -> Reply {
        self.try_send(body).await.unwrap_or_else(|error| panic!("{error:?} for {body:.200}"))
    }

    /// As `send`, where the connection may fail.
    pub async fn try_send(&self, body: &str) -> reqwest::Result<Reply> {
        let response = self.post(body.as_bytes().to_vec()).send().await?;
        Ok(whole(response).await)
    }

    /// Bytes that need not be text.
    pub async fn send_bytes(&self, body: &[u8]) -> Reply {
        whole(self.post(body.to_vec()).send().await.unwrap()).await
    }

    /// The answer to these bytes, as it comes.
    pub async fn open(&self, body: &str) -> (u16, HeaderMap, Messages) {
        let response = self.post(body.as_bytes().to_vec()).send().await.unwrap();
        (response.status().as_u16(), response.headers().clone(), Messages::of(response))
    }

    /// Asks for the GET stream of its session.
    pub async fn get(&self) -> reqwest::Response {
        let get = self.headed(self.http.get(&self.url)).header("accept", "text/event-stream");
        get.send().await.unwrap()
    }

    /// The GET stream of its session.
    pub async fn listen(&self) -> Messages {
        let response = self.get().await;
        assert_eq!(response.status(), 200);
        Messages::of(response)
    }

    /// Ends its session.
    pub async fn end(&self) -> Reply {
        whole(self.headed(self.http.delete(&self.url)).send().await.unwrap()).await
    }

    /// A POST with all that belongs to it, to be changed before it is sent.
    pub fn post(&self, body: Vec<u8>) -> reqwest::RequestBuilder {
        let post = self.headed(self.http.post(&self.url));
        post.header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body)
    }

    fn headed(&self, mut request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(session) = &self.session {
            request = request.header("mcp-session-id", session);
            request = request.header("mcp-protocol-version", "2025-11-25");
        }
        request
    }
}

/// Reads an answer to its end.
pub async fn whole(response: reqwest::Response) -> Reply {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut messages = Messages::of(response);
    let mut reply = Reply { status, headers, notes: Vec::new(), message: Value::Null, text: String::new() };
    while let Some(text) = messages.next().await {
        let message = serde_json::from_str(&text).unwrap_or(Value::Null);
        if message.get("method").is_some() {
            reply.notes.push(message);
        } else {
            reply.message = message;
            reply.text = text;
        }
    }
    reply
}

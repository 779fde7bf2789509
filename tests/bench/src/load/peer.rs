//! One connection of the load: opens sessions, sends requests, reads answers, in either era.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, StatusCode,
    client::conn::http1::SendRequest,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{
    Era, Names, Outcome, Shared,
    answers::{InitResult, result_of},
    events::Events,
};
use crate::mcp::{META_VERSION, MODERN};

/// One client as the target knows it: its token, and its session once that is open.
#[derive(Clone)]
pub(super) struct Client {
    token: HeaderValue,
    session: Option<HeaderValue>,
}

pub(super) struct Peer {
    pub(super) shared: Rc<Shared>,
    pub(super) sender: Option<SendRequest<Full<Bytes>>>,
    session: Option<HeaderValue>,
    /// The token of the client that it speaks for now, where that is not the one of the command line.
    token: Option<HeaderValue>,
    /// The clients that it speaks for, in turn; none where the command line has one token for all.
    clients: Vec<Client>,
    version: Option<HeaderValue>,
    pub(super) names: Names,
    pub(super) next_id: u64,
    pub(super) lane: u64,
}

static SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
static VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
static METHOD: HeaderName = HeaderName::from_static("mcp-method");
static NAME: HeaderName = HeaderName::from_static("mcp-name");

impl Peer {
    pub(super) fn new(shared: &Rc<Shared>, lane: u64) -> Self {
        Peer {
            shared: shared.clone(),
            sender: None,
            session: None,
            token: None,
            clients: Vec::new(),
            version: None,
            names: Names::default(),
            next_id: lane * 1_000_000_000,
            lane,
        }
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn modern(&self) -> bool {
        self.shared.args.era == Era::Modern
    }

    pub(super) fn params(&self, inner: &str) -> String {
        if !self.modern() {
            return format!("{{{inner}}}");
        }
        let comma = if inner.is_empty() { "" } else { "," };
        format!(
            "{{{inner}{comma}\"_meta\":{{\"{META_VERSION}\":\"{MODERN}\",\"io.modelcontextprotocol/clientInfo\":{{\"name\":\"sentinel-bench\",\"version\":\"0.1.0\"}},\"io.modelcontextprotocol/clientCapabilities\":{{}}}}}}"
        )
    }

    pub(super) async fn connect(&mut self) -> Outcome<()> {
        // A connection that the target closed after its last answer is replaced without complaint.
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_ok()
        {
            return Ok(());
        }
        let stream =
            TcpStream::connect(&self.shared.target.address).await.map_err(|error| format!("connect: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let (sender, connection) = hyper::client::conn::http1::Builder::new()
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("handshake: {error}"))?;
        tokio::task::spawn_local(async move {
            let _ = connection.await;
        });
        self.sender = Some(sender);
        Ok(())
    }

    pub(super) fn request(
        &self,
        http: Method,
        method: &str,
        name: Option<&str>,
        body: String,
    ) -> Outcome<Request<Full<Bytes>>> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = http;
        *request.uri_mut() = self.shared.target.path.parse().map_err(|error| format!("{error}"))?;
        let headers = request.headers_mut();
        headers.clone_from(&self.shared.headers);
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        if self.modern() {
            headers.insert(VERSION.clone(), HeaderValue::from_static(MODERN));
            headers.insert(METHOD.clone(), HeaderValue::from_str(method).map_err(|error| error.to_string())?);
            if let Some(name) = name {
                headers.insert(NAME.clone(), HeaderValue::from_str(name).map_err(|error| error.to_string())?);
            }
        } else {
            if let Some(session) = &self.session {
                headers.insert(SESSION.clone(), session.clone());
            }
            if let Some(version) = &self.version {
                headers.insert(VERSION.clone(), version.clone());
            }
        }
        Ok(request)
    }

    /// Sends one JSON-RPC request and returns the message that answers it, with the headers.
    pub(super) async fn rpc(
        &mut self,
        id: u64,
        method: &str,
        name: Option<&str>,
        params: &str,
    ) -> Outcome<(Bytes, HeaderMap)> {
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{params}}}");
        let request = self.request(Method::POST, method, name, body)?;
        let limit = Duration::from_secs_f64(self.shared.args.timeout);
        match tokio::time::timeout(limit, self.exchange(request, Some(id))).await {
            Ok(Ok((StatusCode::OK, payload, headers))) => Ok((payload, headers)),
            Ok(Ok((status, payload, _))) => Err(format!(
                "{method}: status {status}: {}",
                String::from_utf8_lossy(&payload[..payload.len().min(200)])
            )),
            Ok(Err(error)) => Err(format!("{method}: {error}")),
            Err(_) => {
                self.sender = None;
                Err(format!("{method}: no answer in {limit:?}"))
            }
        }
    }

    pub(super) async fn notify(&mut self, method: &str) -> Outcome<()> {
        let request =
            self.request(Method::POST, method, None, format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\"}}"))?;
        let limit = Duration::from_secs_f64(self.shared.args.timeout);
        match tokio::time::timeout(limit, self.exchange(request, None)).await {
            Ok(Ok((status, ..))) if status.is_success() => Ok(()),
            Ok(Ok((status, ..))) => Err(format!("{method}: status {status}")),
            Ok(Err(error)) => Err(format!("{method}: {error}")),
            Err(_) => {
                self.sender = None;
                Err(format!("{method}: no answer in {limit:?}"))
            }
        }
    }

    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        id: Option<u64>,
    ) -> Outcome<(StatusCode, Bytes, HeaderMap)> {
        self.connect().await?;
        let sender = self.sender.as_mut().ok_or("no connection")?;
        let response = sender.send_request(request).await.map_err(|error| format!("send: {error}"))?;
        let (head, mut body) = response.into_parts();
        let sse = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let payload = match id {
            Some(_) if sse && head.status == StatusCode::OK => {
                self.shared.stats.borrow_mut().sse = true;
                let mut events = Events::default();
                let mut answer = None;
                // The whole stream is read, so that the connection can be used again.
                while let Some(frame) = body.frame().await {
                    let frame = frame.map_err(|error| format!("body: {error}"))?;
                    if let Ok(data) = frame.into_data()
                        && answer.is_none()
                    {
                        answer = events.push(&data);
                    }
                }
                answer.ok_or("the event stream ended without an answer")?
            }
            _ => body.collect().await.map_err(|error| format!("body: {error}"))?.to_bytes(),
        };
        Ok((head.status, payload, head.headers))
    }

    /// Legacy: initialize and initialized. Modern requests need no session.
    pub(super) async fn open_session(&mut self) -> Outcome<()> {
        if self.modern() {
            return Ok(());
        }
        self.session = None;
        self.version = None;
        let id = self.id();
        let params = format!(
            "{{\"protocolVersion\":\"{}\",\"capabilities\":{{}},\"clientInfo\":{{\"name\":\"sentinel-bench\",\"version\":\"0.1.0\"}}}}",
            self.shared.args.protocol
        );
        let (payload, headers) = self.rpc(id, "initialize", None, &params).await?;
        let result: InitResult<'_> = result_of(&payload, id)?;
        self.version = Some(HeaderValue::from_str(&result.version).map_err(|error| error.to_string())?);
        if self.shared.agreed.borrow().is_empty() {
            *self.shared.agreed.borrow_mut() = result.version.to_string();
        }
        self.session = headers.get(&SESSION).cloned();
        self.notify("notifications/initialized").await
    }

    /// Opens a session for each of these tokens; calls are then made for one after the other.
    pub(super) async fn take_clients(&mut self, tokens: &[HeaderValue]) -> Outcome<()> {
        for token in tokens {
            self.token = Some(token.clone());
            self.open_session().await?;
            self.clients.push(Client { token: token.clone(), session: self.session.clone() });
        }
        Ok(())
    }

    /// Speaks for the next client.
    pub(super) fn next_client(&mut self) {
        let turn = usize::try_from(self.next_id).unwrap_or_default();
        if let Some(client) = turn.checked_rem(self.clients.len()).and_then(|turn| self.clients.get(turn)) {
            self.token = Some(client.token.clone());
            self.session.clone_from(&client.session);
        }
    }

    pub(super) async fn close_session(&mut self) {
        if !self.shared.args.delete || self.session.is_none() {
            return;
        }
        if let Ok(request) = self.request(Method::DELETE, "", None, String::new()) {
            let _ = tokio::time::timeout(Duration::from_secs(5), self.exchange(request, None)).await;
        }
        self.session = None;
    }
}

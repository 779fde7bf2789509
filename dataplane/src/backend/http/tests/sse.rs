//! HTTP+SSE, of 2024-11-05: messages are POSTed, and all answers come on one stream.

use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    super::tls,
    Rig,
    server::{Heard, Reply, Server, event},
};
use crate::backend::{era::Era, spec::Transport};

mod faults;
mod sessions;
mod talking;

/// What the script of such a server does with a message that was POSTed.
pub(super) enum Does {
    /// What a good server does.
    Good,
    /// It takes the message and says these, each as one event.
    Says(Vec<Value>),
    /// It takes the message and writes this on the stream.
    Writes(String),
    /// It takes the message and closes the stream.
    Closes,
    /// It answers the POST with this status.
    Refuses(u16),
    /// It says this, and never answers the POST.
    Holds(Value),
}

type Streams = Arc<Mutex<Vec<mpsc::Sender<String>>>>;

/// A scripted server of HTTP+SSE on a free port.
pub(super) struct Old {
    pub(super) server: Server,
    /// Of each session; the last one is the current.
    streams: Streams,
}

impl Old {
    async fn start(does: impl Fn(&Heard) -> Does + Send + Sync + 'static) -> Self {
        Self::naming(|session| format!("/messages?session={session}"), does).await
    }

    /// `endpoint`: what its first event says.
    async fn naming(
        endpoint: impl Fn(usize) -> String + Send + Sync + 'static,
        does: impl Fn(&Heard) -> Does + Send + Sync + 'static,
    ) -> Self {
        let streams = Streams::default();
        let held = Arc::clone(&streams);
        let script = move |heard: &Heard| {
            let mut held = held.lock().unwrap();
            if heard.http == Method::GET {
                let (tell, fed) = mpsc::channel(1024);
                tell.try_send(format!(":hello\n\nevent: endpoint\ndata: {}\n\n", endpoint(held.len()))).unwrap();
                held.push(tell);
                return Reply::Fed(fed);
            }
            let current = held.len().wrapping_sub(1);
            let Some(stream) = held.last().filter(|stream| !stream.is_closed()) else {
                return Reply::Body(404, "text/plain", vec!["no such session".into()]);
            };
            if !heard.to.ends_with(&format!("session={current}")) {
                return Reply::Body(405, "text/plain", vec!["GET it".into()]);
            }
            let taken = || Reply::Body(202, "text/plain", vec!["Accepted".into()]);
            let says = |said: &Value| stream.try_send(event(said)).unwrap();
            match does(heard) {
                Does::Good => good(heard).iter().for_each(says),
                Does::Says(all) => all.iter().for_each(says),
                Does::Writes(text) => stream.try_send(text).unwrap(),
                Does::Closes => *held.last_mut().unwrap() = mpsc::channel(1).0,
                Does::Refuses(status) => return Reply::Body(status, "text/plain", vec!["secret words".into()]),
                Does::Holds(said) => {
                    says(&said);
                    return Reply::Hang;
                }
            }
            taken()
        };
        Self { server: Server::start(script).await, streams }
    }

    async fn rig(&self) -> Rig {
        self.bounded(4 << 20).await
    }

    async fn bounded(&self, max_response_bytes: usize) -> Rig {
        let mut rig = self.begun(Transport::Sse, max_response_bytes, None);
        rig.listed().await;
        rig.state(crate::backend::State::Ready).await;
        rig
    }

    /// A rig whose session may never come.
    fn begun(&self, transport: Transport, max_response_bytes: usize, era: Option<Era>) -> Rig {
        let url = format!("http://{}/sse", self.server.address);
        Rig::over(transport, &url, max_response_bytes, &tls::settings(None, None).unwrap(), era)
    }

    /// On the current stream.
    fn says(&self, said: &Value) {
        self.streams.lock().unwrap().last().unwrap().try_send(event(said)).unwrap();
    }

    fn sessions(&self) -> usize {
        self.streams.lock().unwrap().len()
    }

    fn posts(&self) -> Vec<Heard> {
        self.server.heard().into_iter().filter(|heard| heard.http == Method::POST).collect()
    }
}

/// What a good server says to a message.
fn good(heard: &Heard) -> Vec<Value> {
    let result = match heard.method() {
        "initialize" => json!({
            "protocolVersion": "2024-11-05",
            "capabilities": {"tools": {"listChanged": true}},
            "serverInfo": {"name": "old", "version": "1"},
        }),
        "tools/list" => json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]}),
        "tools/call" => json!({"content": [], "structuredContent": heard.body["params"]["arguments"]}),
        "ping" => json!({}),
        _ => return vec![],
    };
    vec![answer(heard, "result", &result)]
}

fn answer(heard: &Heard, member: &str, value: &Value) -> Value {
    let mut answer = json!({"jsonrpc": "2.0", "id": heard.body["id"]});
    answer[member] = value.clone();
    answer
}

fn on_call(does: impl Fn(&Heard) -> Does + Send + Sync + 'static) -> impl Fn(&Heard) -> Does + Send + Sync + 'static {
    move |heard| if heard.method() == "tools/call" { does(heard) } else { Does::Good }
}

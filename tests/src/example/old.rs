//! The example server over HTTP+SSE, the transport of 2024-11-05: a GET opens the stream of a session, whose first event
//! names the path that its messages are POSTed to. Whatever is answered comes on the stream; its end is the session's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::http::{Body, empty, events_after};
use super::{OUTBOX, Server, Session};

pub(super) const MESSAGES: &str = "/messages/";

type Held = (Arc<Session>, mpsc::Sender<String>);

pub(super) struct Streams {
    server: Arc<Server>,
    /// By the query of their endpoints.
    held: Mutex<HashMap<String, Held>>,
    tasks: TaskTracker,
}

impl Streams {
    pub(super) fn new(server: Arc<Server>, tasks: TaskTracker) -> Self {
        Self { server, held: Mutex::default(), tasks }
    }

    /// A new session.
    pub(super) fn open(&self) -> Response<Body> {
        let (out, outbox) = mpsc::channel(OUTBOX);
        self.server.listen(out.clone());
        let query = format!("session_id={}", uuid::Uuid::new_v4().simple());
        let endpoint = format!("event: endpoint\ndata: {MESSAGES}?{query}\n\n");
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (_, out)| !out.is_closed());
        held.insert(query, (Session::new(Arc::clone(&self.server)), out));
        events_after(Some(endpoint), outbox)
    }

    fn find(&self, query: &str) -> Option<Held> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(query).filter(|(_, out)| !out.is_closed()).cloned()
    }

    /// One message of a session.
    pub(super) async fn take(&self, request: Request<Incoming>) -> Response<Body> {
        let Some((session, out)) = self.find(request.uri().query().unwrap_or_default()) else {
            return empty(StatusCode::NOT_FOUND);
        };
        let Ok(body) = request.into_body().collect().await else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let work = session.accept(&String::from_utf8_lossy(&body.to_bytes()));
        self.tasks.spawn(async move { Box::pin(session.run(work, &out)).await });
        empty(StatusCode::ACCEPTED)
    }
}

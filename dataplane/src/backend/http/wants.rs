//! What clients want of one session with an HTTP server beside calls: a legacy server is asked for each resource, a modern
//! one by a stream of its own, which is opened anew, before the old one ends, when other resources are wanted.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use http::Method;

use super::{
    ask::{Question, WITHIN},
    beside,
    core::Core,
    fault::Fault,
    modern,
    pool::Lent,
    reading::{self, Form, Whose},
    session::Session,
    supervisor,
};
use crate::{
    backend::{
        era::{self, LISTEN},
        wanted::{self, Asks, Said},
    },
    wire::{
        incoming::{self, Incoming as Message},
        outgoing, sse,
    },
};

/// As long as the session is good.
pub(super) async fn keep(core: Arc<Core>, session: Arc<Session>) {
    let keeping = async {
        if session.is_modern() {
            listen(&core, &session).await;
        } else {
            let server = Server { core: &core, session: &session };
            wanted::keep(&core.wanted, &server, session.agreed.abilities).await;
        }
    };
    Box::pin(session.over.run_until_cancelled(keeping)).await;
}

struct Server<'a> {
    core: &'a Arc<Core>,
    session: &'a Arc<Session>,
}

impl Asks for Server<'_> {
    async fn ask(&self, method: &'static str, params: String) -> Said {
        let (core, session) = (self.core, self.session);
        let headers = session.headers.clone();
        let question = Question { session: Some(session), headers, method, params: Some(&params) };
        match tokio::time::timeout(WITHIN, core.question(question)).await {
            Ok(Ok((found, _))) => match found.error {
                Some(error) => Said::No(found.message.slice(error.range())),
                None => Said::Yes,
            },
            Ok(Err(fault)) => {
                match fault {
                    Fault::Unreachable(why) => core.is_unreachable(&why),
                    Fault::Lost => session.lose(),
                    Fault::Absent(_) | Fault::Broken(_) | Fault::Cut(_) | Fault::Headers => {}
                }
                Said::Silence
            }
            Err(_elapsed) => Said::Silence,
        }
    }
}

/// One stream that tells of these resources.
struct Stream {
    body: Lent,
    parser: sse::Parser,
    arrived: VecDeque<sse::Event>,
}

async fn listen(core: &Arc<Core>, session: &Arc<Session>) {
    let mut open: Option<Stream> = None;
    let mut failures = 0;
    loop {
        let wants = core.wanted.resources();
        if wants.is_empty() {
            open = None;
            core.wanted.differs(&wants).await;
            continue;
        }
        let opened = async {
            let mut stream = opened(core, session, &wants).await?;
            let granted = stream.granted(core, session).await?;
            Some((stream, granted))
        };
        match tokio::time::timeout(WITHIN, opened).await {
            Ok(Some((stream, granted))) => {
                // The one before, if there is one, ends here: until now it told.
                let before = open.replace(stream);
                core.wanted.grant(&wants, &granted, before.is_some());
                failures = 0;
            }
            Ok(None) | Err(_) => {
                open = None;
                failures += 1;
                core.wanted.refuse_waiting();
                tokio::time::sleep(supervisor::delay(failures).max(supervisor::FIRST)).await;
                continue;
            }
        }
        let Some(stream) = &mut open else { continue };
        tokio::select! {
            () = core.wanted.differs(&wants) => {}
            () = stream.read(core, session) => {
                open = None;
                tokio::time::sleep(supervisor::FIRST).await;
            }
        }
    }
}

/// None: it gives no such stream.
async fn opened(core: &Arc<Core>, session: &Arc<Session>, wants: &BTreeSet<Arc<str>>) -> Option<Stream> {
    let params = era::resources_to_tell(wants);
    let body = outgoing::request(LISTEN, Some(params.as_bytes()), core.number());
    let headers = modern::headers_of(&session.headers, LISTEN);
    let response = core.send(Method::POST, &session.to, headers, body).await.ok()?;
    let (head, body) = response.into_parts();
    let is_stream = head.status.is_success() && reading::form(&head.headers).ok() == Some(Form::Events);
    is_stream.then(|| Stream { body, parser: sse::Parser::new(core.max_response_bytes), arrived: VecDeque::new() })
}

impl Stream {
    /// Reads up to what it is granted, and leaves what came after it; none: it ended before.
    async fn granted(&mut self, core: &Arc<Core>, session: &Arc<Session>) -> Option<BTreeSet<String>> {
        loop {
            while let Some(event) = self.arrived.pop_front() {
                let Ok(message) = incoming::read(&event.data) else { continue };
                if let Message::Notification { method, params: Some(params), .. } = &message
                    && method.is(&event.data, "notifications/subscriptions/acknowledged")
                {
                    return Some(wanted::granted(params.get(&event.data))?.granted);
                }
                beside::see(core, Some(session), Whose::Own, &event.data, &message);
            }
            self.more().await?;
        }
    }

    /// To its end. Cancel safe.
    async fn read(&mut self, core: &Arc<Core>, session: &Arc<Session>) {
        loop {
            while let Some(event) = self.arrived.pop_front() {
                if let Ok(message) = incoming::read(&event.data) {
                    beside::see(core, Some(session), Whose::Own, &event.data, &message);
                }
            }
            if self.more().await.is_none() {
                return;
            }
        }
    }

    /// None: there is no more, or what came is no event of a bearable size.
    async fn more(&mut self) -> Option<()> {
        let chunk = reading::next(&mut self.body).await.ok()??;
        let mut arrived = Vec::new();
        self.parser.push(chunk, &mut arrived).ok()?;
        self.arrived.extend(arrived);
        Some(())
    }
}

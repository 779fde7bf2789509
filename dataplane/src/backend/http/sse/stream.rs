//! The one stream of a session, event by event, and how it is opened.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Uri,
    header::{ACCEPT, CONTENT_TYPE},
};

use super::{
    super::{
        beside,
        core::Core,
        fault::Fault,
        pool::Lent,
        reading::{self, Form, Whose},
    },
    endpoint,
};
use crate::{
    backend::waiting::{self, Reply},
    wire::{
        incoming::{self, Incoming},
        sse,
    },
};

pub(super) struct Stream {
    body: Lent,
    parser: sse::Parser,
    limit: usize,
    pub(super) arrived: VecDeque<sse::Event>,
}

impl Stream {
    /// The stream, and where messages are POSTed: its first event says so.
    pub(super) async fn open(core: &Arc<Core>) -> Result<(Self, Uri), Fault> {
        let mut headers = core.base.clone();
        headers.remove(CONTENT_TYPE);
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let got = core.send(Method::GET, &core.uri, headers, Bytes::new()).await.map_err(Fault::settled)?;
        let (head, body) = got.into_parts();
        if !head.status.is_success() {
            return Err(Fault::said(format!(
                "it answered the GET of its event stream with HTTP status {}",
                head.status.as_u16()
            )));
        }
        if reading::form(&head.headers)? != Form::Events {
            return Err(Fault::says("it answered the GET of its event stream with JSON"));
        }
        let limit = core.max_response_bytes;
        let mut stream = Self { body, parser: sse::Parser::new(limit), limit, arrived: VecDeque::new() };
        loop {
            let Some(first) = stream.next().await? else {
                return Err(Fault::says("its event stream ended before it named an endpoint"));
            };
            if first.data.is_empty() && first.event.is_none() {
                continue;
            }
            if first.event.as_deref() != Some(b"endpoint") {
                return Err(Fault::says("its event stream does not begin with an endpoint, as that of HTTP+SSE does"));
            }
            let to = endpoint::resolve(&first.data, &core.url).map_err(Fault::said)?;
            return Ok((stream, to));
        }
    }

    /// None: it ended.
    pub(super) async fn next(&mut self) -> Result<Option<sse::Event>, Fault> {
        loop {
            if let Some(event) = self.arrived.pop_front() {
                return Ok(Some(event));
            }
            if !self.more().await? {
                return Ok(None);
            }
        }
    }

    /// Waits for the next bytes. False: it ended.
    pub(super) async fn more(&mut self) -> Result<bool, Fault> {
        let Some(chunk) = reading::next(&mut self.body).await? else { return Ok(false) };
        let mut arrived = Vec::new();
        self.parser.push(chunk, &mut arrived).map_err(|_too_large| {
            Fault::said(format!("it sent an event of more than {} bytes (max_response_bytes)", self.limit))
        })?;
        self.arrived.extend(arrived);
        Ok(true)
    }

    /// Reads up to the answer to our number: of a session that is not there yet, nobody else waits.
    pub(super) async fn answer_to(&mut self, core: &Arc<Core>, number: u64) -> Result<Reply, Fault> {
        while let Some(event) = self.next().await? {
            let Some(message) = message(event) else { continue };
            match incoming::read(&message) {
                Ok(Incoming::Response { id, failed, tool_error, result, error, places }) => {
                    if waiting::number(id, &message) == Some(number) {
                        return Ok(Reply { message, id, failed, tool_error, result, error, places });
                    }
                }
                Ok(other) => beside::see(core, None, Whose::Own, &message, &other),
                Err(_) => {}
            }
        }
        Err(Fault::says("its event stream ended"))
    }
}

/// What an event brings: those of another name are not for us, and one without data is a sign of life.
pub(super) fn message(event: sse::Event) -> Option<Bytes> {
    let is_ours = event.event.is_none_or(|name| *name == *b"message" || name.is_empty());
    Some(event.data).filter(|data| is_ours && !data.is_empty())
}

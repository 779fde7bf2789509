//! Server-sent events, both ways: an incremental parser with a bound, and a writer that no answer can break out of.
//!
//! Knows no JSON: what `data` holds is read by `incoming`.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{outgoing::copy, pieces::Pieces};

/// One event. `data` may be empty (a priming event carries an id alone): such a one holds no message.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Event {
    pub id: Option<Bytes>,
    pub event: Option<Bytes>,
    pub data: Bytes,
    /// Milliseconds.
    pub retry: Option<u64>,
}

/// Answers are nobody's business: prints sizes only.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("data_bytes", &self.data.len())
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// Why a stream is given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseFault {
    #[error("an event of more than {limit} bytes: raise max_response_bytes, or let the server send less")]
    TooLarge { limit: usize },
}

/// Cuts a byte stream into events; CR, LF and CRLF end a line, wherever the chunks are cut.
pub struct Parser {
    limit: usize,
    /// A line whose end has not come.
    partial: BytesMut,
    /// Field bytes of the event so far.
    size: usize,
    /// The last chunk ended in CR: an LF at the start of the next belongs to it.
    after_cr: bool,
    started: bool,
    event: Event,
    /// Data of more than one line.
    joined: Option<BytesMut>,
    has_data: bool,
}

impl fmt::Debug for Parser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parser").field("limit", &self.limit).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Parser {
    /// `limit`: bytes of one event's lines, and of one comment.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            partial: BytesMut::new(),
            size: 0,
            after_cr: false,
            started: false,
            event: Event::default(),
            joined: None,
            has_data: false,
        }
    }

    /// Appends the events that end within `chunk`. A line that lies within one chunk is not copied.
    ///
    /// # Errors
    /// An event over the limit; the parser is of no use after that.
    pub fn push(&mut self, mut chunk: Bytes, out: &mut Vec<Event>) -> Result<(), SseFault> {
        if std::mem::take(&mut self.after_cr) && !chunk.is_empty() && chunk.first() == Some(&b'\n') {
            chunk = chunk.slice(1..);
        } else if chunk.is_empty() {
            return Ok(());
        }
        while let Some(at) = memchr::memchr2(b'\r', b'\n', &chunk) {
            self.bound(at)?;
            let head = chunk.slice(..at);
            let line = if self.partial.is_empty() {
                head
            } else {
                self.partial.extend_from_slice(&head);
                self.partial.split().freeze()
            };
            let crlf = chunk.get(at) == Some(&b'\r') && chunk.get(at + 1) == Some(&b'\n');
            self.after_cr = chunk.get(at) == Some(&b'\r') && at + 1 == chunk.len();
            chunk = chunk.slice(at + 1 + usize::from(crlf)..);
            self.line(line, out);
        }
        self.bound(chunk.len())?;
        self.partial.extend_from_slice(&chunk);
        Ok(())
    }

    fn bound(&self, more: usize) -> Result<(), SseFault> {
        if self.size + self.partial.len() + more > self.limit {
            return Err(SseFault::TooLarge { limit: self.limit });
        }
        Ok(())
    }

    fn line(&mut self, mut line: Bytes, out: &mut Vec<Event>) {
        if !std::mem::replace(&mut self.started, true) && line.starts_with(b"\xEF\xBB\xBF") {
            line = line.slice(3..);
        }
        if line.is_empty() {
            self.dispatch(out);
            return;
        }
        let colon = memchr::memchr(b':', &line);
        if colon == Some(0) {
            return;
        }
        self.size += line.len() + 1;
        let (field, value) = match colon {
            Some(at) => {
                let space = usize::from(line.get(at + 1) == Some(&b' '));
                (line.slice(..at), line.slice(at + 1 + space..))
            }
            None => (line, Bytes::new()),
        };
        match field.as_ref() {
            b"data" => self.data(value),
            b"event" => self.event.event = Some(value),
            b"id" if !value.contains(&0) => self.event.id = Some(value),
            b"retry" if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                self.event.retry = std::str::from_utf8(&value).ok().and_then(|digits| digits.parse().ok());
            }
            _ => {}
        }
    }

    fn data(&mut self, value: Bytes) {
        if !std::mem::replace(&mut self.has_data, true) {
            self.event.data = value;
            return;
        }
        let first = &self.event.data;
        let joined = self.joined.get_or_insert_with(|| BytesMut::from(first.as_ref()));
        joined.extend_from_slice(b"\n");
        joined.extend_from_slice(&value);
    }

    fn dispatch(&mut self, out: &mut Vec<Event>) {
        let mut event = std::mem::take(&mut self.event);
        if let Some(joined) = self.joined.take() {
            event.data = joined.freeze();
        }
        self.size = 0;
        if std::mem::take(&mut self.has_data) || event.id.is_some() || event.retry.is_some() {
            out.push(event);
        }
    }
}

const BEGIN: &[u8] = b"event: message\ndata: ";
const END: &[u8] = b"\n\n";

/// One message as one event. Raw CR and LF (between tokens only, in valid JSON) are left out: they would end the line.
pub fn frame(data: &[u8], id: Option<&str>) -> Bytes {
    let mut out = Vec::with_capacity(data.len() + BEGIN.len() + END.len() + id.map_or(0, |id| id.len() + 5));
    if let Some(id) = id {
        out.extend_from_slice(b"id: ");
        copy(&mut out, id.as_bytes(), true);
        out.push(b'\n');
    }
    out.extend_from_slice(BEGIN);
    copy(&mut out, data, true);
    out.extend_from_slice(END);
    out.into()
}

/// Keeps a connection busy; no event for the client.
pub fn comment() -> Bytes {
    Bytes::from_static(b":\n\n")
}

/// One event in parts: `begin`, any number of pieces, `end`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Framer;

impl Framer {
    pub fn begin(self, out: &mut Pieces) {
        out.push(Bytes::from_static(BEGIN));
    }

    /// A part of the message, without its raw CR and LF; copied only where it has some.
    pub fn piece(self, part: Bytes, out: &mut Pieces) {
        if memchr::memchr2(b'\r', b'\n', &part).is_none() {
            out.push(part);
            return;
        }
        let mut kept = Vec::with_capacity(part.len());
        copy(&mut kept, &part, true);
        out.push(kept.into());
    }

    pub fn end(self, out: &mut Pieces) {
        out.push(Bytes::from_static(END));
    }
}

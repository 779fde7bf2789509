//! One whole message from a backend: a line, an SSE event, a small HTTP answer.
//!
//! The envelope is judged as strictly as a client's; the inside of `result`, `error` and `params` is read for its
//! structure only (depth ≤ 512) and not judged.

use bytes::{Bytes, BytesMut};

use super::{
    envelope::{self, Envelope, Kind},
    fault::{Broken, Fault},
    lexer::utf8,
    result::Places,
    scan::end,
    text::{Span, Text},
    walk::Walker,
};

/// More messages in one array are refused.
pub const BATCH_MAX: usize = 1_024;

/// What came; spans count from the beginning of the bytes read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Response {
        id: Span,
        /// It has `error`.
        failed: bool,
        /// `result.isError` is `true`.
        tool_error: bool,
        result: Option<Span>,
        error: Option<Span>,
        places: Places,
    },
    Request {
        id: Span,
        method: Text,
        params: Option<Span>,
    },
    Notification {
        method: Text,
        params: Option<Span>,
        /// `params.progressToken`: a string or integer token.
        progress_token: Option<Span>,
        /// `params.requestId`: a string or integer token.
        request_id: Option<Span>,
    },
    /// Each to be read by its own (2025-03-26 backends); may be empty.
    Batch(Vec<Span>),
}

/// Reads one message, space around it allowed.
///
/// # Errors
/// No JSON, no message, an envelope key twice, `result` beside `error`, an answer without an id.
pub fn read(bytes: &[u8]) -> Result<Incoming, Fault> {
    utf8(bytes)?;
    let mut walker = Walker::new(bytes, false);
    walker.lexer.space();
    if walker.lexer.at == bytes.len() {
        return Err(Fault::Empty);
    }
    let found = if walker.lexer.peek() == b'[' { batch(&mut walker)? } else { one(&mut walker)? };
    end(&mut walker)?;
    Ok(found)
}

fn one(walker: &mut Walker<'_>) -> Result<Incoming, Broken> {
    let start = walker.lexer.at;
    let mut found = Envelope::default();
    let kind = envelope::read(walker, &mut found)?;
    match (kind, found.id, found.method) {
        (Kind::Response, Some(id), _) => Ok(Incoming::Response {
            id,
            failed: found.error.is_some(),
            tool_error: found.of_result.tool_error,
            result: found.result,
            error: found.error,
            places: found.of_result.places,
        }),
        (Kind::Request, Some(id), Some(method)) => Ok(Incoming::Request { id, method, params: found.params }),
        (Kind::Notification, _, Some(method)) => Ok(Incoming::Notification {
            method,
            params: found.params,
            progress_token: found.inside.progress_of,
            request_id: found.inside.request_id,
        }),
        _ => Err(Box::new(Fault::Envelope { position: start, what: "neither method nor id" })),
    }
}

fn batch(walker: &mut Walker<'_>) -> Result<Incoming, Broken> {
    walker.open()?;
    let mut all = Vec::new();
    if walker.lexer.peek() == b']' {
        walker.lexer.at += 1;
        walker.close()?;
        return Ok(Incoming::Batch(all));
    }
    loop {
        if all.len() == BATCH_MAX {
            return Err(walker.limit("messages in a batch", BATCH_MAX));
        }
        all.push(walker.value()?);
        walker.lexer.space();
        match walker.lexer.peek() {
            b',' => {
                walker.lexer.at += 1;
                walker.lexer.space();
            }
            b']' => {
                walker.lexer.at += 1;
                walker.close()?;
                return Ok(Incoming::Batch(all));
            }
            _ => return Err(walker.lexer.fault("a comma or ]")),
        }
    }
}

/// The message with another id, all other bytes unchanged; one allocation.
pub fn with_id(message: &Bytes, id: Span, new_id: &[u8]) -> Bytes {
    let before = message.get(..id.start as usize).unwrap_or_default();
    let after = message.get(id.end as usize..).unwrap_or_default();
    let mut whole = BytesMut::with_capacity(before.len() + new_id.len() + after.len());
    whole.extend_from_slice(before);
    whole.extend_from_slice(new_id);
    whole.extend_from_slice(after);
    whole.freeze()
}

/// The same in three slices, without a copy.
pub fn split_id(message: &Bytes, id: Span, new_id: &Bytes) -> [Bytes; 3] {
    let end = (id.end as usize).min(message.len());
    let start = (id.start as usize).min(end);
    [message.slice(..start), new_id.clone(), message.slice(end..)]
}

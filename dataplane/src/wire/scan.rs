//! One pass over what a client sent: is it JSON that has one reading only, and where in it stands what we need.
//!
//! Refuses: no JSON, bad UTF-8, depth > 127, > 100 000 elements, > 1 000 keys in an object, keys that stand twice
//! at any depth, case variants of the protocol's own keys. Judges no argument and changes no byte: numbers of any
//! size and lone surrogates pass as they came.

use super::{
    envelope::{self, Envelope},
    fault::{Broken, Fault},
    lexer::utf8,
    text::{MemberSpan, Span, Text},
    walk::Walker,
};

pub use super::{
    envelope::Kind,
    params::{InputMembers, ModernMeta, Reference, Referred},
    walk::ArgumentsFault,
};

/// More messages in one array are refused.
pub const BATCH_MAX: usize = 32;

/// What a body holds.
#[expect(
    clippy::large_enum_variant,
    reason = "one message is the common case, and a box would be an allocation a call"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    One(Scanned),
    /// At least one, at most `BATCH_MAX`. Whether an array is allowed here is the session's matter.
    Batch(Vec<Scanned>),
}

/// One message. All spans count from the beginning of the whole body, in a batch too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    pub kind: Kind,
    /// The token as it came (quotes included for a string); none for a notification.
    pub id: Option<Span>,
    pub method: Option<Text>,
    /// An object, braces included.
    pub params: Option<Span>,
    /// `params.name` when it is a string; so `uri`, `cursor`, `level`, `taskId`.
    pub name: Option<Text>,
    pub uri: Option<Text>,
    pub cursor: Option<Text>,
    pub level: Option<Text>,
    pub task_id: Option<Text>,
    /// Any value: that it is an object is for the pipeline to say.
    pub arguments: Option<Span>,
    /// `params.ref` of a completion, where it says what it is about.
    pub reference: Option<Reference>,
    /// `params._meta`, an object.
    pub meta: Option<Span>,
    /// `params._meta.progressToken`: a string or integer token.
    pub progress_token: Option<Span>,
    /// `params.progressToken`, as in `notifications/progress`: a string or integer token.
    pub progress_of: Option<Span>,
    /// The modern era's own keys of `params._meta`; none: it has none of them. Boxed: most of what travels is the other
    /// era's, and a call carries this through every stage.
    pub modern: Option<Box<ModernMeta>>,
    /// `params.inputResponses` and `params.requestState`; none: it has neither.
    pub input: Option<Box<InputMembers>>,
    pub traceparent: Option<Text>,
    pub tracestate: Option<Text>,
    /// `params.task`, whole.
    pub task: Option<MemberSpan>,
    /// `params.requestId`, as in `notifications/cancelled`: a string or integer token.
    pub request_id: Option<Span>,
    pub result: Option<Span>,
    pub error: Option<Span>,
    /// The first key that stands twice inside `arguments`.
    pub arguments_fault: Option<ArgumentsFault>,
}

impl Scanned {
    /// It says of itself that it is of the modern era.
    pub fn is_modern(&self) -> bool {
        self.modern.as_ref().is_some_and(|modern| modern.version.is_some())
    }
}

/// Reads a whole body.
///
/// # Errors
/// The first fault; one of grammar goes before others of the same message.
pub fn body(bytes: &[u8]) -> Result<Body, Fault> {
    if bytes.is_empty() {
        return Err(Fault::Empty);
    }
    utf8(bytes)?;
    let mut walker = Walker::new(bytes, true);
    walker.lexer.space();
    if walker.lexer.at == bytes.len() {
        return Err(Fault::Empty);
    }
    let found = if walker.lexer.peek() == b'[' { batch(&mut walker)? } else { Body::One(message(&mut walker)?) };
    end(&mut walker)?;
    Ok(found)
}

/// Any JSON value, within the same bounds and with one reading only: no key twice at any depth.
///
/// # Errors
/// The first fault.
pub fn value(bytes: &[u8]) -> Result<(), Fault> {
    utf8(bytes)?;
    let mut walker = Walker::new(bytes, true);
    walker.lexer.space();
    walker.value()?;
    end(&mut walker)?;
    Ok(())
}

fn batch(walker: &mut Walker<'_>) -> Result<Body, Broken> {
    let start = walker.lexer.at;
    walker.element()?;
    walker.open()?;
    if walker.lexer.peek() == b']' {
        return Err(Box::new(Fault::Envelope { position: start, what: "the batch is empty" }));
    }
    let mut all = Vec::new();
    loop {
        if all.len() == BATCH_MAX {
            return Err(walker.limit("messages in a batch", BATCH_MAX));
        }
        all.push(message(walker)?);
        walker.lexer.space();
        match walker.lexer.peek() {
            b',' => {
                walker.lexer.at += 1;
                walker.lexer.space();
            }
            b']' => {
                walker.lexer.at += 1;
                walker.close()?;
                return Ok(Body::Batch(all));
            }
            _ => return Err(walker.lexer.fault("a comma or ]")),
        }
    }
}

/// Nothing but space may follow.
pub(super) fn end(walker: &mut Walker<'_>) -> Result<(), Broken> {
    walker.lexer.space();
    if walker.lexer.at == walker.lexer.bytes.len() { Ok(()) } else { Err(walker.lexer.fault("the end of the message")) }
}

#[inline]
fn message(walker: &mut Walker<'_>) -> Result<Scanned, Broken> {
    let mut found = Envelope::default();
    let kind = envelope::read(walker, &mut found)?;
    let inside = found.inside;
    Ok(Scanned {
        kind,
        id: found.id,
        method: found.method,
        params: found.params,
        name: inside.name,
        uri: inside.uri,
        cursor: inside.cursor,
        level: inside.level,
        task_id: inside.task_id,
        arguments: inside.arguments,
        reference: inside.reference,
        meta: inside.meta,
        progress_token: inside.progress_token,
        progress_of: inside.progress_of,
        modern: inside.modern,
        input: inside.input,
        traceparent: inside.traceparent,
        tracestate: inside.tracestate,
        task: inside.task,
        request_id: inside.request_id,
        result: found.result,
        error: found.error,
        arguments_fault: walker.arguments_fault.take(),
    })
}

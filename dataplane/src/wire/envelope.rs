//! The members of one JSON-RPC message, in either direction; what kind of message it is.

use super::{
    fault::{Broken, Fault, shown},
    text::{MemberSpan, Span, Text, unescape},
    walk::Walker,
};

/// An id longer than this is refused.
pub(super) const ID_MAX: usize = 256;

pub(super) const TOP: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS: &[&str] = &[
    "name",
    "arguments",
    "_meta",
    "uri",
    "cursor",
    "task",
    "level",
    "requestId",
    "progressToken",
    "ref",
    "argument",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "inputResponses",
    "requestState",
    "taskId",
];
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const INFO: &str = "io.modelcontextprotocol/clientInfo";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const META: &[&str] = &["progressToken", "traceparent", "tracestate", VERSION, CAPABILITIES, INFO, LOG_LEVEL];

/// What the modern era's own keys of `params._meta` hold: any value each, whose type is judged by who reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModernMeta {
    pub version: Option<Span>,
    pub capabilities: Option<Span>,
    pub log_level: Option<Span>,
    /// Those keys and `clientInfo`, with the commas that go when they go; in order, none touches another.
    pub members: [Option<MemberSpan>; 4],
}

impl ModernMeta {
    fn note(&mut self, key: &str, value: Span, member: MemberSpan) {
        match key {
            VERSION => self.version = Some(value),
            CAPABILITIES => self.capabilities = Some(value),
            LOG_LEVEL => self.log_level = Some(value),
            _ => {}
        }
        if let Some(free) = self.members.iter_mut().find(|held| held.is_none()) {
            *free = Some(member);
        }
    }
}

/// What a message is, by the members it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Notification,
    Response,
}

/// Where everything stands that the gateway reads.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    pub(super) version: bool,
    pub(super) id: Option<Span>,
    pub(super) method: Option<Text>,
    pub(super) params: Option<Span>,
    pub(super) inside: Inside,
    pub(super) result: Option<Span>,
    /// `result.isError` is `true`.
    pub(super) tool_error: bool,
    pub(super) error: Option<Span>,
}

/// The inside of `params`.
#[derive(Debug, Default)]
pub(super) struct Inside {
    pub(super) name: Option<Text>,
    pub(super) uri: Option<Text>,
    pub(super) cursor: Option<Text>,
    pub(super) level: Option<Text>,
    pub(super) arguments: Option<Span>,
    pub(super) meta: Option<Span>,
    pub(super) task: Option<MemberSpan>,
    pub(super) request_id: Option<Span>,
    /// `params.progressToken`, as in `notifications/progress`.
    pub(super) progress_of: Option<Span>,
    pub(super) progress_token: Option<Span>,
    pub(super) modern: Option<Box<ModernMeta>>,
    pub(super) request_state: bool,
    pub(super) traceparent: Option<Text>,
    pub(super) tracestate: Option<Text>,
}

/// One member: its key, where the key's token begins, where the comma before it stands.
struct Member {
    key: Text,
    start: usize,
    comma: Option<usize>,
}

/// Reads the object that begins here, member by member.
fn members<'a>(
    walker: &mut Walker<'a>,
    judged: bool,
    mut member: impl FnMut(&mut Walker<'a>, &Member) -> Result<(), Broken>,
) -> Result<Span, Broken> {
    let begin = walker.lexer.at;
    walker.element()?;
    walker.open()?;
    let mut comma = None;
    if walker.lexer.peek() == b'}' {
        walker.lexer.at += 1;
    } else {
        loop {
            let start = walker.lexer.at;
            let key = walker.key(judged)?;
            member(walker, &Member { key, start, comma })?;
            walker.lexer.space();
            match walker.lexer.peek() {
                b',' => {
                    comma = Some(walker.lexer.at);
                    walker.lexer.at += 1;
                    walker.lexer.space();
                }
                b'}' => {
                    walker.lexer.at += 1;
                    break;
                }
                _ => return Err(walker.lexer.fault("a comma or }")),
            }
        }
    }
    walker.close()?;
    Ok(Span::new(begin, walker.lexer.at))
}

/// Which of `known` the key says. A key that differs from one of them in case only is refused where `judged`:
/// some parsers would read it as that one (Go's also folds two letters outside ASCII).
fn known(walker: &Walker<'_>, key: Text, known: &[&'static str], judged: bool) -> Result<&'static str, Broken> {
    let raw = key.inner.get(walker.lexer.bytes);
    let mut decoded = Vec::new();
    let said = if key.escaped {
        unescape(raw, &mut decoded);
        decoded.as_slice()
    } else {
        raw
    };
    match same(said, known) {
        Same::Exactly(name) => Ok(name),
        Same::ButCase(meant) if judged => {
            Err(Box::new(Fault::CaseVariant { position: key.inner.start as usize, key: shown(said), meant }))
        }
        Same::ButCase(_) | Same::No => Ok(""),
    }
}

/// How a key compares with the known ones.
pub(super) enum Same {
    Exactly(&'static str),
    ButCase(&'static str),
    No,
}

pub(super) fn same(said: &[u8], known: &[&'static str]) -> Same {
    if let Some(exact) = known.iter().find(|name| name.as_bytes() == said) {
        return Same::Exactly(exact);
    }
    let variant = if said.is_ascii() {
        known.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(said))
    } else {
        let folded = String::from_utf8_lossy(said).replace('\u{212A}', "k").replace('\u{17F}', "s");
        known.iter().find(|name| name.eq_ignore_ascii_case(&folded))
    };
    variant.map_or(Same::No, |meant| Same::ButCase(meant))
}

/// A string, or any other value skipped.
fn text(walker: &mut Walker<'_>) -> Result<Option<Text>, Broken> {
    if walker.lexer.peek() == b'"' {
        walker.element()?;
        return walker.lexer.string().map(Some);
    }
    walker.value().map(|_| None)
}

/// A string or an integer; any other value is skipped and gives `None`.
fn token(walker: &mut Walker<'_>) -> Result<Option<Span>, Broken> {
    let start = walker.lexer.at;
    let fits = match walker.lexer.peek() {
        b'"' => {
            walker.element()?;
            walker.lexer.string()?;
            true
        }
        b'-' | b'0'..=b'9' => {
            walker.element()?;
            walker.lexer.number()?
        }
        _ => {
            walker.value()?;
            false
        }
    };
    Ok(fits.then(|| Span::new(start, walker.lexer.at)))
}

#[cold]
fn envelope_fault(position: usize, what: &'static str) -> Broken {
    Box::new(Fault::Envelope { position, what })
}

/// One message; the place is its first byte.
pub(super) fn read(walker: &mut Walker<'_>, found: &mut Envelope) -> Result<Kind, Broken> {
    let start = walker.lexer.at;
    if walker.lexer.peek() != b'{' {
        walker.value()?;
        return Err(envelope_fault(start, "it is no JSON object"));
    }
    let strict = walker.strict();
    // said once the whole message is known to be JSON: a broken one is -32700 whatever else is wrong with it
    let mut wrong = None;
    members(walker, true, |walker, member| {
        let at = walker.lexer.at;
        match known(walker, member.key, TOP, true).or_else(|fault| note(&mut wrong, fault))? {
            "jsonrpc" => {
                let version = text(walker)?;
                found.version = version.is_some_and(|text| text.is(walker.lexer.bytes, "2.0"));
            }
            "id" => match token(walker)? {
                Some(id) if id.len() > ID_MAX => {
                    wrong = wrong.take().or_else(|| {
                        Some(Box::new(Fault::Limit { position: at, what: "bytes in an id", limit: ID_MAX }))
                    });
                }
                Some(id) => found.id = Some(id),
                None => {
                    let fault = envelope_fault(at, "an id is a string or an integer, and never null");
                    wrong = wrong.take().or(Some(fault));
                }
            },
            "method" => {
                found.method = text(walker)?;
                if found.method.is_none() {
                    wrong = wrong.take().or_else(|| Some(envelope_fault(at, "method is no string")));
                }
            }
            "params" if walker.lexer.peek() == b'{' => {
                found.params = Some(inside(walker, &mut found.inside, &mut wrong)?);
            }
            "params" => {
                walker.value()?;
                if strict {
                    wrong = wrong.take().or_else(|| Some(envelope_fault(at, "params is no object")));
                }
            }
            "result" if walker.lexer.peek() == b'{' && !strict => {
                let mut tool_error = false;
                let span = members(walker, false, |walker, member| {
                    let value = walker.lexer.at;
                    walker.value()?;
                    if member.key.is(walker.lexer.bytes, "isError") {
                        tool_error |= walker.lexer.bytes.get(value..walker.lexer.at) == Some(b"true");
                    }
                    Ok(())
                })?;
                found.result = Some(span);
                found.tool_error = tool_error;
            }
            "result" => found.result = Some(walker.value()?),
            "error" => found.error = Some(walker.value()?),
            _ => drop(walker.value()?),
        }
        Ok(())
    })?;
    if let Some(fault) = wrong {
        return Err(fault);
    }
    kind(found, start)
}

/// Keeps the first fault that is none of grammar, and goes on reading.
fn note(wrong: &mut Option<Broken>, fault: Broken) -> Result<&'static str, Broken> {
    if wrong.is_none() {
        *wrong = Some(fault);
    }
    Ok("")
}

fn kind(found: &Envelope, start: usize) -> Result<Kind, Broken> {
    if !found.version {
        return Err(envelope_fault(start, "jsonrpc must be \"2.0\""));
    }
    let answers = found.result.is_some() || found.error.is_some();
    match (found.method.is_some(), answers, found.id.is_some()) {
        (true, true, _) => Err(envelope_fault(start, "method beside result or error")),
        (true, false, true) => Ok(Kind::Request),
        (true, false, false) => Ok(Kind::Notification),
        (false, true, _) if found.result.is_some() && found.error.is_some() => {
            Err(envelope_fault(start, "result beside error"))
        }
        (false, true, true) => Ok(Kind::Response),
        (false, true, false) => Err(envelope_fault(start, "an answer without an id")),
        (false, false, _) => Err(envelope_fault(start, "neither method, result nor error")),
    }
}

/// `params`, whatever the method.
fn inside(walker: &mut Walker<'_>, found: &mut Inside, wrong: &mut Option<Broken>) -> Result<Span, Broken> {
    let strict = walker.strict();
    members(walker, strict, |walker, member| {
        match known(walker, member.key, PARAMS, strict).or_else(|fault| note(wrong, fault))? {
            "name" => found.name = text(walker)?,
            "uri" => found.uri = text(walker)?,
            "cursor" => found.cursor = text(walker)?,
            "level" => found.level = text(walker)?,
            "requestId" => found.request_id = token(walker)?,
            "progressToken" => found.progress_of = token(walker)?,
            "arguments" => found.arguments = Some(walker.arguments()?),
            "_meta" if walker.lexer.peek() == b'{' => found.meta = Some(meta(walker, found, wrong)?),
            "_meta" => {
                let span = walker.value()?;
                if strict {
                    let fault = envelope_fault(span.start as usize, "params._meta is no object");
                    *wrong = wrong.take().or(Some(fault));
                }
            }
            "task" => {
                walker.value()?;
                found.task = Some(removable(walker, member, true));
            }
            "requestState" => {
                walker.value()?;
                found.request_state = true;
            }
            _ => drop(walker.value()?),
        }
        Ok(())
    })
}

/// The member that just ended, with the comma before it, or, for the first of those that stay (`follows` says that
/// one before it does), the comma after it.
fn removable(walker: &mut Walker<'_>, member: &Member, follows: bool) -> MemberSpan {
    let end = walker.lexer.at;
    if let Some(comma) = member.comma.filter(|_| follows) {
        return MemberSpan(Span::new(comma, end));
    }
    walker.lexer.space();
    let after = if walker.lexer.peek() == b',' { walker.lexer.at + 1 } else { end };
    MemberSpan(Span::new(member.start, after))
}

fn meta(walker: &mut Walker<'_>, found: &mut Inside, wrong: &mut Option<Broken>) -> Result<Span, Broken> {
    let strict = walker.strict();
    let mut stays = false;
    members(walker, strict, |walker, member| {
        let at = walker.lexer.at;
        let key = known(walker, member.key, META, strict).or_else(|fault| note(wrong, fault))?;
        match key {
            "progressToken" => {
                found.progress_token = token(walker)?;
                let null = walker.lexer.bytes.get(at..walker.lexer.at) == Some(b"null");
                if strict && found.progress_token.is_none() && !null {
                    let fault = envelope_fault(at, "a progressToken is a string or an integer");
                    *wrong = wrong.take().or(Some(fault));
                }
            }
            "traceparent" => found.traceparent = text(walker)?,
            "tracestate" => found.tracestate = text(walker)?,
            VERSION | CAPABILITIES | INFO | LOG_LEVEL => {
                let value = walker.value()?;
                let cut = removable(walker, member, stays);
                found.modern.get_or_insert_default().note(key, value, cut);
                return Ok(());
            }
            _ => drop(walker.value()?),
        }
        stays = true;
        Ok(())
    })
}

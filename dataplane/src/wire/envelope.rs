//! The members of one JSON-RPC message, in either direction; what kind of message it is.

use super::{
    fault::{Broken, Fault, shown},
    params::{self, Inside},
    result,
    text::{Span, Text},
    walk::Walker,
};

/// An id longer than this is refused.
pub(super) const ID_MAX: usize = 256;

pub(super) const TOP: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];
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
    /// Of a backend's.
    pub(super) of_result: result::Inside,
    pub(super) error: Option<Span>,
}

/// One member: its key, where the key's token begins, where the comma before it stands.
pub(super) struct Member {
    pub(super) key: Text,
    pub(super) start: usize,
    pub(super) comma: Option<usize>,
}

/// Reads the object that begins here, member by member.
pub(super) fn members<'a>(
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
pub(super) fn known(
    walker: &Walker<'_>,
    key: Text,
    known: &[&'static str],
    judged: bool,
) -> Result<&'static str, Broken> {
    let mut decoded = Vec::new();
    let said = key.said(walker.lexer.bytes, &mut decoded);
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
pub(super) fn text(walker: &mut Walker<'_>) -> Result<Option<Text>, Broken> {
    if walker.lexer.peek() == b'"' {
        walker.element()?;
        return walker.lexer.string().map(Some);
    }
    walker.value().map(|_| None)
}

/// A string or an integer; any other value is skipped and gives `None`.
pub(super) fn token(walker: &mut Walker<'_>) -> Result<Option<Span>, Broken> {
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
pub(super) fn envelope_fault(position: usize, what: &'static str) -> Broken {
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
                found.params = Some(params::read(walker, &mut found.inside, &mut wrong)?);
            }
            "params" => {
                walker.value()?;
                if strict {
                    wrong = wrong.take().or_else(|| Some(envelope_fault(at, "params is no object")));
                }
            }
            "result" if walker.lexer.peek() == b'{' && !strict => {
                found.result = Some(result::read(walker, &mut found.of_result)?);
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
pub(super) fn note(wrong: &mut Option<Broken>, fault: Broken) -> Result<&'static str, Broken> {
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

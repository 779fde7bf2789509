//! The inside of `params`, whatever the method: where its members stand that the gateway reads.

use super::{
    envelope::{Member, envelope_fault, known, members, note, text, token},
    fault::Broken,
    text::{MemberSpan, Span, Text},
    walk::Walker,
};

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
const REF: &[&str] = &["type", "name", "uri"];
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

/// What a request brings of a second round (`protocol.md` 3.7): any value each, judged by who reads it. No backend gets
/// them as they came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputMembers {
    pub responses: Option<Span>,
    pub state: Option<Span>,
    /// Both, with the commas that go when they go; in order, none touches another.
    pub members: [Option<MemberSpan>; 2],
}

impl InputMembers {
    fn note(&mut self, is_state: bool, value: Span, member: MemberSpan) {
        let held = if is_state { &mut self.state } else { &mut self.responses };
        *held = Some(value);
        if let Some(free) = self.members.iter_mut().find(|held| held.is_none()) {
            *free = Some(member);
        }
    }
}

/// What `params.ref` of a completion is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referred {
    Prompt,
    Resource,
}

/// `params.ref`: a prompt by its name, or a resource (template) by its URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    pub what: Referred,
    pub text: Text,
}

/// The inside of `params`.
#[derive(Debug, Default)]
pub(super) struct Inside {
    pub(super) name: Option<Text>,
    pub(super) uri: Option<Text>,
    pub(super) cursor: Option<Text>,
    pub(super) level: Option<Text>,
    pub(super) task_id: Option<Text>,
    pub(super) arguments: Option<Span>,
    pub(super) reference: Option<Reference>,
    pub(super) meta: Option<Span>,
    pub(super) task: Option<MemberSpan>,
    pub(super) request_id: Option<Span>,
    /// `params.progressToken`, as in `notifications/progress`.
    pub(super) progress_of: Option<Span>,
    pub(super) progress_token: Option<Span>,
    pub(super) modern: Option<Box<ModernMeta>>,
    pub(super) input: Option<Box<InputMembers>>,
    pub(super) traceparent: Option<Text>,
    pub(super) tracestate: Option<Text>,
}

/// `params`, whatever the method.
pub(super) fn read(walker: &mut Walker<'_>, found: &mut Inside, wrong: &mut Option<Broken>) -> Result<Span, Broken> {
    let strict = walker.strict();
    let mut stays = false;
    members(walker, strict, |walker, member| {
        match known(walker, member.key, PARAMS, strict).or_else(|fault| note(wrong, fault))? {
            "name" => found.name = text(walker)?,
            "uri" => found.uri = text(walker)?,
            "cursor" => found.cursor = text(walker)?,
            "level" => found.level = text(walker)?,
            "taskId" => found.task_id = text(walker)?,
            "requestId" => found.request_id = token(walker)?,
            "progressToken" => found.progress_of = token(walker)?,
            "arguments" => found.arguments = Some(walker.arguments()?),
            "ref" if walker.lexer.peek() == b'{' => found.reference = reference(walker, wrong)?,
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
                found.task = Some(removable(walker, member, stays));
                return Ok(());
            }
            input @ ("inputResponses" | "requestState") => {
                let value = walker.value()?;
                let cut = removable(walker, member, stays);
                found.input.get_or_insert_default().note(input == "requestState", value, cut);
                return Ok(());
            }
            _ => drop(walker.value()?),
        }
        stays = true;
        Ok(())
    })
}

/// None where its type is none of MCP's, or what that type wants is missing.
fn reference(walker: &mut Walker<'_>, wrong: &mut Option<Broken>) -> Result<Option<Reference>, Broken> {
    let strict = walker.strict();
    let (mut what, mut name, mut uri) = (None, None, None);
    members(walker, strict, |walker, member| {
        match known(walker, member.key, REF, strict).or_else(|fault| note(wrong, fault))? {
            "type" => {
                what = text(walker)?.and_then(|said| {
                    let is = |wanted| said.is(walker.lexer.bytes, wanted);
                    let prompt = is("ref/prompt").then_some(Referred::Prompt);
                    prompt.or_else(|| is("ref/resource").then_some(Referred::Resource))
                });
            }
            "name" => name = text(walker)?,
            "uri" => uri = text(walker)?,
            _ => drop(walker.value()?),
        }
        Ok(())
    })?;
    let text = match what {
        Some(Referred::Prompt) => name,
        Some(Referred::Resource) => uri,
        None => None,
    };
    Ok(what.zip(text).map(|(what, text)| Reference { what, text }))
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

//! Builds messages: what goes to a backend, and the gateway's own answers.
//!
//! A call keeps its client's bytes but for these: the target's own name, our progress token, no `task` where its server is
//! not to see one, and nothing that only the modern era says (its keys in `_meta`, the members of a second round) but ours,
//! where its server is of that era.

use bytes::Bytes;

use super::{
    lexer::plain,
    scan::Scanned,
    text::{MemberSpan, Span},
};

/// What a request is called towards a backend.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    pub method: &'a str,
    /// The string token that names the target, and what it becomes; none: all stays as it came.
    pub renamed: Option<(Span, &'a str)>,
    /// Members that `params._meta` gets, without braces; empty: none.
    pub meta: &'a str,
    /// Members that `params` gets, without braces, where it gets `meta`; empty: none.
    pub inputs: &'a str,
    /// `params.task` stays.
    pub keeps_task: bool,
}

/// A routed request for a backend under our `id`, from the client's whole `body` and what the scan found in it.
///
/// A client's progress token is replaced (by `progress_token`, else by `id`: the client's never goes out); where it
/// sent none, none is added. `line`: raw CR and LF, which can stand between tokens only, are left out and one LF
/// ends the message.
pub fn call(
    body: &[u8],
    scanned: &Scanned,
    named: Named<'_>,
    id: u64,
    progress_token: Option<u64>,
    line: bool,
) -> Bytes {
    let params = scanned.params.map(|span| span.get(body)).unwrap_or_default();
    let renamed = named.renamed.map_or(0, |(_, own)| own.len());
    let mut out = Vec::with_capacity(params.len() + renamed + named.meta.len() + named.inputs.len() + 112);
    begin(&mut out, named.method, Some(id));
    out.extend_from_slice(b",\"params\":");
    if let Some(span) = scanned.params {
        let mut edits = Edits::none();
        if !named.inputs.is_empty() {
            edits.add(inside(span), Edit::Inputs(named.inputs));
        }
        if !named.meta.is_empty() {
            let (at, edit) = meta(span, scanned, body, named.meta);
            edits.add(at, edit);
        }
        if let Some((at, own)) = named.renamed {
            edits.add(at, Edit::Name(own));
        }
        if let Some(token) = scanned.progress_token {
            edits.add(token, Edit::Progress);
        }
        let modern = scanned.modern.iter().flat_map(|modern| modern.members);
        let input = scanned.input.iter().flat_map(|input| input.members);
        let task = scanned.task.filter(|_| !named.keeps_task);
        for MemberSpan(at) in task.into_iter().chain(input.flatten()).chain(modern.flatten()) {
            edits.add(at, Edit::Nothing);
        }
        let mut from = span.start;
        for (at, edit) in edits.in_order() {
            copy(&mut out, Span { start: from, end: at.start.max(from) }.get(body), line);
            match edit {
                Edit::Name(own) => string(&mut out, own),
                Edit::Progress => number(&mut out, progress_token.unwrap_or(id)),
                Edit::Meta { members, is_new, follows } => {
                    let (begin, end) = if is_new { ("\"_meta\":{", "}") } else { ("", "") };
                    let comma = if follows { "," } else { "" };
                    for part in [begin, members, end, comma] {
                        out.extend_from_slice(part.as_bytes());
                    }
                }
                // Something follows: `_meta`, and the target.
                Edit::Inputs(members) => {
                    out.extend_from_slice(members.as_bytes());
                    out.push(b',');
                }
                Edit::Nothing => {}
            }
            from = at.end.max(from);
        }
        copy(&mut out, Span { start: from, end: span.end.max(from) }.get(body), line);
    } else {
        out.push(b'{');
        if !named.meta.is_empty() {
            for part in ["\"_meta\":{", named.meta, "}"] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.push(b'}');
    }
    out.push(b'}');
    if line {
        out.push(b'\n');
    }
    out.into()
}

#[derive(Clone, Copy)]
enum Edit<'a> {
    /// At the beginning of an object: `follows` says that something else stands in it.
    Meta {
        members: &'a str,
        is_new: bool,
        follows: bool,
    },
    /// At the beginning of `params`.
    Inputs(&'a str),
    Name(&'a str),
    Progress,
    Nothing,
}

/// What is edited, in the order of its places: what is added at one place, in the order in which it came here.
struct Edits<'a> {
    /// At most one of each of the first four kinds, a task, two members of a round and four of the modern era.
    held: [(Span, Edit<'a>); 11],
    count: usize,
}

impl<'a> Edits<'a> {
    const fn none() -> Self {
        Self { held: [(Span { start: 0, end: 0 }, Edit::Nothing); 11], count: 0 }
    }

    /// Most calls have one or two.
    fn add(&mut self, at: Span, edit: Edit<'a>) {
        let mut place = self.count;
        self.count += 1;
        // From the end: most come in order.
        while let Some(pair) = self.held.get_mut(place.saturating_sub(1)..=place)
            && let [before, free] = pair
            && (before.0.start, before.0.end) > (at.start, at.end)
        {
            *free = *before;
            place -= 1;
        }
        if let Some(free) = self.held.get_mut(place) {
            *free = (at, edit);
        }
    }

    fn in_order(&self) -> impl Iterator<Item = (Span, Edit<'a>)> {
        self.held.iter().take(self.count).copied()
    }
}

/// The place right behind the brace of an object.
fn inside(object: Span) -> Span {
    let at = object.start.saturating_add(1);
    Span { start: at, end: at }
}

/// Where members of `_meta` go: into the one that is there, else into one of their own.
fn meta<'a>(params: Span, scanned: &Scanned, body: &[u8], members: &'a str) -> (Span, Edit<'a>) {
    let (object, is_new) = scanned.meta.map_or((params, true), |meta| (meta, false));
    let at = inside(object);
    let mut from = at.start;
    // What goes by another edit does not follow.
    let mut follows = false;
    let mut skip = |MemberSpan(member): MemberSpan| {
        follows |= holds_something(Span { start: from, end: member.start.max(from) }.get(body));
        from = member.end.max(from);
    };
    match &scanned.modern {
        _ if is_new => {
            let [first, second] = scanned.input.as_ref().map_or([None; 2], |input| input.members);
            let mut gone = [scanned.task, first, second];
            gone.sort_by_key(|member| member.map_or(u32::MAX, |MemberSpan(member)| member.start));
            gone.into_iter().flatten().for_each(&mut skip);
        }
        // In order as they are.
        Some(modern) => modern.members.into_iter().flatten().for_each(&mut skip),
        None => {}
    }
    follows |= holds_something(Span { start: from, end: object.end.saturating_sub(1).max(from) }.get(body));
    (at, Edit::Meta { members, is_new, follows })
}

fn holds_something(rest: &[u8]) -> bool {
    !rest.trim_ascii().is_empty()
}

/// A request; `params_json` is an object, without raw line ends when it goes over stdio.
pub fn request(method: &str, params_json: Option<&[u8]>, id: u64) -> Bytes {
    message(method, params_json, Some(id))
}

/// A notification; `params_json` as in `request`.
pub fn notification(method: &str, params_json: Option<&[u8]>) -> Bytes {
    message(method, params_json, None)
}

/// The same message as one line: raw CR and LF left out, one LF at the end.
pub fn line(message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + 1);
    copy(&mut out, message, true);
    out.push(b'\n');
    out.into()
}

/// An error answer of ours. Without `id` where the request could not be read: MCP's schemas forbid `null`.
/// `data_json` must be JSON.
pub fn error(id: Option<&[u8]>, code: i32, message: &str, data_json: Option<&[u8]>) -> Bytes {
    let mut out = Vec::with_capacity(96 + message.len() + data_json.map_or(0, <[u8]>::len));
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\"");
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        out.extend_from_slice(id);
    }
    out.extend_from_slice(b",\"error\":{\"code\":");
    number(&mut out, code);
    out.extend_from_slice(b",\"message\":");
    string(&mut out, message);
    if let Some(data) = data_json {
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data);
    }
    out.extend_from_slice(b"}}");
    out.into()
}

/// An error answer with an error object as it was given.
pub fn failed(id: &[u8], error_json: &[u8]) -> Bytes {
    answered(id, "error", error_json)
}

/// A result of ours; `id` is the client's token, `result_json` an object.
pub fn result(id: &[u8], result_json: &[u8]) -> Bytes {
    answered(id, "result", result_json)
}

fn answered(id: &[u8], member: &str, json: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(40 + id.len() + json.len());
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    out.extend_from_slice(id);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(member.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(json);
    out.push(b'}');
    out.into()
}

fn message(method: &str, params_json: Option<&[u8]>, id: Option<u64>) -> Bytes {
    let mut out = Vec::with_capacity(80 + method.len() + params_json.map_or(0, <[u8]>::len));
    begin(&mut out, method, id);
    if let Some(params) = params_json {
        out.extend_from_slice(b",\"params\":");
        out.extend_from_slice(params);
    }
    out.push(b'}');
    out.into()
}

fn begin(out: &mut Vec<u8>, method: &str, id: Option<u64>) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\"");
    if let Some(id) = id {
        out.extend_from_slice(b",\"id\":");
        number(out, id);
    }
    out.extend_from_slice(b",\"method\":");
    string(out, method);
}

fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// A JSON string with its quotes.
fn string(out: &mut Vec<u8>, text: &str) {
    if plain(text.as_bytes()) == text.len() {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
        return;
    }
    // Writing to memory does not fail.
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "a Vec takes all");
}

/// Appends, for `line` without raw CR and LF.
pub(super) fn copy(out: &mut Vec<u8>, bytes: &[u8], line: bool) {
    let mut rest = bytes;
    while let Some(at) = line.then(|| memchr::memchr2(b'\r', b'\n', rest)).flatten() {
        out.extend_from_slice(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

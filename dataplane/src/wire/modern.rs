//! A legacy server's answer on its way to a modern client: its result says its type, and error codes that such a client
//! would take for something else are replaced. Every other byte passes as it came.
//!
//! Reads what `incoming` or `answer` has judged, and judges nothing itself: it only finds the places.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{
    pieces::{Pieces, Sink},
    text::unescape,
};

/// Longest key or number that is looked at; no longer one is of interest.
const LONGEST: usize = 64;
/// Members that a result has in the modern era, with their values as JSON.
pub type Members = &'static [(&'static str, &'static str)];
pub const COMPLETE: Members = &[("resultType", "\"complete\"")];
/// As well: it is stale at once, and no other client's.
pub const KEPT_BY_NOBODY: Members = &[("resultType", "\"complete\""), ("ttlMs", "0"), ("cacheScope", "\"private\"")];

/// Codes that mean something else in the modern era, or must not be sent in it, and what is sent in their place
/// (`protocol.md` 1.3): resource not found; headers, version; URL elicitation.
const CODES: [(&[u8], &[u8]); 4] =
    [(b"-32002", b"-32602"), (b"-32020", b"-32603"), (b"-32022", b"-32603"), (b"-32042", b"-32603")];

/// A server asks for a feature of the client that was not declared to it: true in either era.
const LACKS_CAPABILITY: &[u8] = b"-32021";

/// The member of the message that we are in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Top {
    Other,
    Result,
    Error,
}

/// A value that is held back, because another may take its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Nothing,
    /// One of the members that a result has, by its place among them: whatever it is.
    Member(usize),
    /// `error.code`, as far as it is read.
    Code,
}

/// What is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Tokens,
    Text,
    /// A key that matters.
    Key,
}

/// What the next token of an object that matters is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Any,
    Key,
    Value,
}

/// The object of `result` or `error`, while it is open.
#[derive(Clone, Copy, Default)]
struct Inside {
    has_members: bool,
    /// By place among the members that a result has.
    seen: [bool; 3],
}

/// One answer, from its first byte to its last.
pub struct Rewrite {
    members: Members,
    depth: usize,
    reading: Reading,
    /// The string's next byte belongs to an escape.
    escaped: bool,
    next: Next,
    /// The key or the held value, up to `LONGEST`.
    token: Vec<u8>,
    top: Top,
    inside: Option<Inside>,
    /// What the key before the colon asks for.
    wanted: Held,
    held: Held,
    lacks_capability: bool,
}

/// Answers are nobody's business.
impl fmt::Debug for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrite").field("depth", &self.depth).finish_non_exhaustive()
    }
}

impl Rewrite {
    /// `members`: at most three, which the result has when it goes out.
    pub fn with(members: Members) -> Self {
        Self {
            members,
            depth: 0,
            reading: Reading::Tokens,
            escaped: false,
            next: Next::Any,
            token: Vec::with_capacity(LONGEST),
            top: Top::Other,
            inside: None,
            wanted: Held::Nothing,
            held: Held::Nothing,
            lacks_capability: false,
        }
    }
}

/// A whole answer at once.
pub fn whole(message: &Bytes) -> Bytes {
    Rewrite::with(COMPLETE).last(message)
}

/// One piece of them all.
pub fn joined(mut pieces: Pieces) -> Bytes {
    if pieces.len() == 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(pieces.total());
    for piece in pieces.drain() {
        whole.extend_from_slice(&piece);
    }
    whole.freeze()
}

impl Rewrite {
    /// Reads the next chunk and appends what is passed on.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Pieces) {
        self.pass(chunk, out);
    }

    /// The last chunk, or the whole answer.
    pub fn last(&mut self, chunk: &Bytes) -> Bytes {
        // A key and its value, with a comma, a colon and two quotes.
        let more = self.members.iter().map(|(key, value)| key.len() + value.len() + 4).sum::<usize>();
        let mut out = Vec::with_capacity(chunk.len() + more);
        self.pass(chunk, &mut out);
        out.into()
    }

    fn pass(&mut self, chunk: &Bytes, out: &mut impl Sink) {
        let (mut at, mut from) = (0, 0);
        while let Some(&byte) = chunk.get(at) {
            if self.reading != Reading::Tokens {
                at += self.text(chunk.get(at..).unwrap_or_default());
                continue;
            }
            if self.depth > 2 {
                self.deep(byte);
                at += 1;
                continue;
            }
            if self.next == Next::Value && !byte.is_ascii_whitespace() {
                self.next = Next::Any;
                if self.wanted != Held::Nothing {
                    out.pass(chunk, from..at);
                    self.held = std::mem::replace(&mut self.wanted, Held::Nothing);
                    self.token.clear();
                }
            }
            let ends_value = self.depth == 2 && matches!(byte, b',' | b'}');
            if self.held != Held::Nothing && ends_value {
                self.let_go(out);
                from = at;
            } else if self.held == Held::Code && !self.keep(byte) {
                // Longer than any code that matters.
                out.put(&[&self.token]);
                self.held = Held::Nothing;
                from = at;
            }
            if byte == b'}'
                && self.depth == 2
                && self.top == Top::Result
                && let Some(inside) = self.inside
            {
                out.pass(chunk, from..at);
                from = at;
                self.add_what_is_missing(inside, out);
            }
            self.step(byte);
            at += 1;
        }
        if self.held == Held::Nothing {
            out.pass(chunk, from..chunk.len());
        }
    }

    /// It was an error that names a capability which the client did not declare.
    pub fn lacks_capability(&self) -> bool {
        self.lacks_capability
    }

    /// Within a string: as far as it goes in `rest`.
    fn text(&mut self, rest: &[u8]) -> usize {
        if self.escaped {
            self.escaped = false;
            self.keep_key(rest.get(..1).unwrap_or_default());
            return 1;
        }
        let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        self.keep_key(rest.get(..plain).unwrap_or_default());
        match rest.get(plain) {
            None => plain,
            Some(b'\\') => {
                self.keep_key(b"\\");
                self.escaped = true;
                plain + 1
            }
            Some(_) => {
                if std::mem::replace(&mut self.reading, Reading::Tokens) == Reading::Key {
                    self.key_ended();
                }
                plain + 1
            }
        }
    }

    /// At the end of the result.
    fn add_what_is_missing(&self, inside: Inside, out: &mut impl Sink) {
        let mut follows = inside.has_members;
        for ((key, value), _) in self.members.iter().zip(inside.seen).filter(|(_, seen)| !seen) {
            let comma = if follows { "," } else { "" };
            out.put(&[comma, "\"", key, "\":", value].map(str::as_bytes));
            follows = true;
        }
    }

    /// Inside a value of the result or the error: only where it ends matters.
    fn deep(&mut self, byte: u8) {
        match byte {
            b'"' => self.reading = Reading::Text,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
    }

    fn step(&mut self, byte: u8) {
        let matters = self.depth == 1 || (self.depth == 2 && self.inside.is_some());
        match byte {
            b'"' if self.next == Next::Key => {
                self.reading = Reading::Key;
                self.next = Next::Any;
                self.token.clear();
            }
            b'"' => self.reading = Reading::Text,
            b'{' | b'[' => {
                self.depth += 1;
                let matters = self.depth == 1 || (self.depth == 2 && self.top != Top::Other);
                self.next = if byte == b'{' && matters { Next::Key } else { Next::Any };
                if self.depth == 2 {
                    self.inside = (self.next == Next::Key).then(Inside::default);
                }
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.next = Next::Any;
                if self.depth == 1 {
                    self.inside = None;
                }
            }
            b',' if matters => self.next = Next::Key,
            b':' if matters => self.next = Next::Value,
            _ => {}
        }
    }

    fn key_ended(&mut self) {
        let mut said = Vec::new();
        let key = if self.token.contains(&b'\\') {
            unescape(&self.token, &mut said);
            &said
        } else {
            &self.token
        };
        if self.depth == 1 {
            self.top = match key.as_slice() {
                b"result" => Top::Result,
                b"error" => Top::Error,
                _ => Top::Other,
            };
            return;
        }
        let Some(inside) = &mut self.inside else { return };
        inside.has_members = true;
        self.wanted = match self.top {
            Top::Result => match self.members.iter().position(|(name, _)| name.as_bytes() == key.as_slice()) {
                Some(at) => {
                    if let Some(seen) = inside.seen.get_mut(at) {
                        *seen = true;
                    }
                    Held::Member(at)
                }
                None => Held::Nothing,
            },
            Top::Error if key.as_slice() == b"code" => Held::Code,
            Top::Error | Top::Other => Held::Nothing,
        };
    }

    /// The held value is over: another goes out, or itself.
    fn let_go(&mut self, out: &mut impl Sink) {
        match std::mem::replace(&mut self.held, Held::Nothing) {
            Held::Nothing => {}
            Held::Member(at) => {
                let value = self.members.get(at).map_or("null", |(_, value)| value);
                out.put(&[value.as_bytes()]);
            }
            Held::Code => {
                let code = self.token.trim_ascii_end();
                self.lacks_capability = code == LACKS_CAPABILITY;
                let other = CODES.iter().find(|(known, _)| *known == code);
                out.put(&[other.map_or(&self.token, |(_, other)| other)]);
            }
        }
    }

    /// False: there is no more room.
    fn keep(&mut self, byte: u8) -> bool {
        let has_room = self.token.len() < LONGEST && !matches!(byte, b'"' | b'{' | b'[');
        if has_room {
            self.token.push(byte);
        }
        has_room
    }

    /// Of a key that matters; a longer one than `LONGEST` is none of ours.
    fn keep_key(&mut self, bytes: &[u8]) {
        if self.reading == Reading::Key {
            let room = (LONGEST + 1).saturating_sub(self.token.len());
            self.token.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        }
    }
}

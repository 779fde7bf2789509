//! A modern server's answer on its way into the gateway: what only that era says is taken out of its result, so that
//! behind the backends there is one form. Every other byte passes as it came.
//!
//! Reads what `incoming` or `answer` has judged, and judges nothing itself: it only finds the places.

use std::fmt;

use bytes::Bytes;

use super::{modern::joined, pieces::Pieces, text::unescape};
use crate::call::Ask;

/// Longest value of `resultType` that is kept.
const LONGEST: usize = 64;
const TYPE: &str = "resultType";
/// Members of a result that go.
pub type Members = &'static [&'static str];
pub const TYPED: Members = &[TYPE];
/// As well: how long it may be kept, which depends on who reads it here.
pub const KEPT: Members = &[TYPE, "ttlMs", "cacheScope"];
/// Of `result._meta`: who answers here is the gateway.
const META: Members = &["io.modelcontextprotocol/serverInfo"];

/// Those of an answer to this.
pub const fn members_of(ask: Ask) -> Members {
    match ask {
        Ask::ReadResource => KEPT,
        Ask::CallTool
        | Ask::CompletePrompt
        | Ask::CompleteResource
        | Ask::GetPrompt
        | Ask::GetTask
        | Ask::UpdateTask
        | Ask::CancelTask => TYPED,
    }
}

/// What is being read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Tokens,
    Text,
    Key,
}

/// What becomes of the bytes at hand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Passes,
    /// From a member's comma to the end of its key, which decides.
    Held,
    Goes {
        is_type: bool,
    },
}

/// One answer, from its first byte to its last.
pub struct Neutral {
    members: Members,
    depth: usize,
    /// Open objects whose keys matter, each the other's value: the message, its `result`, the `_meta` of that.
    watched: usize,
    reading: Reading,
    /// The string's next byte belongs to an escape.
    escaped: bool,
    expects_key: bool,
    /// The object that may come is one whose keys matter.
    enters: bool,
    /// Whether something of each watched object was passed on.
    written: [bool; 4],
    mode: Mode,
    held: Vec<u8>,
    key: Vec<u8>,
    said: Option<Vec<u8>>,
}

/// Answers are nobody's business.
impl fmt::Debug for Neutral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Neutral").field("depth", &self.depth).finish_non_exhaustive()
    }
}

/// What the result says of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultType {
    /// Or nothing: then it is complete.
    Complete,
    InputRequired,
    /// The call goes on, and its client asks for what becomes of it (`tasks/`).
    Task,
    /// Of an extension that nobody agreed on, or none at all.
    Other,
}

impl ResultType {
    /// What is wrong with an answer of this type that is to end its call.
    pub const fn fault(self) -> Option<&'static str> {
        match self {
            Self::Complete => None,
            Self::InputRequired => Some("it asks for input in a large answer, a part of which is passed on already"),
            Self::Task => {
                Some("it makes a task of what can be none, or in a large answer, a part of which is passed on already")
            }
            Self::Other => Some("its result is of a type that nobody agreed on"),
        }
    }
}

/// A whole answer at once.
pub fn whole(message: &Bytes, members: Members) -> (Bytes, ResultType) {
    let mut pieces = Pieces::default();
    let mut neutral = Neutral::without(members);
    neutral.push(message, &mut pieces);
    (joined(pieces), neutral.result_type())
}

impl Neutral {
    pub fn without(members: Members) -> Self {
        Self {
            members,
            depth: 0,
            watched: 0,
            reading: Reading::Tokens,
            escaped: false,
            expects_key: false,
            enters: true,
            written: [false; 4],
            mode: Mode::Passes,
            held: Vec::new(),
            key: Vec::new(),
            said: None,
        }
    }

    /// Once all is read.
    pub fn result_type(&self) -> ResultType {
        match self.said.as_deref() {
            None | Some(b"\"complete\"") => ResultType::Complete,
            Some(b"\"input_required\"") => ResultType::InputRequired,
            Some(b"\"task\"") => ResultType::Task,
            Some(_) => ResultType::Other,
        }
    }

    /// Reads the next chunk and appends what is passed on.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Pieces) {
        let (mut at, mut from) = (0, 0);
        while let Some(&byte) = chunk.get(at) {
            let before = self.mode;
            let used = if self.reading == Reading::Tokens {
                self.token(byte);
                1
            } else {
                self.text(chunk.get(at..).unwrap_or_default())
            };
            let (begin, end) = (at, at + used);
            match (before, self.mode) {
                (Mode::Passes, Mode::Passes) => {}
                // An object whose keys matter begins: its brace passes; a comma is held back.
                (Mode::Passes, Mode::Held) if byte == b'{' => {
                    out.push(chunk.slice(from..end));
                    self.held.clear();
                }
                (Mode::Passes, _) => {
                    out.push(chunk.slice(from..begin));
                    self.hold_comma();
                }
                (Mode::Held, Mode::Held) => self.held.extend_from_slice(chunk.get(begin..end).unwrap_or_default()),
                (Mode::Held, Mode::Passes) => {
                    out.push(Bytes::copy_from_slice(&self.held));
                    self.held.clear();
                    from = begin;
                }
                (Mode::Held, Mode::Goes { .. }) => self.held.clear(),
                (Mode::Goes { .. }, Mode::Held) => self.hold_comma(),
                (Mode::Goes { .. }, Mode::Passes) => from = begin,
                (Mode::Goes { is_type }, Mode::Goes { .. }) => {
                    if is_type {
                        self.note_type(chunk.get(begin..end).unwrap_or_default());
                    }
                }
            }
            at = end;
        }
        if self.mode == Mode::Passes {
            out.push(chunk.slice(from..));
        }
    }

    fn is_innermost(&self) -> bool {
        self.depth == self.watched && self.watched > 0
    }

    fn hold_comma(&mut self) {
        self.held.clear();
        if self.written.get(self.watched).copied().unwrap_or(false) {
            self.held.push(b',');
        }
    }

    fn token(&mut self, byte: u8) {
        let is_innermost = self.is_innermost();
        match byte {
            b'"' if is_innermost && self.expects_key => {
                self.reading = Reading::Key;
                self.expects_key = false;
                self.key.clear();
            }
            b'"' => self.reading = Reading::Text,
            b'{' | b'[' => {
                let enters = byte == b'{' && self.enters && self.depth == self.watched;
                self.depth += 1;
                if enters {
                    self.watched += 1;
                    self.expects_key = true;
                    self.mode = Mode::Held;
                    if let Some(written) = self.written.get_mut(self.watched) {
                        *written = false;
                    }
                }
                self.enters = false;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if is_innermost {
                    self.watched -= 1;
                    self.expects_key = false;
                    self.mode = Mode::Passes;
                }
            }
            b',' if is_innermost => {
                self.expects_key = true;
                self.enters = false;
                self.mode = Mode::Held;
            }
            _ => {}
        }
    }

    /// Within a string: as far as it goes in `rest`.
    fn text(&mut self, rest: &[u8]) -> usize {
        if self.escaped {
            self.escaped = false;
            self.keep(rest.get(..1).unwrap_or_default());
            return 1;
        }
        let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        if plain > 0 {
            self.keep(rest.get(..plain).unwrap_or_default());
            return plain;
        }
        if rest.first() == Some(&b'\\') {
            self.keep(b"\\");
            self.escaped = true;
        } else if std::mem::replace(&mut self.reading, Reading::Tokens) == Reading::Key {
            self.key_ended();
        }
        1
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.reading == Reading::Key {
            self.key.extend_from_slice(bytes);
        }
    }

    fn key_ended(&mut self) {
        let mut said = Vec::new();
        let key = if self.key.contains(&b'\\') {
            unescape(&self.key, &mut said);
            &said
        } else {
            &self.key
        };
        let is = |name: &&str| name.as_bytes() == key.as_slice();
        let (goes, enters) = match self.watched {
            1 => (false, is(&"result")),
            2 => (self.members.iter().any(is), is(&"_meta")),
            _ => (META.iter().any(is), false),
        };
        self.enters = enters;
        if goes {
            let is_type = self.watched == 2 && is(&TYPE);
            if is_type {
                self.said = Some(Vec::new());
            }
            self.mode = Mode::Goes { is_type };
        } else {
            self.mode = Mode::Passes;
            if let Some(written) = self.written.get_mut(self.watched) {
                *written = true;
            }
        }
    }

    fn note_type(&mut self, bytes: &[u8]) {
        if let Some(said) = &mut self.said {
            let is_noise = |byte: &u8| byte.is_ascii_whitespace() || *byte == b':';
            let room = (LONGEST + 1).saturating_sub(said.len());
            said.extend(bytes.iter().filter(|byte| !is_noise(byte)).take(room));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(message: &str, members: Members, sizes: usize) -> (String, ResultType) {
        let (mut pieces, mut neutral) = (Pieces::default(), Neutral::without(members));
        for chunk in message.as_bytes().chunks(sizes) {
            neutral.push(&Bytes::copy_from_slice(chunk), &mut pieces);
        }
        (String::from_utf8(joined(pieces).to_vec()).unwrap(), neutral.result_type())
    }

    #[test]
    fn what_only_the_modern_era_says_goes_with_one_comma_and_the_rest_keeps_its_bytes() {
        for (message, want, said) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","content":[ ]}}"#,
                r#"{"jsonrpc":"2.0","id":1,"result":{"content":[ ]}}"#,
                ResultType::Complete,
            ),
            (
                r#"{"result":{"content":[{"resultType":"stays"}] , "result\u0054ype" : "input_required" },"id":1}"#,
                r#"{"result":{"content":[{"resultType":"stays"}] },"id":1}"#,
                ResultType::InputRequired,
            ),
            (r#"{"result":{"resultType":"task"},"id":1}"#, r#"{"result":{},"id":1}"#, ResultType::Task),
            (r#"{"result":{"resultType":"tasks"},"id":1}"#, r#"{"result":{},"id":1}"#, ResultType::Other),
            (r#"{"result":{"resultType":["complete"]}}"#, r#"{"result":{}}"#, ResultType::Other),
            (
                r#"{"result":{"a":1,"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"x","_meta":{}},"k":[1, 2]},"b":"}"}}"#,
                r#"{"result":{"a":1,"_meta":{"k":[1, 2]},"b":"}"}}"#,
                ResultType::Complete,
            ),
            (
                r#"{"result":{"_meta":{"k":"\"","io.modelcontextprotocol/serverInfo":7},"resultType":"complete","ttlMs":5}}"#,
                r#"{"result":{"_meta":{"k":"\""},"ttlMs":5}}"#,
                ResultType::Complete,
            ),
            (
                r#"{"error":{"code":-1,"message":"resultType","data":{"resultType":"complete"}},"id":"a"}"#,
                r#"{"error":{"code":-1,"message":"resultType","data":{"resultType":"complete"}},"id":"a"}"#,
                ResultType::Complete,
            ),
        ] {
            for sizes in [1, 2, 7, 1_000] {
                assert_eq!(stripped(message, TYPED, sizes), (want.to_owned(), said), "by {sizes}");
            }
        }
    }

    #[test]
    fn a_read_loses_how_long_it_may_be_kept() {
        let message =
            r#"{"id":1,"result":{"ttlMs":1,"contents":[],"cacheScope":"public","resultType":"complete","x":2}}"#;
        let want = r#"{"id":1,"result":{"contents":[],"x":2}}"#;
        for sizes in 1..message.len() {
            assert_eq!(stripped(message, KEPT, sizes).0, want);
        }
    }
}

//! A modern server's answer on its way into the gateway: what only that era says is taken out of its result, so that
//! behind the backends there is one form. Every other byte passes as it came.
//!
//! Reads what `incoming` or `answer` has judged, and judges nothing itself: it only finds the places.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{
    incoming,
    modern::joined,
    pieces::Pieces,
    result::{Places, Word},
    text::{Span, unescape},
};
use crate::call::Ask;

pub use super::result::{Members, ResultType};

/// Longest value of `resultType` that is kept.
const LONGEST: usize = 64;

/// Those of an answer to this.
pub const fn members_of(ask: Ask) -> Members {
    match ask {
        Ask::ReadResource => Members::Kept,
        Ask::CallTool
        | Ask::CompletePrompt
        | Ask::CompleteResource
        | Ask::GetPrompt
        | Ask::AwaitTask
        | Ask::GetTask
        | Ask::UpdateTask
        | Ask::CancelTask => Members::Typed,
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

/// A whole answer at once, under the client's id: `id` and `places` are what its reading found in `message`. One copy.
pub fn whole(message: &Bytes, id: Span, places: &Places, client_id: &[u8], members: Members) -> (Bytes, ResultType) {
    let Some(cuts) = places.cuts(message, members) else {
        let (mut pieces, mut neutral) = (Pieces::default(), Neutral::without(members));
        neutral.push(&incoming::with_id(message, id, client_id), &mut pieces);
        return (joined(pieces), neutral.result_type());
    };
    let cut = cuts.iter().flatten().map(|cut| cut.len()).sum::<usize>();
    let mut out = BytesMut::with_capacity((message.len() + client_id.len()).saturating_sub(id.len() + cut));
    let (mut from, mut is_named) = (0, false);
    for cut in cuts.into_iter().flatten() {
        if !is_named && id.start < cut.start {
            is_named = true;
            named(&mut out, message, &mut from, id, client_id);
        }
        out.extend_from_slice(message.get(from..cut.start as usize).unwrap_or_default());
        from = cut.end as usize;
    }
    if !is_named {
        named(&mut out, message, &mut from, id, client_id);
    }
    out.extend_from_slice(message.get(from..).unwrap_or_default());
    (out.freeze(), places.said)
}

/// Up to the id, and the client's in its place.
fn named(out: &mut BytesMut, message: &[u8], from: &mut usize, id: Span, client_id: &[u8]) {
    out.extend_from_slice(message.get(*from..id.start as usize).unwrap_or_default());
    out.extend_from_slice(client_id);
    *from = id.end as usize;
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
        self.said.as_deref().map_or(ResultType::Complete, ResultType::of)
    }

    /// Reads the next chunk and appends what is passed on.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Pieces) {
        let (mut at, mut from) = (0, 0);
        while let Some(&byte) = chunk.get(at) {
            let (before, is_text) = (self.mode, self.reading != Reading::Tokens);
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
                        self.note_type(chunk.get(begin..end).unwrap_or_default(), is_text);
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
        let (word, enters) = match self.watched {
            1 => (None, key == b"result"),
            2 => (Word::in_result(key), key == b"_meta"),
            _ => (Word::in_meta(key), false),
        };
        self.enters = enters;
        if let Some(word) = word.filter(|word| self.members.have(*word)) {
            let is_type = word == Word::Type;
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

    fn note_type(&mut self, bytes: &[u8], is_text: bool) {
        if let Some(said) = &mut self.said {
            // Around a string, not in it.
            let is_noise = |byte: &u8| !is_text && (byte.is_ascii_whitespace() || *byte == b':');
            let room = (LONGEST + 1).saturating_sub(said.len());
            said.extend(bytes.iter().filter(|byte| !is_noise(byte)).take(room));
        }
    }
}

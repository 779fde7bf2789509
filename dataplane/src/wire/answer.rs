//! A big answer of an HTTP backend, judged while it streams through: the same envelope rules as `incoming`.
//!
//! Holds back nothing but the id's token, which becomes the client's. What was passed on before a fault cannot be
//! called back: the caller ends the stream, and holds the last piece until the call is recorded.

use std::fmt;

use bytes::Bytes;

use super::{
    envelope::{ID_MAX, Same, TOP, same},
    fault::shown,
    lexer::plain,
    nest::{Nest, Number, Utf8},
    text::unescape,
};

pub use super::{
    fault::AnswerFault,
    pieces::{AnswerEnd, Pieces},
};

#[derive(Clone, Copy)]
enum State {
    /// A value; within a fresh array also its end.
    Value {
        or_end: bool,
    },
    /// A key; within a fresh object also its end.
    Key {
        or_end: bool,
    },
    Colon,
    After,
    Text,
    Escape,
    Hex(u8),
    Number(Number),
    /// What is left of `true`, `false`, `null`.
    Word(&'static [u8]),
    End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Capture {
    Nothing,
    Key,
    Id,
    Version,
}

/// One answer, from its first byte to its last.
pub struct AnswerScan {
    expected: Box<[u8]>,
    client_id: Bytes,
    state: State,
    nest: Nest,
    utf8: Utf8,
    /// Bytes of the chunks before.
    before: u64,
    /// The string is a key.
    in_key: bool,
    capture: Capture,
    token: Vec<u8>,
    /// The top-level key that we are in.
    top: &'static str,
    /// The key at the top of `result` is `isError`.
    flag: bool,
    seen: Vec<&'static str>,
    tool_error: bool,
}

impl fmt::Debug for AnswerScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerScan").field("bytes", &self.before).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl AnswerScan {
    /// `client_id`: the token that takes the place of ours.
    pub fn new(expected_id: u64, client_id: Bytes) -> Self {
        Self {
            expected: expected_id.to_string().into_bytes().into_boxed_slice(),
            client_id,
            state: State::Value { or_end: false },
            nest: Nest::default(),
            utf8: Utf8::default(),
            before: 0,
            in_key: false,
            capture: Capture::Nothing,
            token: Vec::with_capacity(16),
            top: "",
            flag: false,
            seen: Vec::with_capacity(TOP.len()),
            tool_error: false,
        }
    }

    /// Reads the next chunk and appends what may be passed on.
    ///
    /// # Errors
    /// The answer is broken or not ours; the scan is of no use after that.
    pub fn push(&mut self, chunk: &Bytes, out: &mut Pieces) -> Result<(), AnswerFault> {
        if !self.utf8.push(chunk) {
            return Err(AnswerFault::Utf8);
        }
        let mut at = 0;
        let mut from = 0;
        while let Some(byte) = chunk.get(at).copied() {
            let held = self.capture == Capture::Id;
            let used = match self.state {
                State::Text => self.text(chunk.get(at..).unwrap_or_default()),
                _ => self.step(byte),
            };
            let used = used.map_err(|expected| match expected {
                Stop::Expected(expected) => {
                    let position = self.before.saturating_add(u64::try_from(at).unwrap_or(u64::MAX));
                    AnswerFault::Grammar { position, expected }
                }
                Stop::Deep => AnswerFault::Deep { position: self.before },
                Stop::Fault(fault) => fault,
            })?;
            match (held, self.capture == Capture::Id) {
                (false, true) => out.push(chunk.slice(from..at)),
                (true, false) => {
                    out.push(self.client_id.clone());
                    from = at + used;
                }
                _ => {}
            }
            at += used;
        }
        if self.capture != Capture::Id {
            out.push(chunk.slice(from..));
        }
        self.before = self.before.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// The end of the body. Nothing is left to pass on.
    ///
    /// # Errors
    /// It ended too early, or a member is missing.
    pub fn finish(&mut self) -> Result<AnswerEnd, AnswerFault> {
        if !matches!(self.state, State::End) {
            return Err(AnswerFault::Truncated);
        }
        let has = |key| self.seen.contains(&key);
        let what = match (has("jsonrpc"), has("id"), has("result"), has("error")) {
            _ if has("method") => "it has a method",
            (false, ..) => "jsonrpc is missing",
            (_, false, ..) => "id is missing",
            (.., true, true) => "result beside error",
            (.., false, false) => "neither result nor error",
            (.., failed) => {
                return Ok(AnswerEnd { failed, tool_error: self.tool_error });
            }
        };
        Err(AnswerFault::Envelope { what })
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.capture != Capture::Nothing {
            let room = (ID_MAX + 1).saturating_sub(self.token.len());
            self.token.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        }
    }

    /// Within a string: as far as it goes.
    fn text(&mut self, rest: &[u8]) -> Result<usize, Stop> {
        let skipped = plain(rest);
        self.keep(rest.get(..skipped).unwrap_or_default());
        match rest.get(skipped) {
            Some(b'"') => {
                if self.in_key {
                    self.key_ended()?;
                    self.state = State::Colon;
                } else {
                    self.keep(b"\"");
                    self.value_ended()?;
                }
                Ok(skipped + 1)
            }
            Some(b'\\') => {
                self.keep(b"\\");
                self.state = State::Escape;
                Ok(skipped + 1)
            }
            Some(_) => Err(Stop::Expected("no raw control character in a string")),
            None => Ok(skipped),
        }
    }

    /// One byte outside of plain text; a number's end is not used up.
    fn step(&mut self, byte: u8) -> Result<usize, Stop> {
        let space = matches!(byte, b' ' | b'\n' | b'\r' | b'\t');
        match self.state {
            State::Value { .. } | State::Key { .. } | State::Colon | State::After | State::End if space => {}
            State::Value { or_end: true } if byte == b']' => self.leave()?,
            State::Value { .. } => self.begin(byte)?,
            State::Key { or_end: true } if byte == b'}' => self.leave()?,
            State::Key { .. } if byte == b'"' => {
                let read = self.nest.depth() == 1 || (self.nest.depth() == 2 && self.top == "result");
                self.capture = if read { Capture::Key } else { Capture::Nothing };
                self.token.clear();
                self.in_key = true;
                self.state = State::Text;
            }
            State::Key { .. } => return Err(Stop::Expected("a key")),
            State::Colon if byte == b':' => self.state = State::Value { or_end: false },
            State::Colon => return Err(Stop::Expected("a colon")),
            State::After => self.after(byte)?,
            State::Escape => {
                self.keep(&[byte]);
                self.state = match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::Text,
                    b'u' => State::Hex(4),
                    _ => return Err(Stop::Expected("a known escape")),
                };
            }
            State::Hex(left) if byte.is_ascii_hexdigit() => {
                self.keep(&[byte]);
                self.state = if left > 1 { State::Hex(left - 1) } else { State::Text };
            }
            State::Hex(_) => return Err(Stop::Expected("a hexadecimal digit")),
            State::Number(number) => match number.next(byte) {
                Some(next) => {
                    self.keep(&[byte]);
                    self.state = State::Number(next);
                }
                None if number.complete() => {
                    self.value_ended()?;
                    return Ok(0);
                }
                None => return Err(Stop::Expected("a digit")),
            },
            State::Word([first, rest @ ..]) if *first == byte => {
                self.state = State::Word(rest);
                if rest.is_empty() {
                    self.value_ended()?;
                }
            }
            State::Word(_) => return Err(Stop::Expected("true, false or null")),
            State::Text | State::End => return Err(Stop::Expected("the end of the answer")),
        }
        Ok(1)
    }

    fn begin(&mut self, byte: u8) -> Result<(), Stop> {
        let depth = self.nest.depth();
        self.in_key = false;
        self.token.clear();
        if depth == 0 && byte != b'{' {
            return Err(Stop::Fault(AnswerFault::Envelope { what: "it is no JSON object" }));
        }
        if depth == 1 && self.top == "id" {
            if !matches!(byte, b'"' | b'-' | b'0'..=b'9') {
                return Err(Stop::Fault(AnswerFault::WrongId));
            }
            self.capture = Capture::Id;
        } else if depth == 1 && self.top == "jsonrpc" {
            if byte != b'"' {
                return Err(Stop::Fault(AnswerFault::Envelope { what: "jsonrpc must be \"2.0\"" }));
            }
            self.capture = Capture::Version;
        } else if depth == 2 && self.flag {
            self.tool_error |= byte == b't';
        }
        self.keep(&[byte]);
        self.state = match byte {
            b'{' | b'[' => {
                if !self.nest.enter(byte == b'[') {
                    return Err(Stop::Deep);
                }
                if byte == b'[' { State::Value { or_end: true } } else { State::Key { or_end: true } }
            }
            b'"' => State::Text,
            b't' => State::Word(b"rue"),
            b'f' => State::Word(b"alse"),
            b'n' => State::Word(b"ull"),
            _ => State::Number(Number::first(byte).ok_or(Stop::Expected("a value"))?),
        };
        Ok(())
    }

    fn after(&mut self, byte: u8) -> Result<(), Stop> {
        match (byte, self.nest.in_array()) {
            (b',', true) => self.state = State::Value { or_end: false },
            (b',', false) => self.state = State::Key { or_end: false },
            (b']', true) | (b'}', false) => self.leave()?,
            _ => return Err(Stop::Expected("a comma or the closing bracket")),
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Stop> {
        self.nest.leave();
        self.value_ended()
    }

    fn key_ended(&mut self) -> Result<(), Stop> {
        if self.capture != Capture::Key {
            return Ok(());
        }
        self.capture = Capture::Nothing;
        let mut said = Vec::new();
        if self.token.contains(&b'\\') {
            unescape(&self.token, &mut said);
        } else {
            said.extend_from_slice(&self.token);
        }
        if self.nest.depth() == 2 {
            self.flag = said == b"isError";
            return Ok(());
        }
        self.flag = false;
        self.top = match same(&said, TOP) {
            Same::Exactly(key) if self.seen.contains(&key) => {
                return Err(Stop::Fault(AnswerFault::Duplicate { key }));
            }
            Same::Exactly(key) => {
                self.seen.push(key);
                key
            }
            Same::ButCase(meant) => {
                return Err(Stop::Fault(AnswerFault::CaseVariant { key: shown(&said), meant }));
            }
            Same::No => "",
        };
        if self.top == "method" {
            return Err(Stop::Fault(AnswerFault::Envelope { what: "it has a method" }));
        }
        let beside =
            matches!(self.top, "result" | "error") && ["result", "error"].iter().all(|k| self.seen.contains(k));
        if beside {
            return Err(Stop::Fault(AnswerFault::Envelope { what: "result beside error" }));
        }
        Ok(())
    }

    fn value_ended(&mut self) -> Result<(), Stop> {
        match self.capture {
            Capture::Id if *self.token != *self.expected => {
                return Err(Stop::Fault(AnswerFault::WrongId));
            }
            Capture::Version if self.token != b"\"2.0\"" => {
                return Err(Stop::Fault(AnswerFault::Envelope { what: "jsonrpc must be \"2.0\"" }));
            }
            _ => self.capture = Capture::Nothing,
        }
        self.state = if self.nest.depth() == 0 { State::End } else { State::After };
        Ok(())
    }
}

enum Stop {
    Expected(&'static str),
    Deep,
    Fault(AnswerFault),
}

//! Nested values without recursion: depth, width, and keys that stand twice, at every depth.
//!
//! The stacks are kept by the thread, so that a call allocates nothing here once the thread is warm.

use std::cell::Cell;

use super::{
    fault::{Broken, Fault, shown},
    lexer::Lexer,
    text::{Span, Text, small, unescape},
};

/// What serde_json can read back.
pub(super) const DEPTH: usize = 127;
/// For what comes from a backend: only its envelope is judged, but the stack stays bounded.
pub(super) const DEPTH_LOOSE: usize = 512;
const ELEMENTS: usize = 100_000;
const KEYS: usize = 1_000;
/// Up to here each key is compared with those before it; a wider object is sorted once at its end.
const FEW: usize = 16;

/// An object or array that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    array: bool,
    /// Where its keys begin in `Scratch::keys`.
    base: usize,
    /// The member or element we are in.
    key: Span,
    index: u32,
}

/// A key, decoded: in the body, or in `Scratch::decoded` when it had escapes.
#[derive(Clone, Copy, Debug)]
struct Key {
    decoded: bool,
    /// Its length and first bytes: keys that differ here need no look at the rest.
    quick: u64,
    span: Span,
    raw: Span,
}

/// Alike for keys that say the same.
#[inline]
fn quick(said: &[u8]) -> u64 {
    let first = said.first_chunk::<4>().map_or(0, |c| u32::from_le_bytes(*c));
    let last = said.last_chunk::<4>().map_or(0, |c| u32::from_le_bytes(*c));
    (u64::from(first) << 32) ^ u64::from(last) ^ (u64::from(small(said.len())) << 56)
}

#[derive(Debug, Default)]
pub(super) struct Scratch {
    frames: Vec<Frame>,
    keys: Vec<Key>,
    decoded: Vec<u8>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch { frames: Vec::new(), keys: Vec::new(), decoded: Vec::new() }) };
}

/// A key inside `arguments` that stands twice: refused by the pipeline with a row, not as a fault of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentsFault {
    /// JSON pointer (RFC 6901) of the object, from `arguments` on; empty for `arguments` itself.
    pub pointer: Box<str>,
    /// The key, made printable, at most 64 characters.
    pub key: Box<str>,
    /// Byte offset of the second one.
    pub position: usize,
}

#[derive(Debug)]
pub(super) struct Walker<'a> {
    pub(super) lexer: Lexer<'a>,
    scratch: Scratch,
    elements: usize,
    /// A client's message: width and keys are judged at every depth.
    strict: bool,
    pub(super) arguments_fault: Option<ArgumentsFault>,
    /// Frames below this one belong to `arguments`.
    arguments_from: Option<usize>,
}

impl Drop for Walker<'_> {
    fn drop(&mut self) {
        let mut scratch = std::mem::take(&mut self.scratch);
        if scratch.keys.capacity() <= 4 * KEYS && scratch.decoded.capacity() <= 64 * 1024 {
            scratch.frames.clear();
            scratch.keys.clear();
            scratch.decoded.clear();
            SCRATCH.set(scratch);
        }
    }
}

impl<'a> Walker<'a> {
    pub(super) fn new(bytes: &'a [u8], strict: bool) -> Self {
        Self {
            lexer: Lexer::new(bytes),
            scratch: SCRATCH.take(),
            elements: 0,
            strict,
            arguments_fault: None,
            arguments_from: None,
        }
    }

    pub(super) const fn strict(&self) -> bool {
        self.strict
    }

    #[cold]
    pub(super) fn limit(&self, what: &'static str, limit: usize) -> Broken {
        Box::new(Fault::Limit { position: self.lexer.at, what, limit })
    }

    /// Counts a value.
    #[inline]
    pub(super) fn element(&mut self) -> Result<(), Broken> {
        self.elements += 1;
        if self.strict && self.elements > ELEMENTS {
            return Err(self.limit("elements", ELEMENTS));
        }
        Ok(())
    }

    /// Enters the object or array whose opening bracket is here.
    #[inline]
    pub(super) fn open(&mut self) -> Result<(), Broken> {
        let limit = if self.strict { DEPTH } else { DEPTH_LOOSE };
        if self.scratch.frames.len() >= limit {
            return Err(self.limit("levels of nesting", limit));
        }
        let array = self.lexer.peek() == b'[';
        self.lexer.at += 1;
        let base = self.scratch.keys.len();
        self.scratch.frames.push(Frame { array, base, key: Span::new(0, 0), index: 0 });
        self.lexer.space();
        Ok(())
    }

    /// Leaves what was entered last; the closing bracket is already read.
    #[inline]
    pub(super) fn close(&mut self) -> Result<(), Broken> {
        let Some(frame) = self.scratch.frames.last().copied() else {
            return Ok(());
        };
        if self.scratch.keys.len() > frame.base + FEW {
            self.sorted(frame.base)?;
        }
        self.scratch.frames.pop();
        self.scratch.keys.truncate(frame.base);
        Ok(())
    }

    /// A key with its colon; refuses one that the object already has.
    #[inline]
    pub(super) fn key(&mut self, judged: bool) -> Result<Text, Broken> {
        let text = self.lexer.string()?;
        self.lexer.colon()?;
        if let Some(frame) = self.scratch.frames.last_mut() {
            frame.key = text.inner;
        }
        if judged {
            self.remember(text)?;
        }
        Ok(text)
    }

    fn remember(&mut self, text: Text) -> Result<(), Broken> {
        let base = self.scratch.frames.last().map_or(0, |frame| frame.base);
        let count = self.scratch.keys.len() - base;
        if self.strict && count >= KEYS {
            return Err(Box::new(Fault::Limit {
                position: text.inner.start as usize,
                what: "keys in one object",
                limit: KEYS,
            }));
        }
        let mut key = Key { decoded: false, quick: 0, span: text.inner, raw: text.inner };
        if text.escaped {
            let start = self.scratch.decoded.len();
            unescape(text.inner.get(self.lexer.bytes), &mut self.scratch.decoded);
            key.decoded = true;
            key.span = Span::new(start, self.scratch.decoded.len());
        }
        if count < FEW {
            let known = self.scratch.keys.get(base..).unwrap_or_default();
            let said = self.said(key);
            key.quick = quick(said);
            if known.iter().any(|other| other.quick == key.quick && self.said(*other) == said) {
                self.twice(key)?;
            }
        }
        self.scratch.keys.push(key);
        Ok(())
    }

    /// What the key says, escapes read.
    fn said(&self, key: Key) -> &[u8] {
        key.span.get(if key.decoded { &self.scratch.decoded } else { self.lexer.bytes })
    }

    fn sorted(&mut self, base: usize) -> Result<(), Broken> {
        let mut keys = self.scratch.keys.split_off(base);
        keys.sort_unstable_by(|a, b| self.said(*a).cmp(self.said(*b)).then(a.raw.start.cmp(&b.raw.start)));
        let twice = keys
            .windows(2)
            .filter_map(|pair| match pair {
                [first, second] if self.said(*first) == self.said(*second) => Some(*second),
                _ => None,
            })
            .min_by_key(|key| key.raw.start);
        twice.map_or(Ok(()), |key| self.twice(key))
    }

    /// A fault of the message, or, inside `arguments`, of the arguments.
    #[cold]
    fn twice(&mut self, key: Key) -> Result<(), Broken> {
        let position = key.raw.start as usize;
        let Some(from) = self.arguments_from else {
            return Err(Box::new(Fault::Duplicate { position, key: shown(self.said(key)) }));
        };
        if self.arguments_fault.is_none() {
            let fault = ArgumentsFault { pointer: self.pointer(from), key: shown(self.said(key)), position };
            self.arguments_fault = Some(fault);
        }
        Ok(())
    }

    /// RFC 6901, from the frame `from` down to the object that is open last.
    fn pointer(&self, from: usize) -> Box<str> {
        let mut pointer = String::new();
        let frames = self.scratch.frames.get(from..).unwrap_or_default();
        for frame in frames.iter().take(frames.len().saturating_sub(1)) {
            pointer.push('/');
            if frame.array {
                pointer.push_str(&frame.index.to_string());
            } else {
                let mut key = Vec::new();
                unescape(frame.key.get(self.lexer.bytes), &mut key);
                pointer.push_str(&shown(&key).replace('~', "~0").replace('/', "~1"));
            }
        }
        pointer.into_boxed_str()
    }

    /// The value of `arguments`: keys that stand twice in it are noted, not refused.
    pub(super) fn arguments(&mut self) -> Result<Span, Broken> {
        self.arguments_from = Some(self.scratch.frames.len());
        let span = self.value();
        self.arguments_from = None;
        span
    }

    /// Any value, to its end.
    pub(super) fn value(&mut self) -> Result<Span, Broken> {
        let floor = self.scratch.frames.len();
        let start = self.lexer.at;
        'value: loop {
            self.element()?;
            match self.lexer.peek() {
                b'{' => {
                    self.open()?;
                    if self.lexer.peek() != b'}' {
                        self.key(self.strict)?;
                        continue 'value;
                    }
                    self.lexer.at += 1;
                    self.close()?;
                }
                b'[' => {
                    self.open()?;
                    if self.lexer.peek() != b']' {
                        continue 'value;
                    }
                    self.lexer.at += 1;
                    self.close()?;
                }
                _ => self.lexer.scalar()?,
            }
            // a value ended: on to the next one, or out of what ends with it
            loop {
                if self.scratch.frames.len() == floor {
                    return Ok(Span::new(start, self.lexer.at));
                }
                if self.next()? {
                    continue 'value;
                }
            }
        }
    }

    /// After a value within an object or array: true when another one follows (its key is read).
    #[inline]
    fn next(&mut self) -> Result<bool, Broken> {
        self.lexer.space();
        let Some(frame) = self.scratch.frames.last_mut() else {
            return Ok(false);
        };
        let array = frame.array;
        match (self.lexer.peek(), array) {
            (b',', true) => {
                frame.index = small(frame.index as usize + 1);
                self.lexer.at += 1;
                self.lexer.space();
                Ok(true)
            }
            (b',', false) => {
                self.lexer.at += 1;
                self.lexer.space();
                self.key(self.strict)?;
                Ok(true)
            }
            (b']', true) | (b'}', false) => {
                self.lexer.at += 1;
                self.close()?;
                Ok(false)
            }
            (_, true) => Err(self.lexer.fault("a comma or ]")),
            (_, false) => Err(self.lexer.fault("a comma or }")),
        }
    }
}

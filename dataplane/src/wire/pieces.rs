//! An answer to be passed on, in parts, and how it ended.

use std::{fmt, ops::Range};

use bytes::Bytes;

/// Where an answer goes while it is looked at.
pub(super) trait Sink {
    /// A part of it, as it came.
    fn pass(&mut self, chunk: &Bytes, part: Range<usize>);

    /// What stands in it instead, one after the other.
    fn put(&mut self, parts: &[&[u8]]);
}

/// Without a copy of what passes.
impl Sink for Pieces {
    fn pass(&mut self, chunk: &Bytes, part: Range<usize>) {
        if !part.is_empty() {
            self.push(chunk.slice(part));
        }
    }

    fn put(&mut self, parts: &[&[u8]]) {
        self.push(parts.concat().into());
    }
}

/// For what is small and whole.
impl Sink for Vec<u8> {
    fn pass(&mut self, chunk: &Bytes, part: Range<usize>) {
        self.extend_from_slice(chunk.get(part).unwrap_or_default());
    }

    fn put(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.extend_from_slice(part));
    }
}

/// What is to be passed on, in order; kept by the caller and used again.
#[derive(Default)]
pub struct Pieces(Vec<Bytes>);

impl Pieces {
    /// Appends, unless it is empty.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.0.push(piece);
        }
    }

    /// Takes all, oldest first.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Bytes> {
        self.0.drain(..)
    }

    /// Takes the newest.
    pub fn pop(&mut self) -> Option<Bytes> {
        self.0.pop()
    }

    /// Bytes of them all.
    pub fn total(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    pub const fn len(&self) -> usize {
        self.0.len()
    }

    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Prints sizes only.
impl fmt::Debug for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(Bytes::len)).finish()
    }
}

/// How a whole answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnswerEnd {
    /// It has `error`.
    pub failed: bool,
    /// `result.isError` is `true`.
    pub tool_error: bool,
}

//! What an incremental scan carries from chunk to chunk: open brackets, a half-read number, a half-read character.

/// Deeper answers are refused.
const DEPTH: usize = 512;

/// The open brackets, a bit each: set for an array.
#[derive(Default)]
pub(super) struct Nest {
    bits: [u64; DEPTH / 64],
    depth: usize,
}

impl Nest {
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// False when it would be too deep.
    pub(super) fn enter(&mut self, array: bool) -> bool {
        let Some(word) = self.bits.get_mut(self.depth / 64) else {
            return false;
        };
        let bit = 1 << (self.depth % 64);
        if array {
            *word |= bit;
        } else {
            *word &= !bit;
        }
        self.depth += 1;
        true
    }

    pub(super) const fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    pub(super) fn in_array(&self) -> bool {
        let innermost = self.depth.saturating_sub(1);
        self.bits.get(innermost / 64).is_some_and(|word| word & (1 << (innermost % 64)) != 0)
    }
}

/// How far a number is read.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl Number {
    pub(super) const fn first(byte: u8) -> Option<Self> {
        match byte {
            b'-' => Some(Self::Minus),
            b'0' => Some(Self::Zero),
            b'1'..=b'9' => Some(Self::Integer),
            _ => None,
        }
    }

    /// `None` when `byte` cannot continue it.
    pub(super) const fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Minus, b'0') => Some(Self::Zero),
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Some(Self::Integer),
            (Self::Zero | Self::Integer, b'.') => Some(Self::Point),
            (Self::Point | Self::Fraction, b'0'..=b'9') => Some(Self::Fraction),
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Some(Self::E),
            (Self::E, b'+' | b'-') => Some(Self::Sign),
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Some(Self::Exponent),
            _ => None,
        }
    }

    /// Whether it may end here.
    pub(super) const fn complete(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Exponent)
    }
}

/// UTF-8 over chunks that may cut a character.
#[derive(Default)]
pub(super) struct Utf8 {
    /// The beginning of a character, at most three bytes.
    begun: Vec<u8>,
}

impl Utf8 {
    /// False as soon as it cannot be UTF-8 any more.
    pub(super) fn push(&mut self, mut chunk: &[u8]) -> bool {
        while !self.begun.is_empty() {
            let Some((first, rest)) = chunk.split_first() else {
                return true;
            };
            chunk = rest;
            self.begun.push(*first);
            match std::str::from_utf8(&self.begun) {
                Ok(_) => self.begun.clear(),
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(chunk) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                self.begun.extend_from_slice(chunk.get(error.valid_up_to()..).unwrap_or_default());
                true
            }
        }
    }
}

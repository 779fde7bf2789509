//! JSON's tokens over one slice (RFC 8259), UTF-8 already checked. Knows no nesting.

use super::{
    fault::{Broken, Fault},
    text::{Span, Text},
};

/// A place in the bytes. At the end `peek` gives NUL, which no token begins with.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub(super) fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[cold]
    pub(super) fn fault(&self, expected: &'static str) -> Broken {
        Box::new(Fault::Grammar { position: self.at, expected })
    }

    #[inline]
    pub(super) fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\n' | b'\r' | b'\t') {
            self.at += 1;
        }
    }

    /// A colon with the space around it.
    #[inline]
    pub(super) fn colon(&mut self) -> Result<(), Broken> {
        self.space();
        if self.peek() != b':' {
            return Err(self.fault("a colon"));
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// A string; the place is its opening quote.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Text, Broken> {
        let start = self.at + 1;
        let rest = match self.bytes.get(self.at..) {
            Some([b'"', rest @ ..]) => rest,
            _ => return Err(self.fault("a string")),
        };
        let length = plain(rest);
        self.at = start + length;
        if rest.get(length) == Some(&b'"') {
            self.at += 1;
            return Ok(Text { inner: Span::new(start, start + length), escaped: false });
        }
        self.escaped_string(start)
    }

    /// The rest of a string that goes on behind something that needs a look.
    fn escaped_string(&mut self, start: usize) -> Result<Text, Broken> {
        let mut escaped = false;
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let inner = Span::new(start, self.at);
                    self.at += 1;
                    return Ok(Text { inner, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => {
                    return Err(self.fault("no raw control character in a string (write it as an escape)"));
                }
                None => return Err(self.fault("the end of a string")),
            }
            self.at += plain(self.bytes.get(self.at..).unwrap_or_default());
        }
    }

    fn escape(&mut self) -> Result<(), Broken> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.bytes.get(self.at + 2..self.at + 6).unwrap_or_default();
                if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(self.fault("four hexadecimal digits after \\u"));
                }
                self.at += 6;
            }
            _ => return Err(self.fault("a known escape")),
        }
        Ok(())
    }

    /// A number, of any size; says whether it is an integer (no fraction, no exponent).
    pub(super) fn number(&mut self) -> Result<bool, Broken> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return Err(self.fault("a digit")),
        }
        let mut integer = true;
        if self.peek() == b'.' {
            integer = false;
            self.at += 1;
            self.digits_needed()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            integer = false;
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits_needed()?;
        }
        Ok(integer)
    }

    fn digits_needed(&mut self) -> Result<(), Broken> {
        if !self.peek().is_ascii_digit() {
            return Err(self.fault("a digit"));
        }
        self.digits();
        Ok(())
    }

    #[inline]
    fn digits(&mut self) {
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
    }

    /// `true`, `false`, `null`.
    pub(super) fn literal(&mut self, word: &'static str) -> Result<(), Broken> {
        if self.bytes.get(self.at..).unwrap_or_default().starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.fault(word))
        }
    }

    /// Any value but an object or an array.
    #[inline]
    pub(super) fn scalar(&mut self) -> Result<(), Broken> {
        match self.peek() {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            _ => Err(self.fault("a value")),
        }
    }
}

/// Strings up to here are looked at word by word.
const SHORT: usize = 128;

/// How many bytes need no look. Long ones: `memchr` to the end, then the least byte of each block, as vector code.
#[inline]
pub(super) fn plain(rest: &[u8]) -> usize {
    // most strings are short; a long one is worth the start of the vector code
    let mut skipped = 0;
    let (words, tail) = rest.as_chunks::<8>();
    for word in words.iter().take(SHORT / 8) {
        let found = specials(*word);
        if found != 0 {
            return skipped + found.trailing_zeros() as usize / 8;
        }
        skipped += 8;
    }
    if rest.len() >= SHORT + 8 {
        return long(rest, skipped);
    }
    skipped + tail.iter().position(|byte| special(*byte)).unwrap_or(tail.len())
}

fn long(rest: &[u8], short: usize) -> usize {
    let mut skipped = short;
    let long = rest.get(short..).unwrap_or_default();
    let end = memchr::memchr2(b'"', b'\\', long).unwrap_or(long.len());
    let (blocks, _) = long.get(..end).unwrap_or_default().as_chunks::<64>();
    for block in blocks {
        if block.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < 0x20 {
            break;
        }
        skipped += 64;
    }
    let left = rest.get(skipped..short + end).unwrap_or_default();
    skipped + left.iter().position(|byte| *byte < 0x20).unwrap_or(left.len())
}

/// The high bit of each byte that is a quote, a backslash or a control character; exact up to the first one.
#[inline]
const fn specials(word: [u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let word = u64::from_le_bytes(word);
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    (below(quote, 1) | below(backslash, 1) | below(word, 0x20)) & HIGHS
}

/// The high bit of each byte under `least`; a borrow can only make a wrong one above a right one.
#[inline]
const fn below(word: u64, least: u64) -> u64 {
    word.wrapping_sub(0x0101_0101_0101_0101 * least) & !word
}

#[inline]
const fn special(byte: u8) -> bool {
    (byte == b'"') | (byte == b'\\') | (byte < 0x20)
}

/// UTF-8, and not longer than a `Span` can say.
pub(super) fn utf8(bytes: &[u8]) -> Result<(), Fault> {
    if u32::try_from(bytes.len()).is_err() {
        return Err(Fault::Limit { position: 0, what: "bytes", limit: u32::MAX as usize });
    }
    std::str::from_utf8(bytes).map(drop).map_err(|error| Fault::Utf8 { position: error.valid_up_to() })
}

//! Where something stands in a body, and what a JSON string says once its escapes are read.

use std::borrow::Cow;

/// Byte range in a body; only for the body that it was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: small(start), end: small(end) }
    }

    /// The bytes; empty where the body is not the one of the scan.
    pub fn get(self, body: &[u8]) -> &[u8] {
        body.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    pub const fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    pub const fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Offsets are below 4 GiB: every scan refuses a longer body first.
pub(super) fn small(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// A member of an object with the one comma that goes when it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberSpan(pub Span);

/// A JSON string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    /// What stands between the quotes.
    pub inner: Span,
    /// Whether there is a backslash in it.
    pub escaped: bool,
}

impl Text {
    /// The string token, quotes included.
    pub const fn token(self) -> Span {
        Span { start: self.inner.start.saturating_sub(1), end: self.inner.end.saturating_add(1) }
    }

    /// What it says; `None` for a lone surrogate, which no Rust string can hold.
    pub fn text(self, body: &[u8]) -> Option<Cow<'_, str>> {
        let raw = self.inner.get(body);
        if !self.escaped {
            return std::str::from_utf8(raw).ok().map(Cow::Borrowed);
        }
        let mut decoded = Vec::with_capacity(raw.len());
        unescape(raw, &mut decoded);
        String::from_utf8(decoded).ok().map(Cow::Owned)
    }

    /// The same as bytes: as they stand, or, where there are escapes, read into `decoded`.
    pub(super) fn said<'a>(self, body: &'a [u8], decoded: &'a mut Vec<u8>) -> &'a [u8] {
        let raw = self.inner.get(body);
        if !self.escaped {
            return raw;
        }
        unescape(raw, decoded);
        decoded
    }

    /// Whether it says `wanted`, read without its escapes.
    pub fn is(self, body: &[u8], wanted: &str) -> bool {
        if self.escaped {
            self.text(body).is_some_and(|text| text == wanted)
        } else {
            self.inner.get(body) == wanted.as_bytes()
        }
    }
}

/// Appends what `raw` (the valid inside of a JSON string) says. A lone surrogate becomes its three WTF-8 bytes:
/// no UTF-8, but two keys compare equal when and only when they say the same.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        let kind = escape.get(1).copied().unwrap_or(b'\\');
        let mut used = 2;
        match kind {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut code = hex4(escape.get(2..6).unwrap_or_default());
                used = 6;
                if (0xD800..0xDC00).contains(&code) && escape.get(6..8) == Some(b"\\u") {
                    let low = hex4(escape.get(8..12).unwrap_or_default());
                    if (0xDC00..0xE000).contains(&low) {
                        code = 0x1_0000 + ((code - 0xD800) << 10) + (low - 0xDC00);
                        used = 12;
                    }
                }
                push_code(code, out);
            }
            other => out.push(other),
        }
        rest = escape.get(used..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

fn hex4(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |sum, digit| sum * 16 + char::from(*digit).to_digit(16).unwrap_or(0))
}

fn push_code(code: u32, out: &mut Vec<u8>) {
    if let Some(character) = char::from_u32(code) {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        let low = |shift: u32, mask: u32| u8::try_from((code >> shift) & mask).unwrap_or(0);
        out.extend_from_slice(&[0xE0 | low(12, 0xF), 0x80 | low(6, 0x3F), 0x80 | low(0, 0x3F)]);
    }
}

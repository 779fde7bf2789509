//! What can be wrong with a message, and the JSON-RPC code that says so. Quotes keys, never values.

/// Why a body is refused. `position` is a byte offset into the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    #[error("the body is empty: send one JSON-RPC message")]
    Empty,
    #[error("not UTF-8 at byte {position}: send JSON in UTF-8")]
    Utf8 { position: usize },
    #[error("not JSON at byte {position}: {expected} expected")]
    Grammar { position: usize, expected: &'static str },
    #[error("more than {limit} {what} at byte {position}: send a smaller message")]
    Limit { position: usize, what: &'static str, limit: usize },
    #[error("the key \"{key}\" stands twice in one object (byte {position}): send it once")]
    Duplicate { position: usize, key: Box<str> },
    #[error("the key \"{key}\" at byte {position} differs from \"{meant}\" in case only: write \"{meant}\"")]
    CaseVariant { position: usize, key: Box<str>, meant: &'static str },
    #[error("no JSON-RPC message at byte {position}: {what}")]
    Envelope { position: usize, what: &'static str },
}

impl Fault {
    /// -32700 when it is no JSON at all, -32600 when it is JSON and no message that we take.
    pub const fn code(&self) -> i32 {
        match self {
            Self::Empty | Self::Utf8 { .. } | Self::Grammar { .. } => -32700,
            Self::Limit { .. } | Self::Duplicate { .. } | Self::CaseVariant { .. } | Self::Envelope { .. } => -32600,
        }
    }

    /// Byte offset into the body.
    pub const fn position(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Utf8 { position }
            | Self::Grammar { position, .. }
            | Self::Limit { position, .. }
            | Self::Duplicate { position, .. }
            | Self::CaseVariant { position, .. }
            | Self::Envelope { position, .. } => *position,
        }
    }
}

/// A fault on its way out of the readers: a pointer, so that what goes well is handed on in registers.
pub(super) type Broken = Box<Fault>;

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        *broken
    }
}

/// Why an answer is no answer to our request. `position` counts from its first byte.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerFault {
    #[error("the backend's answer is not UTF-8")]
    Utf8,
    #[error("the backend's answer is not JSON at byte {position}: {expected} expected")]
    Grammar { position: u64, expected: &'static str },
    #[error("the backend's answer is nested deeper than 512 levels (byte {position})")]
    Deep { position: u64 },
    #[error("the backend's answer has the key \"{key}\" twice")]
    Duplicate { key: &'static str },
    #[error("the backend's answer has the key \"{key}\", which differs from \"{meant}\" in case only")]
    CaseVariant { key: Box<str>, meant: &'static str },
    #[error("the backend's answer has another id than our request")]
    WrongId,
    #[error("the backend's answer is no JSON-RPC answer: {what}")]
    Envelope { what: &'static str },
    #[error("the backend's answer ended before its last byte")]
    Truncated,
}

/// A key as it may be shown: at most 64 characters, nothing unprintable.
pub(super) fn shown(key: &[u8]) -> Box<str> {
    String::from_utf8_lossy(key).chars().take(64).flat_map(char::escape_debug).collect::<String>().into_boxed_str()
}

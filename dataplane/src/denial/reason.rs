//! The closed sets of words that a refusal names its reason with: `data.scope`, `data.limit`, `data.reason`.

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    All,
    Backend,
    Client,
    Role,
    Tool,
}

impl Scope {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Backend => "backend",
            Self::Client => "client",
            Self::Role => "role",
            Self::Tool => "tool",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Client,
    Concurrency,
    Tool,
}

impl Limit {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Concurrency => "concurrency",
            Self::Tool => "tool",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    Draining,
    NoPlane,
    NoSnapshot,
    /// Without news of the control plane for longer than `max_staleness_secs`.
    Stale,
    Starting,
}

impl NotReady {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::NoPlane => "no_plane",
            Self::NoSnapshot => "no_snapshot",
            Self::Stale => "stale",
            Self::Starting => "starting",
        }
    }
}

/// Why a token is none of ours: `data.reason` of an `unauthenticated`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenFault {
    Audience,
    Expired,
    Issuer,
    Malformed,
    Missing,
    NotYetValid,
    Revoked,
    Signature,
    UnknownKey,
}

impl TokenFault {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::Issuer => "issuer",
            Self::Malformed => "malformed",
            Self::Missing => "missing",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::Signature => "signature",
            Self::UnknownKey => "unknown_key",
        }
    }

    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::Audience => "the token is meant for another audience than this gateway's",
            Self::Expired => "the token has expired; get a new one (`sentinelctl token mint`)",
            Self::Issuer => "the token's issuer is not one that this gateway knows",
            Self::Malformed => "the token is malformed",
            Self::Missing => "send `Authorization: Bearer <token>` (`sentinelctl token mint` makes one)",
            Self::NotYetValid => "the token is not valid yet; compare the clocks",
            Self::Revoked => "the token was revoked; ask the operator of this gateway",
            Self::Signature => "the token's signature does not fit",
            Self::UnknownKey => "the token was signed with a key that this gateway does not know",
        }
    }
}

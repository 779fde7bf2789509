//! Every way in which a server's question is not answered by its client: what the server is told, and what the record
//! says. Closed: the compiler finds the rest.

use std::borrow::Cow;

use bytes::Bytes;

use super::feature::Feature;
use crate::{audit::event::Status, denial::Disabled, wire::outgoing};

#[derive(Clone, Debug)]
pub enum Refusal {
    /// The call that it seemed to belong to has been answered: it was another's, or its server does without an answer.
    Answered,
    /// The record can't be kept.
    Audit,
    /// The client's answer is no object.
    BadAnswer,
    /// `may_ask` of its backend lacks it.
    Denied,
    /// A kill switch.
    Disabled(Disabled),
    /// The call that it belongs to is over, or the session is.
    Over,
    Params(Cow<'static, str>),
    Timeout,
    TooLarge {
        limit: usize,
    },
    TooMany,
    /// The client did not declare this feature, or not this way of it (`mode`).
    Undeclared {
        mode: bool,
    },
    /// It belongs to no running call and no session: there is nobody to ask.
    Unrelated,
    /// The client has no stream open that could carry it.
    Unreachable,
    /// The server took it back.
    Withdrawn,
}

impl Refusal {
    /// How the record names it.
    pub const fn recorded(&self) -> &'static str {
        match self {
            Self::Audit => "audit_unavailable",
            Self::BadAnswer => "bad_answer",
            Self::Denied => "forbidden",
            Self::Disabled(_) => "disabled",
            Self::Answered | Self::Over => "call_over",
            Self::Params(_) => "invalid_params",
            Self::Timeout => "timeout",
            Self::TooLarge { .. } => "too_large",
            Self::TooMany => "overloaded",
            Self::Undeclared { .. } => "not_declared",
            Self::Unrelated => "unrelated",
            Self::Unreachable => "unreachable",
            Self::Withdrawn => "withdrawn",
        }
    }

    pub const fn status(&self) -> Status {
        match self {
            Self::Audit
            | Self::Denied
            | Self::Disabled(_)
            | Self::Params(_)
            | Self::TooLarge { .. }
            | Self::TooMany
            | Self::Undeclared { .. }
            | Self::Unrelated => Status::Denied,
            Self::BadAnswer | Self::Unreachable => Status::Error,
            Self::Answered | Self::Over | Self::Withdrawn => Status::Cancelled,
            Self::Timeout => Status::Timeout,
        }
    }

    /// The whole answer that the server gets under its own `id`; none where it wants none.
    pub fn told(&self, feature: Feature, id: &[u8]) -> Option<Bytes> {
        let (code, message): (i32, Cow<'static, str>) = match self {
            Self::Withdrawn => return None,
            // What a person is asked can be left unanswered: that is an answer (`protocol.md` 7.2, 9).
            Self::Answered | Self::Timeout | Self::Over if feature == Feature::Elicitation => {
                return Some(outgoing::result(id, br#"{"action":"cancel"}"#));
            }
            Self::Timeout if feature == Feature::Sampling => (-1, "the client did not answer in time".into()),
            Self::Timeout => (-32_603, "the client did not answer in time".into()),
            Self::Denied | Self::Unrelated | Self::Undeclared { mode: false } => {
                (-32_601, format!("{}: there is no client that can be asked this", feature.method()).into())
            }
            Self::Undeclared { mode: true } => (-32_602, "the client did not declare this way of asking".into()),
            Self::Params(what) => (-32_602, what.clone()),
            Self::TooLarge { limit } => (-32_602, format!("the params are larger than {limit} bytes").into()),
            Self::Audit => (-32_603, "the gateway can't record it now".into()),
            Self::BadAnswer => (-32_603, "the client's answer is no object".into()),
            Self::Disabled(_) => (-32_603, "stopped by the operator".into()),
            Self::Answered | Self::Over => (-32_603, "the call that it belongs to is over".into()),
            Self::TooMany => (-32_603, "too many questions wait for their answers".into()),
            Self::Unreachable => (-32_603, "the client can't be reached".into()),
        };
        Some(outgoing::error(Some(id), code, &message, None))
    }
}

//! The closed table of what ends a call without a backend's answer: what we refuse (`Denial`) and what a backend
//! does wrong (`Failure`). Kind, code, audit kind and wording stand here and nowhere else; HTTP status by era is
//! `listen/http/status.rs`. `docs/errors.md` is compared with this file by a test.
#![deny(clippy::wildcard_enum_match_arm)]

mod failure;
mod reason;

use std::{borrow::Cow, fmt::Write as _, sync::Arc, time::Duration};

use serde_json::{Value, json};

pub use self::{
    failure::{Failure, Unavailable},
    reason::{Limit, NotReady, Scope, TokenFault},
};
use crate::{
    call::{Ask, Kind},
    upcall::feature::TASKS,
    wire,
};

/// What the caller is told (`kind`, `code`) and what metric and audit row say (`recorded`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub kind: &'static str,
    pub code: i32,
    pub recorded: &'static str,
}

const fn row(kind: &'static str, code: i32) -> Row {
    Row { kind, code, recorded: kind }
}

/// Every reason for which Sentinel itself refuses a request.
#[derive(Clone, Debug)]
pub enum Denial {
    /// The spool can't take the record; `sent`: the backend had the call already.
    AuditUnavailable {
        sent: bool,
    },
    /// A kill switch stands.
    Disabled(Disabled),
    Forbidden {
        rule: Arc<str>,
    },
    ForbiddenOrigin {
        key: &'static str,
    },
    /// A modern request's headers and body do not say the same.
    HeaderMismatch {
        what: Cow<'static, str>,
    },
    /// A good token that brings no role of ours, where a server gives tokens with scopes.
    InsufficientScope,
    /// What a client would go on with is not on this plane.
    InteractionLost,
    Internal,
    InvalidArguments {
        problems: Vec<ArgumentProblem>,
    },
    /// What a modern request must say of itself in `_meta` is missing or malformed.
    InvalidMeta {
        what: Cow<'static, str>,
    },
    /// The envelope was JSON and no request of ours: what is wrong with it.
    InvalidParams {
        what: Cow<'static, str>,
    },
    InvalidRequest {
        what: Cow<'static, str>,
        position: Option<usize>,
    },
    MethodNotFound,
    /// A modern request that its client must be able to do more for than it says.
    MissingCapability,
    NotReady {
        reason: NotReady,
    },
    Overloaded,
    Parse {
        what: Cow<'static, str>,
        position: usize,
    },
    RateLimited {
        limit: Limit,
        retry_after: Option<Duration>,
    },
    SessionNotFound,
    TooLarge {
        limit: u64,
    },
    Unauthenticated {
        reason: TokenFault,
    },
    UnknownPrompt {
        hidden: bool,
    },
    UnknownResource {
        hidden: bool,
        uri: Arc<str>,
    },
    /// Also another client's, and one whose tool is not shown any more.
    UnknownTask {
        hidden: bool,
    },
    UnknownTool {
        hidden: bool,
    },
    /// A revision that is served in neither era.
    UnsupportedVersion {
        requested: Box<str>,
    },
}

/// Which kill switch refuses, and since when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disabled {
    pub scope: Scope,
    pub reason: Arc<str>,
    /// Unix milliseconds.
    pub since: i64,
    pub sent: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgumentProblem {
    /// JSON Pointer into the arguments (RFC 6901).
    pub path: String,
    pub message: String,
}

impl Denial {
    /// What is not there for the caller, whether it exists or not.
    pub fn unknown(ask: Ask, name: &Arc<str>, hidden: bool) -> Self {
        match ask.kind() {
            Kind::Tool if ask.is_of_task() => Self::UnknownTask { hidden },
            Kind::Tool => Self::UnknownTool { hidden },
            Kind::Prompt => Self::UnknownPrompt { hidden },
            Kind::Resource | Kind::Template => Self::UnknownResource { hidden, uri: Arc::clone(name) },
        }
    }

    /// Of what is not there for the caller: whether it exists, and the roles hide it. None: another refusal.
    pub const fn is_hidden(&self) -> Option<bool> {
        if let Self::UnknownPrompt { hidden }
        | Self::UnknownResource { hidden, .. }
        | Self::UnknownTask { hidden }
        | Self::UnknownTool { hidden } = self
        {
            return Some(*hidden);
        }
        None
    }

    pub const fn row(&self) -> Row {
        match self {
            Self::AuditUnavailable { .. } => row("audit_unavailable", -31507),
            Self::Disabled(_) => row("disabled", -31423),
            Self::Forbidden { .. } => row("forbidden", -31403),
            Self::ForbiddenOrigin { .. } => row("forbidden_origin", -31420),
            Self::HeaderMismatch { .. } => row("header_mismatch", -32020),
            Self::InsufficientScope => row("insufficient_scope", -31405),
            Self::InteractionLost => row("interaction_lost", -31410),
            Self::Internal => row("internal", -32603),
            Self::InvalidArguments { .. } => row("invalid_arguments", -32602),
            Self::InvalidMeta { .. } => row("invalid_meta", -32602),
            Self::InvalidParams { .. } => row("invalid_params", -32602),
            Self::InvalidRequest { .. } => row("invalid_request", -32600),
            Self::MethodNotFound => row("method_not_found", -32601),
            Self::MissingCapability => row("missing_capability", -32021),
            Self::NotReady { .. } => row("not_ready", -31530),
            Self::Overloaded => row("overloaded", -31529),
            Self::Parse { .. } => row("parse", -32700),
            Self::RateLimited { .. } => row("rate_limited", -31429),
            Self::SessionNotFound => row("session_not_found", -31404),
            Self::TooLarge { .. } => row("too_large", -31413),
            Self::Unauthenticated { .. } => row("unauthenticated", -31401),
            // Told alike, recorded apart: nobody can probe for what is hidden from them.
            Self::UnknownPrompt { hidden: true } => {
                Row { kind: "unknown_prompt", code: -32602, recorded: "hidden_prompt" }
            }
            Self::UnknownPrompt { hidden: false } => row("unknown_prompt", -32602),
            Self::UnknownResource { hidden: true, .. } => {
                Row { kind: "unknown_resource", code: -32002, recorded: "hidden_resource" }
            }
            Self::UnknownResource { hidden: false, .. } => row("unknown_resource", -32002),
            Self::UnknownTask { hidden: true } => Row { kind: "unknown_task", code: -32602, recorded: "hidden_task" },
            Self::UnknownTask { hidden: false } => row("unknown_task", -32602),
            Self::UnknownTool { hidden: true } => Row { kind: "unknown_tool", code: -32602, recorded: "hidden_tool" },
            Self::UnknownTool { hidden: false } => row("unknown_tool", -32602),
            Self::UnsupportedVersion { .. } => row("unsupported_version", -32022),
        }
    }

    /// One sentence that a model or a person can act on.
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Self::AuditUnavailable { sent: false } => {
                "the call was not sent: its audit record can't be kept; try again later".into()
            }
            Self::AuditUnavailable { sent: true } => {
                "the call was sent, and its answer is withheld: its audit record can't be kept".into()
            }
            Self::Disabled(by) if by.reason.is_empty() => {
                format!("stopped by the operator ({}); do not retry", by.scope.as_str()).into()
            }
            Self::Disabled(by) => {
                format!("stopped by the operator ({}): {}; do not retry", by.scope.as_str(), by.reason).into()
            }
            Self::Forbidden { rule } => {
                format!("your role may not call this tool with these arguments ({rule})").into()
            }
            Self::ForbiddenOrigin { key } => {
                format!("this host or origin may not use the gateway; the operator can allow it with {key}").into()
            }
            Self::InsufficientScope => {
                "the token is good and brings no scope that this gateway knows; ask for one of those in WWW-Authenticate".into()
            }
            Self::InteractionLost => {
                "what this would go on with is not here any more, or was begun on another plane; start the call again \
                 without params.requestState"
                    .into()
            }
            Self::Internal => "the gateway failed inside; the operator finds the call by its requestId".into(),
            Self::InvalidArguments { problems } => argument_sentence(problems).into(),
            Self::HeaderMismatch { what }
            | Self::InvalidMeta { what }
            | Self::InvalidParams { what }
            | Self::InvalidRequest { what, .. }
            | Self::Parse { what, .. } => what.clone(),
            Self::MethodNotFound => "method not found".into(),
            Self::MissingCapability => format!("this needs a client that declares the extension {TASKS}").into(),
            Self::NotReady { reason: NotReady::NoPlane } => {
                "no gateway is reached from here: see stderr, or start one with `sentinelctl up`".into()
            }
            Self::NotReady { .. } => "the gateway is not ready; try again in a moment".into(),
            Self::Overloaded => "the gateway is at its limit; try again in a moment".into(),
            Self::RateLimited { limit: Limit::Concurrency, .. } => {
                "too many of your calls are running; wait for some to end".into()
            }
            Self::RateLimited { retry_after, .. } => match retry_after {
                Some(wait) => format!("too many calls; try again in {} ms", millis(*wait)).into(),
                None => "too many calls; try again later".into(),
            },
            Self::SessionNotFound => "session not found; initialize anew".into(),
            Self::TooLarge { limit } => format!("the request is larger than {limit} bytes").into(),
            Self::Unauthenticated { reason } => reason.advice().into(),
            Self::UnknownPrompt { .. } => "unknown prompt; prompts/list shows what there is".into(),
            Self::UnknownResource { .. } => {
                "unknown resource; resources/list and resources/templates/list show what there is".into()
            }
            Self::UnknownTask { .. } => "unknown task; this gateway gave you none of this id".into(),
            Self::UnknownTool { .. } => "unknown tool; tools/list shows what there is".into(),
            Self::UnsupportedVersion { .. } => "this revision is not spoken here; choose one of data.supported".into(),
        }
    }

    fn data(&self) -> Vec<(&'static str, Value)> {
        match self {
            Self::AuditUnavailable { sent } => vec![("sent", json!(sent))],
            Self::Disabled(by) => vec![
                ("scope", json!(by.scope.as_str())),
                ("reason", json!(&*by.reason)),
                ("since", json!(by.since)),
                ("sent", json!(by.sent)),
            ],
            Self::Forbidden { rule } => vec![("rule", json!(&**rule))],
            Self::ForbiddenOrigin { key } => vec![("key", json!(key))],
            Self::InvalidArguments { problems } => {
                let listed: Vec<_> =
                    problems.iter().map(|problem| json!({"path": problem.path, "message": problem.message})).collect();
                vec![("problems", json!(listed))]
            }
            Self::InvalidRequest { position, .. } => match position {
                Some(position) => vec![("position", json!(position))],
                None => Vec::new(),
            },
            Self::MissingCapability => vec![("requiredCapabilities", json!({ "extensions": { TASKS: {} } }))],
            Self::NotReady { reason } => vec![("reason", json!(reason.as_str()))],
            Self::Parse { position, .. } => vec![("position", json!(position))],
            Self::RateLimited { limit, retry_after } => {
                let mut data = vec![("limit", json!(limit.as_str()))];
                if let Some(wait) = retry_after {
                    data.push(("retryAfterMs", json!(millis(*wait))));
                }
                data
            }
            Self::TooLarge { limit } => vec![("limit", json!(limit))],
            Self::Unauthenticated { reason } => vec![("reason", json!(reason.as_str()))],
            Self::UnknownResource { uri, .. } => vec![("uri", json!(&**uri))],
            Self::UnsupportedVersion { requested } => {
                vec![("supported", json!(REVISIONS)), ("requested", json!(&**requested))]
            }
            Self::HeaderMismatch { .. }
            | Self::InsufficientScope
            | Self::InteractionLost
            | Self::Internal
            | Self::InvalidMeta { .. }
            | Self::InvalidParams { .. }
            | Self::MethodNotFound
            | Self::Overloaded
            | Self::SessionNotFound
            | Self::UnknownPrompt { .. }
            | Self::UnknownTask { .. }
            | Self::UnknownTool { .. } => Vec::new(),
        }
    }

    /// How long the caller should wait, where that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => *retry_after,
            Self::NotReady { .. } | Self::Overloaded => Some(Duration::from_secs(1)),
            Self::AuditUnavailable { .. }
            | Self::Disabled(_)
            | Self::Forbidden { .. }
            | Self::ForbiddenOrigin { .. }
            | Self::HeaderMismatch { .. }
            | Self::InsufficientScope
            | Self::InteractionLost
            | Self::Internal
            | Self::InvalidArguments { .. }
            | Self::InvalidMeta { .. }
            | Self::InvalidParams { .. }
            | Self::InvalidRequest { .. }
            | Self::MethodNotFound
            | Self::MissingCapability
            | Self::Parse { .. }
            | Self::SessionNotFound
            | Self::TooLarge { .. }
            | Self::Unauthenticated { .. }
            | Self::UnknownPrompt { .. }
            | Self::UnknownResource { .. }
            | Self::UnknownTask { .. }
            | Self::UnknownTool { .. }
            | Self::UnsupportedVersion { .. } => None,
        }
    }

    /// The members of `error`: code, message, and `data` as JSON text with `kind` and `requestId` in it.
    pub fn told(&self, request_id: &str) -> Told {
        told(self.row(), self.message(), self.data(), request_id)
    }
}

impl From<wire::Fault> for Denial {
    fn from(fault: wire::Fault) -> Self {
        let what = fault.to_string().into();
        match fault.code() {
            -32700 => Self::Parse { what, position: fault.position() },
            _ => Self::InvalidRequest { what, position: Some(fault.position()) },
        }
    }
}

/// The revision of the modern era.
pub const MODERN_REVISION: &str = "2026-07-28";

/// All that are served, newest first.
pub const REVISIONS: [&str; 5] =
    [MODERN_REVISION, LEGACY_REVISIONS[0], LEGACY_REVISIONS[1], LEGACY_REVISIONS[2], LEGACY_REVISIONS[3]];

/// The four revisions of the legacy era, newest first.
pub const LEGACY_REVISIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// The members of a JSON-RPC `error`.
#[derive(Clone, Debug)]
pub struct Told {
    pub code: i32,
    pub message: Cow<'static, str>,
    /// JSON text.
    pub data: String,
}

fn told(row: Row, message: Cow<'static, str>, more: Vec<(&'static str, Value)>, request_id: &str) -> Told {
    let mut data = String::with_capacity(96);
    // Both are ours: a word of this table, a UUID. Nothing to escape.
    write!(data, r#"{{"kind":"{}","requestId":"{request_id}""#, row.kind).ok();
    for (key, value) in more {
        write!(data, r#","{key}":{value}"#).ok();
    }
    data.push('}');
    Told { code: row.code, message, data }
}

fn argument_sentence(problems: &[ArgumentProblem]) -> String {
    let mut sentence = String::from("the arguments do not fit the tool's schema");
    for (at, problem) in problems.iter().take(3).enumerate() {
        let path = if problem.path.is_empty() { "(root)" } else { &problem.path };
        write!(sentence, "{} {path}: {}", if at == 0 { ":" } else { ";" }, problem.message).ok();
    }
    sentence
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

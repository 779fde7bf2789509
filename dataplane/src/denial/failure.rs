//! What a backend, or the way to it, did wrong: of the same shape as a `Denial`, and in the same table.

use std::{borrow::Cow, sync::Arc, time::Duration};

use serde_json::json;

use super::{Row, Told, millis, row, told};

/// What a backend, or the way to it, did wrong.
#[derive(Clone, Debug)]
pub enum Failure {
    BackendError { backend: Arc<str>, what: Cow<'static, str> },
    BackendUnavailable { backend: Arc<str>, state: Unavailable, retry_after: Option<Duration> },
    Timeout { backend: Arc<str>, timeout: Duration },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    Down,
    Full,
    Open,
    Removed,
    Starting,
}

impl Unavailable {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Full => "full",
            Self::Open => "open",
            Self::Removed => "removed",
            Self::Starting => "starting",
        }
    }
}

impl Failure {
    pub const fn row(&self) -> Row {
        match self {
            Self::BackendError { .. } => row("backend_error", -31502),
            Self::BackendUnavailable { .. } => row("backend_unavailable", -31503),
            Self::Timeout { .. } => row("timeout", -31504),
        }
    }

    pub fn message(&self) -> String {
        match self {
            Self::BackendError { backend, what } => format!("the backend {backend} failed: {what}"),
            Self::BackendUnavailable { backend, state, .. } => {
                format!("the backend {backend} is not available ({}); try again later", state.as_str())
            }
            Self::Timeout { backend, timeout } => {
                format!("the backend {backend} did not answer within {} ms; it may still be working", millis(*timeout))
            }
        }
    }

    pub fn told(&self, request_id: &str) -> Told {
        let data = match self {
            Self::BackendError { backend, what } => vec![("backend", json!(&**backend)), ("what", json!(what))],
            Self::BackendUnavailable { backend, state, retry_after } => {
                let mut data = vec![("backend", json!(&**backend)), ("state", json!(state.as_str()))];
                if let Some(wait) = retry_after {
                    data.push(("retryAfterMs", json!(millis(*wait))));
                }
                data
            }
            Self::Timeout { backend, timeout } => {
                vec![("backend", json!(&**backend)), ("timeoutMs", json!(millis(*timeout)))]
            }
        };
        told(self.row(), self.message().into(), data, request_id)
    }
}

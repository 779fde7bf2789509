//! What can go wrong between a request and its answer, in the form that decides what is done next.

use std::borrow::Cow;

use http::StatusCode;

#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Fault {
    /// Not a byte was written.
    #[error("it can't be reached: {0}")]
    Unreachable(String),
    /// It refused our session id, or the era that we speak to it, and with it the request.
    #[error("it does not know its session any more")]
    Lost,
    /// It refused a request whose headers, it says, are others than its body: nothing was done.
    #[error("it finds that our headers differ from the body; its lists are read anew")]
    Headers,
    /// It has nothing there that takes what we sent: its status, without an answer.
    #[error("it answered with HTTP status {}", .0.as_u16())]
    Absent(StatusCode),
    /// It was written, or may have been, and was not answered at all: the connection broke, or the server says that it
    /// serves nobody now. The text as of `Broken`.
    #[error("{0}")]
    Cut(Cow<'static, str>),
    /// It was written, or may have been; the text fits behind "the backend x failed:".
    #[error("{0}")]
    Broken(Cow<'static, str>),
}

impl Fault {
    /// For who does not ask whether a part of an answer came.
    pub(super) fn settled(self) -> Self {
        match self {
            Self::Cut(what) => Self::Broken(what),
            Self::Unreachable(_) | Self::Lost | Self::Headers | Self::Absent(_) | Self::Broken(_) => self,
        }
    }

    /// Of a status that is no success.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let what = format!("it answered with HTTP status {}", status.as_u16());
        match status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
                Self::Cut(what.into())
            }
            _ => Self::said(what),
        }
    }

    pub(super) const fn says(what: &'static str) -> Self {
        Self::Broken(Cow::Borrowed(what))
    }

    pub(super) const fn said(what: String) -> Self {
        Self::Broken(Cow::Owned(what))
    }
}

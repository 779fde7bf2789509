//! Every way in which a command can end without having done what was asked, and the exit code of each.

use thiserror::Error;

/// One sentence for people, and an exit code for scripts (interfaces.md 1).
#[derive(Debug, Error)]
pub enum Fault {
    /// It was tried and went wrong: exit 1.
    #[error("{0}")]
    Failed(String),
    /// The command line, the configuration or a file that was named is wrong: exit 2.
    #[error("{0}")]
    Usage(String),
    /// No control plane answers; the text names each place that was tried: exit 3.
    #[error("{0}")]
    Unreachable(String),
    /// Not permitted, or not acknowledged by every plane in time: exit 4.
    #[error("{0}")]
    Refused(String),
}

impl Fault {
    /// The exit code that interfaces.md 1 gives to it.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused(_) => 4,
        }
    }

    /// What the control plane answered instead of a reply (the table at the head of admin.proto).
    #[must_use]
    pub fn of_status(status: &tonic::Status) -> Self {
        use tonic::Code;
        let message = status.message().to_owned();
        match status.code() {
            Code::InvalidArgument => Self::Usage(message),
            Code::FailedPrecondition | Code::Aborted | Code::PermissionDenied => Self::Refused(message),
            Code::Unauthenticated => Self::Refused(format!(
                "the control plane does not take this admin token ({message}); see SENTINEL_ADMIN_TOKEN and <data-dir>/admin.token"
            )),
            Code::Unimplemented => Self::Failed(format!(
                "the control plane does not know this command ({message}); is it an older version?"
            )),
            Code::DeadlineExceeded | Code::Cancelled => Self::Failed(format!(
                "the control plane did not answer in time ({message}); look at `sentinelctl status`"
            )),
            // A connection that broke carries its cause; an UNAVAILABLE that the control plane said itself (its
            // store is down) does not, and it was reached.
            Code::Unavailable if std::error::Error::source(status).is_some() => {
                Self::Unreachable(format!("the connection to the control plane broke: {message}; is it still running?"))
            }
            Code::Ok
            | Code::Unknown
            | Code::NotFound
            | Code::AlreadyExists
            | Code::ResourceExhausted
            | Code::OutOfRange
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Failed(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_refusal_has_its_exit_code() {
        let code = |status: tonic::Status| Fault::of_status(&status).exit_code();
        assert_eq!(code(tonic::Status::invalid_argument("x")), 2);
        assert_eq!(code(tonic::Status::failed_precondition("x")), 4);
        assert_eq!(code(tonic::Status::aborted("x")), 4);
        assert_eq!(code(tonic::Status::unauthenticated("x")), 4);
        assert_eq!(code(tonic::Status::unavailable("the store is down since 10:00")), 1);
        assert_eq!(code(tonic::Status::not_found("x")), 1);
    }
}

//! Why a command of an operator was not done, and which gRPC status says so.
//!
//! The message is the whole sentence that the operator reads. `sentinelctl` exits 2 for INVALID_ARGUMENT, 4 for
//! FAILED_PRECONDITION and ABORTED, 1 for the rest.

use tonic::Status;

use crate::audit::query::QueryError;
use crate::keeper::Away;
use crate::store::error::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The command can't be meant so.
    #[error("{sentence}")]
    Invalid { sentence: String },
    /// The command is understood, and the state of things forbids it.
    #[error("{sentence}")]
    State { sentence: String },
    /// What was asked for is not there.
    #[error("{sentence}")]
    Absent { sentence: String },
    #[error(transparent)]
    Away(#[from] Away),
    #[error("nothing was changed: {0}")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Signing(#[from] crate::signing::Error),
    #[error("the command ended before its time: see the control plane's log")]
    Lost,
}

impl Refusal {
    pub fn invalid(sentence: impl Into<String>) -> Self {
        Self::Invalid { sentence: sentence.into() }
    }

    pub fn absent(sentence: impl Into<String>) -> Self {
        Self::Absent { sentence: sentence.into() }
    }

    pub fn state(sentence: impl Into<String>) -> Self {
        Self::State { sentence: sentence.into() }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let sentence = refusal.to_string();
        match refusal {
            Refusal::Absent { .. } => Self::not_found(sentence),
            Refusal::Invalid { .. } => Self::invalid_argument(sentence),
            Refusal::State { .. } => Self::failed_precondition(sentence),
            Refusal::Store(StoreError::Conflict { .. }) => Self::aborted(sentence),
            Refusal::Store(StoreError::NoSuchRevision { .. }) => Self::invalid_argument(sentence),
            Refusal::Query(
                QueryError::By(_)
                | QueryError::Cursor(_)
                | QueryError::Limit(_)
                | QueryError::RequestId
                | QueryError::Status(_),
            ) => Self::invalid_argument(sentence),
            // Not UNAVAILABLE: the control plane was reached.
            Refusal::Away(_) | Refusal::Store(_) | Refusal::Query(_) | Refusal::Signing(_) | Refusal::Lost => {
                Self::internal(sentence)
            }
        }
    }
}

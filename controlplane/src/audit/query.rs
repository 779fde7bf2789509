//! `audit list`: checks what was asked and pages the answer. Printing is `sentinelctl`'s.

use sentinel_proto::v1::{AuditListReply, AuditListRequest};
use uuid::Uuid;

use crate::store::Store;
use crate::store::error::StoreError;

/// Rows of an answer where no limit was given.
pub const DEFAULT_LIMIT: u32 = 50;
/// An answer is one message: 1 000 rows of a few KiB stay well below its limit.
pub const MAX_LIMIT: u32 = 1000;
const STATUSES: [&str; 8] =
    ["ok", "tool_error", "denied", "error", "timeout", "cancelled", "input_required", "abandoned"];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("`--limit {0}` is above {MAX_LIMIT}: narrow the question with --since and --until")]
    Limit(u32),
    #[error("`--request-id` wants a UUID, as in `x-request-id` and `data.requestId` of an error")]
    RequestId,
    #[error("there is no status `{0}`: it is one of {list}", list = STATUSES.join(", "))]
    Status(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The newest rows that pass all filters of `asked`, and whether there are more.
///
/// # Errors
/// All but `Store` are the asker's: INVALID_ARGUMENT.
pub async fn list(store: &Store, asked: &AuditListRequest) -> Result<AuditListReply, QueryError> {
    let limit = if asked.limit == 0 { DEFAULT_LIMIT } else { asked.limit };
    if limit > MAX_LIMIT {
        return Err(QueryError::Limit(limit));
    }
    if !asked.status.is_empty() && !STATUSES.contains(&asked.status.as_str()) {
        return Err(QueryError::Status(asked.status.escape_debug().take(64).collect()));
    }
    let mut filter = asked.clone();
    if !asked.request_id.is_empty() {
        filter.request_id = Uuid::parse_str(&asked.request_id).map_err(|_| QueryError::RequestId)?.to_string();
    }
    // one row too many tells whether there are more
    let mut rows = store.list_audit(&filter, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    Ok(AuditListReply { rows, more })
}

//! `audit list`: checks what was asked and pages the answer. Printing is `sentinelctl`'s.

use prost::Message as _;
use sentinel_proto::v1::{AuditListReply, AuditListRequest, AuditRow};
use uuid::Uuid;

use crate::store::Store;
use crate::store::error::StoreError;

/// Rows of an answer where no limit was given.
pub const DEFAULT_LIMIT: u32 = 50;
pub const MAX_LIMIT: u32 = 1000;
/// An answer is one message: rows of up to 64 KiB are cut here, well below its limit.
pub const MAX_BYTES: usize = 8 * 1024 * 1024;
const STATUSES: [&str; 8] =
    ["ok", "tool_error", "denied", "error", "timeout", "cancelled", "input_required", "abandoned"];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error("`--limit {0}` is above {MAX_LIMIT}: narrow the question with --since and --until")]
    Limit(u32),
    #[error("`--request-id` wants a UUID, as in `x-request-id` and `data.requestId` of an error")]
    RequestId,
    #[error("`--after {0}` is no cursor: take it as `audit export` gave it")]
    Cursor(String),
    #[error("rows can be counted by tool, client, backend, status, kind or hour, not by `{0}`")]
    By(String),
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
    let filter = judged(asked)?;
    // one row too many tells whether there are more
    let mut rows = store.list_audit(&filter, limit + 1).await?;
    let mut bytes = 0;
    let fitting = rows.iter().take(limit as usize).take_while(|row| {
        bytes += row.encoded_len();
        bytes <= MAX_BYTES
    });
    let kept = fitting.count().max(1);
    let more = rows.len() > kept;
    rows.truncate(kept);
    Ok(AuditListReply { rows, more })
}

/// The filters as the store takes them. Errors: of a status, of a request id.
pub(super) fn judged(asked: &AuditListRequest) -> Result<AuditListRequest, QueryError> {
    if !asked.status.is_empty() && !STATUSES.contains(&asked.status.as_str()) {
        return Err(QueryError::Status(asked.status.escape_debug().take(64).collect()));
    }
    let mut filter = asked.clone();
    if !asked.request_id.is_empty() {
        filter.request_id = Uuid::parse_str(&asked.request_id).map_err(|_| QueryError::RequestId)?.to_string();
    }
    Ok(filter)
}

/// Whether a row passes all filters: the same question as the store's, for rows that are in memory.
pub(super) fn fits(filter: &AuditListRequest, row: &AuditRow) -> bool {
    let same = |asked: &str, held: &str| asked.is_empty() || asked == held;
    let ms = row.ts_unix_us.div_euclid(1000);
    same(&filter.client, &row.client)
        && same(&filter.tool, &row.tool)
        && same(&filter.backend, &row.backend)
        && same(&filter.status, &row.status)
        && same(&filter.request_id, &row.request_id)
        && (filter.since_unix_ms == 0 || ms >= filter.since_unix_ms)
        && (filter.until_unix_ms == 0 || ms < filter.until_unix_ms)
}

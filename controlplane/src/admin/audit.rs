//! audit list: hands the question to the store's reader.

use sentinel_proto::v1::{AuditListReply, AuditListRequest};

use crate::audit::query;
use crate::core::Core;
use crate::refusal::Refusal;

pub(super) async fn list(core: &Core, asked: AuditListRequest) -> Result<AuditListReply, Refusal> {
    let store = core.keeper.store()?;
    Ok(query::list(&store, &asked).await?)
}

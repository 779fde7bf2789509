//! What the plane answers by itself in the modern era: `server/discover`, and how long a list may be kept.

use bytes::Bytes;
use serde_json::json;

use crate::{
    backend::abilities::Ability, call::Caller, denial::REVISIONS, listen::local::capabilities, upcall::feature::TASKS,
};

/// Milliseconds that what changes with a reload alone may be kept.
const DISCOVERED: u32 = 60_000;
/// Lists change with roles and backends; a subscription tells of it at once, a client without one asks again.
const LISTED: u32 = 10_000;
pub(super) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// A member of `_meta` of every result of ours.
pub const SERVER_INFO: &str = concat!(
    r#""io.modelcontextprotocol/serverInfo":{"name":"sentinel","title":"Sentinel MCP gateway","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}"#
);

/// The `result` of `server/discover`. Never refused: any error would be taken for a server of the legacy era.
pub(super) fn discover(caller: &Caller) -> Bytes {
    let supported = REVISIONS.join(r#"",""#);
    let mut capabilities = capabilities(caller);
    if let (true, Some(all)) =
        (caller.view().abilities(caller.principal()).can(Ability::Tasks), capabilities.as_object_mut())
    {
        all.insert("extensions".to_owned(), json!({ TASKS: {} }));
    }
    format!(
        r#"{{"resultType":"complete","supportedVersions":["{supported}"],"capabilities":{capabilities},"ttlMs":{DISCOVERED},"cacheScope":"private","_meta":{{{SERVER_INFO}}}}}"#
    )
    .into()
}

/// The same list with what the modern era adds: it is shown to these roles alone, so nobody else may be given it.
pub(super) fn list(legacy: &[u8]) -> Bytes {
    let open = legacy.strip_suffix(b"}").unwrap_or(legacy);
    let more =
        format!(r#","resultType":"complete","ttlMs":{LISTED},"cacheScope":"private","_meta":{{{SERVER_INFO}}}}}"#);
    [open, more.as_bytes()].concat().into()
}

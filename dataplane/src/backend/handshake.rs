//! The legacy handshake as a client: what we say in `initialize`, what we take from the answer (MCP 2025-11-25,
//! lifecycle). Both transports use it; neither sends it here.

use serde::Deserialize;

use super::{abilities::Abilities, era::Era};
use crate::{denial::LEGACY_REVISIONS, upcall::feature::Features};

/// Params of our `initialize`. `declares`: none for a shared session, since what is declared there binds all its users.
pub fn initialize_params(declares: Features) -> String {
    serde_json::json!({
        "protocolVersion": LEGACY_REVISIONS[0],
        "capabilities": declares.declared(),
        "clientInfo": { "name": "sentinel", "version": env!("CARGO_PKG_VERSION") },
    })
    .to_string()
}

/// What a backend said of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    pub era: Era,
    pub protocol_version: Box<str>,
    /// "name version", as given; printable form is the display's business.
    pub server: Box<str>,
    pub abilities: Abilities,
    /// Modern: what it tells of by `subscriptions/listen`, as the params of that.
    pub changes: Option<Box<str>>,
}

#[derive(Debug, thiserror::Error)]
pub enum HandshakeFault {
    #[error("its answer to initialize is not what the schema says: {0}")]
    Broken(#[from] serde_json::Error),
    #[error("it speaks revision {0:?}, which is none of ours")]
    Version(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult {
    protocol_version: String,
    #[serde(default)]
    capabilities: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    server_info: Option<Implementation>,
}

/// What a server says that it is, in either era.
#[derive(Deserialize)]
pub(super) struct Implementation {
    name: String,
    #[serde(default)]
    version: String,
}

impl Implementation {
    /// As an operator sees it; empty where it says nothing.
    pub(super) fn shown(server: Option<&Self>) -> Box<str> {
        server.map_or_else(String::new, |server| format!("{} {}", server.name, server.version)).into_boxed_str()
    }
}

/// Reads the `result` of `initialize`.
pub fn agree(result: &[u8]) -> Result<Agreed, HandshakeFault> {
    let result: InitializeResult = serde_json::from_slice(result)?;
    if !LEGACY_REVISIONS.contains(&result.protocol_version.as_str()) {
        return Err(HandshakeFault::Version(result.protocol_version));
    }
    let abilities = match result.protocol_version == LEGACY_REVISIONS[0] {
        true => Abilities::of_newest_legacy(&result.capabilities),
        false => Abilities::read(&result.capabilities),
    };
    Ok(Agreed {
        era: Era::Legacy,
        protocol_version: result.protocol_version.into_boxed_str(),
        server: Implementation::shown(result.server_info.as_ref()),
        abilities,
        changes: None,
    })
}

//! What a modern request must say of itself in `_meta`, whatever its method (`protocol.md` 3.3, steps 6 and 10).

use std::borrow::Cow;

use crate::{
    denial::{Denial, LEGACY_REVISIONS, MODERN_REVISION},
    upcall::feature::Features,
    wire::{Span, scan::Scanned},
};

/// The required keys are there. Headers are compared with it before its version is judged.
#[derive(Clone, Debug)]
pub struct Said<'a> {
    version: Cow<'a, str>,
}

impl<'a> Said<'a> {
    /// Errors: `InvalidMeta`, for a key that is missing or malformed, and for a revision of the other era.
    pub fn read(body: &'a [u8], scanned: &Scanned) -> Result<Self, Denial> {
        let invalid = |what: Cow<'static, str>| Err(Denial::InvalidMeta { what });
        let Some((modern, version)) = scanned.modern.as_ref().and_then(|modern| Some((modern, modern.version?))) else {
            return invalid(
                "params._meta needs io.modelcontextprotocol/protocolVersion and …/clientCapabilities in this revision"
                    .into(),
            );
        };
        let Some(version) = text(body, version) else {
            return invalid("io.modelcontextprotocol/protocolVersion is no string".into());
        };
        if modern.capabilities.is_none_or(|span| span.get(body).first() != Some(&b'{')) {
            return invalid("params._meta needs io.modelcontextprotocol/clientCapabilities, an object".into());
        }
        if LEGACY_REVISIONS.contains(&&*version) {
            return invalid(format!("revision {version} is served through initialize, without this key").into());
        }
        Ok(Self { version })
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    /// Errors: `UnsupportedVersion`, which names those that are.
    pub fn is_served(&self) -> Result<(), Denial> {
        if self.version == MODERN_REVISION {
            return Ok(());
        }
        Err(Denial::UnsupportedVersion { requested: self.version.chars().take(64).collect::<String>().into() })
    }
}

/// What a request says that its client can be asked.
pub fn features(body: &[u8], scanned: &Scanned) -> Features {
    let said = scanned.modern.as_ref().and_then(|modern| modern.capabilities);
    said.map_or(Features::NONE, |said| Features::of_request(said.get(body)))
}

/// What a value says that is a string; none for any other, and for a lone surrogate.
pub(super) fn text(body: &[u8], value: Span) -> Option<Cow<'_, str>> {
    let token = value.get(body);
    let inner = token.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inner.contains(&b'\\') {
        return std::str::from_utf8(inner).ok().map(Cow::Borrowed);
    }
    serde_json::from_slice::<String>(token).ok().map(Cow::Owned)
}

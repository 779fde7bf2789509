//! The gateway as an OAuth resource server (RFC 9728): who gives tokens for it, and what it tells a client that has none or
//! not enough. Each endpoint is a resource of its own; a token that was given for one is good there alone.

use sentinel_proto::v1;
use serde_json::json;

use crate::endpoint::{self, Endpoint};

/// RFC 9728 3: what stands before a resource's own path.
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What the configuration says of it; there is one where a server gives tokens.
#[derive(Debug)]
pub struct Resource {
    /// Scheme and host that clients use.
    base: Box<str>,
    servers: Vec<Box<str>>,
    scopes: Vec<Box<str>>,
}

impl Resource {
    pub(super) fn of(auth: &v1::Auth) -> Option<Self> {
        (!auth.authorization_servers.is_empty()).then(|| Self {
            base: auth.public_url.as_str().into(),
            servers: auth.authorization_servers.iter().map(|server| server.as_str().into()).collect(),
            scopes: auth.scopes.iter().map(|scope| scope.key.as_str().into()).collect(),
        })
    }

    fn url_of(&self, endpoint: Endpoint<'_>) -> String {
        format!("{}{}", self.base, endpoint::path_of(endpoint))
    }

    /// The endpoint that a token with this audience is for.
    pub(super) fn endpoint_of<'a>(&self, audience: &'a str) -> Option<Endpoint<'a>> {
        endpoint::of_path(audience.strip_prefix(&*self.base)?)
    }

    /// The document about an endpoint, as JSON.
    pub fn metadata(&self, endpoint: Endpoint<'_>) -> String {
        let mut told = json!({
            "resource": self.url_of(endpoint),
            "authorization_servers": self.servers,
            "bearer_methods_supported": ["header"],
            "resource_name": "Sentinel MCP gateway",
        });
        if let (false, Some(told)) = (self.scopes.is_empty(), told.as_object_mut()) {
            told.insert("scopes_supported".to_owned(), json!(self.scopes));
        }
        told.to_string()
    }

    /// What `WWW-Authenticate` says beside the scheme: where the document is, and what to ask for.
    pub fn challenge(&self, endpoint: Endpoint<'_>) -> String {
        let document = format!("{}{WELL_KNOWN}{}", self.base, endpoint::path_of(endpoint));
        let scopes = self.scopes.join(" ");
        let scope = if scopes.is_empty() { String::new() } else { format!(r#", scope="{scopes}""#) };
        format!(r#"resource_metadata="{document}"{scope}"#)
    }
}

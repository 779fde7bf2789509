//! Values of `headers` and `env`: templates, in which no secret may stand literally.

use toml::de::DeValue;

use super::super::super::values::{Refs, template, variable};

/// Headers that the gateway itself writes; a second one would break the connection or the protocol.
const OURS: [&str; 14] = [
    "host",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "accept",
    "accept-encoding",
    "traceparent",
    "tracestate",
];

/// Whether what is called so holds a secret: it ends in token, secret, password, api_key.
pub(super) fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    ["token", "secret", "password", "api_key", "apikey"].iter().any(|end| key.ends_with(end))
}

fn literal(refs: &Refs) -> bool {
    !refs.rest.is_empty() && (refs.count == 0 || refs.defaults)
}

pub(super) fn header_value(name: &str, value: &DeValue<'_>) -> Result<String, String> {
    let lower = name.to_ascii_lowercase();
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        return Err("is no name of a header; write it like X-Api-Key".to_owned());
    }
    if OURS.contains(&lower.as_str()) || lower.starts_with("content-") || lower.starts_with("mcp-") {
        return Err("is written by the gateway itself; take it out".to_owned());
    }
    let (text, refs) = template(value)?;
    if !text.chars().all(|c| c == '\t' || (' '..='~').contains(&c)) {
        return Err("the value of a header is plain ASCII without line breaks".to_owned());
    }
    if (lower == "authorization" || names_a_secret(name)) && literal(&refs) {
        let like = if lower == "authorization" { "Bearer ${MY_TOKEN}" } else { "${MY_TOKEN}" };
        return Err(format!(
            "is a literal secret in the file; put it into the environment of the data plane and write \"{like}\""
        ));
    }
    Ok(text)
}

pub(super) fn env_value(name: &str, value: &DeValue<'_>) -> Result<String, String> {
    if !variable(name) {
        return Err("is no name of an environment variable; use letters, digits and _".to_owned());
    }
    let (text, refs) = template(value)?;
    if names_a_secret(name) && literal(&refs) {
        return Err(format!(
            "is a literal secret in the file; put it into the environment of the data plane and write \"${{{name}}}\""
        ));
    }
    Ok(text)
}

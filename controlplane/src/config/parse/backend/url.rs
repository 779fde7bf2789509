//! The URL of an HTTP backend. What stands in `${VAR}` is not known here, and judged on the plane.

use std::net::IpAddr;

use toml::de::DeValue;

use super::super::super::names::printable;
use super::super::super::values::template;
use super::secrets::names_a_secret;

/// A good URL and what is doubtful about it.
#[derive(Debug)]
pub(super) struct Url {
    pub(super) text: String,
    pub(super) warnings: Vec<String>,
}

pub(super) fn parse(value: &DeValue<'_>) -> Result<Url, String> {
    let (text, refs) = template(value)?;
    let wanted = "write it like \"http://127.0.0.1:3001/mcp\" or \"https://mcp.example.com/mcp\"";
    if !printable(&text) || text.contains(' ') {
        return Err(format!("holds characters that no URL has; {wanted}"));
    }
    let scheme_end = text.find("://");
    let known_scheme = matches!(text.split_once("://"), Some(("http" | "https", _)));
    let whole_is_named = text.starts_with("${") && refs.count > 0;
    if !known_scheme && !whole_is_named {
        return Err(match scheme_end {
            Some(_) => format!("only http and https are spoken; {wanted}"),
            None => format!("the scheme is missing; {wanted}"),
        });
    }
    let Some((scheme, rest)) = text.split_once("://").filter(|_| known_scheme) else {
        return Ok(Url { text, warnings: Vec::new() });
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err("holds a user or a password, which would be a literal secret in the file; \
             use headers = { Authorization = \"Basic ${CREDENTIALS}\" }"
            .to_owned());
    }
    if text.contains('#') {
        return Err("a part after # is never sent; take it out".to_owned());
    }
    let mut warnings = Vec::new();
    let query = text.split_once('?').map_or("", |(_, query)| query);
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        if names_a_secret(key) && !value.is_empty() && !value.contains("${") {
            warnings.push(format!("{key} in the query looks like a literal secret; write {key}=${{NAME}}"));
        }
    }
    if refs.count == 0 {
        let uri: http::Uri = text.parse().map_err(|why| format!("is no URL ({why}); {wanted}"))?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| format!("has no host; {wanted}"))?;
        if authority.contains(':') && !authority.ends_with(']') && uri.port_u16().is_none_or(|port| port == 0) {
            return Err(format!("the port is not 1 to 65535; {wanted}"));
        }
        if scheme == "http" && !near(host) {
            warnings.push(format!(
                "{host} is not on this machine or a private network, and http is readable on the way; use https"
            ));
        }
    }
    Ok(Url { text, warnings })
}

/// Whether `host` looks like this machine, a container's neighbour or a private network.
fn near(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local() || v4.is_unspecified(),
        Ok(IpAddr::V6(v6)) => {
            v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified()
        }
        Err(_) => {
            let name = bare.trim_end_matches('.').to_ascii_lowercase();
            let private = [".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test"];
            !name.contains('.') || private.iter().any(|end| name.ends_with(end))
        }
    }
}

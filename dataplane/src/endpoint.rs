//! Where clients come in: `/mcp`, or the endpoint of a virtual server. Names and paths, nothing else: whether there is such
//! a server, a View knows.

/// A virtual server's name; none: `/mcp`.
pub type Endpoint<'a> = Option<&'a str>;

/// The endpoint of this path, with or without a slash at its end. `None`: no path of ours.
pub fn of_path(path: &str) -> Option<Endpoint<'_>> {
    match path.strip_suffix('/').unwrap_or(path) {
        "/mcp" => Some(None),
        other => Some(Some(other.strip_prefix("/servers/")?.strip_suffix("/mcp")?)),
    }
}

pub fn path_of(endpoint: Endpoint<'_>) -> String {
    endpoint.map_or_else(|| "/mcp".to_owned(), |name| format!("/servers/{name}/mcp"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_an_endpoint_or_none_of_ours() {
        assert_eq!((of_path("/mcp"), of_path("/mcp/")), (Some(None), Some(None)));
        assert_eq!(of_path("/servers/a.b/mcp/"), Some(Some("a.b")));
        for path in ["/", "", "/mcp//", "/mcpx", "/servers/mcp", "/servers/a", "/servers/a/mcp/x", "/x/servers/a/mcp"] {
            assert_eq!(of_path(path), None, "{path}");
        }
        for endpoint in [None, Some("a")] {
            assert_eq!(of_path(&path_of(endpoint)), Some(endpoint));
        }
    }
}

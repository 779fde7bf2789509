//! Where a server of HTTP+SSE wants its messages POSTed: the URI of its `endpoint` event, resolved against the stream's
//! (RFC 3986, 5.2). Another origin is refused: it would make the gateway carry credentials wherever a server says.
//!
//! What is given is a path alone, so that nothing but the configured origin can be connected to.

use http::{Uri, uri::PathAndQuery};

/// Of the URI. Session ids are some hundred bytes at most.
const LONGEST: usize = 4 << 10;

/// Errors: a sentence.
pub(super) fn resolve(said: &[u8], stream: &Uri) -> Result<Uri, String> {
    let said = std::str::from_utf8(said).map(str::trim).unwrap_or_default();
    let none = || "the endpoint that its event stream names is no URI".to_owned();
    if said.is_empty() || said.len() > LONGEST {
        return Err(none());
    }
    let said = said.split('#').next().unwrap_or_default();
    let path = match absolute(said, stream) {
        Some(uri) => {
            let uri = uri.parse::<Uri>().map_err(|_| none())?;
            if origin(&uri).is_none() || origin(&uri) != origin(stream) {
                return Err(format!(
                    "the endpoint that its event stream names is of another origin ({}); that is refused",
                    super::super::client::printable(&shown(&uri))
                ));
            }
            uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned()
        }
        None => relative(said, stream),
    };
    let (path, query) = path.split_once('?').map_or((&*path, None), |(path, query)| (path, Some(query)));
    let mut target = without_dots(path);
    if let Some(query) = query {
        target.push('?');
        target.push_str(query);
    }
    target.parse::<PathAndQuery>().map(Uri::from).map_err(|_| none())
}

/// The whole URI, where `said` names an authority or a scheme.
fn absolute(said: &str, stream: &Uri) -> Option<String> {
    if said.starts_with("//") {
        return Some(format!("{}:{said}", stream.scheme_str().unwrap_or_default()));
    }
    let (scheme, _) = said.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|other| other.is_ascii_alphanumeric() || matches!(other, '+' | '-' | '.'));
    is_scheme.then(|| said.to_owned())
}

fn relative(said: &str, stream: &Uri) -> String {
    if said.starts_with('/') {
        return said.to_owned();
    }
    let base = stream.path();
    if said.is_empty() || said.starts_with('?') {
        return format!("{base}{said}");
    }
    let folder = base.rfind('/').and_then(|at| base.get(..=at)).unwrap_or("/");
    format!("{folder}{said}")
}

/// Scheme, host, port.
fn origin(uri: &Uri) -> Option<(String, String, u16)> {
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let usual = match &*scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    if uri.authority()?.as_str().contains('@') {
        return None;
    }
    Some((scheme, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(usual)))
}

fn shown(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    // What stands before an `@` may be a password.
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{host}", uri.scheme_str().unwrap_or_default())
}

/// `.` and `..` are taken out.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(said: &str) -> Result<String, String> {
        let stream = "http://Tools.example:8080/mcp/sse?key=1".parse().unwrap();
        resolve(said.as_bytes(), &stream).map(|uri| uri.to_string())
    }

    #[test]
    fn what_a_server_says_is_read_as_seen_from_its_stream() {
        for (said, target) in [
            ("/messages/?session_id=a%20b", "/messages/?session_id=a%20b"),
            ("/message?sessionId=7#part", "/message?sessionId=7"),
            ("message?s=1", "/mcp/message?s=1"),
            ("../message?to=../..", "/message?to=../.."),
            ("../../../a/./b/..", "/a/"),
            ("?s=2", "/mcp/sse?s=2"),
            (" /m \n", "/m"),
            ("http://tools.EXAMPLE:8080/m?s=3", "/m?s=3"),
            ("HTTP://tools.example:8080", "/"),
            ("//tools.example:8080/m", "/m"),
        ] {
            assert_eq!(resolved(said), Ok(target.to_owned()), "{said}");
        }
    }

    #[test]
    fn another_origin_is_refused_however_it_is_written() {
        for said in [
            "http://evil.example:8080/m",
            "https://tools.example:8080/m",
            "http://tools.example/m",
            "//169.254.169.254/latest/meta-data",
            "http://tools.example:8080@evil.example/m",
            "http://me@tools.example:8080/m",
            "file:///etc/passwd",
            "mailto:a@tools.example",
        ] {
            let why = resolved(said).unwrap_err();
            assert!(why.contains("another origin") || why.contains("no URI"), "{said}: {why}");
        }
        assert!(!resolved("http://me:secret@tools.example:8080/").unwrap_err().contains("secret"));
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for said in ["", "  ", "/a b", "/a\r\nx: y", &format!("/{}", "a".repeat(LONGEST))] {
            assert!(resolved(said).unwrap_err().contains("no URI"), "{said:?}");
        }
        assert!(resolve(b"/\xff", &"http://h/".parse().unwrap()).is_err());
    }

    #[test]
    fn a_default_port_may_be_said_or_not() {
        let stream = "https://h/sse".parse().unwrap();
        assert_eq!(resolve(b"https://h:443/m", &stream).unwrap(), "/m");
    }
}

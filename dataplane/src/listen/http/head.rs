//! What is judged of a request's head before anything else: shapes that hyper lets pass and we don't
//! (`reliability.md` 6.3), Host and Origin against DNS rebinding, and which media types are spoken.

use ::http::{HeaderMap, Method, Request, header};

use crate::{denial::Denial, view::policy::Gateway};

/// A head that no honest client sends: 400 and the connection closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Smuggling;

pub(super) fn shape<B: http_body::Body>(request: &Request<B>) -> Result<(), Smuggling> {
    let headers = request.headers();
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host,
        (None | Some(_), _) => return Err(Smuggling),
    };
    if request.uri().authority().is_some_and(|authority| authority.as_str().as_bytes() != host.as_bytes()) {
        return Err(Smuggling);
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => {}
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => {}
        (Some(_), _) => return Err(Smuggling),
    }
    if request.method() != Method::POST && !request.body().is_end_stream() {
        return Err(Smuggling);
    }
    Ok(())
}

/// Host in `allowed_hosts` whatever the port (published container ports, SSH tunnels), Origin absent or allowed.
pub(super) fn origin(headers: &HeaderMap, gateway: &Gateway) -> Result<(), Denial> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = without_port(host);
    if !gateway.allowed_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(name)) {
        return Err(Denial::ForbiddenOrigin { key: "gateway.allowed_hosts" });
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    if gateway.allowed_origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
        return Ok(());
    }
    Err(Denial::ForbiddenOrigin { key: "gateway.allowed_origins" })
}

fn without_port(host: &str) -> &str {
    if let Some(end) = host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        return host.get(..end + 2).unwrap_or(host);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

/// What the client takes as an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Accepts {
    pub(super) json: bool,
    pub(super) stream: bool,
}

/// `Accept` may be absent, `*/*`, or name one or both of our types (quality values are not weighed).
pub(super) fn accepts(headers: &HeaderMap) -> Accepts {
    let mut accepts = Accepts { json: false, stream: false };
    let mut named = false;
    for value in headers.get_all(header::ACCEPT) {
        named = true;
        for range in value.to_str().unwrap_or_default().split(',') {
            let range = range.split(';').next().unwrap_or_default().trim();
            let any = range == "*/*";
            accepts.json |=
                any || range.eq_ignore_ascii_case("application/json") || range.eq_ignore_ascii_case("application/*");
            accepts.stream |=
                any || range.eq_ignore_ascii_case("text/event-stream") || range.eq_ignore_ascii_case("text/*");
        }
    }
    if named { accepts } else { Accepts { json: true, stream: true } }
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_its_port() {
        assert_eq!(without_port("localhost:9200"), "localhost");
        assert_eq!(without_port("[::1]:9200"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
        assert_eq!(without_port("example.com"), "example.com");
    }
}

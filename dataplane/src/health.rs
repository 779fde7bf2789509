//! `sentinel-dataplane health`: asks the plane's own ops endpoint, for health checks where no shell and no curl is.
//!
//! One short exchange on a plain socket, before any runtime is there: it must cost nothing each few seconds.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use crate::look::printable;

/// For each step: connecting, writing, reading.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of an answer; `/ready` of a thousand backends is smaller.
const MOST: u64 = 1024 * 1024;
/// Where ops are served unless told otherwise.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9201);

#[derive(Debug, Error)]
pub(crate) enum Unwell {
    #[error("{0:?} is no address of an ops listener; it looks like http://127.0.0.1:9201")]
    Address(String),
    #[error("nothing answers on {at}: {why}")]
    Away { at: String, why: std::io::Error },
    #[error("what answers on {0} is no ops listener")]
    NotOurs(String),
    #[error("{path} says {code}: {body}")]
    Refused { path: &'static str, code: u16, body: String },
}

/// Whom to ask: `--ops`, else where the listener of this environment is, else the usual place.
///
/// # Errors
/// `Address`: not of the form `http://HOST:PORT`, or no address.
pub(crate) fn at(ops: Option<&str>, listens: Option<&str>) -> Result<String, Unwell> {
    if let Some(url) = ops {
        let rest = url.strip_prefix("http://").ok_or_else(|| Unwell::Address(url.into()))?;
        let host = rest.strip_suffix('/').unwrap_or(rest);
        let has_port =
            host.rsplit_once(':').is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        return if has_port && !host.contains(['/', '@', ' ']) {
            Ok(host.into())
        } else {
            Err(Unwell::Address(url.into()))
        };
    }
    let Some(text) = listens else { return Ok(USUAL.to_string()) };
    let mut address: SocketAddr = text.parse().map_err(|_| Unwell::Address(text.into()))?;
    // Listening everywhere is asked for at home.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(address.to_string())
}

/// Asks `/health`, or `/ready` with the token.
///
/// # Errors
/// Nothing answers, something else does, or the answer is not 200.
pub(crate) fn ask(at: &str, is_ready: bool, token: Option<&SecretString>) -> Result<(), Unwell> {
    let path = if is_ready { "/ready" } else { "/health" };
    // `/health` is open to all: who only asks that shows nothing.
    let token = token.filter(|_| is_ready);
    let (code, body) = exchange(at, path, token).map_err(|why| Unwell::Away { at: at.into(), why })?;
    match code {
        Some(200) => Ok(()),
        Some(code) => Err(Unwell::Refused { path, code, body: printable(body.trim(), 400) }),
        None => Err(Unwell::NotOurs(at.into())),
    }
}

fn exchange(at: &str, path: &str, token: Option<&SecretString>) -> std::io::Result<(Option<u16>, String)> {
    let mut last = std::io::ErrorKind::NotFound.into();
    for address in at.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return converse(stream, at, path, token),
            Err(why) => last = why,
        }
    }
    Err(last)
}

fn converse(
    mut stream: TcpStream,
    host: &str,
    path: &str,
    token: Option<&SecretString>,
) -> std::io::Result<(Option<u16>, String)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let bearer = token.map_or_else(String::new, |token| format!("Authorization: Bearer {}\r\n", token.expose_secret()));
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{bearer}Connection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    Ok((code, answer.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned())))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Answers one request with `answer`; what it was asked comes back at the join.
    fn answering(answer: &'static str) -> (String, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        (at, asked)
    }

    #[test]
    fn a_plane_that_says_200_is_well_and_is_shown_the_token_alone() {
        let (at, asked) = answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n");
        ask(&at, true, Some(&"let me in".into())).unwrap();
        let asked = asked.join().unwrap();
        assert!(asked.starts_with("GET /ready HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("Authorization: Bearer let me in\r\n"), "{asked}");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let (at, asked) = answering("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"reason\":\"no_backend\"}");
        let said = ask(&at, true, None).unwrap_err().to_string();
        assert_eq!(said, "/ready says 503: {\"reason\":\"no_backend\"}");
        assert!(!asked.join().unwrap().contains("Authorization"));

        let (at, asked) = answering("SSH-2.0-OpenSSH_9.2\r\n");
        assert!(matches!(ask(&at, false, None), Err(Unwell::NotOurs(_))));
        asked.join().unwrap();

        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        assert!(matches!(ask(&free, false, None), Err(Unwell::Away { .. })));
    }

    #[test]
    fn it_is_asked_where_it_listens() {
        for (ops, listens, expected) in [
            (None, None, "127.0.0.1:9201"),
            (None, Some("0.0.0.0:9201"), "127.0.0.1:9201"),
            (None, Some("[::]:7"), "[::1]:7"),
            (None, Some("10.0.0.1:9201"), "10.0.0.1:9201"),
            (Some("http://plane:1/"), Some("0.0.0.0:9201"), "plane:1"),
            (Some("http://[::1]:9201"), None, "[::1]:9201"),
        ] {
            assert_eq!(at(ops, listens).unwrap(), expected);
        }
        for wrong in ["https://plane:1", "plane:1", "http://plane", "http://:1", "http://a:1/ready", "http://u@a:1"] {
            assert!(matches!(at(Some(wrong), None), Err(Unwell::Address(_))), "{wrong}");
        }
        assert!(matches!(at(None, Some("everywhere")), Err(Unwell::Address(_))));
    }
}

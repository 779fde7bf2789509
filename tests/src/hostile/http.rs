//! The bad server over HTTP, written byte by byte: a library would not let us be so wrong.
//!
//! Its manners hold for every request: `hang`, `reset`, `status N`, `flood` (its GET stream never stops talking),
//! `sse` (each answer is an event stream).

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::deeds::Deed;
use super::{Asked, Hostile, old};

const DRIP: Duration = Duration::from_millis(20);
/// Between two looks at the manner, on a quiet stream.
const QUIET: Duration = Duration::from_millis(100);
const MOST_BODY: usize = 64 << 20;

/// A socket that is bound and not yet served.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Port 0 is any free one. Errors: as of binding.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self(TcpListener::bind(address).await?))
    }

    /// Errors: as of asking the socket.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// For ever. Errors: as of accepting.
    pub async fn serve(self, hostile: Arc<Hostile>) -> io::Result<()> {
        let (tasks, sessions) = (TaskTracker::new(), Arc::new(Sessions::default()));
        loop {
            let (stream, _) = self.0.accept().await?;
            let (hostile, sessions) = (Arc::clone(&hostile), Arc::clone(&sessions));
            tasks.spawn(async move {
                let _peer_went = connection(BufReader::new(stream), &hostile, &sessions).await.is_err();
            });
        }
    }
}

#[derive(Debug, Default)]
struct Sessions {
    made: AtomicU64,
    known: Mutex<HashSet<String>>,
    old: old::Streams,
}

impl Sessions {
    fn make(&self) -> String {
        let id = format!("fault-{}-{}", std::process::id(), self.made.fetch_add(1, Ordering::Relaxed));
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        id
    }

    fn knows(&self, id: &str) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[derive(Debug, Default)]
struct Request {
    method: String,
    /// With its query.
    to: String,
    session: Option<String>,
    body: String,
}

/// None: the peer closed it.
async fn request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let (mut request, mut length) = (Request::default(), 0_usize);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if request.method.is_empty() {
            let mut words = text.split(' ').map(ToOwned::to_owned);
            (request.method, request.to) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        } else if let Some((name, value)) = text.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0).min(MOST_BODY),
                "mcp-session-id" => request.session = Some(value.trim().to_owned()),
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Ok(Some(request))
}

/// Request by request, as long as the connection is good for another.
async fn connection(mut stream: BufReader<TcpStream>, hostile: &Hostile, sessions: &Sessions) -> io::Result<()> {
    stream.get_ref().set_nodelay(true)?;
    while let Some(request) = request(&mut stream).await? {
        let manner = hostile.manner();
        match manner.as_str() {
            "hang" => return until_gone(stream).await,
            "reset" => return reset(stream),
            _ => {}
        }
        if let Some(status) = manner.strip_prefix("status ") {
            whole(&mut stream, status, "text/plain", "its manner says so", "").await?;
            continue;
        }
        if request.to == old::STREAM && request.method == "GET" {
            return old::stream(stream, hostile, &sessions.old).await;
        }
        if let Some(query) = request.to.strip_prefix(old::MESSAGES) {
            let message = (query.trim_start_matches('?'), request.body.as_str());
            match old::take(stream, message, hostile, &sessions.old).await? {
                Some(again) => stream = again,
                None => return Ok(()),
            }
            continue;
        }
        let known = request.session.as_deref().is_none_or(|id| sessions.knows(id));
        match request.method.as_str() {
            _ if !known => whole(&mut stream, "404 Not Found", "text/plain", "no such session", "").await?,
            "GET" => return talk(stream, hostile).await,
            "DELETE" => whole(&mut stream, "204 No Content", "text/plain", "", "").await?,
            _ => {
                let asked = Asked::read(&request.body);
                let begins = asked.as_ref().is_some_and(|asked| asked.method == "initialize");
                let Some(deed) = asked.and_then(|asked| hostile.deed(&asked)) else {
                    whole(&mut stream, "202 Accepted", "text/plain", "", "").await?;
                    continue;
                };
                let session = if begins { format!("mcp-session-id: {}\r\n", sessions.make()) } else { String::new() };
                match act(stream, deed, sessions, &session, manner == "sse").await? {
                    Some(again) => stream = again,
                    None => return Ok(()),
                }
            }
        }
    }
    Ok(())
}

/// A whole answer with its length. `more`: header lines.
pub(super) async fn whole(
    stream: &mut BufReader<TcpStream>,
    status: &str,
    kind: &str,
    body: &str,
    more: &str,
) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n{more}\r\n", body.len());
    stream.write_all((head + body).as_bytes()).await?;
    stream.flush().await
}

pub(super) fn reset(stream: BufReader<TcpStream>) -> io::Result<()> {
    let stream = stream.into_inner();
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    Ok(())
}

/// Says nothing, and reads on: so the end of a peer that gave up is seen.
pub(super) async fn until_gone(mut stream: BufReader<TcpStream>) -> io::Result<()> {
    let mut unheard = [0; 1024];
    while stream.read(&mut unheard).await? > 0 {}
    Ok(())
}

pub(super) fn event(message: &str) -> String {
    format!("event: message\ndata: {message}\n\n")
}

pub(super) const EVENTS: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

/// The GET stream: quiet, but as fast as it is read while the manner is `flood`. Ends when nobody reads.
async fn talk(mut stream: BufReader<TcpStream>, hostile: &Hostile) -> io::Result<()> {
    stream.write_all(EVENTS.as_bytes()).await?;
    stream.flush().await?;
    let changed = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"flood"}}"#;
    let some = (event(changed) + &event(log)).repeat(50);
    let mut unheard = [0; 64];
    loop {
        if hostile.manner() == "flood" {
            for _ in 0..20 {
                stream.write_all(some.as_bytes()).await?;
            }
            stream.flush().await?;
            continue;
        }
        tokio::select! {
            heard = stream.read(&mut unheard) => if heard? == 0 { return Ok(()) },
            () = tokio::time::sleep(QUIET) => {}
        }
    }
}

/// Gives the connection back where another request may follow.
async fn act(
    mut stream: BufReader<TcpStream>,
    deed: Deed,
    sessions: &Sessions,
    session: &str,
    sse: bool,
) -> io::Result<Option<BufReader<TcpStream>>> {
    let messages = match deed {
        Deed::Say(messages) => messages,
        Deed::Late { ms, text } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            vec![text]
        }
        Deed::Hang => return until_gone(stream).await.map(|()| None),
        Deed::Die => {
            let _still_here = raise(Signal::SIGKILL).is_err();
            return Ok(None);
        }
        Deed::Break { how, good } => {
            if how == "forget" {
                sessions.forget();
                vec![good]
            } else {
                return broken(stream, &how, &good).await;
            }
        }
    };
    match messages.as_slice() {
        [one] if !sse => whole(&mut stream, "200 OK", "application/json", one, session).await?,
        several => {
            let body = several.iter().map(|message| event(message)).collect::<String>();
            whole(&mut stream, "200 OK", "text/event-stream", &body, session).await?;
        }
    }
    Ok(Some(stream))
}

/// So much of an answer that its client has a part of it before it can break off.
const LARGE: usize = 4 << 20;
const JSON: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

/// A good answer up to its text, and of that `LARGE` bytes.
fn large(good: &str) -> String {
    let text = "\"text\":\"";
    let begun = good.find(text).and_then(|at| good.get(..at)).unwrap_or_default();
    format!("{begun}{text}{}", "x".repeat(LARGE))
}

async fn broken(mut stream: BufReader<TcpStream>, how: &str, good: &str) -> io::Result<Option<BufReader<TcpStream>>> {
    let half = good.get(..good.len() / 2).unwrap_or_default();
    let sized = |length: usize, body: &str| format!("{JSON}content-length: {length}\r\n\r\n{body}");
    // What is written, and then: none for a close, some for what never ends.
    let (bytes, goes_on): (String, Option<&str>) = match how {
        "close" => (String::new(), None),
        "cut_head" => ("HTTP/1.1 200 O".into(), None),
        "cut_body" => (sized(good.len(), half), None),
        "cut_large" => (sized(2 * LARGE, &large(good)), None),
        "events_cut" => (format!("{EVENTS}event: message\ndata: {half}"), None),
        "events_drip" => (EVENTS.into(), Some(": still here\n\n")),
        "events_empty" => (EVENTS.into(), None),
        "events_endless" => (EVENTS.into(), Some(ENDLESS)),
        "events_silent" => (EVENTS.into(), Some("")),
        "gzip" => (format!("{JSON}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n{good}", good.len()), None),
        "hang_body" => (sized(good.len(), half), Some("")),
        "hang_head" => ("HTTP/1.1 200 OK\r\ncontent-ty".into(), Some("")),
        "drip_body" => (sized(8192, half), Some(" ")),
        "drip_head" => ("HTTP/1.1 200 OK\r\nx-drip: ".into(), Some("d")),
        "longer" => (sized(good.len() + 100, good), None),
        "nonsense" => ("SSH-2.0-OpenSSH_9.9\r\n\r\n".into(), None),
        "two" => (sized(good.len() * 2 + 1, &format!("{good}\n{good}")), None),
        "reset" => {
            reset(stream)?;
            return Ok(None);
        }
        "reset_body" => {
            stream.write_all(sized(good.len(), half).as_bytes()).await?;
            stream.flush().await?;
            reset(stream)?;
            return Ok(None);
        }
        "half_close" => {
            stream.shutdown().await?;
            return until_gone(stream).await.map(|()| None);
        }
        "html" => {
            whole(&mut stream, "200 OK", "text/html", "<html>Sign in</html>", "").await?;
            return Ok(Some(stream));
        }
        "nothing" => {
            whole(&mut stream, "202 Accepted", "text/plain", "", "").await?;
            return Ok(Some(stream));
        }
        other => {
            if let Some(to) = other.strip_prefix("redirect ") {
                let more = format!("location: {to}\r\n");
                whole(&mut stream, "307 Temporary Redirect", "text/plain", "", &more).await?;
            } else if let Some(status) = other.strip_prefix("status ") {
                let more = "retry-after: 1\r\n";
                whole(&mut stream, status, "text/plain", "no", more).await?;
            } else {
                whole(&mut stream, "200 OK", "application/json", good, "").await?;
            }
            return Ok(Some(stream));
        }
    };
    stream.write_all(bytes.as_bytes()).await?;
    stream.flush().await?;
    match goes_on {
        None => {
            stream.shutdown().await?;
            Ok(None)
        }
        Some("") => until_gone(stream).await.map(|()| None),
        Some(ENDLESS) => loop {
            let note = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"more"}}"#;
            stream.write_all(event(note).repeat(100).as_bytes()).await?;
        },
        Some(drop) => loop {
            stream.write_all(drop.as_bytes()).await?;
            stream.flush().await?;
            tokio::time::sleep(DRIP).await;
        },
    }
}

/// Without an end, and as fast as it is read.
const ENDLESS: &str = "endless";

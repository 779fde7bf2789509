//! The plane's Unix socket: one connection is one client and one session, spoken line by line.
//!
//! The thin process on the other side (`stdio.rs`) sends a head line with its token, and the virtual server that it means
//! if any, then passes lines on. A line that begins with `\u{1}` is from the thin process itself: a newer token. Expiry,
//! revocation and kills are judged per request. A connection whose first line begins so is an operator's order
//! (`order.rs`). End of input is a cancel of what runs.

mod client;
pub mod order;

use std::{collections::HashMap, io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use bytes::Bytes;
use nix::unistd::getuid;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{client::Session, order::Orders};
use crate::{backend::stdio::spawner::Spawner, in_flight::LegKey, metrics::Connection, plane::Plane};

/// Lines that wait to be written to one client; a client that does not read so many holds its own calls up.
const LINES: usize = 64;
/// The head line: a token and little else.
const LONGEST_HEAD: usize = 32 * 1024;
/// What begins a line of the thin process itself: not a byte of JSON.
pub const ASIDE: u8 = 0x01;

/// First line of a connection; a later one after `ASIDE` brings a newer token.
#[derive(Deserialize, Serialize)]
pub struct Head {
    pub token: String,
    /// The virtual server; none: all that is offered at `/mcp`. Of no meaning in a later line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

impl std::fmt::Debug for Head {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Head")
    }
}

/// Makes the socket, 0600, in place of one that a dead plane left.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
        Err(fault) => return Err(fault),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until `stop`; then what runs is answered, and connections end. Refuses peers of another user, and children
/// of our own backends.
pub async fn serve(
    plane: Arc<Plane>,
    listener: UnixListener,
    spawner: Spawner,
    orders: Orders,
    stop: CancellationToken,
) {
    let connections = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(fault) => {
                    tracing::warn!(%fault, "can't accept an attached client");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        if !is_ours(&stream, &spawner) {
            tracing::warn!("a process of another user, or of a backend, was refused at the plane's socket");
            continue;
        }
        let Ok(stream) = stream.into_std() else { continue };
        let (here, orders, stop) = (Arc::clone(&plane), orders.clone(), stop.clone());
        plane.workers.spawn(&connections, async move {
            let plane = here;
            let Ok(stream) = UnixStream::from_std(stream) else { return };
            one(&plane, stream, &orders, &stop).await;
        });
    }
    connections.close();
    connections.wait().await;
}

/// Serves the client at the other end of `stream`, until it leaves or `stop`.
pub async fn one(plane: &Arc<Plane>, stream: UnixStream, orders: &Orders, stop: &CancellationToken) {
    let gauge = plane.metrics.connection(Connection::Attached);
    if let Err(fault) = converse(plane, stream, orders, stop).await {
        tracing::debug!(%fault, "the client left");
    }
    drop(gauge);
}

fn is_ours(stream: &UnixStream, spawner: &Spawner) -> bool {
    let Ok(peer) = stream.peer_cred() else { return false };
    peer.uid() == getuid().as_raw() && !peer.pid().is_some_and(|pid| spawner.owns(pid))
}

async fn converse(plane: &Arc<Plane>, stream: UnixStream, orders: &Orders, stop: &CancellationToken) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::with_capacity(16 * 1024, reading);
    let mut line = Vec::new();
    if !read_line(&mut reading, &mut line, LONGEST_HEAD).await? {
        return Ok(());
    }
    if let Some((&ASIDE, order)) = line.split_first() {
        let mut answer = serde_json::to_vec(&order::obey(plane, orders, order).await)?;
        answer.push(b'\n');
        return writing.write_all(&answer).await;
    }
    let Ok(head) = serde_json::from_slice::<Head>(&line) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its first line is no head"));
    };
    let mut key = [0; 16];
    aws_lc_rs::rand::fill(&mut key).map_err(|_| io::Error::other("no randomness"))?;
    let (out, mut lines) = mpsc::channel::<Bytes>(LINES);
    let gone = CancellationToken::new();
    let mut session = Session {
        plane: Arc::clone(plane),
        key: LegKey(key),
        leg: None,
        endpoint: head.server,
        authorization: bearer(&head.token),
        listening: HashMap::new(),
        out,
        calls: TaskTracker::new(),
        gone: gone.clone(),
    };
    let writer = async {
        while let Some(line) = lines.recv().await {
            writing.write_all(&line).await?;
        }
        Ok::<_, io::Error>(())
    };
    let reader = async {
        let limit = plane.views.load_full().map_or(4 << 20, |view| view.policy.gateway.max_request_bytes);
        loop {
            let more = tokio::select! {
                () = stop.cancelled() => break,
                more = read_line(&mut reading, &mut line, limit) => more.inspect_err(|_| session.silence())?,
            };
            if !more {
                gone.cancel();
                break;
            }
            session.hear(std::mem::take(&mut line)).await;
        }
        session.calls.close();
        session.calls.wait().await;
        plane.feeds.forget(session.key);
        plane.sessions.forget_level(session.key);
        plane.backends.end_session(session.key);
        drop(session);
        Ok::<_, io::Error>(())
    };
    let (read, wrote) = tokio::join!(reader, async {
        let wrote = writer.await;
        if wrote.is_err() {
            gone.cancel();
        }
        wrote
    });
    read.and(wrote)
}

/// The header that HTTP would have.
fn bearer(token: &str) -> Vec<u8> {
    if token.is_empty() { Vec::new() } else { format!("Bearer {token}").into_bytes() }
}

/// One line without its end; false at end of input. Errors: longer than `limit`.
async fn read_line(
    reading: &mut BufReader<impl AsyncRead + Unpin>,
    line: &mut Vec<u8>,
    limit: usize,
) -> io::Result<bool> {
    line.clear();
    loop {
        let held = reading.fill_buf().await?;
        if held.is_empty() {
            return Ok(!line.is_empty());
        }
        let (piece, used, ended) = match memchr::memchr(b'\n', held) {
            Some(at) => (held.get(..at).unwrap_or_default(), at + 1, true),
            None => (held, held.len(), false),
        };
        if line.len() + piece.len() > limit {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a line is longer than {limit} bytes")));
        }
        line.extend_from_slice(piece);
        reading.consume(used);
        if ended {
            return Ok(true);
        }
    }
}

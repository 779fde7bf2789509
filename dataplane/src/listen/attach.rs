//! The plane's Unix socket: one connection is one client and one session, spoken line by line.
//!
//! The thin process on the other side (`stdio.rs`) sends a head line with its token, then passes lines on. A line that
//! begins with `\u{1}` is from the thin process itself: a newer token. Expiry, revocation and kills are judged per
//! request. End of input is a cancel of what runs.

use std::{io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use bytes::Bytes;
use nix::unistd::getuid;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{local, message, revision::Revision};
use crate::{
    answering::Event,
    backend::stdio::spawner::Spawner,
    call::{Caller, RequestId},
    denial::{Denial, NotReady},
    in_flight::LegKey,
    metrics::Connection,
    plane::Plane,
    stages::authn::Peer,
    wire::{outgoing, scan, scan::Scanned},
};

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
pub async fn serve(plane: Arc<Plane>, listener: UnixListener, spawner: Spawner, stop: CancellationToken) {
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
        let (plane, stop) = (Arc::clone(&plane), stop.clone());
        connections.spawn(async move {
            let gauge = plane.metrics.connection(Connection::Attached);
            if let Err(fault) = converse(&plane, stream, &stop).await {
                tracing::debug!(%fault, "an attached client left");
            }
            drop(gauge);
        });
    }
    connections.close();
    connections.wait().await;
}

fn is_ours(stream: &UnixStream, spawner: &Spawner) -> bool {
    let Ok(peer) = stream.peer_cred() else { return false };
    peer.uid() == getuid().as_raw() && !peer.pid().is_some_and(|pid| spawner.owns(pid))
}

/// One client's connection.
struct Session {
    plane: Arc<Plane>,
    key: LegKey,
    revision: Option<Revision>,
    authorization: Vec<u8>,
    out: mpsc::Sender<Bytes>,
    calls: TaskTracker,
    gone: CancellationToken,
}

async fn converse(plane: &Arc<Plane>, stream: UnixStream, stop: &CancellationToken) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::with_capacity(16 * 1024, reading);
    let mut line = Vec::new();
    if !read_line(&mut reading, &mut line, LONGEST_HEAD).await? {
        return Ok(());
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
        revision: None,
        authorization: bearer(&head.token),
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
                more = read_line(&mut reading, &mut line, limit) => more?,
            };
            if !more {
                gone.cancel();
                break;
            }
            session.hear(std::mem::take(&mut line)).await;
        }
        session.calls.close();
        session.calls.wait().await;
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

fn bearer(token: &str) -> Vec<u8> {
    if token.is_empty() { Vec::new() } else { format!("Bearer {token}").into_bytes() }
}

impl Session {
    async fn hear(&mut self, line: Vec<u8>) {
        if let Some((&ASIDE, head)) = line.split_first() {
            if let Ok(head) = serde_json::from_slice::<Head>(head) {
                self.authorization = bearer(&head.token);
            }
            return;
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        let body = Bytes::from(line);
        let id = RequestId::fresh();
        match scan::body(&body) {
            Ok(scan::Body::One(scanned)) => self.message(&body, scanned, id).await,
            Ok(scan::Body::Batch(messages)) if self.revision.is_some_and(Revision::has_batches) => {
                for scanned in messages {
                    self.message(&body, scanned, RequestId::fresh()).await;
                }
            }
            Ok(scan::Body::Batch(_)) => {
                let denial = Denial::InvalidRequest {
                    what: "batches exist in revision 2025-03-26 alone".into(),
                    position: None,
                };
                self.say(&local::refusal(None, id, &denial)).await;
            }
            Err(fault) => self.say(&local::refusal(None, id, &fault.into())).await,
        }
    }

    async fn message(&mut self, body: &Bytes, scanned: Scanned, id: RequestId) {
        let client_id = scanned.id;
        match self.judge(body, &scanned, id) {
            Ok(Some(caller)) => match message::take(&self.plane, caller, body, scanned, id, None) {
                message::Reply::Accepted => {}
                message::Reply::Now(bytes, _) => self.say(&bytes).await,
                message::Reply::Running(answering) => self.run(answering),
            },
            Ok(None) => {}
            Err(denial) => {
                // A notification is never answered.
                if scanned.kind == scan::Kind::Request {
                    self.say(&local::refusal(client_id.map(|span| span.get(body)), id, &denial)).await;
                }
            }
        }
    }

    /// `Ok(None)`: it was `initialize`, and is answered.
    fn judge(&mut self, body: &Bytes, scanned: &Scanned, id: RequestId) -> Result<Option<Caller>, Denial> {
        let plane = &self.plane;
        if let Some(reason) = plane.not_ready() {
            return Err(Denial::NotReady { reason });
        }
        let view = plane.views.load_full().ok_or(Denial::NotReady { reason: NotReady::NoSnapshot })?;
        let authorization = (!self.authorization.is_empty()).then_some(&*self.authorization);
        let number = self.key.0.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let verified = plane
            .tokens
            .authenticate(authorization, Peer::Connection(number), &view.policy.auth, plane.now())
            .inspect_err(|denial| {
                plane.metrics.refused(denial.row().recorded);
                plane.audit.stranger(Peer::Connection(number), denial);
            })?;
        if let Some(version) = scanned.modern_version {
            let requested = version.text(body).unwrap_or_default();
            return Err(Denial::UnsupportedVersion { requested: requested.as_ref().into() });
        }
        let is = |method: &str| scanned.method.is_some_and(|text| text.is(body, method));
        if is("initialize") {
            let revision = local::negotiate(body, scanned)?;
            let caller = Caller::new(verified, view, local::connection_leg(self.key, revision));
            plane.audit.initialized(&caller, id)?;
            self.revision = Some(revision);
            let (bytes, _) = local::answer(body, scanned, id, Ok(local::initialized(revision).into()));
            let line = outgoing::line(&bytes);
            // The first line of a session always finds room.
            self.out.try_send(line).ok();
            self.listen(&caller);
            return Ok(None);
        }
        let revision = match self.revision {
            Some(revision) => revision,
            None if is("ping") || scanned.kind != scan::Kind::Request => Revision::NEWEST,
            None => return Err(Denial::InvalidParams { what: "send initialize first".into() }),
        };
        Ok(Some(Caller::new(verified, view, local::connection_leg(self.key, revision))))
    }

    /// What the client is told without asking, from its `initialize` on.
    fn listen(&self, caller: &Caller) {
        let Ok(mut notes) = self.plane.feeds.open(Arc::clone(caller.principal()), self.key) else { return };
        let (out, gone) = (self.out.downgrade(), self.gone.clone());
        self.plane.tracker.spawn(async move {
            loop {
                let note = tokio::select! {
                    () = gone.cancelled() => return,
                    note = notes.recv() => note,
                };
                match (note, out.upgrade()) {
                    (Some(super::feeds::Note::Message(message)), Some(out)) => {
                        drop(out.send(outgoing::line(&message)).await)
                    }
                    (Some(super::feeds::Note::Quiet), Some(_)) => {}
                    (None, _) | (_, None) => return,
                }
            }
        });
    }

    /// A call of its own beside the others. The client's leaving drops it: over stdio that is a cancel.
    fn run(&self, answering: message::Answering) {
        let (out, gone) = (self.out.clone(), self.gone.clone());
        self.calls.spawn(async move {
            let message::Answering { mut call, mut events } = answering;
            let mut answer = Vec::new();
            loop {
                tokio::select! {
                    biased;
                    () = gone.cancelled() => return,
                    Some(event) = events.recv() => take(event, &mut answer, &out).await,
                    last = &mut call => {
                        while let Ok(event) = events.try_recv() {
                            take(event, &mut answer, &out).await;
                        }
                        if !last.is_answer() {
                            answer.clear();
                        }
                        if let Some(bytes) = last.bytes() {
                            answer.extend_from_slice(bytes);
                            out.send(outgoing::line(&answer)).await.ok();
                        }
                        return;
                    }
                }
            }
        });
    }

    async fn say(&self, message: &[u8]) {
        self.out.send(outgoing::line(message)).await.ok();
    }
}

async fn take(event: Event, answer: &mut Vec<u8>, out: &mpsc::Sender<Bytes>) {
    match event {
        Event::Progress(message) | Event::Log(message) => drop(out.send(outgoing::line(&message)).await),
        Event::Part(part) => answer.extend_from_slice(&part),
        Event::Quiet => {}
    }
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

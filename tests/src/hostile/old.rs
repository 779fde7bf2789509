//! The bad server over HTTP+SSE, the transport of 2024-11-05: a GET of `/sse` opens the stream of a session, and what is
//! said there is POSTed to `/messages?NUMBER`, which says that it was taken and no more.
//!
//! Its manners hold from the opening of a stream: `endpoint never` (it names none), `endpoint late` (it begins with
//! something else), `endpoint twice` (it names one that is nowhere as well), `endpoint URI`. While it is `mute` nothing is
//! said on a stream.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::deeds::Deed;
use super::http::{EVENTS, event, reset, until_gone, whole};
use super::{Asked, Hostile};

pub(super) const STREAM: &str = "/sse";
pub(super) const MESSAGES: &str = "/messages";
/// What waits to be said on one stream.
const OUTBOX: usize = 64;
/// Above what is borne of a stream within 10 s, of each.
const GARBAGE: usize = 1500;
const UNASKED: usize = 200;

enum Said {
    /// As it is.
    Bytes(String),
    End,
    Reset,
}

#[derive(Debug, Default)]
pub(super) struct Streams {
    made: AtomicU64,
    /// By the query of their endpoints.
    held: Mutex<HashMap<String, mpsc::Sender<Said>>>,
    tasks: TaskTracker,
}

impl Streams {
    fn open(&self) -> (String, mpsc::Receiver<Said>) {
        let (out, outbox) = mpsc::channel(OUTBOX);
        let query = self.made.fetch_add(1, Ordering::Relaxed).to_string();
        self.held().insert(query.clone(), out);
        (query, outbox)
    }

    fn find(&self, query: &str) -> Option<mpsc::Sender<Said>> {
        self.held().get(query).filter(|out| !out.is_closed()).cloned()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, mpsc::Sender<Said>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn endpoint(at: &str) -> String {
    format!("event: endpoint\ndata: {at}\n\n")
}

/// To its end.
pub(super) async fn stream(mut stream: BufReader<TcpStream>, hostile: &Hostile, streams: &Streams) -> io::Result<()> {
    let (query, mut outbox) = streams.open();
    let own = endpoint(&format!("{MESSAGES}?{query}"));
    let note = event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    let first = match hostile.manner().strip_prefix("endpoint ") {
        None => own,
        Some("never") => String::new(),
        Some("late") => note + &own,
        Some("twice") => own + &endpoint(&format!("{MESSAGES}?nowhere")),
        Some(other) => endpoint(other),
    };
    stream.write_all((EVENTS.to_owned() + &first).as_bytes()).await?;
    stream.flush().await?;
    let mut unheard = [0; 64];
    loop {
        tokio::select! {
            heard = stream.read(&mut unheard) => if heard? == 0 { return Ok(()) },
            said = outbox.recv() => match said {
                Some(Said::Bytes(_)) if hostile.manner() == "mute" => {}
                Some(Said::Bytes(bytes)) => {
                    stream.write_all(bytes.as_bytes()).await?;
                    stream.flush().await?;
                }
                Some(Said::End) => return stream.shutdown().await,
                Some(Said::Reset) => return reset(stream),
                None => return until_gone(stream).await,
            },
        }
    }
}

/// One message. Gives the connection back where another request may follow.
pub(super) async fn take(
    mut stream: BufReader<TcpStream>,
    (query, body): (&str, &str),
    hostile: &Hostile,
    streams: &Streams,
) -> io::Result<Option<BufReader<TcpStream>>> {
    let Some(out) = streams.find(query) else {
        whole(&mut stream, "404 Not Found", "text/plain", "no such session", "").await?;
        return Ok(Some(stream));
    };
    let deed = Asked::read(body).and_then(|asked| hostile.deed(&asked));
    let said = match deed {
        None | Some(Deed::Hang) => Vec::new(),
        Some(Deed::Say(messages)) => messages.iter().map(|message| Said::Bytes(event(message))).collect(),
        Some(Deed::Late { ms, text }) => {
            streams.tasks.spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                let _its_stream_ended = out.send(Said::Bytes(event(&text))).await.is_err();
            });
            whole(&mut stream, "202 Accepted", "text/plain", "", "").await?;
            return Ok(Some(stream));
        }
        Some(Deed::Die) => {
            let _still_here = raise(Signal::SIGKILL).is_err();
            return Ok(None);
        }
        Some(Deed::Break { how, good }) => match how.as_str() {
            "post_reset" => return reset(stream).map(|()| None),
            "post_silent" => return until_gone(stream).await.map(|()| None),
            // Its answer comes all the same.
            "post_hang" => {
                let _its_stream_ended = out.send(Said::Bytes(event(&good))).await.is_err();
                return until_gone(stream).await.map(|()| None);
            }
            how => match how.strip_prefix("status ") {
                Some(status) => {
                    whole(&mut stream, status, "text/plain", "no", "retry-after: 1\r\n").await?;
                    return Ok(Some(stream));
                }
                None => broken(how, &good, streams),
            },
        },
    };
    whole(&mut stream, "202 Accepted", "text/plain", "", "").await?;
    for said in said {
        if out.send(said).await.is_err() {
            break;
        }
    }
    Ok(Some(stream))
}

/// What is said on the stream of a message that was taken.
fn broken(how: &str, good: &str, streams: &Streams) -> Vec<Said> {
    let half = good.get(..good.len() / 2).unwrap_or_default();
    let good = event(good);
    let unasked = |number: usize| event(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, 987_654_321 + number));
    match how {
        "event_half" => vec![Said::Bytes(format!("event: message\ndata: {half}\n"))],
        "event_other" => vec![Said::Bytes(good.replace("event: message", "event: other"))],
        "forget" => {
            streams.held().clear();
            vec![Said::Bytes(good)]
        }
        "garbage" => vec![Said::Bytes(event("{").repeat(GARBAGE)), Said::Bytes(good)],
        "noise" => vec![
            Said::Bytes(format!(": still here\n\nevent: other\ndata: {half}\n\n{}", endpoint("/nowhere"))),
            Said::Bytes(event("{") + &unasked(0) + &event("[]") + &good),
        ],
        "stream_cut" => vec![Said::Bytes(format!("event: message\ndata: {half}")), Said::End],
        "stream_end" => vec![Said::End],
        "stream_reset" => vec![Said::Reset],
        "unasked" => vec![Said::Bytes((0..UNASKED).map(unasked).collect()), Said::Bytes(good)],
        _ => vec![Said::Bytes(good)],
    }
}

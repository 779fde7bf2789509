//! The bad server on stdin and stdout.
//!
//! Its manners: `exit` (fails at its start, with words on stderr), `mute` (reads and says nothing), `old` (a revision that
//! nobody knows), `stubborn` (ignores the end of its input and SIGTERM, with a grandchild in a session of its own that
//! holds its pipes).

use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::deeds::Deed;
use super::{Asked, Hostile};

const OUTBOX: usize = 64;
/// Above every limit of a line that a test has.
const LINE: usize = 40 << 20;
const PIECE: usize = 64 << 10;
const WORDS: usize = 30;
/// Long enough that only whoever ends it is the reason for its end.
const LONG: &str = "3000";

/// Until the input ends. Errors: the manner is `exit`, or reading and writing failed.
pub async fn serve(hostile: Arc<Hostile>) -> io::Result<()> {
    let manner = hostile.manner();
    if manner == "exit" {
        let mut stderr = tokio::io::stderr();
        for number in 0..WORDS {
            stderr.write_all(format!("word {number}: this server can't start\n").as_bytes()).await?;
        }
        return Err(io::Error::other("its manner is `exit`"));
    }
    let is_stubborn = manner == "stubborn";
    // Taken, and never looked at: that is how it is ignored.
    let _terms = is_stubborn.then(|| signal(SignalKind::terminate())).transpose()?;
    if is_stubborn {
        grandchild(false)?;
    }
    let tasks = TaskTracker::new();
    let (out, outbox) = mpsc::channel(OUTBOX);
    tasks.spawn(write(outbox));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        if manner == "mute" {
            continue;
        }
        let Some(deed) = Asked::read(&line).and_then(|asked| hostile.deed(&asked)) else { continue };
        if matches!(&deed, Deed::Break { how, .. } if how == "deaf") {
            std::future::pending::<()>().await;
        }
        let out = out.clone();
        tasks.spawn(async move { act(deed, &out).await });
    }
    if is_stubborn {
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// In a session of its own: no signal to our group reaches it. `quiet`: it does not hold our pipes.
fn grandchild(quiet: bool) -> io::Result<()> {
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", &format!("trap '' TERM HUP; sleep {LONG} & wait; wait")]);
    if quiet {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    }
    // Never waited for: that is the fault.
    command.spawn().map(drop)
}

async fn act(deed: Deed, out: &mpsc::Sender<String>) {
    let lines = |messages: Vec<String>| messages.into_iter().map(|message| message + "\n").collect::<Vec<_>>();
    let said = match deed {
        Deed::Say(messages) => lines(messages),
        Deed::Late { ms, text } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            lines(vec![text])
        }
        Deed::Hang => return,
        Deed::Die => {
            let _still_here = raise(Signal::SIGKILL).is_err();
            return;
        }
        Deed::Break { how, good } => match how.as_str() {
            "banner" => lines(vec!["== Welcome to the fault server! ==".into(), String::new(), "42".into(), good]),
            "endless_line" => vec!["x".repeat(PIECE); LINE / PIECE],
            "exit" => {
                let _still_here = raise(Signal::SIGTERM).is_err();
                return;
            }
            "fork" => {
                let _failed = grandchild(true).is_err();
                lines(vec![good])
            }
            "freeze" => {
                let _still_here = raise(Signal::SIGSTOP).is_err();
                lines(vec![good])
            }
            "stderr" => {
                let mut stderr = tokio::io::stderr();
                let line = format!("{}\u{1b}[31m\n", "e".repeat(100));
                for _ in 0..20_000 {
                    let _closed = stderr.write_all(line.as_bytes()).await.is_err();
                }
                lines(vec![good])
            }
            "unknown" => {
                let nobodys = |number: u64| super::good(&json!((1_u64 << 40) + number), &super::text(&json!("?")));
                let unknown = (0..10).map(nobodys);
                lines(unknown.chain([good]).collect())
            }
            _ => lines(vec![good]),
        },
    };
    for line in said {
        let _ended = out.send(line).await.is_err();
    }
}

async fn write(mut outbox: mpsc::Receiver<String>) -> io::Result<()> {
    let mut stdout = tokio::io::stdout();
    while let Some(text) = outbox.recv().await {
        stdout.write_all(text.as_bytes()).await?;
        stdout.flush().await?;
    }
    Ok(())
}

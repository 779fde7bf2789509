//! One daemon as a child of `up`: started, its lines passed on, started again when it dies, ended when told.
//!
//! It has a process group of its own, so that Ctrl-C on the terminal reaches `up` alone, and `up` decides the order. It
//! knows nothing of what the daemon does; only an exit code of 2 (its command line or configuration is wrong) ends the
//! trying at once.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// Waits between two starts: from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// So many deaths within `WINDOW` end the trying.
const DEATHS: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
/// Lines that are kept for the last words.
const KEPT: usize = 20;
/// A longer line is cut; nothing a daemon writes grows without end here.
const LONGEST_LINE: usize = 64 * 1024;

/// What to start, and how it is called in messages.
#[derive(Clone, Debug)]
pub struct Daemon {
    pub name: &'static str,
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// Put into the environment that it inherits.
    pub envs: Vec<(String, String)>,
    /// Taken out of it.
    pub unset: &'static [&'static str],
    /// A folder that may poison it: set aside once, when it keeps dying over it.
    pub spool: Option<PathBuf>,
    /// `setpriv`, where it is there: the child is told to end when `up` is killed.
    pub setpriv: Option<PathBuf>,
}

/// What `up` wants of a child; the newest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub phase: Phase,
    /// Counts SIGHUPs to hand on.
    pub hups: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not to be started yet.
    Hold,
    Run,
    /// SIGTERM: drain and end.
    End,
    /// SIGKILL.
    Kill,
}

/// What a child tells `up`.
#[derive(Debug)]
pub enum Event {
    /// A line of its log.
    Line(String),
    /// What `up` has to say about it.
    Note(String),
}

/// How it ended for good.
#[derive(Debug)]
pub enum End {
    /// It was told to.
    Asked,
    /// It dies again and again, cannot be started, or says that its configuration is wrong.
    GaveUp { exit_code: u8, why: String, last_lines: Vec<String> },
}

/// Keeps the daemon running until told otherwise. Dropped: the child is killed.
pub async fn keep(daemon: Daemon, mut orders: watch::Receiver<Order>, events: mpsc::Sender<Event>) -> End {
    if orders.wait_for(|order| order.phase != Phase::Hold).await.is_err() || orders.borrow().phase != Phase::Run {
        return End::Asked;
    }
    let mut last = VecDeque::new();
    let mut deaths: VecDeque<Instant> = VecDeque::new();
    let mut pause = FIRST_PAUSE;
    let mut set_aside = false;
    loop {
        let started = Instant::now();
        let status = match start(&daemon) {
            Ok(child) => attend(child, &mut orders, &events, &mut last).await,
            Err(error) => {
                return gave_up(1, format!("{} cannot be started: {error}", daemon.program.display()), last);
            }
        };
        if orders.borrow().phase != Phase::Run {
            return End::Asked;
        }
        let refuses = status.as_ref().is_ok_and(|status| status.code() == Some(2));
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        if refuses {
            return gave_up(2, format!("the {} refuses to start", daemon.name), last);
        }
        let now = Instant::now();
        deaths.push_back(now);
        deaths.retain(|death| now.duration_since(*death) < WINDOW);
        if now.duration_since(started) >= WINDOW {
            pause = FIRST_PAUSE;
        }
        if deaths.len() >= DEATHS {
            match daemon.spool.as_ref().filter(|_| !set_aside && blames_spool(&last)).map(put_aside) {
                Some(Ok(aside)) => {
                    set_aside = true;
                    deaths.clear();
                    let note = format!(
                        "the {} keeps dying over its audit spool; it starts with an empty one. The old one is kept in {}: its records are not in the audit yet",
                        daemon.name,
                        aside.display()
                    );
                    let _unheard = events.send(Event::Note(note)).await.is_err();
                }
                _ => {
                    return gave_up(
                        1,
                        format!("the {} died {DEATHS} times within a minute ({how})", daemon.name),
                        last,
                    );
                }
            }
        }
        let note = format!("the {} died ({how}); it is started again in {} ms", daemon.name, pause.as_millis());
        let _unheard = events.send(Event::Note(note)).await.is_err();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = orders.wait_for(|order| order.phase != Phase::Run) => return End::Asked,
        }
        pause = pause.saturating_mul(2).min(LAST_PAUSE);
    }
}

fn gave_up(exit_code: u8, why: String, last: VecDeque<String>) -> End {
    End::GaveUp { exit_code, why, last_lines: last.into() }
}

fn blames_spool(last: &VecDeque<String>) -> bool {
    last.iter().any(|line| {
        let line = line.to_lowercase();
        line.contains("spool") && ["error", "panic", "corrupt", "cannot"].iter().any(|sign| line.contains(sign))
    })
}

/// `spool` → `spool.aside-20261123T231500Z`, beside it.
fn put_aside(spool: &PathBuf) -> std::io::Result<PathBuf> {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let aside = spool.with_file_name(format!("spool.aside-{time}"));
    std::fs::rename(spool, &aside).map(|()| aside)
}

fn start(daemon: &Daemon) -> std::io::Result<Child> {
    let mut command = match &daemon.setpriv {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "TERM", "--"]).arg(&daemon.program);
            command
        }
        None => Command::new(&daemon.program),
    };
    command.args(&daemon.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    for name in daemon.unset {
        command.env_remove(name);
    }
    command.envs(daemon.envs.iter().map(|(name, value)| (name, value)));
    command.spawn()
}

/// Until it has ended: passes on its lines and what it is ordered.
async fn attend(
    mut child: Child,
    orders: &mut watch::Receiver<Order>,
    events: &mpsc::Sender<Event>,
    last: &mut VecDeque<String>,
) -> std::io::Result<ExitStatus> {
    let mut lines = Lines { from: child.stderr.take(), held: Vec::new() };
    let mut obeyed = *orders.borrow_and_update();
    obeyed.phase = Phase::Run;
    loop {
        let now = *orders.borrow_and_update();
        obey(&child, obeyed, now);
        obeyed = now;
        tokio::select! {
            line = lines.next(), if lines.from.is_some() => remember(line, events, last).await,
            status = child.wait() => {
                // What it wrote just before; a grandchild may hold the pipe open, so not for long.
                while let Ok(Some(line)) = tokio::time::timeout(Duration::from_millis(200), lines.next()).await {
                    remember(Some(line), events, last).await;
                }
                return status;
            }
            changed = orders.changed() => if changed.is_err() { return child.wait().await },
        }
    }
}

async fn remember(line: Option<String>, events: &mpsc::Sender<Event>, last: &mut VecDeque<String>) {
    let Some(line) = line else { return };
    last.push_back(line.clone());
    while last.len() > KEPT {
        last.pop_front();
    }
    let _unheard = events.send(Event::Line(line)).await.is_err();
}

fn obey(child: &Child, before: Order, now: Order) {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw) else {
        return;
    };
    let wanted = match now.phase {
        Phase::End if before.phase != Phase::End => Some(Signal::SIGTERM),
        Phase::Kill if before.phase != Phase::Kill => Some(Signal::SIGKILL),
        Phase::Run if now.hups != before.hups => Some(Signal::SIGHUP),
        Phase::Hold | Phase::Run | Phase::End | Phase::Kill => None,
    };
    if let Some(wanted) = wanted {
        // It alone, not its group: what the plane started ends by the plane's own order, or by its reaper.
        let _gone = signal::kill(pid, wanted).is_err();
    }
}

/// Lines of a pipe, each at most `LONGEST_LINE` bytes; can be asked again after a cancelled wait.
struct Lines {
    from: Option<ChildStderr>,
    held: Vec<u8>,
}

impl Lines {
    async fn next(&mut self) -> Option<String> {
        loop {
            let end = self.held.iter().position(|byte| *byte == b'\n');
            if let Some(length) =
                end.or_else(|| (self.held.len() >= LONGEST_LINE).then_some(LONGEST_LINE.saturating_sub(1)))
            {
                let line: Vec<u8> = self.held.drain(..=length).collect();
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let mut chunk = [0_u8; 1024];
            let read = match self.from.as_mut() {
                Some(from) => from.read(&mut chunk).await.unwrap_or(0),
                None => 0,
            };
            if read == 0 {
                self.from = None;
                let rest = std::mem::take(&mut self.held);
                return (!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned());
            }
            self.held.extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
    }
}

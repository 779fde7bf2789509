//! The ladder by which a process and all that descends from it ends: close stdin, TERM, KILL, and a look for who left
//! the group. MCP asks for the same order (2025-11-25, lifecycle, shutdown).

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::process::Process;
use crate::planted::{self, Bug};

const AFTER_CLOSE: Duration = Duration::from_secs(2);
const AFTER_TERM: Duration = Duration::from_secs(3);
const AFTER_KILL: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(20);

/// Walks the ladder as far as it has to; `close_stdin` is the first step. At most 6 s, then what is left is a bug or
/// stuck in the kernel, and is logged.
pub(super) async fn ladder(backend: &str, process: &Process, close_stdin: impl FnOnce()) {
    let begin = Instant::now();
    let took_ms = || u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    close_stdin();
    if planted::has(Bug::Orphan) {
        process.exited().await;
        return;
    }
    // A leader that is dead reads no stdin: what is left of its group gets no time for that.
    if !process.has_exited() && is_gone_within(AFTER_CLOSE, process).await {
        tracing::debug!(backend, took_ms = took_ms(), "ended when its stdin was closed");
        return;
    }
    if process.has_exited() && process.tree().is_empty() {
        return;
    }
    process.signal_group(Signal::SIGTERM);
    if is_gone_within(AFTER_TERM, process).await {
        tracing::info!(backend, took_ms = took_ms(), "ended by SIGTERM");
        return;
    }
    let until = Instant::now() + AFTER_KILL;
    let mut gone = false;
    // Again and again: what forks as fast as it is killed is caught in the end.
    while !gone && Instant::now() < until {
        kill(process);
        gone = is_gone_within(LOOK, process).await;
    }
    if gone {
        tracing::warn!(backend, took_ms = took_ms(), "ended by SIGKILL");
    } else {
        tracing::error!(backend, left = process.tree().len(), "processes are left after SIGKILL; please report this");
    }
}

/// Everything at once, without a word before.
pub(super) fn kill(process: &Process) {
    process.signal_group(Signal::SIGKILL);
    process.kill_all();
    for stray in process.tree() {
        stray.signal(Signal::SIGKILL);
    }
}

/// The leader ended, and nobody of its tree is left. Once it is past its leader's end, whoever sits in a group of his
/// own has until then as well.
async fn is_gone_within(most: Duration, process: &Process) -> bool {
    let until = Instant::now() + most;
    if tokio::time::timeout_at(until, process.exited()).await.is_err() {
        return false;
    }
    while !process.tree().is_empty() {
        if Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

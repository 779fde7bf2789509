//! One child that the spawner forked: its end, its signals, its status.
//!
//! Death is what `wait` says, not end of file: grandchildren hold pipes open. An ended child stays a zombie until
//! `reap`, so that its process group keeps its number and a signal to the group can't meet a stranger.

use std::{
    process::{ChildStdin, ChildStdout},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    cgroup::{Exceeded, Leaf},
    spawner::Spawner,
    strays::{self, Seen},
};

/// Between looks at a child where its end can't be signalled to us.
const LOOK: Duration = Duration::from_millis(50);

/// The three pipes of a fresh child.
#[derive(Debug)]
pub struct Pipes {
    pub stdin: ChildStdin,
    pub stdout: ChildStdout,
    pub stderr: std::process::ChildStderr,
}

/// A running child. Dropped before it was reaped, its whole group is killed.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    marker: String,
    /// None: there can be none here.
    leaf: Option<Leaf>,
    /// Processes and threads that it could not start, as far as they were told.
    refused: AtomicU64,
    spawner: Spawner,
}

impl Process {
    pub(super) fn new(pid: i32, marker: String, leaf: Option<Leaf>, spawner: Spawner) -> Self {
        Self { pid: Pid::from_raw(pid), marker, leaf, refused: AtomicU64::new(0), spawner }
    }

    pub fn pid(&self) -> u32 {
        self.pid.as_raw().unsigned_abs()
    }

    /// Waits for its end, without taking its status. Cancel safe.
    pub async fn exited(&self) {
        // Listens before it looks: an end in between is heard.
        let mut children = signal(SignalKind::child()).ok();
        while !self.has_exited() {
            match &mut children {
                Some(children) => {
                    // A signal may be merged with another's; the slow look makes up for what a full queue would lose.
                    tokio::time::timeout(Duration::from_secs(1), children.recv()).await.ok();
                }
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    pub fn has_exited(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid), flags) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => false,
            Ok(_) | Err(_) => true,
        }
    }

    /// Whether it ended by its own will, with a status, and by no signal.
    pub fn has_left(&self) -> bool {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        matches!(waitid(Id::Pid(self.pid), flags), Ok(WaitStatus::Exited(..)))
    }

    pub fn signal_group(&self, signal: Signal) {
        killpg(self.pid, signal).ok();
    }

    /// Everything in its control group, at once: nobody leaves that.
    pub fn kill_all(&self) {
        if let Some(leaf) = &self.leaf {
            leaf.kill();
        }
    }

    /// How often its limits stopped it.
    pub(super) fn exceeded(&self) -> Exceeded {
        self.leaf.as_ref().map_or_else(Exceeded::default, Leaf::exceeded)
    }

    /// Processes and threads that it could not start since this was last asked.
    pub(super) fn newly_refused(&self) -> u64 {
        let all = self.exceeded().pids;
        all.saturating_sub(self.refused.swap(all, Relaxed))
    }

    /// What of its tree still lives: the group, whoever left it and carries its marker, and the control group, where
    /// there is one.
    pub fn tree(&self) -> Vec<Seen> {
        let mut tree = strays::marked(|value| value == self.marker);
        let contained = self.leaf.iter().flat_map(Leaf::members).filter_map(strays::look).filter(|seen| !seen.zombie);
        for member in strays::members(self.pid.as_raw()).into_iter().chain(contained) {
            if tree.iter().all(|seen| seen.pid != member.pid) {
                tree.push(member);
            }
        }
        tree
    }

    /// Takes the status of an ended child, as words; from here on its number may be another's. One that lives, which
    /// only a stuck kernel explains, is left to be reaped when it ends.
    pub fn reap(self) -> String {
        let status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
        self.spawner.forget(self.pid.as_raw());
        match status {
            Ok(WaitStatus::Exited(_, code)) => format!("it exited with status {code}"),
            Ok(WaitStatus::Signaled(_, signal, _)) => format!("it was ended by {signal}"),
            Ok(WaitStatus::StillAlive) => "it can't be ended".to_owned(),
            Ok(_) | Err(_) => "it ended".to_owned(),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.spawner.knows(self.pid.as_raw()) {
            self.signal_group(Signal::SIGKILL);
            self.kill_all();
            // What is left of it is reaped by the spawner's thread, as an orphan's would be.
            self.spawner.forget(self.pid.as_raw());
        }
    }
}

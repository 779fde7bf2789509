//! The plane's end of the pipe to its reaper process: starts it, tells it of each group, replaces it.
//!
//! Protocol, one line each: `plane PLANE BOOT` first, `leaves PREFIX FOLDER` where there are control groups, then
//! `add PGID START` and `gone PGID`. End of file means that
//! the plane is dead; there is no polite goodbye, because a plane that ends well has no groups left.

use std::{
    env,
    io::{self, Write as _},
    os::fd::AsFd as _,
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::{
    cgroup::Leaves,
    forked::forked,
    pre_exec,
    strays::{Marker, Seen},
};

/// Tells a process that it is a reaper: one that would start another is not what it should be, and stops there.
pub const REAPER: &str = "SENTINEL_REAPER";

#[derive(Debug)]
pub struct ReaperLine {
    child: Child,
    pipe: Option<ChildStdin>,
}

impl ReaperLine {
    /// Errors: our own program can't be started a second time.
    pub(super) fn start(marker: &Marker, leaves: Option<&Leaves>) -> io::Result<Self> {
        if env::var_os(REAPER).is_some() {
            return Err(io::Error::other(
                "a reaper process must not start another; it was started with wrong arguments",
            ));
        }
        let mut command = Command::new(program());
        command.args(arguments()).env_clear().env(REAPER, "1").current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        pre_exec::outlive(&mut command);
        let mut child = {
            let mut forked = forked();
            let child = command.spawn()?;
            forked.insert(child.id().cast_signed());
            child
        };
        let pipe = child.stdin.take();
        if let Some(pipe) = &pipe {
            // A stopped reaper must not stop the thread that forks: a full pipe counts as a dead reaper.
            fcntl(pipe.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        let mut line = Self { child, pipe };
        let said = line.say(&format!("plane {} {}\n", marker.plane(), marker.boot()));
        let leaves = leaves.map(|leaves| format!("leaves {} {}\n", leaves.prefix, leaves.folder.display()));
        if said && leaves.is_none_or(|leaves| line.say(&leaves)) {
            Ok(line)
        } else {
            Err(io::Error::other("the reaper process ended at once"))
        }
    }

    /// False: the reaper does not hear us.
    pub fn add(&mut self, leader: &Seen) -> bool {
        self.say(&format!("add {} {}\n", leader.pid, leader.started))
    }

    pub fn gone(&mut self, group: i32) -> bool {
        self.say(&format!("gone {group}\n"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reaps a dead one on the way.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Starts another and tells it all that lives.
    pub(super) fn replace(&mut self, marker: &Marker, leaves: Option<&Leaves>, children: &[Seen]) -> io::Result<()> {
        // Killed before its pipe is closed: it must not take the closing for our death.
        self.child.kill().ok();
        // The dead one is waited for where it is dropped.
        *self = Self::start(marker, leaves)?;
        children.iter().all(|child| self.add(child)).then_some(()).ok_or_else(|| io::ErrorKind::BrokenPipe.into())
    }

    /// Lines are far below PIPE_BUF: whole or not at all.
    fn say(&mut self, line: &str) -> bool {
        self.pipe.as_mut().is_some_and(|pipe| pipe.write_all(line.as_bytes()).is_ok())
    }
}

impl Drop for ReaperLine {
    /// A plane that ends well leaves its reaper to find that out: end of file, nothing to do, end. In a process that
    /// goes on (tests), it is waited for.
    fn drop(&mut self) {
        drop(self.pipe.take());
        self.child.wait().ok();
        forked().remove(&self.child.id().cast_signed());
    }
}

/// Our own program; by the kernel's name for it where the file was replaced under us.
fn program() -> PathBuf {
    let by_path = env::current_exe().ok().filter(|path| path.exists());
    by_path.unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

#[cfg(not(test))]
fn arguments() -> Vec<&'static str> {
    vec!["reap"]
}

/// The test binary has no commands: one of its tests is the reaper.
#[cfg(test)]
fn arguments() -> Vec<&'static str> {
    vec!["--exact", "backend::stdio::reaper::tests::a_reaper_runs_only_when_it_is_asked_to", "--nocapture"]
}

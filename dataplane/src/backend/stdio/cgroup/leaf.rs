//! The control group of one process tree: joined, limited, looked at, ended, removed.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Groups, Limits};

/// How often a tree was stopped by its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exceeded {
    /// The kernel ended it.
    pub memory: u64,
    /// It could not start a process or thread.
    pub pids: u64,
}

/// The living processes of a group.
pub(super) fn members(folder: &Path) -> Vec<i32> {
    let listed = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    listed.lines().filter_map(|line| line.parse().ok()).collect()
}

/// Everything in it, at once: who forks meanwhile is ended too.
pub(super) fn end(folder: &Path) {
    // Before Linux 5.14 there is no such file.
    if fs::write(folder.join("cgroup.kill"), "1").is_err() {
        for pid in members(folder) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

pub(super) fn is_named(folder: &Path, prefix: &str) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
}

/// The group of one process tree. Dropped, it is removed.
#[derive(Debug)]
pub(in crate::backend::stdio) struct Leaf {
    groups: Groups,
    pub(super) folder: PathBuf,
}

impl Leaf {
    pub(super) fn new(groups: Groups, folder: PathBuf) -> Self {
        Self { groups, folder }
    }

    /// All of them, or an error.
    pub(super) fn limit(&self, limits: Limits) -> io::Result<()> {
        let write = |file: &str, value: String| fs::write(self.folder.join(file), value);
        if let Some(bytes) = limits.memory {
            write("memory.max", bytes.to_string())?;
            // The whole tree or nothing: half a server is none.
            write("memory.oom.group", "1".to_owned())?;
            // Else it would go on in swap. A kernel without swap has no such file.
            write("memory.swap.max", "0".to_owned()).ok();
        }
        if let Some(count) = limits.pids {
            write("pids.max", count.to_string())?;
        }
        Ok(())
    }

    /// For a child that is to join it: it writes `0` there.
    pub(in crate::backend::stdio) fn door(&self) -> io::Result<File> {
        File::options().write(true).open(self.folder.join("cgroup.procs"))
    }

    pub(in crate::backend::stdio) fn members(&self) -> Vec<i32> {
        members(&self.folder)
    }

    pub(in crate::backend::stdio) fn kill(&self) {
        end(&self.folder);
    }

    pub(in crate::backend::stdio) fn exceeded(&self) -> Exceeded {
        let count = |file: &str, event: &str| {
            let events = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
            let line = events.lines().find_map(|line| line.strip_prefix(event)?.strip_prefix(' '));
            line.and_then(|count| count.parse().ok()).unwrap_or(0)
        };
        Exceeded { memory: count("memory.events", "oom_kill"), pids: count("pids.events", "max") }
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        self.groups.leave(std::mem::take(&mut self.folder));
    }
}

/// All groups of one start of a plane, as another process sees them.
#[derive(Debug)]
pub(in crate::backend::stdio) struct Leaves {
    pub(in crate::backend::stdio) folder: PathBuf,
    pub(in crate::backend::stdio) prefix: String,
}

impl Leaves {
    pub(super) fn all(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| is_named(path, &self.prefix))
    }

    pub(in crate::backend::stdio) fn kill(&self) {
        self.all().for_each(|leaf| end(&leaf));
    }

    /// Removes them; true: none is left.
    pub(in crate::backend::stdio) fn removed(&self) -> bool {
        let mut all = true;
        for leaf in self.all() {
            all &= fs::remove_dir(leaf).is_ok();
        }
        all
    }
}

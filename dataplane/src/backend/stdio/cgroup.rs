//! A control group (cgroup v2) for each process tree, where this plane may make one: limits that hold for the whole
//! tree, and a kill that nobody leaves.
//!
//! Groups are made below the one that the plane was started in. A group with limited groups below it may hold no
//! process, so the plane, and the `sentinelctl up` that started it, move into one beside them. Where others are in it,
//! nothing is touched. Files only, and blocking: for starts and ends.

mod leaf;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

pub use self::leaf::Exceeded;
pub(super) use self::leaf::{Leaf, Leaves};
use self::leaf::{end, is_named, members};
use super::strays::{self, Marker, Seen};

/// Where the plane itself goes.
const MAIN: &str = "sentinel-main";
/// Processes that are moved; what is forked meanwhile is found at the next look.
const LOOKS: usize = 10;

/// What a process tree may take; none: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes, without swap.
    pub memory: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// It is not started where one of them can't be held.
    pub required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    Memory,
    Pids,
}

impl Limit {
    /// As the configuration calls it.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Memory => "memory_max",
            Self::Pids => "pids_max",
        }
    }

    const fn controller(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }
}

/// Whether and where groups can be made; cheap to clone.
#[derive(Clone, Debug)]
pub struct Groups(Arc<Result<Base, String>>);

#[derive(Debug)]
struct Base {
    folder: PathBuf,
    /// Of the names of this start's groups.
    prefix: String,
    /// Why the kernel holds no limit of this kind; none: it does.
    memory: Option<String>,
    pids: Option<String>,
    /// Ended, and not removed yet.
    gone: Mutex<Vec<PathBuf>>,
}

impl Groups {
    /// Looks where this process is, and moves it where it has to be. Ends what earlier starts of this plane left.
    pub(super) fn find(marker: &Marker) -> Self {
        let base = own_group().and_then(|folder| Base::of(folder, marker));
        match &base {
            Ok(base) => {
                let earlier = Leaves { folder: base.folder.clone(), prefix: format!("sentinel-{}.", marker.plane()) };
                for leaf in earlier.all().filter(|leaf| !is_named(leaf, &base.prefix)) {
                    end(&leaf);
                    base.leave(leaf);
                }
                tracing::debug!(folder = %base.folder.display(), "each backend gets a control group of its own");
            }
            Err(why) => tracing::debug!(why, "backends get no control groups"),
        }
        Self(Arc::new(base))
    }

    /// Errors: why it can't be held on this machine, as a clause.
    pub fn can_hold(&self, limit: Limit) -> Result<(), &str> {
        let base = self.0.as_ref().as_ref().map_err(String::as_str)?;
        let why_not = match limit {
            Limit::Memory => &base.memory,
            Limit::Pids => &base.pids,
        };
        why_not.as_deref().map_or(Ok(()), Err)
    }

    /// What is asked for and can't be held here, with the reason.
    pub fn lacking(&self, limits: Limits) -> Vec<(Limit, &str)> {
        let wanted = [(Limit::Memory, limits.memory.is_some()), (Limit::Pids, limits.pids.is_some())];
        let asked = wanted.into_iter().filter(|(_, is_wanted)| *is_wanted);
        asked.filter_map(|(limit, _)| Some((limit, self.can_hold(limit).err()?))).collect()
    }

    /// A group for the tree that carries this marker, with the limits that can be held here. None: there can't be one.
    ///
    /// Errors: it can't be made although others could.
    pub(super) fn leaf(&self, marker: &str, limits: Limits) -> io::Result<Option<Leaf>> {
        let Ok(base) = self.0.as_ref() else { return Ok(None) };
        let folder = base.folder.join(format!("sentinel-{marker}"));
        let leaf = fs::create_dir(&folder).map(|()| Leaf::new(self.clone(), folder));
        let held = Limits {
            memory: limits.memory.filter(|_| base.memory.is_none()),
            pids: limits.pids.filter(|_| base.pids.is_none()),
            ..limits
        };
        match leaf.and_then(|leaf| leaf.limit(held).map(|()| leaf)) {
            Ok(leaf) => Ok(Some(leaf)),
            // It is a help, and nothing was promised.
            Err(fault) if limits.memory.is_none() && limits.pids.is_none() => {
                tracing::debug!(%fault, "no control group");
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// What another process has to end, when this one was killed.
    pub(super) fn leaves(&self) -> Option<Leaves> {
        let base = self.0.as_ref().as_ref().ok()?;
        Some(Leaves { folder: base.folder.clone(), prefix: base.prefix.clone() })
    }

    /// Its processes have ended, or are about to.
    fn leave(&self, folder: PathBuf) {
        if let Ok(base) = self.0.as_ref() {
            base.leave(folder);
        }
    }

    /// Removes groups whose last process took its time.
    pub(super) fn sweep(&self) {
        if let Ok(base) = self.0.as_ref() {
            base.gone.lock().unwrap_or_else(PoisonError::into_inner).retain(|folder| {
                let removed = fs::remove_dir(folder);
                removed.is_err_and(|fault| fault.kind() != io::ErrorKind::NotFound)
            });
        }
    }
}

impl Base {
    /// Errors: why there can be no groups below `folder`, as a clause.
    fn of(folder: PathBuf, marker: &Marker) -> Result<Self, String> {
        let folder = match folder.file_name() {
            Some(name) if name == MAIN => folder.parent().map(Path::to_owned).unwrap_or(folder),
            _ => folder,
        };
        // The root of all may hold processes beside groups.
        if folder.join("cgroup.type").exists() {
            move_into_main(&folder)?;
        } else {
            writable(&folder, marker)?;
        }
        let offered = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
        let enabled = |limit: Limit| {
            let name = limit.controller();
            if !offered.split_whitespace().any(|offered| offered == name) {
                return Some(format!(
                    "{} does not offer the controller {name:?} (cgroup v1 may have it, or nobody delegated it)",
                    folder.display()
                ));
            }
            let written = fs::write(folder.join("cgroup.subtree_control"), format!("+{name}"));
            written
                .err()
                .map(|fault| format!("the controller {name:?} can't be used below {}: {fault}", folder.display()))
        };
        Ok(Self {
            prefix: format!("sentinel-{}.{}.", marker.plane(), marker.boot()),
            memory: enabled(Limit::Memory),
            pids: enabled(Limit::Pids),
            gone: Mutex::default(),
            folder,
        })
    }

    fn leave(&self, folder: PathBuf) {
        if fs::remove_dir(&folder).is_err_and(|fault| fault.kind() != io::ErrorKind::NotFound) {
            self.gone.lock().unwrap_or_else(PoisonError::into_inner).push(folder);
        }
    }
}

/// Where this process is, as a folder. Errors: there is no cgroup v2 to be seen.
fn own_group() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|fault| format!("{path} can't be read: {fault}"));
    let (mounts, groups) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
    located(&mounts, &groups)
}

/// The same, from what the kernel says.
fn located(mounts: &str, groups: &str) -> Result<PathBuf, String> {
    let mount = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        (kind.split(' ').next() == Some("cgroup2")).then(|| Some((place.next()?, place.next()?)))?
    });
    let (root, at) = mount.ok_or("cgroup v2 is not mounted on this machine")?;
    let own =
        groups.lines().find_map(|line| line.strip_prefix("0::")).ok_or("this kernel puts it into no cgroup v2")?;
    let below =
        Path::new(own).strip_prefix(root).map_err(|_| format!("its own group {own} is not in sight at {at}"))?;
    if below.components().any(|part| part.as_os_str() == "..") {
        return Err(format!("its own group {own} is not in sight at {at}"));
    }
    let at = PathBuf::from(at.replace("\\040", " "));
    Ok(if below.as_os_str().is_empty() { at } else { at.join(below) })
}

fn refused(folder: &Path, fault: &io::Error) -> String {
    let at = folder.display();
    match fault.kind() {
        io::ErrorKind::ReadOnlyFilesystem => format!("{at} is mounted read-only"),
        io::ErrorKind::PermissionDenied => {
            format!("this user may make no groups below {at}; a systemd unit with Delegate=yes lets it")
        }
        _ => format!("no group can be made below {at}: {fault}"),
    }
}

fn writable(folder: &Path, marker: &Marker) -> Result<(), String> {
    let tried = folder.join(format!("sentinel-{}.{}.try", marker.plane(), marker.boot()));
    fs::create_dir(&tried).and_then(|()| fs::remove_dir(&tried)).map_err(|fault| refused(folder, &fault))
}

/// Empties `folder` of us, so that groups below it can be limited. Errors: others are in it, or it is not ours.
fn move_into_main(folder: &Path) -> Result<(), String> {
    let main = folder.join(MAIN);
    for _ in 0..LOOKS {
        let inside = members(folder);
        if inside.is_empty() {
            break;
        }
        if let Some(stranger) = inside.iter().find(|pid| !is_ours(**pid)) {
            return Err(format!(
                "process {stranger}, which is not Sentinel's, is in its group {}; a systemd unit with Delegate=yes gives it one of its own",
                folder.display()
            ));
        }
        match fs::create_dir(&main) {
            Err(fault) if fault.kind() != io::ErrorKind::AlreadyExists => return Err(refused(folder, &fault)),
            Ok(()) | Err(_) => {}
        }
        for pid in inside {
            match fs::write(main.join("cgroup.procs"), pid.to_string()) {
                // It has ended.
                Err(fault) if fault.raw_os_error() != Some(nix::libc::ESRCH) => return Err(refused(folder, &fault)),
                Ok(()) | Err(_) => {}
            }
        }
    }
    Ok(())
}

/// We, or the `sentinelctl up` that started us, or another child of it.
fn is_ours(pid: i32) -> bool {
    let ourselves = std::process::id().cast_signed();
    let parent = nix::unistd::getppid().as_raw();
    let is_up = || fs::read_to_string(format!("/proc/{parent}/comm")).is_ok_and(|name| name.trim() == "sentinelctl");
    let descends = |seen: Seen| seen.parent == ourselves || ((seen.pid == parent || seen.parent == parent) && is_up());
    pid == ourselves || strays::look(pid).is_none_or(descends)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_own_group_is_found_on_pure_hybrid_and_contained_machines() {
        assert_eq!(located(MOUNTS, "4:memory:/x\n0::/a/b\n").unwrap(), Path::new("/sys/fs/cgroup/unified/a/b"));
        let contained = "9 8 0:5 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup2 ro\n";
        assert_eq!(located(contained, "0::/docker/7/x\n").unwrap(), Path::new("/sys/fs/cgroup/x"));
        assert!(located(contained, "0::/../other\n").unwrap_err().contains("not in sight"));
        assert!(located("1 0 0:1 / / rw - ext4 /dev/vda rw\n", "0::/\n").unwrap_err().contains("not mounted"));
    }

    #[test]
    fn what_cannot_be_held_is_named_with_its_reason_and_costs_nobody_who_did_not_ask() {
        let none = Groups(Arc::new(Err("cgroup v2 is not mounted on this machine".into())));
        let limits = Limits { memory: Some(1), pids: None, required: false };
        assert_eq!(none.lacking(limits), [(Limit::Memory, "cgroup v2 is not mounted on this machine")]);
        assert!(none.lacking(Limits::default()).is_empty());
        assert!(none.leaf("m", limits).unwrap().is_none() && none.leaves().is_none());
    }

    #[test]
    fn groups_of_a_plain_folder_are_made_limited_read_and_removed() {
        // A folder is not the kernel: what is written where, and what is read from where.
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cgroup.controllers"), "cpu pids\n").unwrap();
        let groups = Groups(Arc::new(Base::of(folder.path().to_owned(), &Marker::new("p", "b"))));
        assert!(groups.can_hold(Limit::Pids).is_ok());
        assert!(groups.can_hold(Limit::Memory).unwrap_err().contains("\"memory\""));
        assert_eq!(fs::read_to_string(folder.path().join("cgroup.subtree_control")).unwrap(), "+pids");
        let leaf = groups.leaf("p.b.1", Limits { memory: Some(9), pids: Some(7), required: false }).unwrap().unwrap();
        assert_eq!(fs::read_to_string(leaf.folder.join("pids.max")).unwrap(), "7");
        assert!(!leaf.folder.join("memory.max").exists());
        fs::write(leaf.folder.join("pids.events"), "max 3\n").unwrap();
        fs::write(leaf.folder.join("memory.events"), "oom 5\noom_kill 2\noom_group_kill 1\n").unwrap();
        assert_eq!(leaf.exceeded(), Exceeded { memory: 2, pids: 3 });
        let leaves = groups.leaves().unwrap();
        assert!(!leaves.removed(), "a folder with files is not removed");
        for file in ["pids.max", "pids.events", "memory.events"] {
            fs::remove_file(leaf.folder.join(file)).unwrap();
        }
        drop(leaf);
        assert!(leaves.removed() && leaves.all().next().is_none());
    }
}

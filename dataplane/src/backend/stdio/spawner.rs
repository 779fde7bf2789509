//! The one thread that forks every child, for as long as the plane lives: the kernel's parent-death signal follows
//! the thread that forked, and tokio retires its threads (`reliability.md` 3.1).
//!
//! Also the subreaper's duty: orphans of our children come to us, and are reaped here when they end. Tells the reaper
//! process of every group, so that a kill -9 of the plane leaves nothing behind. Knows no MCP.

use std::{
    collections::HashMap,
    env, fs, io,
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::Signal,
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::{Pid, getpgrp},
};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::oneshot;

use super::{
    apart::{Sandbox, User},
    cgroup::{Groups, Leaf, Limits},
    forked::forked,
    pre_exec,
    process::{Pipes, Process},
    reaper_line::ReaperLine,
    strays::{self, MARKER, Marker, Seen},
};

/// Starts that wait for the thread; full: this start failed, and is tried again as after any failure.
const REQUESTS: usize = 64;
/// Between looks for ended orphans and at the reaper.
const SWEEP: Duration = Duration::from_secs(1);
/// What a child inherits of our environment.
const INHERITED: [&str; 3] = ["PATH", "HOME", "LANG"];

/// Where a child is.
struct Place {
    cwd: PathBuf,
    /// Its own folder; also its HOME, where it is another user's or in a sandbox.
    own: PathBuf,
}

/// What to start.
pub struct Plan<'a> {
    pub backend: &'a str,
    pub command: &'a str,
    pub args: &'a [SecretString],
    pub env: &'a [(String, SecretString)],
    pub cwd: Option<&'a Path>,
    pub limits: Limits,
    pub user: Option<&'a User>,
    pub sandbox: Option<&'a Sandbox>,
}

impl std::fmt::Debug for Plan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("backend", &self.backend).field("command", &self.command).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("can't start {command:?}: {source}; give its full path, or install it where PATH finds it")]
    Command { command: String, source: io::Error },
    #[error("can't use {path:?} as the working directory of {command:?}: {source}")]
    Cwd { command: String, path: PathBuf, source: io::Error },
    #[error("can't start {command:?} within its limits: {source}")]
    Limits { command: String, source: io::Error },
    #[error("can't start {command:?} now: too many backends start at once")]
    Busy { command: String },
}

struct Request {
    command: Command,
    marker: String,
    leaf: Option<Leaf>,
    reply: oneshot::Sender<io::Result<(Process, Pipes)>>,
    spawner: Spawner,
}

/// A handle on the spawner; cheap to clone. The children end when the last one is gone.
#[derive(Clone, Debug)]
pub struct Spawner {
    requests: SyncSender<Request>,
    shared: Arc<Shared>,
    state: Arc<Path>,
}

#[derive(Debug)]
struct Shared {
    marker: Marker,
    next: AtomicU64,
    /// Direct children that are not reaped yet, by pid, which is their group too.
    children: Mutex<HashMap<i32, Seen>>,
    reaper: Mutex<ReaperLine>,
    groups: Groups,
}

impl Spawner {
    /// Starts the reaper process and the thread; ends what an earlier start of this plane left behind. Once in a
    /// process, from `main`, before any runtime.
    ///
    /// Errors: the reaper or the thread can't be started.
    pub fn start(plane_id: impl std::fmt::Display, boot: impl std::fmt::Display) -> io::Result<Self> {
        let marker = Marker::new(&plane_id.to_string(), &boot.to_string());
        // Closes our /proc entries and ptrace to our own children, which run as the same user.
        prctl::set_dumpable(false)?;
        // Orphans come to us: they stay in sight, and descend from us for `owns`.
        prctl::set_child_subreaper(true)?;
        let strays = end_strays(&marker);
        if strays > 0 {
            tracing::warn!(strays, "ended processes that an earlier start of this plane had left behind");
        }
        // Before the reaper is there, which would have to be moved as well.
        let groups = Groups::find(&marker);
        let shared = Arc::new(Shared {
            reaper: Mutex::new(ReaperLine::start(&marker, groups.leaves().as_ref())?),
            groups,
            marker,
            next: AtomicU64::new(1),
            children: Mutex::default(),
        });
        let (requests, inbox) = sync_channel(REQUESTS);
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("spawner".to_owned()).spawn(move || serve(&of_thread, &inbox))?;
        Ok(Self { requests, shared, state: Path::new("/").into() })
    }

    /// Children without a `cwd` work in a folder of their own below `state` (made when it is first needed, 0700).
    #[must_use]
    pub fn with_state(mut self, state: &Path) -> Self {
        self.state = state.into();
        self
    }

    /// Whether this process is one of our children, or descends from one: it must not reach the plane's own sockets.
    /// `pid` as `SO_PEERCRED` gives it; 0 (outside our pid namespace) is nobody's child. Reads /proc.
    pub fn owns(&self, pid: i32) -> bool {
        if pid <= 0 {
            return false;
        }
        let in_group = strays::look(pid).is_some_and(|seen| self.children().contains_key(&seen.group));
        in_group
            || strays::marker_of(pid).is_some_and(|value| self.shared.marker.is_of_plane(&value))
            || strays::descends_from_us(pid)
    }

    /// Forks and execs; the child leads a group of its own. Waits only for the thread.
    pub async fn spawn(&self, plan: Plan<'_>) -> Result<(Process, Pipes), SpawnError> {
        let named = || plan.command.to_owned();
        let Place { cwd, own } = self.place(&plan)?;
        let marker = self.shared.marker.of_child(self.shared.next.fetch_add(1, Relaxed));
        let mut command = match plan.sandbox {
            None => Command::new(plan.command),
            Some(sandbox) => {
                let mut command = Command::new(&sandbox.bwrap);
                command.args(sandbox.arguments(&own, &cwd)).arg(plan.command);
                command
            }
        };
        command.args(plan.args.iter().map(ExposeSecret::expose_secret)).env_clear();
        // In a sandbox there may be folders that are not here.
        command.current_dir(if plan.sandbox.is_some() { Path::new("/") } else { cwd.as_path() });
        command.envs(INHERITED.iter().filter_map(|key| Some((key, env::var_os(key)?))));
        if plan.user.is_some() || plan.sandbox.is_some() {
            command.env("HOME", &own);
        }
        command.envs(plan.env.iter().map(|(key, value)| (key, value.expose_secret())));
        command.env(MARKER, &marker);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let leaf = self.shared.groups.leaf(&marker, plan.limits);
        let leaf = leaf.map_err(|source| SpawnError::Limits { command: named(), source })?;
        let door = leaf.as_ref().map(Leaf::door).transpose();
        let door = door.map_err(|source| SpawnError::Limits { command: named(), source })?;
        pre_exec::contain(&mut command, Pid::this().as_raw(), door, plan.user);

        let (reply, answer) = oneshot::channel();
        let request = Request { command, marker, leaf, reply, spawner: self.clone() };
        self.requests.try_send(request).map_err(|_full| SpawnError::Busy { command: named() })?;
        match answer.await {
            Ok(Ok(child)) => Ok(child),
            Ok(Err(source)) => Err(SpawnError::Command { command: named(), source }),
            Err(_thread_gone) => Err(SpawnError::Busy { command: named() }),
        }
    }

    /// Errors: a folder that is not there, or can't be made.
    fn place(&self, plan: &Plan<'_>) -> Result<Place, SpawnError> {
        let fault =
            |path: &Path, source| SpawnError::Cwd { command: plan.command.to_owned(), path: path.into(), source };
        let own = match plan.user {
            Some(user) => user.place(),
            None if plan.cwd.is_some() && plan.sandbox.is_none() => PathBuf::from("/"),
            None => self.state_of(plan.backend).map_err(|(path, source)| fault(&path, source))?,
        };
        let Some(cwd) = plan.cwd else { return Ok(Place { cwd: own.clone(), own }) };
        // In a sandbox another folder may be in its place.
        if plan.sandbox.is_none() {
            match fs::metadata(cwd) {
                Ok(found) if found.is_dir() => {}
                Ok(_) => return Err(fault(cwd, io::ErrorKind::NotADirectory.into())),
                Err(source) => return Err(fault(cwd, source)),
            }
        }
        Ok(Place { cwd: cwd.to_owned(), own })
    }

    /// The folder of this backend's own; made when it is first needed.
    fn state_of(&self, backend: &str) -> Result<PathBuf, (PathBuf, io::Error)> {
        if *self.state == *Path::new("/") {
            return Ok(self.state.to_path_buf());
        }
        // A name is one plain component of a path, whatever the configuration allows.
        let own = self.state.join(backend.replace(['/', '.'], "_"));
        match fs::DirBuilder::new().recursive(true).mode(0o700).create(&own) {
            Ok(()) => Ok(own),
            Err(source) => Err((own, source)),
        }
    }

    /// Where the plane keeps what no backend may read; none: it keeps nothing.
    pub fn data_dir(&self) -> Option<&Path> {
        self.state.parent()?.parent()
    }

    /// Where limits of backends can be held.
    pub fn groups(&self) -> &Groups {
        &self.shared.groups
    }

    pub(super) fn knows(&self, pid: i32) -> bool {
        self.children().contains_key(&pid)
    }

    /// The child was reaped, or is left to be.
    pub(super) fn forget(&self, pid: i32) {
        if self.children().remove(&pid).is_some() {
            forked().remove(&pid);
            self.shared.reaper().gone(pid);
        }
    }

    fn children(&self) -> MutexGuard<'_, HashMap<i32, Seen>> {
        self.shared.children()
    }

    #[cfg(test)]
    pub(super) fn reaper_pid(&self) -> u32 {
        self.shared.reaper().pid()
    }
}

impl Shared {
    fn children(&self) -> MutexGuard<'_, HashMap<i32, Seen>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reaper(&self) -> MutexGuard<'_, ReaperLine> {
        self.reaper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fork_known(command: &mut Command) -> io::Result<(i32, Child)> {
        let mut forked = forked();
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        forked.insert(pid);
        Ok((pid, child))
    }

    fn fork(&self, mut request: Request) {
        let result = Self::fork_known(&mut request.command).and_then(|(pid, mut child)| {
            let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let seen = strays::look(pid).ok_or_else(|| io::Error::other("it can't be seen in /proc"))?;
            // Known before anyone can ask for it; the reaper hears of it before it has said a word.
            self.children().insert(pid, seen);
            self.keep_reaper(&|reaper| reaper.add(&seen));
            let process = Process::new(pid, request.marker, request.leaf, request.spawner);
            match (stdin, stdout, stderr) {
                (Some(stdin), Some(stdout), Some(stderr)) => Ok((process, Pipes { stdin, stdout, stderr })),
                _ => Err(io::Error::other("it has no pipes")),
            }
        });
        // Nobody waits any more: the process is dropped here, which kills it.
        request.reply.send(result).ok();
    }

    /// Does `act` on the line to the reaper, and replaces a reaper that is dead.
    fn keep_reaper(&self, act: &dyn Fn(&mut ReaperLine) -> bool) {
        let mut line = self.reaper();
        if act(&mut line) && line.lives() {
            return;
        }
        tracing::warn!("the reaper process is gone; starting another");
        let children: Vec<Seen> = self.children().values().copied().collect();
        if let Err(error) = line.replace(&self.marker, self.groups.leaves().as_ref(), &children) {
            tracing::error!(%error, "can't start a reaper process; after a kill -9 of this plane its children may stay");
        }
    }

    /// Reaps ended orphans of our children. Foreign children of this process (they are in our own group) and direct
    /// ones (their `Process` waits for them) are left to who forked them.
    fn reap_orphans() {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::All, flags) {
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD | Errno::EINTR) => return,
            Ok(_) | Err(_) => {}
        }
        let (ourselves, our_group) = (Pid::this().as_raw(), getpgrp().as_raw());
        let forked = forked();
        for seen in strays::all() {
            let came_to_us = seen.zombie && seen.parent == ourselves && seen.group != our_group;
            if came_to_us && !forked.contains(&seen.pid) {
                waitpid(Pid::from_raw(seen.pid), Some(WaitPidFlag::WNOHANG)).ok();
            }
        }
    }
}

/// The thread: ends when nobody has a handle any more, and with it every child.
fn serve(shared: &Shared, inbox: &Receiver<Request>) {
    loop {
        match inbox.recv_timeout(SWEEP) {
            Ok(request) => shared.fork(request),
            Err(RecvTimeoutError::Timeout) => {
                shared.keep_reaper(&|_| true);
                shared.groups.sweep();
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
        Shared::reap_orphans();
    }
}

/// Ends what carries the marker of an earlier start of this plane; how many that were.
fn end_strays(marker: &Marker) -> usize {
    let strays = strays::marked(|value| marker.is_of_plane(value) && !marker.is_of_boot(value));
    for stray in &strays {
        stray.signal(Signal::SIGKILL);
    }
    strays.len()
}

//! One real program: started with a clean environment, its output in files, ended by its own id. When a test fails the
//! end of its log is printed.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::until::{until, until_within};

/// Lines of a log that a failed test prints.
const SHOWN: usize = 60;

/// The program of the workspace by this name, beside the tests. Panics with advice when it is not built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    let folder = here.ancestors().find(|folder| folder.join(name).is_file());
    folder
        .map(|folder| folder.join(name))
        .unwrap_or_else(|| panic!("{name} is not built yet: `cargo build --workspace`, then the tests"))
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Start {
    pub name: String,
    pub program: PathBuf,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Where it stands, and where `NAME.log` and `NAME.out` go.
    pub folder: PathBuf,
}

impl Start {
    /// Its environment: that of the tests without any `SENTINEL_…`, and `env`.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.folder);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SENTINEL_") {
                command.env_remove(name);
            }
        }
        command.env("XDG_STATE_HOME", self.folder.join("state"));
        command.env("XDG_RUNTIME_DIR", &self.folder).env("XDG_CONFIG_HOME", self.folder.join("config"));
        command.envs(&self.env);
        command
    }

    #[must_use]
    pub fn run(self) -> Process {
        let log = self.folder.join(format!("{}.log", self.name));
        let out = self.folder.join(format!("{}.out", self.name));
        let append = |path: &Path| File::options().create(true).append(true).open(path).unwrap();
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(append(&out))
            .stderr(append(&log))
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.program.display()));
        Process { start: self, child, status: None, log, out }
    }
}

/// A program that runs, or has ended.
#[derive(Debug)]
pub struct Process {
    start: Start,
    child: Child,
    status: Option<ExitStatus>,
    log: PathBuf,
    out: PathBuf,
}

impl Process {
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// Its status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            self.status = self.child.try_wait().unwrap();
        }
        self.status
    }

    /// One that has ended already is left alone: its id may be another's.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            kill(pid_of(self.pid()), signal).unwrap();
        }
    }

    /// SIGKILL, and its end.
    pub async fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait().await;
    }

    /// Until it has ended.
    pub async fn wait(&mut self) -> ExitStatus {
        let what = format!("{} has ended", self.start.name);
        until(&what, async || self.ended().ok_or("it runs")).await
    }

    /// Until it has ended. Panics after `deadline`.
    pub async fn wait_within(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("{} has ended", self.start.name);
        until_within(deadline, &what, async || self.ended().ok_or("it runs")).await
    }

    /// The same again, in place of one that has ended.
    pub async fn restart(&mut self) {
        self.wait().await;
        *self = self.start.clone().run();
    }

    /// Its stderr so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its stdout so far.
    #[must_use]
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.out).unwrap_or_default()).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let shown = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
            let ended = self.ended();
            eprintln!("---- the end of the log of {} ({ended:?}):\n{shown}", self.start.name);
        }
        if self.is_running() {
            // The plane's reaper and the children see the end of their pipes.
            let _gone = self.child.kill().is_err();
            let _gone = self.child.wait().is_err();
        }
    }
}

/// An id as signals want it.
#[must_use]
pub fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}

/// Whether a process with this id is there and no zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or("").trim_start().starts_with('Z'))
}

/// All processes below this one, children first.
#[must_use]
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut parents: Vec<(u32, u32)> = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(child) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)).map(str::to_owned);
        if let Some(parent) = parent.and_then(|parent| parent.parse().ok()) {
            parents.push((child, parent));
        }
    }
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(above) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(child, _)| *child));
        next += 1;
    }
    found.remove(0);
    found
}

/// Processes whose environment has our marker with this plane's id: grandchildren, and what left its group, too.
#[must_use]
pub fn bearers(data_dir: &Path) -> Vec<u32> {
    let id = std::fs::read_to_string(data_dir.join("plane/id")).unwrap();
    let marker = format!("SENTINEL_CHILD={}", id.trim());
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let has = environment.split(|byte| *byte == 0).any(|pair| pair.starts_with(marker.as_bytes()));
        if has && is_alive(pid) {
            found.push(pid);
        }
    }
    found
}

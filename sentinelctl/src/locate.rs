//! Where the control plane is and which admin token it takes: flag, environment, `…_FILE`, the pointer that `up`
//! leaves, the default data directory. It opens no connection; `client.rs` tries what is found here, in this order.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::cli::Connection;
use crate::fault::Fault;

/// What surrounds the process: its environment and who runs it. A value, so that tests can make one.
#[derive(Clone)]
pub struct World {
    vars: BTreeMap<String, String>,
    root: bool,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("root", &self.root).finish_non_exhaustive() // variables hold secrets
    }
}

impl World {
    /// This process's own. Variables that are not UTF-8 are left out.
    #[must_use]
    pub fn of_process() -> Self {
        let vars = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        Self { vars, root: nix::unistd::geteuid().is_root() }
    }

    /// A made-up one, for tests.
    #[must_use]
    pub fn made_of(vars: &[(&str, &str)]) -> Self {
        Self { vars: vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(), root: false }
    }

    /// Whether what goes to stderr is seen on a terminal.
    #[must_use]
    pub fn stderr_is_terminal(&self) -> bool {
        std::io::IsTerminal::is_terminal(&std::io::stderr())
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// `NAME`, else the first line of the file that `NAME_FILE` names. Errors: the file cannot be read.
    pub fn secret(&self, name: &str) -> Result<Option<String>, Fault> {
        if let Some(value) = self.var(name) {
            return Ok(Some(value.trim().to_owned()));
        }
        let twin = format!("{name}_FILE");
        let Some(path) = self.var(&twin) else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path)
            .map_err(|error| Fault::Usage(format!("{twin} names {path}, which cannot be read: {error}")))?;
        Ok(Some(text.trim().to_owned()))
    }

    /// `$XDG_STATE_HOME/sentinel`, as root `/var/lib/sentinel`; none where there is no home either.
    #[must_use]
    pub fn default_data_dir(&self) -> Option<PathBuf> {
        if self.root {
            return Some(PathBuf::from("/var/lib/sentinel"));
        }
        let state = self.var("XDG_STATE_HOME").map(PathBuf::from);
        let state = state.or_else(|| self.var("HOME").map(|home| Path::new(home).join(".local/state")))?;
        Some(state.join("sentinel"))
    }

    /// The pointer that `up` leaves: `$XDG_RUNTIME_DIR/sentinel.json`.
    #[must_use]
    pub fn pointer(&self) -> Option<PathBuf> {
        self.var("XDG_RUNTIME_DIR").map(|dir| Path::new(dir).join("sentinel.json"))
    }

    /// Who asks, as this machine knows them: recorded by the control plane as claimed.
    #[must_use]
    pub fn actor(&self) -> sentinel_proto::v1::Actor {
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
        let user = user.unwrap_or_else(|| nix::unistd::getuid().to_string());
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        sentinel_proto::v1::Actor { user, host: host.trim().to_owned() }
    }
}

/// `up.json`: what a running `up` tells. `since` is RFC 3339.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpFile {
    /// Process id of `up`.
    pub pid: i32,
    /// Of the control plane: `unix:PATH`.
    pub endpoint: String,
    /// Absolute.
    pub data_dir: PathBuf,
    /// When it was started.
    pub since: String,
}

/// The pointer in the runtime directory: where `up.json` lies.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pointer {
    /// Absolute path of `up.json`.
    pub up: PathBuf,
}

/// One place where a control plane may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the hint came from, for the message of exit 3.
    pub from: String,
    /// What it says, or why it says nothing.
    pub endpoint: Result<String, String>,
    /// Where `admin.token` would lie.
    pub data_dir: Option<PathBuf>,
}

/// The control plane's socket under a data directory.
#[must_use]
pub fn socket_of(data_dir: &Path) -> PathBuf {
    data_dir.join("controlplane").join("grpc.sock")
}

/// Every place to try, in order. What was named outright (an endpoint, a data directory) is the only one.
pub fn places(connection: &Connection, world: &World) -> Result<Vec<Place>, Fault> {
    let data_dir = connection.data_dir.clone();
    let or_default = || data_dir.clone().or_else(|| world.default_data_dir());
    if let Some(endpoint) = &connection.endpoint {
        let from = "--endpoint or SENTINEL_ENDPOINT".to_owned();
        return Ok(vec![Place { from, endpoint: Ok(endpoint.clone()), data_dir: or_default() }]);
    }
    if let Some(endpoint) = world.secret("SENTINEL_ENDPOINT")? {
        return Ok(vec![Place {
            from: "SENTINEL_ENDPOINT_FILE".to_owned(),
            endpoint: Ok(endpoint),
            data_dir: or_default(),
        }]);
    }
    let of_dir = |from: &str, dir: PathBuf| Place {
        from: from.to_owned(),
        endpoint: Ok(format!("unix:{}", socket_of(&dir).display())),
        data_dir: Some(dir),
    };
    if let Some(dir) = data_dir {
        return Ok(vec![of_dir("--data-dir or SENTINEL_DATA_DIR", dir)]);
    }
    let pointer = match world.pointer() {
        Some(path) => followed(&path),
        None => Place {
            from: "the pointer of `sentinelctl up`".to_owned(),
            endpoint: Err("XDG_RUNTIME_DIR is not set".to_owned()),
            data_dir: None,
        },
    };
    let mut places = vec![pointer];
    if let Some(dir) = world.default_data_dir() {
        places.push(of_dir("the default data directory", dir));
    }
    Ok(places)
}

fn followed(pointer: &Path) -> Place {
    let from = format!("the pointer {}", pointer.display());
    match read_pointer(pointer) {
        Ok(up) => Place { from, endpoint: Ok(up.endpoint), data_dir: Some(up.data_dir) },
        Err(why) => Place { from, endpoint: Err(why), data_dir: None },
    }
}

fn read_pointer(pointer: &Path) -> Result<UpFile, String> {
    let text = std::fs::read_to_string(pointer).map_err(|error| error.to_string())?;
    let Pointer { up } = serde_json::from_str(&text).map_err(|error| format!("is no pointer: {error}"))?;
    let held = read_up_file(&up).map_err(|why| format!("names {}: {why}", up.display()))?;
    if !is_alive(held.pid) {
        return Err(format!("was left by an `up` (process {}) that is gone", held.pid));
    }
    Ok(held)
}

/// Errors: not there, or not what `up` writes; one phrase.
pub fn read_up_file(path: &Path) -> Result<UpFile, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("is no up.json: {error}"))
}

/// Whether a process of this id exists.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    !matches!(signal::kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}

/// The admin token for a control plane found at `place`. Errors: none anywhere; names each place.
pub fn admin_token(place: &Place, world: &World) -> Result<String, Fault> {
    if let Some(token) = world.secret("SENTINEL_ADMIN_TOKEN")? {
        return Ok(token);
    }
    let mut tried = "SENTINEL_ADMIN_TOKEN: not set; SENTINEL_ADMIN_TOKEN_FILE: not set".to_owned();
    if let Some(dir) = &place.data_dir {
        let path = dir.join("admin.token");
        match std::fs::read_to_string(&path) {
            Ok(text) => return Ok(text.trim().to_owned()),
            Err(error) => tried.push_str(&format!("; {}: {error}", path.display())),
        }
    }
    Err(Fault::Unreachable(format!("no admin token was found. Tried {tried}")))
}

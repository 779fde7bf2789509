//! Where `up` lives: the data directory with its lock and `up.json`, the pointer to it, and the ports to be free.
//!
//! One `up` a data directory: it holds a lock on `controlplane/up.json` as long as it runs, and removes it at the end.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::fault::Fault;
use crate::locate::{self, Pointer, UpFile, World};

/// Longest path of a Unix socket on Linux, in bytes.
const LONGEST_SOCKET: usize = 107;

/// A data directory that this process has taken.
#[derive(Debug)]
pub struct Place {
    /// Absolute.
    pub data_dir: PathBuf,
    /// Of the control plane's socket: `unix:PATH`.
    pub endpoint: String,
    /// Whether `sentinelctl` finds it without being told.
    pub found_by_itself: bool,
    up_json: PathBuf,
    pointer: Option<PathBuf>,
    _lock: File,
}

/// Makes the directory, takes the lock, writes `up.json` and the pointer. Errors: another `up` has it, or it cannot be written.
pub fn take(data_dir: &Path, world: &World, since: String) -> Result<Place, Fault> {
    let failed = |path: &Path, error: std::io::Error| Fault::Failed(format!("{}: {error}", path.display()));
    let data_dir = std::path::absolute(data_dir).map_err(|error| failed(data_dir, error))?;
    let socket = locate::socket_of(&data_dir);
    if socket.as_os_str().len() > LONGEST_SOCKET {
        return Err(Fault::Usage(format!(
            "the data directory {} is too deep: the path of its socket would have more than {LONGEST_SOCKET} bytes; name a shorter one with --data-dir",
            data_dir.display()
        )));
    }
    let home = data_dir.join("controlplane");
    DirBuilder::new().recursive(true).mode(0o700).create(&home).map_err(|error| failed(&home, error))?;
    let up_json = home.join("up.json");
    let mut lock = locked(&up_json, &data_dir)?;
    let pid = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    let endpoint = format!("unix:{}", socket.display());
    let held = UpFile { pid, endpoint: endpoint.clone(), data_dir: data_dir.clone(), since };
    let text = serde_json::to_string(&held).map_err(|error| Fault::Failed(error.to_string()))?;
    lock.set_len(0).and_then(|()| lock.write_all(text.as_bytes())).map_err(|error| failed(&up_json, error))?;
    let pointer = world.pointer().filter(|path| point(path, &up_json));
    let is_default = world.default_data_dir().as_deref() == Some(data_dir.as_path());
    // A pointer to somebody else's `up` comes before the default directory.
    let found_by_itself = pointer.is_some() || (is_default && world.pointer().is_none_or(|path| !path.exists()));
    Ok(Place { data_dir, endpoint, found_by_itself, up_json, pointer, _lock: lock })
}

impl Drop for Place {
    /// Takes away what it wrote, while the lock is still held. A file that is gone already is no harm.
    fn drop(&mut self) {
        if let Some(pointer) = self.pointer.as_ref().filter(|path| names(path, &self.up_json)) {
            let _gone = std::fs::remove_file(pointer).is_err();
        }
        let _gone = std::fs::remove_file(&self.up_json).is_err();
    }
}

fn locked(up_json: &Path, data_dir: &Path) -> Result<File, Fault> {
    let failed = |error: std::io::Error| Fault::Failed(format!("{}: {error}", up_json.display()));
    // An `up` that ends removes the file with its lock: what was locked must be what the path still names.
    for _ in 0..10 {
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(up_json)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(up_json, data_dir)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let held = file.metadata().map_err(failed)?;
        if std::fs::metadata(up_json).is_ok_and(|named| named.ino() == held.ino() && named.dev() == held.dev()) {
            return Ok(file);
        }
    }
    Err(Fault::Failed(format!("{}: another program keeps replacing it", up_json.display())))
}

fn taken(up_json: &Path, data_dir: &Path) -> Fault {
    let who = match locate::read_up_file(up_json) {
        Ok(UpFile { pid, since, .. }) => format!("process {pid}, since {since}"),
        Err(_) => "it is just starting".to_owned(),
    };
    Fault::Failed(format!(
        "`sentinelctl up` already runs on {} ({who}); end that one first, or give this one another --data-dir",
        data_dir.display()
    ))
}

/// Leaves the pointer, unless it names another `up` that lives. Whether it does now name ours.
fn point(pointer: &Path, up_json: &Path) -> bool {
    let other = std::fs::read_to_string(pointer).ok().and_then(|text| serde_json::from_str::<Pointer>(&text).ok());
    if let Some(Pointer { up }) = other
        && up != up_json
        && locate::read_up_file(&up).is_ok_and(|held| locate::is_alive(held.pid))
    {
        return false;
    }
    let Ok(text) = serde_json::to_string(&Pointer { up: up_json.to_owned() }) else {
        return false;
    };
    let fresh = pointer.with_extension("json.new");
    std::fs::write(&fresh, text).and_then(|()| std::fs::rename(&fresh, pointer)).is_ok()
}

fn names(pointer: &Path, up_json: &Path) -> bool {
    let text = std::fs::read_to_string(pointer).ok();
    text.and_then(|text| serde_json::from_str::<Pointer>(&text).ok()).is_some_and(|held| held.up == up_json)
}

/// Tries one address; `what` and `flag` are for the sentence. Errors: it cannot be listened on.
pub fn try_port(address: &str, what: &str, flag: &str) -> Result<(), Fault> {
    let parsed: SocketAddr = address
        .parse()
        .map_err(|_| Fault::Usage(format!("{flag}: `{address}` is no address; write 127.0.0.1:PORT")))?;
    match TcpListener::bind(parsed) {
        Ok(_) => Ok(()),
        Err(error) => Err(Fault::Failed(match error.kind() {
            ErrorKind::AddrInUse => {
                format!(
                    "{address} ({what}) is in use by another program; end that one, or choose another address with {flag}"
                )
            }
            ErrorKind::AddrNotAvailable => {
                format!("{address} ({what}) is no address of this machine; choose another with {flag}")
            }
            ErrorKind::PermissionDenied => format!(
                "{address} ({what}) may not be listened on: ports below 1024 are root's; choose another with {flag}"
            ),
            _ => format!("{address} ({what}) cannot be listened on: {error}; choose another with {flag}"),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_up_on_the_same_directory_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        std::fs::create_dir(&run).unwrap();
        let world = World::made_of(&[("XDG_RUNTIME_DIR", run.to_str().unwrap())]);
        let first = take(&dir.path().join("data"), &world, "then".to_owned()).unwrap();
        assert!(first.found_by_itself);
        let fault = take(&dir.path().join("data"), &world, "now".to_owned()).unwrap_err();
        assert!(fault.to_string().contains(&format!("process {}, since then", std::process::id())), "{fault}");
        let elsewhere = take(&dir.path().join("other"), &world, "now".to_owned()).unwrap();
        assert!(!elsewhere.found_by_itself, "the pointer stays with the first");
        drop(elsewhere);
        drop(first);
        assert!(!run.join("sentinel.json").exists() && !dir.path().join("data/controlplane/up.json").exists());
        drop(take(&dir.path().join("data"), &world, "later".to_owned()).unwrap());
    }

    #[test]
    fn a_busy_port_is_one_sentence() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let fault = try_port(&held.local_addr().unwrap().to_string(), "MCP", "--listen").unwrap_err();
        assert!(fault.to_string().contains("is in use by another program"), "{fault}");
        assert_eq!(fault.exit_code(), 1);
        assert_eq!(try_port("nonsense", "MCP", "--listen").unwrap_err().exit_code(), 2);
    }
}

//! The plane's own directory, and who it is: modes, the lock, id, secret, sealing key, the mark of a goodbye.
//!
//! One process at a time is the plane of a directory; the lock goes with the process. It reads no configuration.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    unistd::geteuid,
};
use thiserror::Error;
use uuid::Uuid;

use crate::disk::sync_folder_of;

#[derive(Debug, Error)]
pub enum HomeError {
    #[error("{path}: {doing} failed: {source}; see that this user may write there, or give another --data-dir")]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    #[error(
        "{path} can be written by others (mode {mode:o}); chmod {advice:o} it, so that nobody else decides what runs"
    )]
    Open { path: PathBuf, mode: u32, advice: u32 },
    #[error("{path} belongs to user {owner}, and this is user {us}; run as its owner or give another --data-dir")]
    Foreign { path: PathBuf, owner: u32, us: u32 },
    #[error("{path} is held by the plane with pid {pid}; stop that one or give another --data-dir")]
    Held { path: PathBuf, pid: String },
    #[error("{path}: {what}; move it away and this becomes a new plane")]
    Damaged { path: PathBuf, what: &'static str },
    #[error("the system gives no randomness")]
    Random,
}

/// `<data-dir>/plane`, ours alone while this lives.
#[derive(Debug)]
pub struct Home {
    root: PathBuf,
    plane: PathBuf,
    /// Released when the process ends, however it ends.
    _lock: Flock<File>,
}

/// Who this plane is, to the control plane and in the audit trail.
pub struct Identity {
    pub id: Uuid,
    /// Proves the id.
    pub secret: [u8; 32],
    /// Drawn at each start: the audit epoch, 63 bits.
    pub boot: u64,
    /// Seals session ids.
    pub seal_key: [u8; 32],
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Home {
    /// Makes the directories where they are not, judges their modes, takes the lock.
    pub fn open(root: &Path) -> Result<Self, HomeError> {
        let plane = root.join("plane");
        for folder in [root, &plane] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .map_err(io_error(folder, "making the folder"))?;
            judge(folder, 0o700)?;
        }
        let path = plane.join("lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_error(&path, "opening the lock"))?;
        let mut lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((mut held, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                // Whoever has just taken it may not have written yet.
                if held.read_to_string(&mut pid).is_err() || pid.trim().is_empty() {
                    pid = "unknown".into();
                }
                return Err(HomeError::Held { path: plane, pid: pid.trim().to_owned() });
            }
            Err((_, errno)) => return Err(io_error(&path, "locking")(errno.into())),
        };
        lock.set_len(0).map_err(io_error(&path, "writing the lock"))?;
        writeln!(lock, "{}", std::process::id()).map_err(io_error(&path, "writing the lock"))?;
        Ok(Self { root: root.to_owned(), plane, _lock: lock })
    }

    /// The data directory that it shares with the control plane.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The plane's own.
    pub fn plane(&self) -> &Path {
        &self.plane
    }

    /// Reads id, secret and sealing key, or makes them at the first start.
    pub fn identity(&self) -> Result<Identity, HomeError> {
        let id_path = self.plane.join("id");
        let made = Uuid::new_v4();
        let id = keep(&id_path, format!("{made}\n").as_bytes())?;
        let id = std::str::from_utf8(&id).ok().and_then(|text| Uuid::try_parse(text.trim()).ok());
        let id = id.ok_or(HomeError::Damaged { path: id_path, what: "it holds no UUID" })?;
        let mut boot = [0; 8];
        fill(&mut boot)?;
        Ok(Identity {
            id,
            secret: self.key("secret")?,
            boot: (u64::from_le_bytes(boot) >> 1).max(1),
            seal_key: self.key("seal.key")?,
        })
    }

    fn key(&self, name: &str) -> Result<[u8; 32], HomeError> {
        let path = self.plane.join(name);
        let mut made = [0; 32];
        fill(&mut made)?;
        let kept = keep(&path, &made)?;
        kept.try_into().map_err(|_| HomeError::Damaged { path, what: "it does not hold 32 bytes" })
    }

    /// This plane has told the control plane that it goes: kills need not wait for it any more, so its next start
    /// must not serve before it has asked. Durable when it returns.
    pub fn mark_goodbye(&self) -> Result<(), HomeError> {
        write_new(&self.plane.join("goodbye"), b"")
    }

    pub fn said_goodbye(&self) -> bool {
        self.plane.join("goodbye").exists()
    }

    /// The control plane knows again that this plane is there.
    pub fn forget_goodbye(&self) -> Result<(), HomeError> {
        let path = self.plane.join("goodbye");
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(fault) => Err(io_error(&path, "removing")(fault)),
        }
    }
}

/// `$XDG_STATE_HOME/sentinel`, `~/.local/state/sentinel`, as root `/var/lib/sentinel`.
pub fn default_data_dir(variable: impl Fn(&str) -> Option<String>) -> PathBuf {
    if geteuid().is_root() {
        return "/var/lib/sentinel".into();
    }
    let state = variable("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/state")));
    state.unwrap_or_else(|| "/var/lib".into()).join("sentinel")
}

fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> HomeError {
    let path = path.to_owned();
    move |source| HomeError::Io { path, doing, source }
}

/// Refuses what another user could have written.
fn judge(path: &Path, advice: u32) -> Result<(), HomeError> {
    let held = fs::metadata(path).map_err(io_error(path, "reading its mode"))?;
    let us = geteuid().as_raw();
    if held.uid() != us {
        return Err(HomeError::Foreign { path: path.to_owned(), owner: held.uid(), us });
    }
    if held.mode() & 0o022 != 0 {
        return Err(HomeError::Open { path: path.to_owned(), mode: held.mode() & 0o777, advice });
    }
    Ok(())
}

/// What the file holds; where there is none, `made` is written first.
fn keep(path: &Path, made: &[u8]) -> Result<Vec<u8>, HomeError> {
    match fs::read(path) {
        Ok(held) => {
            judge(path, 0o600)?;
            Ok(held)
        }
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
            write_new(path, made)?;
            Ok(made.to_vec())
        }
        Err(fault) => Err(io_error(path, "reading")(fault)),
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let aside = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&aside, path)?;
        sync_folder_of(path)
    };
    write().map_err(io_error(path, "writing"))
}

fn fill(bytes: &mut [u8]) -> Result<(), HomeError> {
    aws_lc_rs::rand::fill(bytes).map_err(|_| HomeError::Random)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_first_start_makes_what_a_second_finds_and_nobody_else_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        let first = Home::open(&root).unwrap().identity().unwrap();
        let second = Home::open(&root).unwrap().identity().unwrap();
        assert_eq!((first.id, first.secret, first.seal_key), (second.id, second.secret, second.seal_key));
        assert_ne!(first.boot, second.boot);
        for (name, expected) in [("", 0o700), ("plane", 0o700), ("plane/secret", 0o600), ("plane/seal.key", 0o600)] {
            assert_eq!(mode(&root.join(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_second_plane_in_one_directory_is_refused_by_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let held = Home::open(&dir.path().join("state")).unwrap();
        let refused = Home::open(held.root()).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    }

    #[test]
    fn a_directory_or_key_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        let home = Home::open(&root).unwrap();
        home.identity().unwrap();
        fs::set_permissions(root.join("plane/secret"), fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(home.identity(), Err(HomeError::Open { .. })));
        drop(home);
        fs::set_permissions(&root, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(Home::open(&root), Err(HomeError::Open { .. })));
    }

    #[test]
    fn a_damaged_identity_is_said_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("state")).unwrap();
        home.identity().unwrap();
        fs::write(home.plane().join("secret"), b"short").unwrap();
        assert!(matches!(home.identity(), Err(HomeError::Damaged { .. })));
    }

    #[test]
    fn a_goodbye_is_remembered_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(&dir.path().join("state")).unwrap();
        assert!(!home.said_goodbye());
        home.mark_goodbye().unwrap();
        assert!(home.said_goodbye());
        home.forget_goodbye().unwrap();
        home.forget_goodbye().unwrap();
        assert!(!home.said_goodbye());
    }

    #[test]
    fn the_default_directory_follows_xdg_or_home() {
        let expected = |variables: &[(&str, &str)]| {
            let held: Vec<_> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            default_data_dir(move |name| held.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
        };
        if geteuid().is_root() {
            assert_eq!(expected(&[("HOME", "/home/x")]), Path::new("/var/lib/sentinel"));
        } else {
            assert_eq!(expected(&[("HOME", "/home/x")]), Path::new("/home/x/.local/state/sentinel"));
            assert_eq!(expected(&[("XDG_STATE_HOME", "/s"), ("HOME", "/h")]), Path::new("/s/sentinel"));
        }
    }
}

//! The data directory: where state lies, with which modes, and that one control plane alone uses it.
//!
//! It knows names and modes, not what the files mean; `secrets.rs` and `signing.rs` read and make their own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

/// The data directory of one installation; both daemons and `sentinelctl` may share it.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
}

/// Held as long as the process lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock {
    _held: Flock<File>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the data directory {path} can't be used: {why}; give another with --data-dir")]
    Unusable { path: PathBuf, why: io::Error },
    #[error(
        "the data directory {path} belongs to user {owner}, and this process runs as {we}; run it as that user or give another with --data-dir"
    )]
    Foreign { path: PathBuf, owner: u32, we: u32 },
    #[error(
        "a control plane already runs on {path} (process {pid}); stop it first, or give this one its own --data-dir"
    )]
    Held { path: PathBuf, pid: String },
    #[error("{path} can't be {what}: {why}")]
    File { path: PathBuf, what: &'static str, why: io::Error },
}

impl Home {
    /// Makes what is missing of the directories, mode 0700, and takes rights that others have away.
    ///
    /// Errors: `Unusable`, `Foreign` where another user owns it.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let home = Self { root: root.to_owned() };
        for path in [home.root.clone(), home.own()] {
            private_dir(&path)?;
        }
        Ok(home)
    }

    /// Names a directory without touching it.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn admin_token(&self) -> PathBuf {
        self.root.join("admin.token")
    }

    pub fn plane_token(&self) -> PathBuf {
        self.root.join("plane.token")
    }

    pub fn signing_key(&self) -> PathBuf {
        self.own().join("signing.key")
    }

    pub fn socket(&self) -> PathBuf {
        self.own().join("grpc.sock")
    }

    pub fn database(&self) -> PathBuf {
        self.own().join("sentinel.db")
    }

    fn own(&self) -> PathBuf {
        self.root.join("controlplane")
    }

    /// Takes the directory for this process. Errors: `Held`, with the process id of the holder.
    pub fn lock(&self) -> Result<Lock, Error> {
        let path = self.own().join("lock");
        let fault = |what| {
            let path = path.clone();
            move |why| Error::File { path, what, why }
        };
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(fault("opened"))?;
        match Flock::lock(file.try_clone().map_err(fault("opened"))?, FlockArg::LockExclusiveNonblock) {
            Ok(held) => {
                file.set_len(0).map_err(fault("written"))?;
                file.rewind().map_err(fault("written"))?;
                writeln!(file, "{}", std::process::id()).map_err(fault("written"))?;
                Ok(Lock { _held: held })
            }
            Err(_) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid).ok();
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                Err(Error::Held { path: self.root.clone(), pid })
            }
        }
    }
}

/// Writes a file that only its owner may read; whole or not at all, and never over one that is there.
///
/// Errors: `File`; `AlreadyExists` inside it where another was faster.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let fault = |what| {
        let path = path.to_owned();
        move |why| Error::File { path, what, why }
    };
    let draft = path.with_extension("new");
    fs::remove_file(&draft).ok();
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&draft).map_err(fault("made"))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fault("written"))?;
    fs::hard_link(&draft, path).map_err(fault("made"))?;
    fs::remove_file(&draft).ok();
    if let Some(dir) = path.parent() {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(fault("made durable"))?;
    }
    Ok(())
}

/// Reads a file that holds a secret, and takes rights that group and others have on it away.
///
/// `None` where there is no such file. Errors: `File`.
pub fn read_private(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    let fault = |what| {
        let path = path.to_owned();
        move |why| Error::File { path, what, why }
    };
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(fault("read")(why)),
    };
    let mode = fs::metadata(path).map_err(fault("read"))?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(fault("made private"))?;
    }
    Ok(Some(bytes))
}

fn private_dir(path: &Path) -> Result<(), Error> {
    let unusable = |why| Error::Unusable { path: path.to_owned(), why };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
    let meta = fs::metadata(path).map_err(unusable)?;
    let we = nix::unistd::geteuid().as_raw();
    if meta.uid() != we {
        return Err(Error::Foreign { path: path.to_owned(), owner: meta.uid(), we });
    }
    if meta.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(unusable)?;
    }
    Ok(())
}

/// Where state lives when nobody says: `$XDG_STATE_HOME/sentinel`, else `~/.local/state/sentinel`; as root
/// `/var/lib/sentinel`.
pub fn default_root() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/sentinel");
    }
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    given("XDG_STATE_HOME")
        .or_else(|| given("HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("."))
        .join("sentinel")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_the_first_is() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let held = home.lock().unwrap();
        let refused = home.lock().unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        home.lock().unwrap();
    }

    #[test]
    fn directories_and_secrets_are_private_even_if_they_were_not() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("state");
        fs::create_dir(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        Home::open(&root).unwrap();
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(root.join("controlplane")).unwrap().permissions().mode() & 0o777, 0o700);

        let secret = root.join("admin.token");
        fs::write(&secret, "x").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read_private(&secret).unwrap().unwrap(), b"x");
        assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_secret_is_never_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signing.key");
        write_private(&path, b"one").unwrap();
        assert!(write_private(&path, b"two").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }
}

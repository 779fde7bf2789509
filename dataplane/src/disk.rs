//! Small state that must be right after a power loss (kill set, last good snapshot, acked position): a file
//! and the generation before it, each checksummed, written aside, fdatasynced, renamed, its folder fsynced.
//! It knows nothing of what the bytes mean, and is no place for anything written on a call's path.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

const MAGIC: &[u8; 8] = b"SNTLST1\n";
/// Magic, length (u64 LE) and CRC32C (u32 LE) before the bytes.
const HEAD: usize = 20;

/// What went wrong with a state file. The path says which.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The system refused.
    #[error("{path}: {doing} failed: {source}; see that the folder is writable and the disk has room")]
    Io { path: PathBuf, doing: &'static str, source: io::Error },
    /// No generation is whole, though there is at least one.
    #[error("{path}: {why}, and there is no whole generation before it; move it away to begin without it")]
    Damaged { path: PathBuf, why: Damage },
}

/// Why the bytes of a generation are not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    #[error("it ends before its stated length (torn)")]
    Torn,
    #[error("its checksum does not match (corrupt)")]
    Corrupt,
    #[error("it is not a state file of ours")]
    Foreign,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Loaded {
    pub bytes: Vec<u8>,
    /// The newest generation was missing or damaged, and this is the one before: something may have been lost.
    pub before: bool,
    /// Why the newest one was not taken, if it was there.
    pub damage: Option<Damage>,
}

/// One piece of state: two files in one folder. The caller sees to it that one process at a time writes it.
#[derive(Clone, Debug)]
pub struct StateFile {
    newest: PathBuf,
    before: PathBuf,
    aside: PathBuf,
}

impl StateFile {
    /// `name` and `name.before` in `dir`.
    #[must_use]
    pub fn new(dir: &Path, name: &str) -> Self {
        Self::named(dir, name, &format!("{name}.before"))
    }

    /// Both generations by name (`snapshot.last`, `snapshot.previous`).
    #[must_use]
    pub fn named(dir: &Path, newest: &str, before: &str) -> Self {
        Self { newest: dir.join(newest), before: dir.join(before), aside: dir.join(format!("{newest}.new")) }
    }

    /// The newest whole generation; `None` when neither file exists.
    ///
    /// # Errors
    /// `Damaged` when something is there and nothing of it is whole; `Io` when it cannot be read.
    pub fn read(&self) -> Result<Option<Loaded>, DiskError> {
        let newest = read_one(&self.newest)?;
        let damage = match newest {
            Generation::Whole(bytes) => {
                return Ok(Some(Loaded { bytes, before: false, damage: None }));
            }
            Generation::Absent => None,
            Generation::Damaged(why) => Some(why),
        };
        match (read_one(&self.before)?, damage) {
            (Generation::Whole(bytes), damage) => Ok(Some(Loaded { bytes, before: true, damage })),
            (Generation::Absent, None) => Ok(None),
            (Generation::Absent | Generation::Damaged(_), Some(why)) => {
                Err(DiskError::Damaged { path: self.newest.clone(), why })
            }
            (Generation::Damaged(why), None) => Err(DiskError::Damaged { path: self.before.clone(), why }),
        }
    }

    /// Only the generation before the newest; `None` when it is absent or damaged.
    ///
    /// # Errors
    /// `Io` when it cannot be read.
    pub fn read_before(&self) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(match read_one(&self.before)? {
            Generation::Whole(bytes) => Some(bytes),
            Generation::Absent | Generation::Damaged(_) => None,
        })
    }

    /// Writes a new generation. When this returns `Ok` it survives a power loss; until then the former one does.
    /// A newest generation that is damaged does not push out the whole one before it.
    ///
    /// # Errors
    /// `Io`, naming the step; what was there before is still readable.
    pub fn write(&self, bytes: &[u8]) -> Result<(), DiskError> {
        let failed = |doing| move |source| DiskError::Io { path: self.newest.clone(), doing, source };
        let mut head = Vec::with_capacity(HEAD);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.aside)
            .map_err(failed("writing it aside"))?;
        file.write_all(&head).map_err(failed("writing it aside"))?;
        file.write_all(bytes).map_err(failed("writing it aside"))?;
        file.sync_data().map_err(failed("fdatasync"))?;
        drop(file);
        if matches!(read_one(&self.newest)?, Generation::Whole(_)) {
            fs::rename(&self.newest, &self.before).map_err(failed("keeping the generation before"))?;
        }
        fs::rename(&self.aside, &self.newest).map_err(failed("renaming it into place"))?;
        sync_folder_of(&self.newest).map_err(failed("fsync of its folder"))
    }
}

/// Makes renames and new files in the folder of `path` durable.
///
/// # Errors
/// What the system says.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}

enum Generation {
    Absent,
    Damaged(Damage),
    Whole(Vec<u8>),
}

fn read_one(path: &Path) -> Result<Generation, DiskError> {
    let failed = |source| DiskError::Io { path: path.to_path_buf(), doing: "reading", source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Generation::Absent),
        Err(error) => return Err(failed(error)),
    };
    let mut all = Vec::new();
    file.read_to_end(&mut all).map_err(failed)?;
    let Some((head, bytes)) = all.split_at_checked(HEAD) else {
        return Ok(Generation::Damaged(Damage::Torn));
    };
    let (Some(magic), Some(length), Some(sum)) =
        (head.first_chunk::<8>(), head.get(8..16).and_then(<[u8]>::first_chunk), head.last_chunk())
    else {
        return Ok(Generation::Damaged(Damage::Torn));
    };
    if magic != MAGIC {
        return Ok(Generation::Damaged(Damage::Foreign));
    }
    let stated = u64::from_le_bytes(*length);
    let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if here < stated {
        return Ok(Generation::Damaged(Damage::Torn));
    }
    if here > stated || crc32c::crc32c(bytes) != u32::from_le_bytes(*sum) {
        return Ok(Generation::Damaged(Damage::Corrupt));
    }
    all.drain(..HEAD);
    Ok(Generation::Whole(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_there_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(StateFile::new(dir.path(), "kill.state").read().unwrap(), None);
    }

    #[test]
    fn two_generations_are_kept_and_the_newest_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::named(dir.path(), "snapshot.last", "snapshot.previous");
        for text in ["one", "two", "three"] {
            file.write(text.as_bytes()).unwrap();
        }
        assert_eq!(file.read().unwrap().unwrap(), Loaded { bytes: b"three".to_vec(), before: false, damage: None });
        assert_eq!(file.read_before().unwrap().unwrap(), b"two");
    }

    #[test]
    fn cut_anywhere_it_falls_back_to_the_generation_before() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::new(dir.path(), "s");
        file.write(b"old").unwrap();
        file.write(b"new").unwrap();
        let whole = fs::read(dir.path().join("s")).unwrap();
        for end in 0..whole.len() {
            fs::write(dir.path().join("s"), &whole[..end]).unwrap();
            let loaded = file.read().unwrap().unwrap();
            assert_eq!((loaded.bytes.as_slice(), loaded.before), (&b"old"[..], true));
            assert_eq!(loaded.damage, Some(Damage::Torn));
        }
    }

    #[test]
    fn every_flipped_bit_is_seen_and_a_damaged_one_does_not_push_out_the_whole_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::new(dir.path(), "s");
        file.write(b"old").unwrap();
        file.write(b"new").unwrap();
        let whole = fs::read(dir.path().join("s")).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            fs::write(dir.path().join("s"), &bytes).unwrap();
            assert_eq!(file.read().unwrap().unwrap().bytes, b"old");
        }
        file.write(b"newer").unwrap();
        assert_eq!(file.read().unwrap().unwrap().bytes, b"newer");
        assert_eq!(file.read_before().unwrap().unwrap(), b"old");
    }

    #[test]
    fn damage_without_a_generation_before_is_an_error_not_an_absence() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::new(dir.path(), "s");
        fs::write(dir.path().join("s"), b"something else entirely").unwrap();
        assert!(matches!(file.read(), Err(DiskError::Damaged { why: Damage::Foreign, .. })));
    }

    #[test]
    fn ended_between_the_two_renames_the_generation_before_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::new(dir.path(), "s");
        file.write(b"old").unwrap();
        fs::rename(dir.path().join("s"), dir.path().join("s.before")).unwrap();
        let loaded = file.read().unwrap().unwrap();
        assert_eq!((loaded.bytes.as_slice(), loaded.before, loaded.damage), (&b"old"[..], true, None));
    }
}

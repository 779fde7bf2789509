//! The files of the segment log behind two small traits, so that a test can fail any write, sync or creation;
//! and what is known of a segment while the plane runs. Which bytes go in is the writer's matter.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// An open segment. Shared by the appender and the thread that syncs.
pub trait SegmentFile: Send + Sync + Debug {
    /// One `write(2)` at the end; how many bytes it took.
    ///
    /// # Errors
    /// What the system says.
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts the file to `length` bytes.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// fdatasync. After an error it is never asked again of the same file.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self) -> io::Result<()>;
}

/// Makes segments, and says how much room the disk has.
pub trait Segments: Send + Sync + Debug {
    /// Makes a new, empty file at `path`.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>>;
    /// Bytes that this user may still write to the disk under `dir`.
    ///
    /// # Errors
    /// What the system says.
    fn room(&self, dir: &Path) -> io::Result<u64>;
    /// Makes the file that holds back room.
    ///
    /// # Errors
    /// What the system says.
    fn hold_back(&self, path: &Path, bytes: u64) -> io::Result<()>;
}

/// The real disk.
#[derive(Clone, Copy, Debug)]
pub struct OnDisk;

impl SegmentFile for File {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self;
        loop {
            match file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Segments for OnDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        Ok(Arc::new(file))
    }

    fn room(&self, dir: &Path) -> io::Result<u64> {
        let stat = nix::sys::statvfs::statvfs(dir)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    fn hold_back(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let length = nix::libc::off_t::try_from(bytes).map_err(io::Error::other)?;
        nix::fcntl::fallocate(&file, nix::fcntl::FallocateFlags::empty(), 0, length)?;
        tracing::trace!(fd = file.as_raw_fd(), bytes, "room held back");
        Ok(())
    }
}

/// What is known of a segment. One epoch a segment; frames up to `length` are whole.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) ordinal: u64,
    pub(super) path: PathBuf,
    pub(super) length: AtomicU64,
    /// Nothing is appended any more.
    pub(super) sealed: AtomicBool,
}

impl Segment {
    pub(super) fn new(dir: &Path, ordinal: u64, length: u64, sealed: bool) -> Self {
        Self { ordinal, path: path_of(dir, ordinal), length: AtomicU64::new(length), sealed: AtomicBool::new(sealed) }
    }

    pub(super) fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }
}

pub(super) fn path_of(dir: &Path, ordinal: u64) -> PathBuf {
    dir.join(format!("{ordinal:016}.seg"))
}

/// The ordinals of the segments in `dir`, ascending.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let ordinal =
            name.to_str().and_then(|name| name.strip_suffix(".seg")).and_then(|name| name.parse::<u64>().ok());
        found.extend(ordinal);
    }
    found.sort_unstable();
    Ok(found)
}

/// Where a damaged segment is put, for a person to look at: a name that is not taken.
pub(super) fn aside_of(path: &Path) -> PathBuf {
    let mut number = 0_u32;
    loop {
        let name = path.with_extension(if number == 0 { "corrupt".to_owned() } else { format!("corrupt.{number}") });
        if !name.exists() {
            return name;
        }
        number = number.saturating_add(1);
    }
}

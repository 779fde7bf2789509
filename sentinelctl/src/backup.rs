//! A file as it was before a change, kept beside it; and a file that is made new, whole, with its mode.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::clock;

/// `text` in `FILE.WHAT-20261124T000340Z`, a name that is free; where it is.
pub(crate) fn beside(file: &Path, text: &str, what: &str, mode: u32) -> io::Result<PathBuf> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{what}-{}", clock::stamp()));
    for more in 0..100 {
        let mut path = name.clone();
        if more > 0 {
            path.push(format!("-{more}"));
        }
        match written(Path::new(&path), text, mode) {
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| PathBuf::from(path)),
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Errors: `AlreadyExists` too; nothing is overwritten.
pub(crate) fn written(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_of_one_second_are_two_files() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        let kept = ["one", "two"].map(|text| beside(&file, text, "before", 0o600).unwrap());
        assert_eq!(kept.map(|path| fs::read_to_string(path).unwrap()), ["one", "two"]);
    }
}

//! The snapshot that was last in force, on disk: `snapshot.last`, and `snapshot.previous` before it.
//!
//! It hands out what is whole and this plane's own, newest first; whether a Policy can be made of it is not known
//! here. What can't be used is said, never repaired.

use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use uuid::Uuid;

use crate::disk::{DiskError, StateFile};

/// Plane (16), revision (8, big-endian), SHA-256 of the snapshot (32).
const HEAD: usize = 56;

#[derive(Clone, Debug)]
pub struct LastKnownGood {
    file: StateFile,
    plane: Uuid,
}

/// A snapshot that was in force here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub revision: u64,
    pub digest: [u8; 32],
    /// The bytes as they came.
    pub snapshot: Bytes,
}

/// What the disk has, newest first, and what is wrong with the rest, each a sentence.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub kept: Vec<Kept>,
    pub faults: Vec<String>,
}

impl LastKnownGood {
    pub fn new(dir: &Path, plane: Uuid) -> Self {
        Self { file: StateFile::named(dir, "snapshot.last", "snapshot.previous"), plane }
    }

    pub fn read(&self) -> Found {
        let mut found = Found::default();
        match self.file.read() {
            Ok(None) => return found,
            Ok(Some(loaded)) => {
                if let Some(damage) = loaded.damage {
                    found.faults.push(format!("snapshot.last is not used: {damage}"));
                }
                let name = if loaded.before { "snapshot.previous" } else { "snapshot.last" };
                self.judge(name, &loaded.bytes, &mut found);
                if loaded.before {
                    return found;
                }
            }
            Err(fault) => {
                found.faults.push(fault.to_string());
                return found;
            }
        }
        match self.file.read_before() {
            Ok(Some(bytes)) => self.judge("snapshot.previous", &bytes, &mut found),
            Ok(None) => {}
            Err(fault) => found.faults.push(fault.to_string()),
        }
        found
    }

    fn judge(&self, name: &str, bytes: &[u8], found: &mut Found) {
        match self.parse(bytes) {
            Ok(kept) => found.kept.push(kept),
            Err(why) => found.faults.push(format!("{name} is not used: {why}")),
        }
    }

    fn parse(&self, bytes: &[u8]) -> Result<Kept, &'static str> {
        let (head, snapshot) = bytes.split_at_checked(HEAD).ok_or("it is too short")?;
        let (plane, rest) = head.split_at_checked(16).ok_or("it is too short")?;
        let (revision, sum) = rest.split_first_chunk::<8>().ok_or("it is too short")?;
        if plane != self.plane.as_bytes() {
            return Err("it is another plane's");
        }
        let sum: [u8; 32] = sum.try_into().map_err(|_| "it is too short")?;
        if digest(&SHA256, snapshot).as_ref() != sum {
            return Err("its digest does not fit");
        }
        Ok(Kept { revision: u64::from_be_bytes(*revision), digest: sum, snapshot: Bytes::copy_from_slice(snapshot) })
    }

    /// Blocks until it survives a power loss.
    pub fn write(&self, kept: &Kept) -> Result<(), DiskError> {
        let mut bytes = Vec::with_capacity(HEAD + kept.snapshot.len());
        bytes.extend_from_slice(self.plane.as_bytes());
        bytes.extend_from_slice(&kept.revision.to_be_bytes());
        bytes.extend_from_slice(&kept.digest);
        bytes.extend_from_slice(&kept.snapshot);
        self.file.write(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(revision: u64, text: &'static str) -> Kept {
        let sum = digest(&SHA256, text.as_bytes()).as_ref().try_into().unwrap();
        Kept { revision, digest: sum, snapshot: text.into() }
    }

    #[test]
    fn two_revisions_are_kept_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let plane = LastKnownGood::new(dir.path(), Uuid::new_v4());
        assert_eq!(plane.read(), Found::default());
        for (revision, text) in [(1, "one"), (2, "two"), (3, "three")] {
            plane.write(&kept(revision, text)).unwrap();
        }
        assert_eq!(plane.read(), Found { kept: vec![kept(3, "three"), kept(2, "two")], faults: vec![] });
    }

    #[test]
    fn a_damaged_generation_is_said_and_the_one_before_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let plane = LastKnownGood::new(dir.path(), Uuid::new_v4());
        plane.write(&kept(1, "one")).unwrap();
        plane.write(&kept(2, "two")).unwrap();
        let path = dir.path().join("snapshot.last");
        let whole = std::fs::read(&path).unwrap();
        for at in [0, 9, 17, 21, 40, 50, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            let found = plane.read();
            assert_eq!((found.kept, found.faults.len()), (vec![kept(1, "one")], 1), "byte {at}");
        }
    }

    #[test]
    fn another_planes_snapshot_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        LastKnownGood::new(dir.path(), Uuid::new_v4()).write(&kept(1, "one")).unwrap();
        let found = LastKnownGood::new(dir.path(), Uuid::new_v4()).read();
        assert_eq!(found.kept, vec![]);
        assert!(found.faults[0].contains("another plane's"), "{found:?}");
    }

    #[test]
    fn a_digest_that_does_not_fit_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let plane = LastKnownGood::new(dir.path(), Uuid::new_v4());
        plane.write(&Kept { digest: [7; 32], ..kept(1, "one") }).unwrap();
        assert_eq!(plane.read().kept, vec![]);
    }
}

//! The kill set on the plane's disk: `kill.state`, two generations, durable before anything is acknowledged.
//!
//! It writes what it is given and judges nothing; the bytes are an encoded `KillSet`.

use std::path::Path;

use prost::Message as _;
use sentinel_proto::v1::KillSet;

use crate::disk::{DiskError, StateFile};

#[derive(Debug)]
pub struct KillStore(StateFile);

/// What the disk knows at the start.
#[derive(Debug)]
pub enum Remembered {
    /// No plane ever wrote here.
    Nothing,
    Set {
        set: KillSet,
        /// The newest generation could not be read: an entry may be missing.
        older: bool,
    },
    /// Something is there and can't be read, in a sentence: kills may stand that we do not know.
    Unreadable(String),
}

impl KillStore {
    pub fn new(dir: &Path) -> Self {
        Self(StateFile::new(dir, "kill.state"))
    }

    pub fn read(&self) -> Remembered {
        match self.0.read() {
            Ok(None) => Remembered::Nothing,
            Ok(Some(loaded)) => match KillSet::decode(&*loaded.bytes) {
                Ok(set) => Remembered::Set { set, older: loaded.damage.is_some() },
                Err(fault) => Remembered::Unreadable(format!("kill.state is whole and no kill set: {fault}")),
            },
            Err(fault) => Remembered::Unreadable(fault.to_string()),
        }
    }

    /// Blocks until the set survives a power loss.
    pub fn write(&self, set: &KillSet) -> Result<(), DiskError> {
        self.0.write(&set.encode_to_vec())
    }
}

//! The pins: which definition of a tool is trusted, fleet-wide. What a plane holds of them, on disk and in memory.
//!
//! The control plane owns them and sends them; a plane that sees a tool first, and may trust it, pins it for itself at
//! epoch 0 until the control plane has. `judge` decides; the view's task is the only owner. It knows no stream and no
//! backend, and no call ever asks here: what is held is a property of the View.

mod judge;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use prost::Message as _;
use sentinel_proto::v1::{Pin, PinSet};

pub use self::judge::{Judging, Seen, Verdict};
use crate::disk::{DiskError, StateFile};

/// All pins that are known here.
#[derive(Debug)]
pub struct Pins {
    /// By backend, then by its own name.
    held: BTreeMap<String, BTreeMap<String, Pin>>,
    /// By exposed name: the keys that were pinned under it.
    known_as: HashMap<String, Vec<(String, String)>>,
    epoch: u64,
    /// The disk could not be read: what is not known may have been, until the control plane has sent all.
    doubtful: bool,
    /// The disk lacks something that is in `held`.
    unsaved: bool,
    store: StateFile,
}

impl Pins {
    /// Reads the disk; beside the pins what is wrong with it, a sentence.
    pub fn open(dir: &Path) -> (Self, Option<String>) {
        let store = StateFile::new(dir, "pins.state");
        let mut pins =
            Self { held: BTreeMap::new(), known_as: HashMap::new(), epoch: 0, doubtful: false, unsaved: false, store };
        let read = match pins.store.read() {
            Ok(None) => return (pins, None),
            Ok(Some(loaded)) => PinSet::decode(&*loaded.bytes)
                .map(|set| (set, loaded.before))
                .map_err(|fault| format!("pins.state is whole and no set of pins: {fault}")),
            Err(fault) => Err(fault.to_string()),
        };
        let fault = match read {
            Ok((set, before)) => {
                pins.take(&set);
                before.then(|| "the newest pins.state can't be read; the one before it is in force".to_owned())
            }
            Err(why) => Some(why),
        };
        pins.doubtful = fault.is_some();
        (pins, fault)
    }

    /// Takes what is newer. True: something changed.
    pub fn merge(&mut self, set: &PinSet) -> bool {
        let changed = self.take(set) | (set.whole && std::mem::take(&mut self.doubtful));
        self.unsaved |= changed;
        changed
    }

    /// Pins for this plane alone what is trusted at first sight. True: something was new.
    pub fn trust(&mut self, first: impl IntoIterator<Item = Pin>) -> bool {
        let mut changed = false;
        for pin in first {
            changed |= self.put(&Pin { epoch: 0, ..pin });
        }
        self.unsaved |= changed;
        changed
    }

    /// Blocks until the disk has what was merged. Errors: the disk's; it is tried again with the next call.
    pub fn save(&mut self) -> Result<(), DiskError> {
        if self.unsaved {
            self.store.write(&self.whole().encode_to_vec())?;
            self.unsaved = false;
        }
        Ok(())
    }

    fn whole(&self) -> PinSet {
        PinSet { whole: true, epoch: self.epoch, pins: self.all().cloned().collect() }
    }

    fn all(&self) -> impl Iterator<Item = &Pin> {
        self.held.values().flat_map(BTreeMap::values)
    }

    /// What the sender of a whole set does not know: another control plane, or an older state of it.
    pub fn beyond(&self, whole: &PinSet) -> Vec<Pin> {
        let theirs: HashMap<(&str, &str), u64> =
            whole.pins.iter().map(|pin| ((pin.backend.as_str(), pin.own.as_str()), pin.epoch)).collect();
        let is_news =
            |pin: &&Pin| theirs.get(&(pin.backend.as_str(), pin.own.as_str())).is_none_or(|epoch| *epoch < pin.epoch);
        self.all().filter(is_news).cloned().collect()
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Nothing may be trusted at first sight.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful
    }

    pub fn find(&self, backend: &str, own: &str) -> Option<&Pin> {
        self.held.get(backend)?.get(own)
    }

    /// All of one backend, by its own names.
    pub fn of(&self, backend: &str) -> impl Iterator<Item = &Pin> {
        self.held.get(backend).into_iter().flat_map(BTreeMap::values)
    }

    /// What was pinned under this exposed name.
    pub fn known_as<'p>(&'p self, exposed: &str) -> impl Iterator<Item = &'p Pin> {
        let keys = self.known_as.get(exposed).into_iter().flatten();
        keys.filter_map(|(backend, own)| self.find(backend, own))
    }

    fn take(&mut self, set: &PinSet) -> bool {
        let mut changed = false;
        for pin in &set.pins {
            changed |= self.put(pin);
            self.epoch = self.epoch.max(pin.epoch);
        }
        if set.epoch > self.epoch {
            self.epoch = set.epoch;
            changed = true;
        }
        changed
    }

    fn put(&mut self, pin: &Pin) -> bool {
        let held = self.held.entry(pin.backend.clone()).or_default();
        if held.get(&pin.own).is_some_and(|held| rank(held) >= rank(pin)) {
            return false;
        }
        let before = held.insert(pin.own.clone(), pin.clone());
        let key = (pin.backend.clone(), pin.own.clone());
        if let Some(keys) = before.and_then(|before| self.known_as.get_mut(&before.exposed)) {
            keys.retain(|known| *known != key);
        }
        self.known_as.entry(pin.exposed.clone()).or_default().push(key);
        true
    }
}

/// Of two pins for one tool the greater stays.
const fn rank(pin: &Pin) -> (u64, bool) {
    (pin.epoch, pin.held)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pin(own: &str, hash: u8, epoch: u64) -> Pin {
        Pin {
            backend: "files".into(),
            own: own.into(),
            exposed: format!("files__{own}"),
            hash: vec![hash; 32],
            epoch,
            ..Pin::default()
        }
    }

    fn set(pins: Vec<Pin>) -> PinSet {
        PinSet { pins, ..PinSet::default() }
    }

    #[test]
    fn a_restart_remembers_and_the_higher_epoch_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (mut pins, fault) = Pins::open(dir.path());
        assert_eq!(fault, None);
        assert!(pins.merge(&set(vec![pin("read", 1, 4), pin("write", 1, 5)])));
        pins.save().unwrap();
        let (mut pins, fault) = Pins::open(dir.path());
        assert_eq!((fault, pins.epoch()), (None, 5));
        assert!(!pins.merge(&set(vec![pin("read", 9, 3)])), "older");
        assert_eq!(pins.find("files", "read").unwrap().hash, vec![1; 32]);
        assert!(pins.merge(&set(vec![pin("read", 9, 6)])));
        assert_eq!(pins.find("files", "read").unwrap().hash, vec![9; 32]);
    }

    #[test]
    fn what_the_plane_trusted_by_itself_yields_to_the_control_plane_and_is_brought_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut pins, _) = Pins::open(dir.path());
        assert!(pins.trust([pin("read", 1, 7), pin("write", 1, 7)]));
        assert_eq!(pins.epoch(), 0);
        assert!(!pins.trust([pin("read", 2, 7)]), "the first sight counts");
        let whole = PinSet { whole: true, epoch: 1, pins: vec![pin("read", 3, 1)] };
        pins.merge(&whole);
        assert_eq!(pins.find("files", "read").unwrap().hash, vec![3; 32]);
        assert_eq!(pins.beyond(&whole).iter().map(|pin| &*pin.own).collect::<Vec<_>>(), ["write"]);
    }

    #[test]
    fn a_torn_state_is_said_and_trusts_nobody_until_the_whole_set_came() {
        let dir = tempfile::tempdir().unwrap();
        let (mut pins, _) = Pins::open(dir.path());
        pins.merge(&set(vec![pin("read", 1, 1)]));
        pins.save().unwrap();
        let path = dir.path().join("pins.state");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let (mut pins, fault) = Pins::open(dir.path());
        assert!(fault.is_some() && pins.is_doubtful());
        assert!(!pins.merge(&set(vec![])) && pins.is_doubtful(), "an entry is not the whole");
        assert!(pins.merge(&PinSet { whole: true, ..PinSet::default() }));
        assert!(!pins.is_doubtful());
    }
}

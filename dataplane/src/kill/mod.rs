//! Kill switches and revocations as this plane holds them: merge, disk, gate, sweep, in this order.
//!
//! `gate` is what calls read, `merge` is pure, `store` is the disk; `Kills` joins them and is the only writer. It
//! knows no stream: `feed.rs` brings the messages and carries the acks.

pub mod gate;
pub mod local;
pub mod merge;
pub mod store;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sentinel_proto::v1::{KillApplied, KillEntry, KillList, KillSet, Scope};

use self::{
    gate::{Gate, Killed, Revoked},
    merge::Set,
    store::{KillStore, Remembered},
};
use crate::{
    call::Kind,
    catalogue::Catalogue,
    clock::Clock,
    disk::DiskError,
    in_flight::{InFlight, Why},
};

/// Seconds for which a revocation outlives its token: more than any leeway of a verification.
const REVOCATION_GRACE: i64 = 3600;

/// How far the disk of this plane can be trusted to know what is killed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Memory {
    Whole,
    /// In a sentence, what may be missing: serve only after the control plane has sent its set.
    Doubtful(String),
}

#[derive(Debug)]
pub struct Kills {
    state: Mutex<State>,
    gate: Gate,
    revoked: Revoked,
    in_flight: Arc<InFlight>,
    store: KillStore,
    clock: Clock,
}

#[derive(Debug, Default)]
struct State {
    set: Set,
    /// The file's lasting list, as entries without an epoch. It comes with each snapshot and is not stored here.
    file: Vec<KillEntry>,
    /// The disk lacks something that is in `set`.
    unsaved: bool,
    /// Exposed names of entries whose pair was found here, since this start.
    filled: BTreeSet<String>,
    /// Whose origin we are: entries that were thrown on this plane itself.
    local: Option<String>,
}

impl Kills {
    /// Reads the disk; what it knows is in force when this returns.
    pub fn open(dir: &Path, in_flight: Arc<InFlight>, clock: Clock) -> (Self, Memory) {
        let store = KillStore::new(dir);
        let mut state = State::default();
        let memory = match store.read() {
            Remembered::Nothing => Memory::Whole,
            Remembered::Set { set, older } => {
                state.set.merge(&set);
                if older {
                    Memory::Doubtful("the newest kill.state can't be read; the one before it is in force".into())
                } else {
                    Memory::Whole
                }
            }
            Remembered::Unreadable(why) => Memory::Doubtful(why),
        };
        let kills = Self {
            state: Mutex::new(state),
            gate: Gate::default(),
            revoked: Revoked::default(),
            in_flight,
            store,
            clock,
        };
        kills.enforce(&kills.state());
        (kills, memory)
    }

    /// For whoever asks on the way of a call.
    pub fn gate(&self) -> Gate {
        self.gate.clone()
    }

    pub fn revoked(&self) -> Revoked {
        self.revoked.clone()
    }

    /// All that this plane holds, for its `Hello`.
    pub fn to_message(&self) -> KillSet {
        self.state().set.to_message()
    }

    /// What a report brings: standing entries whose backend and own name were found here, and what was thrown or lifted
    /// on this plane itself since its start. The centre does not know them otherwise.
    pub fn filled(&self) -> Vec<KillEntry> {
        let state = self.state();
        let is_filled =
            |entry: &&KillEntry| entry.scope == i32::from(Scope::Tool) && state.filled.contains(&entry.name);
        let local = state.local.iter().flat_map(|origin| state.set.of_origin(origin));
        state.set.standing().filter(is_filled).chain(local).cloned().collect()
    }

    pub fn epoch(&self) -> u64 {
        self.state().set.epoch()
    }

    /// Takes a message: disk, gate, sweep. Blocks on the disk. The answer is the ack.
    /// Errors: the disk refused; the message is in force in memory all the same, and must not be acknowledged
    /// before `save` has succeeded.
    pub fn merge(&self, message: &KillSet) -> Result<KillApplied, DiskError> {
        for entry in message.entries.iter().filter(|entry| !is_known(entry)) {
            tracing::warn!(
                scope = entry.scope,
                epoch = entry.epoch,
                "a kill of a scope that this version does not know \
                binds nothing here; update this plane"
            );
        }
        let mut state = self.state();
        let mut changed = state.set.merge(message);
        changed |= state.set.forget_ended(self.unix_seconds() - REVOCATION_GRACE);
        state.unsaved |= changed;
        let saved = self.save_locked(&mut state);
        let cut = if changed { self.enforce(&state) } else { 0 };
        saved?;
        let epoch = message.entries.iter().map(|entry| entry.epoch).fold(message.epoch, u64::max);
        let epoch = message.revocations.iter().map(|revocation| revocation.epoch).fold(epoch, u64::max);
        Ok(KillApplied { epoch, cut: u32::try_from(cut).unwrap_or(u32::MAX) })
    }

    /// Tries the disk again where it refused. Blocks.
    pub fn save(&self) -> Result<(), DiskError> {
        self.save_locked(&mut self.state())
    }

    /// The file's list, from the snapshot in force: it adds to what stands and takes nothing from it. How many
    /// running calls were ended.
    pub fn set_file(&self, list: &KillList) -> usize {
        let mut state = self.state();
        let mut file = entries_of(list);
        for entry in &mut file {
            // What stood there before keeps its age and the pair that was found for it.
            if let Some(held) = state.file.iter().find(|held| held.scope == entry.scope && held.name == entry.name) {
                entry.clone_from(held);
            } else {
                entry.since_unix_ms = i64::try_from(self.clock.now_micros() / 1000).unwrap_or(i64::MAX);
            }
        }
        state.file = file;
        self.enforce(&state)
    }

    /// Gives tool entries that were made before their tool was seen its backend and own name. Blocks on the disk
    /// where something was filled in; true: a report is due.
    pub fn fill(&self, catalogue: &Catalogue) -> Result<bool, DiskError> {
        self.fill_from(|exposed| {
            let tool = catalogue.find(Kind::Tool, exposed)?;
            Some((tool.backend_name.to_string(), tool.own.to_string()))
        })
    }

    fn fill_from(&self, pair_of: impl Fn(&str) -> Option<(String, String)>) -> Result<bool, DiskError> {
        let mut state = self.state();
        let found = state.set.fill(&pair_of);
        let filled = !found.is_empty();
        state.filled.extend(found);
        let mut listed = false;
        for entry in &mut state.file {
            if entry.scope == i32::from(Scope::Tool)
                && entry.backend.is_empty()
                && let Some((backend, own)) = pair_of(&entry.name)
            {
                entry.backend = backend;
                entry.own = own;
                listed = true;
            }
        }
        if !filled && !listed {
            return Ok(false);
        }
        state.unsaved |= filled;
        let saved = self.save_locked(&mut state);
        self.enforce(&state);
        saved.map(|()| filled)
    }

    fn save_locked(&self, state: &mut State) -> Result<(), DiskError> {
        if state.unsaved {
            self.store.write(&state.set.to_message())?;
            state.unsaved = false;
        }
        Ok(())
    }

    /// Swaps what calls read, then ends what runs against it.
    fn enforce(&self, state: &State) -> usize {
        self.revoked.swap(state.set.revocations());
        self.gate.swap(Killed::of(state.set.standing().chain(&state.file)));
        let killed = self.gate.load_full();
        self.in_flight.sweep(|running| {
            let mut by = killed.judges(running.principal(), running.target())?.clone();
            by.sent = running.is_sent();
            Some(Why::Killed(by))
        })
    }

    fn unix_seconds(&self) -> i64 {
        i64::try_from(self.clock.now_secs()).unwrap_or(i64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file's list as entries without an epoch.
pub fn entries_of(list: &KillList) -> Vec<KillEntry> {
    let named = |scope: Scope, names: &[String]| -> Vec<KillEntry> {
        let entry = |name: &String| KillEntry {
            scope: scope.into(),
            name: name.clone(),
            on: true,
            reason: "listed in [kill_switch] of the configuration".into(),
            ..KillEntry::default()
        };
        names.iter().map(entry).collect()
    };
    let mut file = named(Scope::Tool, &list.tools);
    file.extend(named(Scope::Backend, &list.backends));
    file.extend(named(Scope::Client, &list.clients));
    file.extend(named(Scope::Role, &list.roles));
    file
}

fn is_known(entry: &KillEntry) -> bool {
    !matches!(Scope::try_from(entry.scope), Ok(Scope::Unspecified) | Err(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Principal;

    fn open(dir: &Path) -> (Kills, Memory) {
        Kills::open(dir, InFlight::new(), Clock::standing_at(1_000_000_000_000))
    }

    fn kill(scope: Scope, name: &str, epoch: u64, on: bool) -> KillSet {
        let entry = KillEntry { scope: scope.into(), name: name.into(), epoch, on, ..KillEntry::default() };
        KillSet { whole: false, epoch, entries: vec![entry], revocations: vec![] }
    }

    fn claude() -> Principal {
        Principal { issuer: "i".into(), client: "claude".into(), roles: [].into(), jti: None, until: i64::MAX }
    }

    #[tokio::test]
    async fn a_kill_is_on_disk_when_it_is_acknowledged_and_a_restart_remembers_it() {
        let dir = tempfile::tempdir().unwrap();
        let (kills, memory) = open(dir.path());
        assert_eq!(memory, Memory::Whole);
        assert_eq!(kills.merge(&kill(Scope::Client, "claude", 7, true)).unwrap(), KillApplied { epoch: 7, cut: 0 });
        drop(kills);
        let (kills, memory) = open(dir.path());
        assert_eq!(memory, Memory::Whole);
        assert!(kills.gate().caller(&claude()).is_err());
        assert_eq!(kills.epoch(), 7);
        kills.merge(&kill(Scope::Client, "claude", 8, false)).unwrap();
        assert!(kills.gate().caller(&claude()).is_ok());
    }

    #[tokio::test]
    async fn a_disk_that_refuses_leaves_the_kill_in_force_and_unacknowledged() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        let (kills, _) = open(&gone);
        kills.merge(&kill(Scope::All, "", 3, true)).unwrap_err();
        assert!(kills.gate().caller(&claude()).is_err());
        kills.save().unwrap_err();
        std::fs::create_dir(&gone).unwrap();
        kills.save().unwrap();
        assert!(open(&gone).0.gate().caller(&claude()).is_err());
    }

    #[tokio::test]
    async fn a_torn_state_is_said_and_the_generation_before_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let (kills, _) = open(dir.path());
        kills.merge(&kill(Scope::Client, "claude", 1, true)).unwrap();
        kills.merge(&kill(Scope::Client, "other", 2, true)).unwrap();
        let path = dir.path().join("kill.state");
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let (kills, memory) = open(dir.path());
        assert!(matches!(memory, Memory::Doubtful(_)), "{memory:?}");
        assert!(kills.gate().caller(&claude()).is_err());
        std::fs::remove_file(dir.path().join("kill.state.before")).unwrap();
        assert!(matches!(open(dir.path()).1, Memory::Doubtful(_)));
    }

    #[tokio::test]
    async fn the_files_list_adds_to_what_stands_and_takes_nothing_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let (kills, _) = open(dir.path());
        kills.merge(&kill(Scope::Client, "claude", 1, true)).unwrap();
        kills.set_file(&KillList { roles: vec!["ops".into()], ..KillList::default() });
        let ops = Principal { client: "x".into(), roles: ["ops".into()].into(), ..claude() };
        assert!(kills.gate().caller(&ops).is_err());
        assert!(kills.gate().caller(&claude()).is_err());
        kills.set_file(&KillList::default());
        assert!(kills.gate().caller(&ops).is_ok());
        assert!(kills.gate().caller(&claude()).is_err());
        assert!(
            kills.to_message().entries.iter().all(|entry| entry.name != "ops"),
            "the file's list is not ours to tell"
        );
    }

    #[tokio::test]
    async fn a_kill_before_its_tool_was_seen_is_filled_in_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (kills, _) = open(dir.path());
        kills.merge(&kill(Scope::Tool, "n8n__run", 4, true)).unwrap();
        kills.set_file(&KillList { tools: vec!["n8n__stop".into()], ..KillList::default() });
        let pair_of = |exposed: &str| exposed.strip_prefix("n8n__").map(|own| ("n8n".to_owned(), own.to_owned()));
        assert!(kills.filled().is_empty());
        assert!(kills.fill_from(pair_of).unwrap());
        assert!(!kills.fill_from(pair_of).unwrap());
        assert_eq!(kills.filled(), kills.to_message().entries);
        let (again, _) = open(dir.path());
        let entry = again.to_message().entries.remove(0);
        assert_eq!((&*entry.backend, &*entry.own), ("n8n", "run"));
    }

    #[tokio::test]
    async fn a_revoked_token_is_known_at_once_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (kills, _) = open(dir.path());
        let before = kills.revoked().generation();
        let revocation = sentinel_proto::v1::Revocation { jti: "t".into(), epoch: 5, ..Default::default() };
        kills.merge(&KillSet { revocations: vec![revocation], ..KillSet::default() }).unwrap();
        assert!(kills.revoked().is_revoked("i", "t"));
        assert_ne!(kills.revoked().generation(), before);
        assert!(open(dir.path()).0.revoked().is_revoked("i", "t"));
    }
}

//! Break-glass: switches that are thrown and lifted on this plane itself, whatever became of the control plane.
//!
//! Their origin is the plane's id. They stand beside the centre's and go with the next report; the centre lifts one by
//! naming its origin.

use sentinel_proto::v1::{KillEntry, KillSet};

use super::Kills;
use crate::disk::DiskError;

/// Why a switch on the plane itself was not thrown or lifted.
#[derive(Debug, thiserror::Error)]
pub enum ThrowError {
    #[error("it is in force in memory, and not on disk: {0}; a restart would forget it")]
    Disk(DiskError),
    #[error("it is not killed on this plane itself")]
    NotKilled,
    #[error("the control plane killed it: lift it there (`sentinelctl kill-switch … --lift`)")]
    OfTheCentre,
    #[error("the configuration's [kill_switch] lists it: take it out there and `sentinelctl reload`")]
    OfTheFile,
}

impl Kills {
    /// Break-glass: throws or lifts a switch whose origin is this plane. It is counted by itself, beside the centre's
    /// epochs: only its own entry has to be older. Disk, gate, sweep; blocks on the disk. How many calls were ended.
    /// Errors: there is nothing of this plane's to lift; the disk refused (then it is in force in memory alone).
    pub fn throw(&self, mut entry: KillEntry) -> Result<u32, ThrowError> {
        let mut state = self.state();
        let held = state.set.held(entry.scope, &entry.name, &entry.origin).cloned();
        if !entry.on && !held.as_ref().is_some_and(|held| held.on) {
            let same = |other: &&KillEntry| other.scope == entry.scope && other.name == entry.name;
            return Err(match (state.set.standing().find(same), state.file.iter().find(same)) {
                (Some(_), _) => ThrowError::OfTheCentre,
                (None, Some(_)) => ThrowError::OfTheFile,
                (None, None) => ThrowError::NotKilled,
            });
        }
        if let Some(held) = held.as_ref().filter(|_| entry.backend.is_empty()) {
            entry.backend.clone_from(&held.backend);
            entry.own.clone_from(&held.own);
        }
        entry.epoch = held.map_or(0, |held| held.epoch).saturating_add(1);
        entry.since_unix_ms = i64::try_from(self.clock.now_micros() / 1000).unwrap_or(i64::MAX);
        state.local = Some(entry.origin.clone());
        state.unsaved |= state.set.merge(&KillSet { entries: vec![entry], ..KillSet::default() });
        let saved = self.save_locked(&mut state);
        let cut = self.enforce(&state);
        saved.map_err(ThrowError::Disk)?;
        Ok(u32::try_from(cut).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use sentinel_proto::v1::{KillList, Scope};

    use super::*;
    use crate::{call::Principal, clock::Clock, in_flight::InFlight, kill::Memory};

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

    fn local(scope: Scope, name: &str, on: bool) -> KillEntry {
        KillEntry { scope: scope.into(), name: name.into(), on, origin: "me".into(), ..KillEntry::default() }
    }

    #[tokio::test]
    async fn a_switch_of_this_plane_holds_through_a_restart_and_the_centre_lifts_it_by_its_origin() {
        let dir = tempfile::tempdir().unwrap();
        let (kills, _) = open(dir.path());
        kills.merge(&kill(Scope::Role, "x", 9, true)).unwrap();
        assert_eq!(kills.throw(local(Scope::All, "", true)).unwrap(), 0);
        assert!(kills.gate().caller(&claude()).is_err());
        assert_eq!(kills.filled().len(), 1, "the next report brings it");
        assert_eq!(kills.epoch(), 9, "the centre's counter is not ours");
        drop(kills);
        let (kills, _) = open(dir.path());
        assert!(kills.gate().caller(&claude()).is_err());
        kills.merge(&kill(Scope::All, "", 10, false)).unwrap();
        assert!(kills.gate().caller(&claude()).is_err(), "the centre's own entry is another one");
        let mut lift = kill(Scope::All, "", 11, false);
        lift.entries[0].origin = "me".into();
        kills.merge(&lift).unwrap();
        assert!(kills.gate().caller(&claude()).is_ok());
        kills.throw(local(Scope::All, "", true)).unwrap();
        assert!(kills.gate().caller(&claude()).is_err(), "thrown again after the lift");
    }

    #[tokio::test]
    async fn only_what_this_plane_threw_is_lifted_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let (kills, _) = open(dir.path());
        kills.merge(&kill(Scope::Tool, "a", 3, true)).unwrap();
        kills.set_file(&KillList { backends: vec!["b".into()], ..KillList::default() });
        let lift = |scope, name| kills.throw(local(scope, name, false)).unwrap_err();
        assert!(matches!(lift(Scope::Tool, "a"), ThrowError::OfTheCentre));
        assert!(matches!(lift(Scope::Backend, "b"), ThrowError::OfTheFile));
        assert!(matches!(lift(Scope::Tool, "c"), ThrowError::NotKilled));
        kills.throw(local(Scope::Tool, "c", true)).unwrap();
        kills.throw(local(Scope::Tool, "c", false)).unwrap();
        assert!(matches!(lift(Scope::Tool, "c"), ThrowError::NotKilled));
    }
}

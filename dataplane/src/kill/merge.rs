//! How kill entries and revocations of any origin become one set: pure, without a clock, a disk or a gate.
//!
//! Per key the greater entry stays, by one total order (epoch first, then `on`, then what the entry knows): so merge
//! is commutative, associative and idempotent, and absence is never a lift. An entry of a scope that this build does
//! not know is kept and handed on; it binds nothing here.

use std::collections::BTreeMap;

use sentinel_proto::v1::{KillEntry, KillSet, Revocation};

/// What one entry is about: scope (as on the wire), name, origin.
type Key = (i32, String, String);
/// What one revocation is about: jti, issuer.
type TokenKey = (String, String);

/// All that is known of kill switches and revocations, lifts included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Set {
    epoch: u64,
    entries: BTreeMap<Key, KillEntry>,
    revocations: BTreeMap<TokenKey, Revocation>,
}

impl Set {
    /// Takes every entry that is newer than what is held. True: something changed.
    pub fn merge(&mut self, message: &KillSet) -> bool {
        let mut changed = false;
        let mut epoch = message.epoch;
        for entry in &message.entries {
            epoch = epoch.max(entry.epoch);
            changed |= self.take(entry);
        }
        for revocation in &message.revocations {
            epoch = epoch.max(revocation.epoch);
            let key = (revocation.jti.clone(), revocation.issuer.clone());
            match self.revocations.get_mut(&key) {
                Some(held) if rank_of_token(held) >= rank_of_token(revocation) => {}
                Some(held) => {
                    held.clone_from(revocation);
                    changed = true;
                }
                None => {
                    self.revocations.insert(key, revocation.clone());
                    changed = true;
                }
            }
        }
        if epoch > self.epoch {
            self.epoch = epoch;
            changed = true;
        }
        changed
    }

    fn take(&mut self, entry: &KillEntry) -> bool {
        let key = (entry.scope, entry.name.clone(), entry.origin.clone());
        match self.entries.get_mut(&key) {
            Some(held) if rank(held) >= rank(entry) => false,
            Some(held) => {
                held.clone_from(entry);
                true
            }
            None => {
                self.entries.insert(key, entry.clone());
                true
            }
        }
    }

    /// Gives the tool entries that know no backend the pair that `pair_of` finds for their exposed name. The same
    /// epoch with a pair is greater than without: a later copy without it takes nothing away. Gives their exposed names.
    pub fn fill(&mut self, mut pair_of: impl FnMut(&str) -> Option<(String, String)>) -> Vec<String> {
        let mut filled = Vec::new();
        for entry in self.entries.values_mut() {
            if entry.scope == sentinel_proto::v1::Scope::Tool as i32
                && entry.on
                && entry.backend.is_empty()
                && let Some((backend, own)) = pair_of(&entry.name)
            {
                entry.backend = backend;
                entry.own = own;
                filled.push(entry.name.clone());
            }
        }
        filled
    }

    /// Forgets revocations of tokens that ended before `unix` (seconds). True: some were.
    pub fn forget_ended(&mut self, unix: i64) -> bool {
        let before = self.revocations.len();
        self.revocations.retain(|_, revocation| revocation.until_unix == 0 || revocation.until_unix >= unix);
        self.revocations.len() != before
    }

    /// The whole, in one order: the same set has the same bytes.
    pub fn to_message(&self) -> KillSet {
        KillSet {
            whole: true,
            epoch: self.epoch,
            entries: self.entries.values().cloned().collect(),
            revocations: self.revocations.values().cloned().collect(),
        }
    }

    /// The highest epoch that was ever seen here.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The entry of this key, lifts included.
    pub fn held(&self, scope: i32, name: &str, origin: &str) -> Option<&KillEntry> {
        self.entries.get(&(scope, name.to_owned(), origin.to_owned()))
    }

    /// All entries of one origin, lifts included.
    pub fn of_origin<'s>(&'s self, origin: &'s str) -> impl Iterator<Item = &'s KillEntry> {
        self.entries.values().filter(move |entry| entry.origin == origin)
    }

    /// Entries that stand (no lifts).
    pub fn standing(&self) -> impl Iterator<Item = &KillEntry> {
        self.entries.values().filter(|entry| entry.on)
    }

    pub fn revocations(&self) -> impl Iterator<Item = &Revocation> {
        self.revocations.values()
    }
}

fn rank(entry: &KillEntry) -> (u64, bool, &str, &str, &str, &str, i64) {
    // What is the key, and a name that is for operators alone, say nothing of the order.
    let KillEntry { epoch, on, backend, own, reason, by, since_unix_ms, scope: _, name: _, origin: _, origin_name: _ } =
        entry;
    (*epoch, *on, backend, own, reason, by, *since_unix_ms)
}

fn rank_of_token(revocation: &Revocation) -> (u64, i64, &str, i64) {
    let Revocation { epoch, until_unix, by, since_unix_ms, jti: _, issuer: _ } = revocation;
    // No end stands above every end.
    let until = if *until_unix == 0 { i64::MAX } else { *until_unix };
    (*epoch, until, by, *since_unix_ms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sentinel_proto::v1::Scope;

    use super::*;

    fn entry() -> impl Strategy<Value = KillEntry> {
        (0..7_i32, "[ab]", "[xy]?", "[st]?", 0..5_u64, any::<bool>(), "[qr]?", 0..3_i64, "[op]?").prop_map(
            |(scope, name, backend, own, epoch, on, reason, since_unix_ms, origin)| KillEntry {
                scope,
                name,
                backend,
                own,
                epoch,
                on,
                reason,
                by: String::new(),
                since_unix_ms,
                origin,
                origin_name: String::new(),
            },
        )
    }

    fn revocation() -> impl Strategy<Value = Revocation> {
        ("[ab]", "[xy]?", 0..5_u64, 0..4_i64).prop_map(|(jti, issuer, epoch, until_unix)| Revocation {
            jti,
            issuer,
            epoch,
            until_unix,
            by: String::new(),
            since_unix_ms: 0,
        })
    }

    fn message() -> impl Strategy<Value = KillSet> {
        (any::<bool>(), 0..5_u64, prop::collection::vec(entry(), 0..8), prop::collection::vec(revocation(), 0..4))
            .prop_map(|(whole, epoch, entries, revocations)| KillSet { whole, epoch, entries, revocations })
    }

    fn set_of(messages: &[&KillSet]) -> Set {
        let mut set = Set::default();
        for message in messages {
            set.merge(message);
        }
        set
    }

    proptest! {
        #[test]
        fn merge_is_commutative(a in message(), b in message()) {
            prop_assert_eq!(set_of(&[&a, &b]), set_of(&[&b, &a]));
        }

        #[test]
        fn merge_is_associative(a in message(), b in message(), c in message()) {
            let right = set_of(&[&b, &c]).to_message();
            prop_assert_eq!(set_of(&[&a, &b, &c]), set_of(&[&a, &right]));
        }

        #[test]
        fn merge_is_idempotent(a in message(), b in message()) {
            let mut set = set_of(&[&a, &b]);
            let before = set.clone();
            prop_assert!(!set.merge(&before.to_message()));
            set.merge(&a);
            prop_assert_eq!(set, before);
        }

        #[test]
        fn absence_is_never_a_lift(a in message()) {
            let mut set = set_of(&[&a]);
            let before: Vec<_> = set.standing().cloned().collect();
            set.merge(&KillSet { whole: true, epoch: 99, ..KillSet::default() });
            prop_assert_eq!(before, set.standing().cloned().collect::<Vec<_>>());
        }
    }

    fn kill(epoch: u64, on: bool) -> KillSet {
        let entry = KillEntry { scope: Scope::Tool.into(), name: "n8n__run".into(), epoch, on, ..KillEntry::default() };
        KillSet { whole: false, epoch, entries: vec![entry], revocations: vec![] }
    }

    #[test]
    fn the_higher_epoch_wins_and_at_equal_epochs_on_wins() {
        assert_eq!(set_of(&[&kill(2, true), &kill(3, false)]).standing().count(), 0);
        assert_eq!(set_of(&[&kill(3, true), &kill(2, false)]).standing().count(), 1);
        assert_eq!(set_of(&[&kill(3, false), &kill(3, true)]).standing().count(), 1);
    }

    #[test]
    fn a_filled_pair_stays_when_the_same_entry_comes_again_without_it() {
        let mut set = set_of(&[&kill(2, true)]);
        assert_eq!(set.fill(|name| (name == "n8n__run").then(|| ("n8n".into(), "run".into()))), ["n8n__run"]);
        assert!(!set.merge(&kill(2, true)));
        assert_eq!(set.standing().next().unwrap().own, "run");
    }

    #[test]
    fn revocations_are_forgotten_after_the_token_has_ended() {
        let revoked = |jti: &str, until_unix| Revocation { jti: jti.into(), until_unix, ..Revocation::default() };
        let mut set = Set::default();
        set.merge(&KillSet {
            revocations: vec![revoked("a", 10), revoked("b", 20), revoked("c", 0)],
            ..KillSet::default()
        });
        assert!(set.forget_ended(15));
        assert_eq!(set.revocations().map(|kept| &*kept.jti).collect::<Vec<_>>(), ["b", "c"]);
    }
}

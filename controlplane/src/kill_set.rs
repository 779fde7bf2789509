//! Kill switches and revocations as one set of stamped entries, and how two such sets become one.
//!
//! Pure: no store, no planes, no clock. Per key the higher epoch wins, at equal epochs `on` wins, then the entry that
//! knows its backend and own name (a plane fills them in), and absence is never a lift; so merging in any order gives
//! the same set.

use std::collections::BTreeMap;

use sentinel_proto::v1::{KillEntry, KillSet, Revocation, Scope};

/// Epochs above this are nonsense (the store counts in signed 64 bits): an entry that bears one is not taken.
const HIGHEST: u64 = 1 << 62;

/// All entries that are known, lifts included.
#[derive(Clone, Debug, Default)]
pub struct Kills {
    epoch: u64,
    entries: BTreeMap<Key, KillEntry>,
    revocations: BTreeMap<(String, String), Revocation>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    scope: i32,
    name: String,
    origin: String,
}

impl Kills {
    /// The highest epoch that any entry ever bore.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Takes in what is newer, and gives exactly that back: what others need to hear.
    pub fn merge(&mut self, other: &KillSet) -> KillSet {
        let mut news = KillSet { whole: false, ..KillSet::default() };
        for entry in other.entries.iter().filter(|entry| known_scope(entry) && entry.epoch <= HIGHEST) {
            let key = Key { scope: entry.scope, name: entry.name.clone(), origin: entry.origin.clone() };
            let newer = self.entries.get(&key).is_none_or(|held| rank(entry) > rank(held));
            if newer {
                self.entries.insert(key, entry.clone());
                news.entries.push(entry.clone());
            }
            self.epoch = self.epoch.max(entry.epoch);
        }
        for revoked in other.revocations.iter().filter(|revoked| revoked.epoch <= HIGHEST) {
            let key = (revoked.jti.clone(), revoked.issuer.clone());
            if self.revocations.get(&key).is_none_or(|held| revoked.epoch > held.epoch) {
                self.revocations.insert(key, revoked.clone());
                news.revocations.push(revoked.clone());
            }
            self.epoch = self.epoch.max(revoked.epoch);
        }
        if other.epoch <= HIGHEST {
            self.epoch = self.epoch.max(other.epoch);
        }
        news.epoch = self.epoch;
        news
    }

    /// All there is, as a plane gets it when it connects.
    pub fn whole(&self) -> KillSet {
        KillSet {
            whole: true,
            epoch: self.epoch,
            entries: self.entries.values().cloned().collect(),
            revocations: self.revocations.values().cloned().collect(),
        }
    }

    /// The entries that are on, by scope and name.
    pub fn in_force(&self) -> impl Iterator<Item = &KillEntry> {
        self.entries.values().filter(|entry| entry.on)
    }

    /// The centre's own entry for this scope and name, lifts included.
    pub fn central(&self, scope: Scope, name: &str) -> Option<&KillEntry> {
        self.of_origin(scope, name, "")
    }

    /// That of one origin: a plane's id; empty for the centre.
    pub fn of_origin(&self, scope: Scope, name: &str, origin: &str) -> Option<&KillEntry> {
        self.entries.get(&Key { scope: scope.into(), name: name.to_owned(), origin: origin.to_owned() })
    }

    pub fn revocations(&self) -> impl Iterator<Item = &Revocation> {
        self.revocations.values()
    }

    /// Forgets revocations of tokens that have ended by themselves; `true` where there were any.
    pub fn forget_ended(&mut self, now_secs: i64) -> bool {
        let before = self.revocations.len();
        self.revocations.retain(|_, revoked| revoked.until_unix == 0 || revoked.until_unix > now_secs);
        before != self.revocations.len()
    }
}

fn rank(entry: &KillEntry) -> (u64, bool, bool) {
    (entry.epoch, entry.on, !entry.backend.is_empty())
}

fn known_scope(entry: &KillEntry) -> bool {
    Scope::try_from(entry.scope).is_ok_and(|scope| scope != Scope::Unspecified)
}

/// How people write a scope.
pub const fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::All => "all",
        Scope::Backend => "backend",
        Scope::Client => "client",
        Scope::Role => "role",
        Scope::Tool => "tool",
        Scope::Unspecified => "nothing",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str, epoch: u64, on: bool) -> KillEntry {
        KillEntry { scope: Scope::Tool.into(), name: name.into(), epoch, on, ..KillEntry::default() }
    }

    fn set(entries: Vec<KillEntry>) -> KillSet {
        KillSet { entries, ..KillSet::default() }
    }

    #[test]
    fn absence_is_never_a_lift_and_an_older_entry_changes_nothing() {
        let mut kills = Kills::default();
        kills.merge(&set(vec![entry("a", 5, true)]));
        let news = kills.merge(&KillSet { whole: true, epoch: 9, ..KillSet::default() });
        assert!(news.entries.is_empty());
        assert_eq!(kills.epoch(), 9);
        assert!(kills.merge(&set(vec![entry("a", 4, false)])).entries.is_empty());
        assert!(kills.central(Scope::Tool, "a").unwrap().on);
        kills.merge(&set(vec![entry("a", 10, false)]));
        assert_eq!(kills.in_force().count(), 0);
    }

    #[test]
    fn the_same_entry_with_its_pair_is_news_and_without_it_is_none() {
        let mut kills = Kills::default();
        kills.merge(&set(vec![entry("n8n__run", 5, true)]));
        let filled = KillEntry { backend: "n8n".into(), own: "run".into(), ..entry("n8n__run", 5, true) };
        assert_eq!(kills.merge(&set(vec![filled.clone()])).entries, std::slice::from_ref(&filled));
        assert!(kills.merge(&set(vec![entry("n8n__run", 5, true), filled.clone()])).entries.is_empty());
        assert_eq!(kills.central(Scope::Tool, "n8n__run"), Some(&filled));
    }

    #[test]
    fn an_epoch_that_no_counter_reaches_is_not_taken() {
        let mut kills = Kills::default();
        kills.merge(&KillSet { epoch: u64::MAX, entries: vec![entry("a", u64::MAX, false)], ..KillSet::default() });
        assert_eq!(kills.epoch(), 0);
        assert!(kills.central(Scope::Tool, "a").is_none());
    }

    #[test]
    fn revocations_of_ended_tokens_are_forgotten_and_the_rest_stay() {
        let revoked =
            |jti: &str, until_unix| Revocation { jti: jti.into(), epoch: 1, until_unix, ..Revocation::default() };
        let mut kills = Kills::default();
        kills.merge(&KillSet {
            revocations: vec![revoked("a", 10), revoked("b", 20), revoked("c", 0)],
            ..KillSet::default()
        });
        assert!(kills.forget_ended(15));
        let left: Vec<_> = kills.revocations().map(|revoked| revoked.jti.as_str()).collect();
        assert_eq!(left, ["b", "c"]);
    }

    proptest! {
        #[test]
        fn merging_in_any_order_gives_the_same_set(
            mut entries in prop::collection::vec(("[ab]", 0_u64..6, any::<bool>(), "b?"), 0..12).prop_map(|all| {
                let each = all.into_iter();
                let entry = |(name, epoch, on, backend): (String, _, _, _)| KillEntry { backend, ..entry(&name, epoch, on) };
                each.map(entry).collect::<Vec<_>>()
            }),
            at in 0_usize..12,
        ) {
            let mut one = Kills::default();
            one.merge(&set(entries.clone()));
            let middle = at.min(entries.len());
            entries.rotate_left(middle);
            entries.reverse();
            let mut other = Kills::default();
            for entry in entries {
                other.merge(&set(vec![entry]));
            }
            prop_assert_eq!(one.whole(), other.whole());
        }
    }
}

//! Whether a tool that a backend offers is as it is pinned: pure, of the pins, the policy and one backend's offer.
//!
//! A hash for a name is not enough: a backend that renames a tool would come as a new one, and be trusted. So a name
//! that is new while a pinned one is gone is no first sight, nor is the shape of something that is held, nor another
//! definition under an exposed name that is known.

use std::collections::HashSet;

use sentinel_proto::v1::{Pin, Pinning};

use super::Pins;
use crate::catalogue::print::{Print, Printed};

/// What becomes of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it is pinned.
    Pinned,
    /// In use, and the control plane has not pinned it yet.
    First,
    /// In use although it is not as it is pinned (`on_change = "warn"`): why, a sentence.
    Changed(Seen),
    /// Not listed, and calls are refused.
    Held(Seen),
}

/// What is wrong with a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// For callers: names no other tool.
    pub reason: String,
    /// For operators, a sentence.
    pub why: String,
    /// Pinned names that its backend offers no more, where it may be one of them.
    pub gone: Vec<String>,
    /// When somebody decided it, unix milliseconds; 0: nobody did.
    pub since: i64,
}

impl Seen {
    fn new(reason: &str, why: impl Into<String>) -> Self {
        Self { reason: reason.into(), why: why.into(), gone: Vec::new(), since: 0 }
    }
}

/// The judge of one backend's tools, as it offers them now.
#[derive(Debug)]
pub struct Judging<'p> {
    pins: &'p Pins,
    policy: Pinning,
    backend: &'p str,
    gone: Vec<&'p str>,
    /// Shapes of what is held now.
    held_shapes: HashSet<[u8; 32]>,
}

const CHANGED: &str = "definition changed";
const NOT_APPROVED: &str = "definition not approved";
/// Names that a sentence tells.
const MOST_TOLD: usize = 3;

impl<'p> Judging<'p> {
    /// `offered`: all that the backend offers, by its own names.
    pub fn of<'o>(
        pins: &'p Pins,
        policy: Pinning,
        backend: &'p str,
        offered: impl Iterator<Item = (&'o str, &'o Printed)>,
    ) -> Self {
        let (mut names, mut held_shapes) = (HashSet::new(), HashSet::new());
        for (own, print) in offered {
            names.insert(own);
            if let (Some(pin), Ok(print)) = (pins.find(backend, own), print)
                && (pin.held || !pin.hash.is_empty() && pin.hash != print.hash)
            {
                held_shapes.insert(print.shape);
            }
        }
        let is_gone = |pin: &&Pin| !pin.settled && !pin.hash.is_empty() && !names.contains(pin.own.as_str());
        let gone = pins.of(backend).filter(is_gone).map(|pin| pin.own.as_str()).collect();
        Self { pins, policy, backend, gone, held_shapes }
    }

    pub fn verdict(&self, own: &str, exposed: &str, print: &Print) -> Verdict {
        let Some(pin) = self.pins.find(self.backend, own) else { return self.first(exposed, print) };
        if pin.held {
            let why = if pin.reason.is_empty() { "quarantined".to_owned() } else { pin.reason.clone() };
            let by = if pin.by.is_empty() { String::new() } else { format!(" by {}", pin.by) };
            let seen = Seen { since: pin.since_unix_ms, ..Seen::new(&why, format!("quarantined{by}: {why}")) };
            return Verdict::Held(seen);
        }
        if pin.hash.is_empty() {
            return self.first(exposed, print);
        }
        if pin.hash == print.hash {
            return if pin.epoch == 0 { Verdict::First } else { Verdict::Pinned };
        }
        self.changed(Seen::new(CHANGED, CHANGED))
    }

    fn first(&self, exposed: &str, print: &Print) -> Verdict {
        if let Some(other) = self.pins.known_as(exposed).find(|pin| !pin.hash.is_empty() && pin.hash != print.hash) {
            let why = format!("another definition under a known name: it was {} of {}", other.own, other.backend);
            return self.changed(Seen::new(CHANGED, why));
        }
        if self.held_shapes.contains(&print.shape) {
            return self.changed(Seen::new(NOT_APPROVED, "what is held under another name of this backend"));
        }
        if let Some((last, rest)) = self.gone.split_last() {
            let told: Vec<&str> = rest.iter().take(MOST_TOLD - 1).copied().chain([*last]).collect();
            let more = match self.gone.len() - told.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let is = if self.gone.len() == 1 { "is" } else { "are" };
            let why = format!("new, while {}{more} {is} gone: perhaps renamed", told.join(", "));
            let gone = self.gone.iter().map(|name| (*name).to_owned()).collect();
            return self.changed(Seen { gone, ..Seen::new(NOT_APPROVED, why) });
        }
        if self.policy.hold_first {
            return Verdict::Held(Seen::new(NOT_APPROVED, "seen first; it waits for approval (first_use = \"hold\")"));
        }
        if self.pins.is_doubtful() {
            let why = "the pins on this plane's disk can't be read; it waits for the control plane's";
            return Verdict::Held(Seen::new(NOT_APPROVED, why));
        }
        Verdict::First
    }

    const fn changed(&self, seen: Seen) -> Verdict {
        if self.policy.warn_changed { Verdict::Changed(seen) } else { Verdict::Held(seen) }
    }
}

#[cfg(test)]
mod tests {
    use sentinel_proto::v1::PinSet;

    use super::*;

    const HOLD: Pinning = Pinning { hold_first: false, warn_changed: false };

    fn print(hash: u8, shape: u8) -> Print {
        Print { hash: [hash; 32], shape: [shape; 32] }
    }

    fn pins(all: &[(&str, &str, u8)]) -> Pins {
        let dir = tempfile::tempdir().unwrap();
        let mut pins = Pins::open(dir.path()).0;
        let pin = |(backend, own, hash): &(&str, &str, u8)| Pin {
            backend: (*backend).into(),
            own: (*own).into(),
            exposed: format!("files__{own}"),
            hash: vec![*hash; 32],
            epoch: 1,
            ..Pin::default()
        };
        pins.merge(&PinSet { pins: all.iter().map(pin).collect(), ..PinSet::default() });
        pins
    }

    /// The verdict on each of what `backend` offers, in its order.
    fn judged(pins: &Pins, policy: Pinning, backend: &str, offered: &[(&str, Print)]) -> Vec<Verdict> {
        let printed: Vec<(&str, Printed)> = offered.iter().map(|(own, print)| (*own, Ok(*print))).collect();
        let judging = Judging::of(pins, policy, backend, printed.iter().map(|(own, print)| (*own, print)));
        offered.iter().map(|(own, print)| judging.verdict(own, &format!("files__{own}"), print)).collect()
    }

    fn why(verdict: &Verdict) -> &str {
        match verdict {
            Verdict::Held(seen) | Verdict::Changed(seen) => &seen.why,
            Verdict::Pinned | Verdict::First => "",
        }
    }

    #[test]
    fn the_first_sight_is_trusted_or_held_as_the_policy_says() {
        let none = pins(&[]);
        assert_eq!(judged(&none, HOLD, "files", &[("read", print(1, 1))]), [Verdict::First]);
        let hold = Pinning { hold_first: true, warn_changed: true };
        assert!(
            matches!(&judged(&none, hold, "files", &[("read", print(1, 1))])[..], [Verdict::Held(seen)] if seen.reason == NOT_APPROVED)
        );
    }

    #[test]
    fn a_change_is_held_or_told_as_the_policy_says() {
        let known = pins(&[("files", "read", 1), ("files", "list", 2)]);
        let offered = [("read", print(9, 9)), ("list", print(2, 2))];
        let verdicts = judged(&known, HOLD, "files", &offered);
        assert_eq!(verdicts[1], Verdict::Pinned);
        assert!(matches!(&verdicts[0], Verdict::Held(seen) if seen.reason == CHANGED));
        let warn = Pinning { hold_first: false, warn_changed: true };
        assert!(matches!(&judged(&known, warn, "files", &offered)[0], Verdict::Changed(_)));
    }

    #[test]
    fn a_new_name_while_a_known_one_is_gone_is_no_first_sight() {
        let known = pins(&[("files", "read", 1), ("files", "list", 2)]);
        let verdicts = judged(&known, HOLD, "files", &[("list", print(2, 2)), ("read2", print(9, 9))]);
        assert!(matches!(&verdicts[1], Verdict::Held(seen) if seen.gone == ["read"]), "{verdicts:?}");
        assert!(why(&verdicts[1]).contains("while read is gone"), "{verdicts:?}");
        let all = [("list", print(2, 2)), ("read", print(1, 1)), ("stat", print(3, 3))];
        assert_eq!(judged(&known, HOLD, "files", &all)[2], Verdict::First, "nothing is gone: a new tool");
    }

    #[test]
    fn a_name_that_was_settled_may_be_gone() {
        let mut known = pins(&[("files", "read", 1)]);
        let settled = Pin { settled: true, epoch: 2, ..known.find("files", "read").unwrap().clone() };
        known.merge(&PinSet { pins: vec![settled], ..PinSet::default() });
        assert_eq!(judged(&known, HOLD, "files", &[("stat", print(3, 3))]), [Verdict::First]);
        assert!(
            matches!(judged(&known, HOLD, "files", &[("read", print(3, 3))])[0], Verdict::Held(_)),
            "it is not forgotten"
        );
    }

    #[test]
    fn the_shape_of_what_is_held_is_held_under_every_name() {
        let known = pins(&[("files", "read", 1)]);
        let verdicts =
            judged(&known, HOLD, "files", &[("read", print(9, 7)), ("copy", print(8, 7)), ("stat", print(3, 3))]);
        assert!(matches!(verdicts[1], Verdict::Held(_)), "{verdicts:?}");
        assert_eq!(verdicts[2], Verdict::First);
    }

    #[test]
    fn a_backend_of_another_name_takes_over_a_known_name_with_the_same_definition_alone() {
        let known = pins(&[("files", "read", 1)]);
        assert_eq!(judged(&known, HOLD, "docs", &[("read", print(1, 1))]), [Verdict::First]);
        let verdicts = judged(&known, HOLD, "docs", &[("read", print(9, 9))]);
        assert!(why(&verdicts[0]).contains("read of files"), "{verdicts:?}");
    }

    #[test]
    fn what_is_quarantined_by_hand_is_held_whatever_it_says_and_whatever_the_policy() {
        let mut known = pins(&[("files", "read", 1)]);
        let held = Pin {
            held: true,
            reason: "odd".into(),
            by: "ana".into(),
            epoch: 2,
            ..known.find("files", "read").unwrap().clone()
        };
        known.merge(&PinSet { pins: vec![held], ..PinSet::default() });
        let warn = Pinning { hold_first: false, warn_changed: true };
        let verdicts = judged(&known, warn, "files", &[("read", print(1, 1))]);
        assert!(
            matches!(&verdicts[0], Verdict::Held(seen) if seen.reason == "odd" && seen.why == "quarantined by ana: odd")
        );
    }
}

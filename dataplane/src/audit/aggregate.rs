//! Which refusals share a row, so that a flood cannot fill the spool: those before authentication, those past
//! 100 a minute of one (client, kind), and those of a client that holds a tenth of the spool. It writes nothing:
//! a ticking task takes what is due and records it.

use std::collections::HashMap;
use std::sync::Mutex;

use super::spool::Backlog;

const MINUTE: u64 = 60_000_000;
/// Rows of its own that a (client, kind) gets in a minute.
const OWN: u64 = 100;
/// Different (client, kind) in a minute; the rest share the row of `OTHERS`.
const ENTRIES: usize = 4_096;
/// Who a refusal counts for when the table is full.
pub const OTHERS: &str = "(others)";

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row {
    /// A record of its own.
    Own,
    /// Counted into the minute's aggregate.
    Folded,
}

/// Whose refusal it is.
#[derive(Clone, Copy, Debug)]
pub enum Of<'a> {
    Client(&'a str),
    /// Not authenticated: by address, never a row of its own.
    Peer(&'a str),
}

/// One row for many refusals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aggregate {
    /// Client or address; `OTHERS`.
    pub who: String,
    /// `who` is a client that was authenticated.
    pub client: bool,
    pub kind: &'static str,
    pub count: u64,
    /// Unix microseconds of the first and the last of them.
    pub first: u64,
    pub last: u64,
}

/// The table.
#[derive(Debug)]
pub struct Aggregates {
    /// A tenth of the spool's records.
    share: u64,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<(bool, String, &'static str), Entry>,
    /// Own rows of each client that may still lie in the spool.
    waiting: HashMap<String, u64>,
}

impl Table {
    /// The entry of this minute, and whether it is the one of `OTHERS`.
    fn entry(&mut self, (client, who, kind): (bool, &str, &'static str), now: u64) -> (&mut Entry, bool) {
        let mut key = (client, who.to_owned(), kind);
        if !self.entries.contains_key(&key) && self.entries.len() >= ENTRIES {
            key = (client, OTHERS.to_owned(), kind);
        }
        let crowded = key.1 == OTHERS;
        let entry = self.entries.entry(key).or_insert_with(|| Entry { began: now, ..Entry::default() });
        if entry.folded == 0 && now.saturating_sub(entry.began) >= MINUTE {
            *entry = Entry { began: now, ..Entry::default() };
        }
        (entry, crowded)
    }

    fn fold(&mut self, whose: (bool, &str, &'static str), count: u64, (first, last): (u64, u64)) {
        let (entry, _) = self.entry(whose, first);
        entry.first = if entry.folded == 0 { first } else { entry.first.min(first) };
        entry.last = entry.last.max(last);
        entry.folded = entry.folded.saturating_add(count);
    }
}

/// Whose rows of its own a kind uses up. What is told alike is counted alike: a row costs more than a count, and so a
/// caller could tell a hidden tool from none by the time of the answer.
fn quota_of(kind: &'static str) -> &'static str {
    match kind {
        "hidden_prompt" => "unknown_prompt",
        "hidden_resource" => "unknown_resource",
        "hidden_tool" => "unknown_tool",
        other => other,
    }
}

#[derive(Debug, Default)]
struct Entry {
    began: u64,
    own: u64,
    folded: u64,
    first: u64,
    last: u64,
}

impl Aggregates {
    /// `records`: how many the spool takes.
    #[must_use]
    pub fn new(records: u64) -> Self {
        Self { share: records / 10, table: Mutex::default() }
    }

    /// Decides for one refusal at `now` (unix microseconds), and counts it.
    pub fn decide(&self, of: Of<'_>, kind: &'static str, now: u64) -> Row {
        let mut table = self.table();
        let (client, who) = match of {
            Of::Client(who) => (true, who),
            Of::Peer(who) => (false, who),
        };
        let waiting = table.waiting.get(who).copied().unwrap_or(0);
        let (entry, crowded) = table.entry((client, who, quota_of(kind)), now);
        if client && !crowded && entry.own < OWN && waiting < self.share {
            entry.own = entry.own.saturating_add(1);
            let rows = table.waiting.entry(who.to_owned()).or_default();
            *rows = rows.saturating_add(1);
            return Row::Own;
        }
        table.fold((client, who, kind), 1, (now, now));
        Row::Folded
    }

    /// Counts what could not be written, for a time when there is room again.
    pub fn keep(&self, unwritten: &[Aggregate]) {
        let mut table = self.table();
        for Aggregate { who, client, kind, count, first, last } in unwritten {
            table.fold((*client, who, *kind), *count, (*first, *last));
        }
    }

    /// Counts one refusal that has no room for a row of its own.
    pub fn fold(&self, client: &str, kind: &'static str, now: u64) {
        self.table().fold((true, client, kind), 1, (now, now));
    }

    /// The aggregates whose minute is over at `now`; ask each second. `backlog` is the spool's: nobody's
    /// refusals can be more than all that waits.
    pub fn due(&self, now: u64, backlog: Backlog) -> Vec<Aggregate> {
        self.take(backlog, |entry| now.saturating_sub(entry.began) >= MINUTE)
    }

    /// All aggregates, at the end.
    pub fn rest(&self, backlog: Backlog) -> Vec<Aggregate> {
        self.take(backlog, |_| true)
    }

    fn take(&self, backlog: Backlog, over: impl Fn(&Entry) -> bool) -> Vec<Aggregate> {
        let mut table = self.table();
        table.waiting.retain(|_, rows| {
            *rows = (*rows).min(backlog.records);
            *rows > 0
        });
        let mut due: Vec<Aggregate> = table
            .entries
            .extract_if(|_, entry| over(entry))
            .filter(|(_, entry)| entry.folded > 0)
            .map(|((client, who, kind), entry)| {
                let Entry { folded, first, last, .. } = entry;
                Aggregate { who, client, kind, count: folded, first, last }
            })
            .collect();
        due.sort_by(|a, b| (a.first, &a.who, a.kind).cmp(&(b.first, &b.who, b.kind)));
        due
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: Backlog = Backlog { records: 0, bytes: 0 };

    #[test]
    fn past_a_hundred_a_minute_refusals_are_one_row_with_a_count() {
        let table = Aggregates::new(1_000_000);
        let rows: Vec<Row> = (0..250).map(|n| table.decide(Of::Client("a"), "rate_limited", n)).collect();
        assert_eq!(rows.iter().filter(|row| **row == Row::Own).count(), 100);
        assert_eq!(table.decide(Of::Client("a"), "disabled", 1), Row::Own);
        assert_eq!(table.decide(Of::Client("b"), "rate_limited", 1), Row::Own);
        assert_eq!(table.due(MINUTE - 1, EMPTY), []);
        let due = table.due(MINUTE + 2, EMPTY);
        assert_eq!(due.len(), 1);
        assert_eq!((due[0].who.as_str(), due[0].count, due[0].first, due[0].last), ("a", 150, 100, 249));
        assert_eq!(table.decide(Of::Client("a"), "rate_limited", MINUTE + 3), Row::Own);
    }

    #[test]
    fn what_is_hidden_and_what_is_not_there_use_up_the_same_rows_and_are_counted_apart() {
        let table = Aggregates::new(1_000_000);
        let unknown = (0..100).filter(|n| table.decide(Of::Client("a"), "unknown_tool", *n) == Row::Own).count();
        let hidden = (100..110).filter(|n| table.decide(Of::Client("a"), "hidden_tool", *n) == Row::Own).count();
        assert_eq!((unknown, hidden), (100, 0));
        assert_eq!(table.decide(Of::Client("a"), "unknown_tool", 111), Row::Folded);
        let due: Vec<_> = table.rest(EMPTY).into_iter().map(|due| (due.kind, due.count)).collect();
        assert_eq!(due, [("hidden_tool", 10), ("unknown_tool", 1)]);
    }

    #[test]
    fn who_is_not_authenticated_never_gets_a_row_of_his_own() {
        let table = Aggregates::new(1_000_000);
        assert_eq!(table.decide(Of::Peer("127.0.0.1"), "unauthenticated", 5), Row::Folded);
        let due = table.rest(EMPTY);
        assert_eq!((due[0].client, due[0].count), (false, 1));
    }

    #[test]
    fn one_clients_refusals_fill_a_tenth_of_the_spool_at_most() {
        let table = Aggregates::new(500);
        let kinds = ["a", "b", "c"];
        let own = kinds.iter().flat_map(|kind| (0..100).map(|_| table.decide(Of::Client("x"), kind, 1)));
        assert_eq!(own.filter(|row| *row == Row::Own).count(), 50);
        table.rest(Backlog { records: 20, bytes: 0 });
        let again = (0..100).filter(|_| table.decide(Of::Client("x"), "a", 2) == Row::Own).count();
        assert_eq!(again, 30);
    }

    #[test]
    fn the_table_is_bounded_and_nothing_is_forgotten() {
        let table = Aggregates::new(1_000_000);
        for n in 0..ENTRIES * 2 {
            table.decide(Of::Peer(&n.to_string()), "unauthenticated", 1);
        }
        let due = table.rest(EMPTY);
        assert_eq!(due.len(), ENTRIES + 1);
        assert_eq!(due.iter().map(|row| row.count).sum::<u64>(), ENTRIES as u64 * 2);
    }
}

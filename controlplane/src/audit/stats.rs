//! `audit stats`: rows counted by a key, hour by hour, so that no statement holds the store for long; joined here.

use std::collections::BTreeMap;

use sentinel_proto::v1::{AuditStat, AuditStatsReply, AuditStatsRequest, StatusCount};

use super::query::{QueryError, judged};
use crate::store::Store;
use crate::store::exporting::{By, Counted};

const HOUR_US: i64 = 3_600_000_000;
/// Keys that are counted one by one: names of tools may be whatever clients asked for.
const KEYS: usize = 2000;
/// Keys of an answer.
const SHOWN: usize = 500;
/// All the others.
const OTHER: &str = "(other)";

#[derive(Debug, Default)]
struct Tally {
    count: u64,
    statuses: BTreeMap<String, u64>,
    /// Latency in µs, and how many single calls took so long.
    latencies: BTreeMap<u64, u64>,
}

impl Tally {
    fn add(&mut self, counted: Counted) {
        self.count += counted.count;
        *self.statuses.entry(counted.status).or_default() += counted.count;
        if counted.single > 0 {
            *self.latencies.entry(counted.latency_us).or_default() += counted.single;
        }
    }

    fn join(&mut self, other: Self) {
        self.count += other.count;
        for (status, count) in other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (latency, count) in other.latencies {
            *self.latencies.entry(latency).or_default() += count;
        }
    }

    /// The latency that `percent` of the single calls did not exceed.
    fn latency(&self, percent: u64) -> u64 {
        let all: u64 = self.latencies.values().sum();
        let rank = all.saturating_mul(percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (latency, count) in &self.latencies {
            seen += count;
            if seen >= rank {
                return *latency;
            }
        }
        0
    }

    fn told(self, key: String) -> AuditStat {
        let (p50_us, p95_us) = (self.latency(50), self.latency(95));
        let statuses = self.statuses.into_iter().map(|(status, count)| StatusCount { status, count }).collect();
        AuditStat { key, count: self.count, statuses, p50_us, p95_us }
    }
}

/// # Errors
/// All but `Store` are the asker's: INVALID_ARGUMENT.
pub async fn stats(store: &Store, asked: &AuditStatsRequest, now_unix_ms: i64) -> Result<AuditStatsReply, QueryError> {
    let by = match asked.by.as_str() {
        "backend" => By::Backend,
        "client" => By::Client,
        "hour" => By::Hour,
        "kind" => By::Kind,
        "status" => By::Status,
        "tool" => By::Tool,
        other => return Err(QueryError::By(other.escape_debug().take(64).collect())),
    };
    let filter = judged(&asked.filter.clone().unwrap_or_default())?;
    // What arrived in this very millisecond counts too.
    let until_ms = if filter.until_unix_ms == 0 { now_unix_ms.saturating_add(1) } else { filter.until_unix_ms };
    let until = until_ms.saturating_mul(1000);
    let since = filter.since_unix_ms.saturating_mul(1000);
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    let mut first = None;
    let mut from = since;
    while let Some(oldest) = store.oldest_audit(from).await?.filter(|oldest| *oldest < until) {
        let hour = oldest.div_euclid(HOUR_US);
        first.get_or_insert(oldest);
        let to = hour.saturating_add(1).saturating_mul(HOUR_US).min(until);
        for mut counted in store.count_audit(&filter, by, oldest, to).await? {
            if by == By::Hour {
                counted.key = stamp(hour.saturating_mul(HOUR_US));
            }
            let is_new = !tallies.contains_key(&counted.key);
            if is_new && tallies.len() >= KEYS {
                OTHER.clone_into(&mut counted.key);
            }
            tallies.entry(counted.key.clone()).or_default().add(counted);
        }
        from = to;
    }
    let since_unix_ms = if since == 0 { first.unwrap_or(until).div_euclid(1000) } else { filter.since_unix_ms };
    Ok(AuditStatsReply { rows: told(tallies, by), since_unix_ms, until_unix_ms: until_ms })
}

fn told(tallies: BTreeMap<String, Tally>, by: By) -> Vec<AuditStat> {
    let mut all: Vec<(String, Tally)> = tallies.into_iter().collect();
    if by != By::Hour {
        all.sort_by(|(a, x), (b, y)| (a == OTHER, y.count, a).cmp(&(b == OTHER, x.count, b)));
    }
    let rest = if all.len() > SHOWN { all.split_off(SHOWN) } else { Vec::new() };
    let mut shown: Vec<AuditStat> = all.into_iter().map(|(key, tally)| tally.told(key)).collect();
    if !rest.is_empty() {
        let mut other = Tally::default();
        rest.into_iter().for_each(|(_, tally)| other.join(tally));
        shown.push(other.told(OTHER.to_owned()));
    }
    shown
}

fn stamp(unix_us: i64) -> String {
    crate::keeper::stamp(unix_us.div_euclid(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_single_calls() {
        let mut tally = Tally::default();
        for latency_us in 1..=100 {
            let (key, status) = (String::new(), "ok".to_owned());
            tally.add(Counted { key, status, latency_us, count: 1, single: 1 });
        }
        tally.add(Counted { key: String::new(), status: "denied".to_owned(), latency_us: 9, count: 50, single: 0 });
        assert_eq!((tally.count, tally.latency(50), tally.latency(95), tally.latency(100)), (150, 50, 95, 100));
        assert_eq!(Tally::default().latency(95), 0);
    }

    #[test]
    fn what_is_too_much_to_show_is_one_row() {
        let tallies: BTreeMap<String, Tally> =
            (0..SHOWN as u64 + 3).map(|n| (format!("t{n}"), Tally { count: n, ..Tally::default() })).collect();
        let shown = told(tallies, By::Tool);
        assert_eq!((shown.len(), shown[0].count), (SHOWN + 1, SHOWN as u64 + 2));
        assert_eq!((shown[SHOWN].key.as_str(), shown[SHOWN].count), (OTHER, 3));
    }
}

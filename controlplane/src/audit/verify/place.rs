//! What is wrong at one place of a chain, from the records around it.

use serde::Deserialize;

use super::same_json::same;
use super::{Bad, Hash, hash};
use crate::audit::ingest::UNHELD;
use crate::audit::record;
use crate::store::audit::AuditInsert;
use crate::store::chains::{Chain, Columns, Link};

/// The records around one that does not follow the one before it.
pub(super) struct Around<'a> {
    pub(super) chain: &'a Chain,
    /// The hash before `last`.
    pub(super) before: Hash,
    pub(super) last: &'a Link,
    /// The hash of `last`.
    pub(super) head: Hash,
    pub(super) next: Option<&'a Link>,
}

/// Names what happened where `odd` does not follow.
pub(super) fn judge(around: &Around<'_>, odd: &Link) -> Bad {
    let Around { chain, before, last, head, next } = around;
    let bad = |problem, at, message| Bad { problem, at, message };
    if odd.prev_hash == before[..] {
        let message = format!("record {} does not belong here: the one after it follows the one before it", last.seq);
        return bad("inserted", last.seq, message);
    }
    let Some(next) = next else {
        let message = format!("record {} is not what its follower was made after", last.seq);
        return bad("changed", last.seq, message);
    };
    if next.prev_hash == head[..] {
        let message = format!("records {} and {} stand in the wrong order", odd.seq, next.seq);
        return bad("order", odd.seq, message);
    }
    if next.prev_hash == hash(head, chain, odd.seq, &odd.event) {
        let message = format!("the hash that stands with record {} was changed", odd.seq);
        return bad("changed", odd.seq, message);
    }
    if next.prev_hash == hash(&odd.prev_hash, chain, odd.seq, &odd.event) {
        let message = format!("record {} is not what its follower was made after", last.seq);
        return bad("changed", last.seq, message);
    }
    bad("foreign", odd.seq, format!("record {} is none of this chain", odd.seq))
}

/// Whether the columns of a row say what its event says. Errors: which does not.
pub(super) fn says_the_same(chain: &Chain, link: &Link) -> Result<(), Bad> {
    let Some(columns) = &link.columns else { return Ok(()) };
    let bad = |what: &str| Bad {
        problem: "changed",
        at: link.seq,
        message: format!(
            "in the row of record {} the column {what} does not say what the record itself says",
            link.seq
        ),
    };
    let unreadable =
        || Bad { problem: "changed", at: link.seq, message: format!("record {} can't be read any more", link.seq) };
    let (Ok(epoch), Ok(seq)) = (i64::try_from(chain.epoch), i64::try_from(link.seq)) else { return Err(unreadable()) };
    let record =
        sentinel_proto::v1::AuditRecord { seq: link.seq, prev_hash: link.prev_hash.clone(), event: link.event.clone() };
    let read = record::read(&chain.plane_id, epoch, seq, &record).map_err(|_| unreadable())?;
    let same = [
        ("request_id", read.request_id == columns.request_id),
        ("ts", read.ts_unix_us == link.ts_unix_us),
        ("client", read.client == columns.client),
        ("roles", same_names(&read.roles, &columns.roles)),
        ("session", read.session == columns.session),
        ("tool", read.tool == columns.tool),
        ("backend", read.backend == columns.backend),
        ("method", read.method == columns.method),
        ("arguments", same_arguments(&read, columns)),
        ("status", read.status == columns.status),
        ("kind", read.kind == columns.kind),
        ("parent", read.parent == columns.parent),
        ("count", read.count == columns.numbers[0]),
        ("latency_us", read.latency_us == columns.numbers[1]),
        ("backend_latency_us", read.backend_latency_us == columns.numbers[2]),
        ("revision", read.revision == columns.numbers[3]),
    ];
    same.into_iter().find(|(_, same)| !same).map_or(Ok(()), |(what, _)| Err(bad(what)))
}

/// `Pages` has asked the database about a column that is empty because it could not hold them.
fn same_arguments(read: &AuditInsert<'_>, columns: &Columns) -> bool {
    match (read.arguments, &columns.arguments) {
        (Some(read_as), Some(held)) => read.arguments_note == columns.arguments_note && same(read_as, held),
        (Some(_), None) => columns.arguments_note.starts_with(UNHELD),
        (None, held) => held.is_none() && read.arguments_note == columns.arguments_note,
    }
}

fn same_names(a: &str, b: &str) -> bool {
    #[derive(Deserialize, PartialEq)]
    struct Names(Vec<String>);
    match (serde_json::from_str::<Names>(a), serde_json::from_str::<Names>(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

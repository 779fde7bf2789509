//! `audit stats`: counts by a key, with small bars where a terminal has room.

use sentinel_proto::v1::{AuditStat, AuditStatsRequest};
use serde_json::{Map, Value, json};

use super::millis;
use crate::client::Client;
use crate::clock;
use crate::fault::Fault;
use crate::output::{Output, Rows, Tone, plain};

/// Cells of the longest bar.
const BAR: u64 = 16;
/// A terminal of so many columns has room for bars.
const ROOM: u16 = 80;
/// What went wrong behind us.
const ERRORS: [&str; 3] = ["error", "timeout", "tool_error"];

/// Errors: as the control plane says.
pub(super) async fn run(client: &mut Client, request: AuditStatsRequest, output: &mut Output) -> Result<(), Fault> {
    let by = request.by.clone();
    let reply = client.audit_stats(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
    output.json(&json!({
        "by": by, "since": clock::rfc3339_ms(reply.since_unix_ms), "until": clock::rfc3339_ms(reply.until_unix_ms),
        "rows": reply.rows.iter().map(to_json).collect::<Vec<_>>(),
    }));
    let most = reply.rows.iter().map(|row| row.count).max().unwrap_or(0);
    let mut rows = Rows::new(&["KEY", "CALLS", "ERRORS", "DENIED", "P50 MS", "P95 MS", "SHARE"]);
    let has_room = output.width().is_some_and(|width| width >= ROOM);
    for row in &reply.rows {
        let ((_, errors), (_, denied)) = (errors(row), denied(row));
        let tone = if errors > 0.05 { Tone::Bad } else { Tone::Plain };
        rows.push([
            plain(if row.key.is_empty() { "(none)" } else { &row.key }),
            plain(row.count),
            (percent(errors), tone),
            plain(percent(denied)),
            plain(millis(row.p50_us)),
            plain(millis(row.p95_us)),
            plain(if has_room { bar(row.count, most) } else { String::new() }),
        ]);
    }
    output.table(rows, "No call is recorded that fits.");
    Ok(())
}

/// How many calls went wrong behind us, and their share of all.
pub(crate) fn errors(row: &AuditStat) -> (u64, f64) {
    part(row, &ERRORS)
}

/// How many calls Sentinel refused, and their share of all.
pub(crate) fn denied(row: &AuditStat) -> (u64, f64) {
    part(row, &["denied"])
}

fn part(row: &AuditStat, statuses: &[&str]) -> (u64, f64) {
    let ended = row.statuses.iter().filter(|one| statuses.contains(&one.status.as_str()));
    let part: u64 = ended.map(|one| one.count).sum();
    (part, if row.count == 0 { 0.0 } else { part as f64 / row.count as f64 })
}

pub(crate) fn percent(share: f64) -> String {
    if share == 0.0 { "-".to_owned() } else { format!("{:.1} %", share * 100.0) }
}

/// Eighths of a cell.
fn bar(count: u64, most: u64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(count) * u128::from(BAR) * 8 / u128::from(most.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(0).max(usize::from(count > 0));
    let part = PARTS.get(eighths % 8).copied().unwrap_or_default();
    format!("{}{part}", "█".repeat(eighths / 8))
}

pub(crate) fn to_json(row: &AuditStat) -> Value {
    let statuses: Map<String, Value> = row.statuses.iter().map(|one| (one.status.clone(), json!(one.count))).collect();
    json!({
        "key": row.key, "count": row.count, "statuses": statuses, "error_share": errors(row).1,
        "denied_share": denied(row).1, "p50_us": row.p50_us, "p95_us": row.p95_us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share_and_never_nothing() {
        assert_eq!(bar(10, 10), "█".repeat(16));
        assert_eq!(bar(5, 10), "█".repeat(8));
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(0, 10), "");
    }
}

//! An id without a row: what became of it, as far as that can be told.
//!
//! Sentinel's ids are UUIDs of version 7, so they say when the request came.

use sentinel_proto::v1::{AuditListRequest, AuditRow};
use uuid::Uuid;

use crate::core::Core;
use crate::keeper::stamp;
use crate::refusal::Refusal;
use crate::store::Store;

/// A row that refusals share is written when its minute is over, and brought within seconds.
const SHARED_MS: i64 = 75_000;
/// Rows that are looked at for one that the request may share.
const LOOKED_AT: u32 = 1_000;
const DAY_MS: i64 = 86_400_000;

/// Always a refusal: the sentence for the operator.
pub(super) async fn absent(core: &Core, store: &Store, id: &Uuid) -> Refusal {
    match sentence(core, store, id).await {
        Ok(sentence) => Refusal::absent(sentence),
        Err(why) => why,
    }
}

async fn sentence(core: &Core, store: &Store, id: &Uuid) -> Result<String, Refusal> {
    let moment = id.get_timestamp().filter(|_| id.get_version_num() == 7);
    let Some((secs, nanos)) = moment.map(|moment| moment.to_unix()) else {
        return Ok(format!(
            "{id} is no request id of Sentinel: those are UUIDs of version 7, as in x-request-id and data.requestId"
        ));
    };
    let came_ms = i64::try_from(secs).unwrap_or(i64::MAX / 2_000).saturating_mul(1000);
    let came_ms = came_ms.saturating_add(i64::from(nanos / 1_000_000));
    // A plane's clock may be ahead of ours.
    let since = came_ms.saturating_sub(3_600_000);
    if let Some((plane, epoch, seq, reason)) = store.quarantined(&id.to_string(), since).await? {
        return Ok(format!(
            "the record of {id} is no row: it lies in quarantine (plane {}, epoch {epoch}, seq {seq}), since {reason}",
            plane_name(core, &plane)
        ));
    }
    let came = stamp(came_ms);
    let now = core.clock.unix_ms();
    let kept = core.revisions.current().map_or(30, |current| current.retention_days);
    if came_ms < now.saturating_sub(i64::from(kept).saturating_mul(DAY_MS)) {
        return Ok(format!(
            "no row has the request id {id}: it came at {came}, and rows are kept for {kept} days ([audit] retention_days)"
        ));
    }
    let mut sentence = format!("no row has the request id {id}, of {came}");
    let shared = shared(store, came_ms).await?;
    if !shared.is_empty() {
        sentence.push_str("; refusals shared a row then, and it may be one of these: ");
        sentence.push_str(&shared.join(", "));
        return Ok(sentence);
    }
    let waiting = waiting(core);
    if !waiting.is_empty() {
        sentence.push_str("; records are still on their way: ");
        sentence.push_str(&waiting.join(", "));
        sentence.push_str("; ask again in a moment");
        return Ok(sentence);
    }
    sentence.push_str(if now.saturating_sub(came_ms) < SHARED_MS {
        "; rows come within seconds, and refusals that share one (of unknown callers, or past 100 a minute of a client) when their minute is over: ask again then"
    } else {
        "; pings, lists and notifications have none, nor has a call that no plane of this fleet answered"
    });
    Ok(sentence)
}

/// Rows of many refusals whose time covers the moment.
async fn shared(store: &Store, came_ms: i64) -> Result<Vec<String>, Refusal> {
    let filter = AuditListRequest {
        status: "denied".to_owned(),
        since_unix_ms: came_ms.saturating_sub(2 * SHARED_MS),
        until_unix_ms: came_ms.saturating_add(1),
        ..AuditListRequest::default()
    };
    let rows = store.list_audit(&filter, LOOKED_AT).await?;
    let covers = |row: &&AuditRow| {
        let detail: serde_json::Value = serde_json::from_str(&row.detail).unwrap_or_default();
        let last = detail.pointer("/detail/last").and_then(serde_json::Value::as_i64).unwrap_or(row.ts_unix_us);
        // An id's time is rounded down to its millisecond.
        row.method == "refusals" && last.saturating_add(1_000) >= came_ms.saturating_mul(1_000)
    };
    let each = rows.iter().filter(covers).take(5).map(|row| {
        let who = if row.client.is_empty() { "an unknown caller" } else { &row.client };
        format!("{} × {} of {who} ({})", row.count, row.kind, row.request_id)
    });
    Ok(each.collect())
}

/// Planes that hold records which are not here yet.
fn waiting(core: &Core) -> Vec<String> {
    core.fleet.see(|all| {
        let each = all.values().filter(|plane| plane.backlog() > 0);
        each.map(|plane| {
            let lost = if plane.link.is_none() { ", not connected" } else { "" };
            format!("{} of plane {}{lost}", plane.backlog(), plane.name)
        })
        .collect()
    })
}

pub(super) fn plane_name(core: &Core, id: &str) -> String {
    core.fleet.see(|all| all.get(id).map_or_else(|| id.to_owned(), |plane| plane.name.clone()))
}

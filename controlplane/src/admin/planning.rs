//! `config plan`: what a file would do before it is published. Its problems; the difference to what runs; and the calls
//! of the last days, judged again: which would have been refused and by what, which would be allowed.
//!
//! The judging is a plane's (`Judge`): it is asked with the file's snapshot, so that the code that decides about calls
//! decides here. Memory is bounded: pages of rows, and a bounded number of groups.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use sentinel_proto::v1::command::What;
use sentinel_proto::v1::{
    AuditListRequest, AuditRow, ConfigDiffRequest, ConfigPlanReply, ConfigPlanRequest, ConfigSide, Judge, JudgeAsk,
    PlanGroup,
};
use serde::Deserialize;
use tokio::time::Instant;

use super::comparing;
use crate::config;
use crate::core::Core;
use crate::refusal::Refusal;
use crate::revisions::told;
use crate::store::Store;

/// Rows of one page.
const PAGE: u32 = 500;
/// Rows that one plan looks at; older ones are left, and that is said.
const MOST_ROWS: u64 = 200_000;
/// Groups that are kept; further calls are counted alone.
const MOST_GROUPS: usize = 500;
/// How long a plane may take for one page.
const PATIENCE: Duration = Duration::from_secs(15);
const DAY_MS: i64 = 86_400_000;
const MOST_DAYS: u32 = 366;

/// What a plane answers, a line each.
#[derive(Deserialize)]
struct Judgement {
    kind: String,
    rule: String,
}

#[derive(Default)]
struct Tally {
    refused: BTreeMap<Key, PlanGroup>,
    allowed: BTreeMap<Key, PlanGroup>,
    reply: ConfigPlanReply,
}

/// Client, roles, tool, kind, rule.
type Key = (String, String, String, String, String);

/// Errors: the store's; no plane is there to judge.
pub(super) async fn plan(core: &Core, asked: ConfigPlanRequest) -> Result<ConfigPlanReply, Refusal> {
    let loaded = match config::load(&asked.file, &asked.text, core.revisions.built_in()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            return Ok(ConfigPlanReply { problems: told(&problems.0), ..ConfigPlanReply::default() });
        }
    };
    let sides = ConfigDiffRequest {
        before: Some(ConfigSide::default()),
        after: Some(ConfigSide { file: asked.file, text: asked.text, ..ConfigSide::default() }),
    };
    let diff = Box::pin(comparing::compare(core, sides)).await?;
    let plane = core
        .fleet
        .see(|all| all.values().find(|plane| plane.link.is_some()).map(|plane| (plane.id.clone(), plane.name.clone())));
    let (plane, name) = plane.ok_or_else(|| {
        Refusal::state(
            "no plane is connected, and a plane judges the calls; `sentinelctl plane list` shows which there were",
        )
    })?;
    let days = asked.days.clamp(1, MOST_DAYS);
    let since = core.clock.unix_ms().saturating_sub(i64::from(days).saturating_mul(DAY_MS));
    let offered: BTreeSet<String> =
        core.fleet.tools().iter().filter_map(|(tool, _)| comparing::exposed(&loaded.snapshot, tool)).collect();
    let mut tally = Tally::default();
    tally.reply.warnings = told(&loaded.warnings);
    tally.reply.diff = Some(diff);
    tally.reply.judged_by = name;
    tally.reply.since_unix_ms = since;
    let store = core.keeper.store()?;
    let mut until = core.clock.unix_ms().saturating_add(1);
    loop {
        let (rows, next) = page(&store, since, until).await?;
        judge(core, &plane, &loaded.bytes, &rows, &offered, &mut tally).await?;
        match next {
            Some(next) if tally.reply.rows < MOST_ROWS => until = next,
            Some(_) => {
                tally.reply.truncated = true;
                break;
            }
            None => break,
        }
    }
    tally.reply.refused = tally.refused.into_values().collect();
    tally.reply.allowed = tally.allowed.into_values().collect();
    for groups in [&mut tally.reply.refused, &mut tally.reply.allowed] {
        groups.sort_by(|a, b| b.calls.cmp(&a.calls).then_with(|| a.tool.cmp(&b.tool)));
    }
    Ok(tally.reply)
}

/// Newest first, whole milliseconds alone; the end of the next page, `None` where there is none.
async fn page(store: &Store, since: i64, until: i64) -> Result<(Vec<AuditRow>, Option<i64>), Refusal> {
    let mut most = PAGE;
    loop {
        let filter = AuditListRequest { since_unix_ms: since, until_unix_ms: until, ..AuditListRequest::default() };
        let mut rows = store.list_audit(&filter, most.saturating_add(1)).await?;
        if rows.len() <= most as usize {
            return Ok((rows, None));
        }
        let oldest = rows.last().map_or(0, |row| row.ts_unix_us.div_euclid(1000));
        rows.retain(|row| row.ts_unix_us.div_euclid(1000) > oldest);
        if !rows.is_empty() {
            return Ok((rows, Some(oldest.saturating_add(1))));
        }
        // So many rows of one millisecond: a larger page takes them all.
        most = most.saturating_mul(4);
    }
}

/// One page: what each call was, and what it would be.
async fn judge(
    core: &Core,
    plane: &str,
    snapshot: &[u8],
    rows: &[AuditRow],
    offered: &BTreeSet<String>,
    tally: &mut Tally,
) -> Result<(), Refusal> {
    let mut asks: Vec<JudgeAsk> = Vec::new();
    let mut places: HashMap<(String, Vec<String>, String, String), usize> = HashMap::new();
    let mut calls: Vec<(&AuditRow, usize)> = Vec::new();
    for row in rows {
        tally.reply.rows += row.count.max(1);
        // An aggregate row names no call; other kinds of refusals are of their moment (limits, readiness, arguments).
        let is_call = row.method == "tools/call" && !row.tool.is_empty() && row.count <= 1;
        if !is_call || (row.status == "denied" && !by_policy(&row.kind)) {
            tally.reply.skipped += row.count.max(1);
            continue;
        }
        let arguments = known_arguments(row);
        let key = (row.client.clone(), row.roles.clone(), row.tool.clone(), arguments.clone());
        let at = *places.entry(key).or_insert_with(|| {
            asks.push(JudgeAsk {
                client: row.client.clone(),
                roles: row.roles.clone(),
                tool: row.tool.clone(),
                arguments,
                ..JudgeAsk::default()
            });
            asks.len().saturating_sub(1)
        });
        calls.push((row, at));
    }
    if asks.is_empty() {
        return Ok(());
    }
    let what = What::Judge(Judge { snapshot: snapshot.to_vec(), asks });
    let done = core.fleet.command(plane, what, Instant::now() + PATIENCE).await;
    let done = done.map_err(|why| Refusal::state(format!("the plane that judges did not answer: {why}")))?;
    if !done.ok {
        return Err(Refusal::state(format!("the plane can't judge by this file: {}", done.message)));
    }
    for (row, at) in calls {
        let line = done.lines.get(at).map(|line| serde_json::from_str::<Judgement>(line));
        let Some(Ok(Judgement { kind, rule })) = line else {
            return Err(Refusal::state(
                "the plane's answer is not understood; are plane and control plane of one version?",
            ));
        };
        tally.count(row, kind, rule, offered);
    }
    Ok(())
}

/// The kinds that roles, rules and kills give.
fn by_policy(kind: &str) -> bool {
    ["disabled", "forbidden", "hidden_tool", "unknown_tool"].contains(&kind)
}

/// The arguments where the row has them as they were sent; empty otherwise, which is no JSON.
fn known_arguments(row: &AuditRow) -> String {
    let whole = row.arguments.starts_with('{') && !row.arguments.contains("\"[redacted]\"");
    if whole && !row.detail.contains("arguments_note") { row.arguments.clone() } else { String::new() }
}

impl Tally {
    fn count(&mut self, row: &AuditRow, kind: String, rule: String, offered: &BTreeSet<String>) {
        let was_refused = row.status == "denied";
        if kind == "unjudged" {
            self.reply.unjudged += 1;
            return;
        }
        self.reply.judged += 1;
        let (kind, rule) = if kind.is_empty() && !offered.contains(&row.tool) {
            ("unknown_tool".to_owned(), "no backend would offer this name".to_owned())
        } else {
            (kind, rule)
        };
        let groups = match (was_refused, kind.is_empty()) {
            (false, false) => {
                self.reply.newly_refused += 1;
                &mut self.refused
            }
            (true, true) => {
                self.reply.newly_allowed += 1;
                &mut self.allowed
            }
            (false, true) | (true, false) => return,
        };
        // What refuses it from now on, or what refused it then.
        let (kind, rule) = if was_refused { (row.kind.clone(), String::new()) } else { (kind, rule) };
        let key = (row.client.clone(), row.roles.join(", "), row.tool.clone(), kind.clone(), rule.clone());
        if let Some(group) = groups.get_mut(&key) {
            group.calls += 1;
            return;
        }
        if groups.len() >= MOST_GROUPS {
            return;
        }
        let group = PlanGroup {
            client: row.client.clone(),
            roles: row.roles.clone(),
            tool: row.tool.clone(),
            kind,
            rule,
            calls: 1,
            request_id: row.request_id.clone(),
        };
        groups.insert(key, group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(status: &str, kind: &str) -> AuditRow {
        AuditRow {
            status: status.into(),
            kind: kind.into(),
            tool: "a__x".into(),
            client: "c".into(),
            ..AuditRow::default()
        }
    }

    fn counted(row: &AuditRow, kind: &str, offered: &[&str]) -> ConfigPlanReply {
        let mut tally = Tally::default();
        let offered = offered.iter().map(|name| (*name).to_owned()).collect();
        tally.count(row, kind.to_owned(), "r".to_owned(), &offered);
        tally.reply
    }

    #[test]
    fn only_a_changed_verdict_is_news() {
        let told = |reply: ConfigPlanReply| (reply.newly_refused, reply.newly_allowed);
        assert_eq!(told(counted(&row("ok", ""), "forbidden", &["a__x"])), (1, 0));
        assert_eq!(told(counted(&row("ok", ""), "", &["a__x"])), (0, 0));
        assert_eq!(told(counted(&row("error", "timeout"), "", &[])), (1, 0));
        assert_eq!(told(counted(&row("denied", "hidden_tool"), "", &["a__x"])), (0, 1));
        assert_eq!(told(counted(&row("denied", "hidden_tool"), "hidden_tool", &["a__x"])), (0, 0));
        assert_eq!(counted(&row("ok", ""), "unjudged", &["a__x"]).unjudged, 1);
    }

    #[test]
    fn arguments_count_only_as_they_were_sent() {
        let with = |arguments: &str, detail: &str| {
            known_arguments(&AuditRow { arguments: arguments.into(), detail: detail.into(), ..AuditRow::default() })
        };
        assert_eq!(with("{\"a\":1}", ""), "{\"a\":1}");
        assert_eq!(with("{\"a\":\"[redacted]\"}", ""), "");
        assert_eq!(with("\"sha256:00\"", ""), "");
        assert_eq!(with("", ""), "");
        assert_eq!(with("{\"a\":1}", "{\"arguments_note\":\"cut\"}"), "");
    }
}

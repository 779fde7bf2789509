//! `sentinelctl tool show`: all that is known of one tool, and its definition as clients get it.

use sentinel_proto::v1::{AuditStat, Pin, Quota, ToolShowReply, ToolShowRequest};
use serde_json::{Value, json};

use crate::audit::{millis, stats};
use crate::client::Client;
use crate::fault::Fault;
use crate::output::{Output, Rows, plain};
use crate::{clock, kill, tool, tool_trust};

/// Errors: as the control plane says.
pub async fn run(client: &mut Client, name: String, output: &mut Output) -> Result<(), Fault> {
    let reply = client.tool_show(ToolShowRequest { name }).await;
    let reply = reply.map_err(|status| Fault::of_status(&status))?.into_inner();
    output.json(&to_json(&reply));
    output.table(facts(&reply), "");
    if !reply.problem.is_empty() {
        output.note(&format!("its definition is not shown: {}", reply.problem));
    }
    let definition: Value = serde_json::from_str(&reply.definition).unwrap_or_default();
    for (member, title) in [("inputSchema", "ARGUMENTS"), ("outputSchema", "RESULT"), ("annotations", "ANNOTATIONS")] {
        if let Some(value) = definition.get(member) {
            output.line("");
            output.line(title);
            output.verbatim(&serde_json::to_string_pretty(value).unwrap_or_default());
        }
    }
    tool_trust::show(&reply.sightings, reply.pin.as_ref(), &reply.pinned_definition, output);
    if !reply.kills.is_empty() {
        output.line("");
        output.table(kill::rows(&reply.kills, clock::now_ms()), "");
    }
    Ok(())
}

fn facts(reply: &ToolShowReply) -> Rows {
    let listed = reply.tool.clone().unwrap_or_default();
    let known = listed.tool.clone().unwrap_or_default();
    let mut rows = Rows::new(&["WHAT", "VALUE"]);
    let definition: Value = serde_json::from_str(&reply.definition).unwrap_or_default();
    let described = definition.get("description").and_then(Value::as_str).unwrap_or(&known.description);
    let state = tool::state(listed.killed, &known.status);
    rows.push([plain("tool"), plain(&known.exposed)]);
    rows.push([plain("state"), state]);
    let facts = [
        ("why", known.reason.clone()),
        ("backend", known.backend.clone()),
        ("its own name", known.own.clone()),
        ("description", described.to_owned()),
        ("roles", if listed.roles.is_empty() { "none: nobody sees it".to_owned() } else { listed.roles.join(", ") }),
        ("virtual servers", listed.servers.join(", ")),
        ("planes", listed.planes.join(", ")),
        ("pinned", reply.pin.as_ref().map(pinned).unwrap_or_default()),
        (
            "limit",
            reply.limit.as_ref().map(|limit| format!("{} ({})", quota(limit), reply.limit_from)).unwrap_or_default(),
        ),
        ("limit of a client", reply.client_limit.as_ref().map(quota).unwrap_or_default()),
        ("last hour", reply.recent.as_ref().map_or_else(|| format!("not known: {}", reply.recent_problem), recent)),
    ];
    for (what, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        rows.push([plain(what), plain(value)]);
    }
    rows
}

fn recent(stat: &AuditStat) -> String {
    if stat.count == 0 {
        return "no calls".to_owned();
    }
    let (errors, denied) = (stats::errors(stat), stats::denied(stat));
    let shares = |count: u64, share: f64| {
        if count == 0 { "0".to_owned() } else { format!("{count} ({})", stats::percent(share)) }
    };
    format!(
        "{} calls, errors {}, denied {}, p50 {} ms, p95 {} ms",
        stat.count,
        shares(errors.0, errors.1),
        shares(denied.0, denied.1),
        millis(stat.p50_us),
        millis(stat.p95_us)
    )
}

fn pinned(pin: &Pin) -> String {
    let hash = if pin.hash.is_empty() { "nothing".to_owned() } else { tool_trust::short(&pin.hash) };
    format!("{hash}, {} ({})", clock::rfc3339_ms(pin.since_unix_ms), pin.by)
}

fn quota(quota: &Quota) -> String {
    format!("{} in {} s, burst {}", quota.requests, quota.per_secs, quota.burst)
}

fn to_json(reply: &ToolShowReply) -> Value {
    let quota = |quota: &Option<Quota>| {
        quota.map(|quota| json!({ "requests": quota.requests, "per_secs": quota.per_secs, "burst": quota.burst }))
    };
    let mut shown = reply.tool.as_ref().map(tool::to_json).unwrap_or_default();
    if let Value::Object(members) = &mut shown {
        let definition = serde_json::from_str(&reply.definition).unwrap_or_default();
        members.insert("definition".to_owned(), definition);
        members.insert("definition_problem".to_owned(), json!(reply.problem));
        members.insert("limit".to_owned(), json!(quota(&reply.limit)));
        members.insert("limit_from".to_owned(), json!(reply.limit_from));
        members.insert("client_limit".to_owned(), json!(quota(&reply.client_limit)));
        let mut recent = reply.recent.as_ref().map(stats::to_json).unwrap_or_default();
        if let Value::Object(recent) = &mut recent {
            recent.insert("since".to_owned(), json!(clock::rfc3339_ms(reply.recent_since_unix_ms)));
        }
        members.insert("recent".to_owned(), recent);
        members.insert("recent_problem".to_owned(), json!(reply.recent_problem));
        members.insert("pin".to_owned(), json!(reply.pin.as_ref().map(tool_trust::pin_json)));
        let pinned = serde_json::from_str(&reply.pinned_definition).unwrap_or_default();
        members.insert("pinned_definition".to_owned(), pinned);
        members.insert("sightings".to_owned(), reply.sightings.iter().map(tool_trust::sighting_json).collect());
        members.insert("kills".to_owned(), reply.kills.iter().map(kill::entry_json).collect());
    }
    shown
}

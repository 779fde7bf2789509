//! After the fact: an audit row, told stage by stage. What was decided is the row's; by which lines the stages went that
//! it passed, a plane says by the snapshot that was in force.

use sentinel_proto::v1::command::What;
use sentinel_proto::v1::{
    AuditListRequest, AuditRow, Explain, ExplainCallReply, ExplainStage, ExplainedCall, JudgeAsk, ToldError,
};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::absent::{absent, plane_name};
use super::{Lines, Names, PATIENCE, Said, SaidStage, Texts, switched};
use crate::audit::query::QueryError;
use crate::core::Core;
use crate::keeper::stamp;
use crate::refusal::Refusal;
use crate::store::Store;

/// More rows of one id are no trail of ours.
const MOST_ROWS: u32 = 10;
/// Methods whose requests go the whole way.
const ROUTED: [&str; 7] =
    ["tools/call", "prompts/get", "resources/read", "completion/complete", "tasks/get", "tasks/update", "tasks/cancel"];
/// What backends ask of clients.
const ASKED: [&str; 3] = ["sampling/createMessage", "elicitation/create", "roots/list"];
/// As `explain` of a plane names them, in their order.
const STAGES: [&str; 10] = [
    "ready",
    "caller_kills",
    "client_limits",
    "visible",
    "target_kills",
    "target_limits",
    "arguments",
    "rules",
    "record",
    "dispatch",
];

/// Errors: no UUID; `Absent`, with what can be told of an id that has no row.
pub(in crate::admin) async fn call(core: &Core, request_id: &str) -> Result<ExplainCallReply, Refusal> {
    let id = Uuid::parse_str(request_id.trim()).map_err(|_| QueryError::RequestId)?;
    let store = core.keeper.store()?;
    let filter = AuditListRequest { request_id: id.to_string(), ..AuditListRequest::default() };
    let rows = store.list_audit(&filter, MOST_ROWS).await?;
    if rows.is_empty() {
        return Err(absent(core, &store, &id).await);
    }
    let mut texts = Texts::new(core);
    let mut calls = Vec::new();
    for row in rows {
        calls.push(explained(core, &store, &mut texts, row).await?);
    }
    Ok(ExplainCallReply { calls })
}

async fn explained(core: &Core, store: &Store, texts: &mut Texts, row: AuditRow) -> Result<ExplainedCall, Refusal> {
    let detail: Value = serde_json::from_str(&row.detail).unwrap_or_default();
    let mut notes = Vec::new();
    let mut stages = Vec::new();
    if is_routed(&row, &detail) {
        if !texts.read(core, row.revision).await {
            notes.push(format!("revision {} is not in the store: its lines can't be shown", row.revision));
        }
        let said = match by_lines(core, store, &row, &detail).await {
            Ok(said) => said,
            Err(why) => {
                notes.push(format!("by which lines it passed a stage is not shown: {why}"));
                Said::default()
            }
        };
        stages = told_stages(core, &row, &detail, &said, &texts.of(row.revision));
        let current = core.revisions.current().map_or(0, |current| current.revision.number);
        if current != row.revision {
            let number = row.revision;
            notes.push(format!(
                "revision {number} is not in force any more; `sentinelctl config show {number}` prints its text"
            ));
        }
    }
    let error = told(&row, &detail);
    if error.as_ref().is_some_and(|error| error.code == 0) {
        notes.push("the record is of an older version, which did not keep the words of the error".to_owned());
    }
    Ok(ExplainedCall {
        plane_name: plane_name(core, &row.plane_id),
        outcome: outcome(&row, &detail),
        stages,
        error,
        notes,
        row: Some(row),
    })
}

/// It went the whole way, or began to: a record of what was refused before counts no attempts.
fn is_routed(row: &AuditRow, detail: &Value) -> bool {
    ROUTED.contains(&row.method.as_str()) && detail["attempts"].is_u64()
}

/// What the plane of the row, or any other, says of the lines. Errors: why none does, a clause.
async fn by_lines(core: &Core, store: &Store, row: &AuditRow, detail: &Value) -> Result<Said, String> {
    let found = store.revision(row.revision).await.map_err(|why| why.to_string())?;
    let snapshot = found.ok_or("the revision is not in the store")?.snapshot;
    let plane = core.fleet.see(|all| {
        let connected = |plane: &&crate::fleet::plane::Plane| plane.link.is_some();
        let own = all.get(&row.plane_id).filter(connected);
        own.or_else(|| all.values().find(connected)).map(|plane| plane.id.clone())
    });
    let plane = plane.ok_or("no plane is connected")?;
    let ask = JudgeAsk {
        client: row.client.clone(),
        roles: row.roles.clone(),
        tool: row.tool.clone(),
        issuer: text(detail, "issuer").to_owned(),
        method: row.method.clone(),
        arguments: String::new(),
        server: String::new(),
    };
    let what = What::Explain(Explain { snapshot, asks: vec![ask] });
    let done = core.fleet.command(&plane, what, Instant::now() + PATIENCE).await.map_err(|why| why.to_string())?;
    if !done.ok {
        return Err(done.message);
    }
    let said = done.lines.first().and_then(|line| serde_json::from_str(line).ok());
    said.ok_or_else(|| "the plane's answer is not understood".to_owned())
}

fn text<'a>(detail: &'a Value, member: &str) -> &'a str {
    detail[member].as_str().unwrap_or_default()
}

/// Where it ended, none where its backend's answer did; of an old record as far as its kind says it.
fn ended_at<'a>(row: &AuditRow, detail: &'a Value) -> Option<&'a str> {
    if matches!(row.status.as_str(), "ok" | "tool_error") {
        return None;
    }
    let named = text(detail, "stage");
    if !named.is_empty() {
        return Some(named);
    }
    let limit = text(&detail["detail"], "limit");
    Some(match (row.kind.as_str(), text(&detail["detail"], "scope")) {
        ("disabled", "client" | "role" | "all") => "caller_kills",
        ("disabled", _) => "target_kills",
        ("rate_limited", _) if limit == "tool" => "target_limits",
        ("overloaded" | "rate_limited", _) => "client_limits",
        (kind, _) if kind.starts_with("hidden_") || kind.starts_with("unknown_") => "visible",
        ("invalid_arguments", _) => "arguments",
        ("forbidden", _) => "rules",
        ("audit_unavailable", _) => "record",
        _ => "dispatch",
    })
}

fn told_stages(core: &Core, row: &AuditRow, detail: &Value, said: &Said, lines: &Lines<'_>) -> Vec<ExplainStage> {
    let end = ended_at(row, detail).and_then(|end| STAGES.iter().position(|stage| *stage == end));
    let each = STAGES.iter().enumerate().map(|(at, stage)| {
        let passed = said.stages.iter().find(|said| said.stage == *stage).cloned().unwrap_or_default();
        let mut shown = ExplainStage {
            stage: (*stage).to_owned(),
            verdict: "passed".to_owned(),
            why: passed_because(stage, row, detail, &passed),
            rules: lines.places(&passed.rules),
        };
        if *stage == "dispatch" && !row.backend.is_empty() {
            shown.rules = vec![lines.place(&format!("backends.{}", row.backend))];
        }
        match end {
            Some(end) if at == end => end_here(core, row, detail, lines, &mut shown),
            Some(end) if at > end => {
                shown.verdict = "not_reached".to_owned();
                shown.why = String::new();
                shown.rules = Vec::new();
            }
            Some(_) | None => {}
        }
        shown
    });
    each.collect()
}

fn passed_because(stage: &str, row: &AuditRow, detail: &Value, passed: &SaidStage) -> String {
    match stage {
        "ready" => format!("the token was good: issuer {}", text(detail, "issuer")),
        "arguments" if detail.pointer("/detail/arguments").is_some_and(Value::is_string) => {
            "they did not fit the tool's schema, and went on: [schema] arguments was \"warn\"".to_owned()
        }
        "dispatch" => sending(row, detail),
        _ => passed.why.clone(),
    }
}

/// When it was sent, how often, and how long its backend took.
fn sending(row: &AuditRow, detail: &Value) -> String {
    let attempts = detail["attempts"].as_u64().unwrap_or(0);
    if attempts == 0 {
        return format!("not sent to backend {}", row.backend);
    }
    let before = row.latency_us.saturating_sub(row.backend_latency_us);
    let attempt = if attempts == 1 { String::new() } else { format!(" (attempt {attempts})") };
    let may_have_run = if detail["sent"] == true { "" } else { ", but not a byte of it was written" };
    format!(
        "sent to backend {} after {} ms{attempt}{may_have_run}; {} ms from there to the end",
        row.backend,
        millis(before),
        millis(row.backend_latency_us)
    )
}

fn millis(us: u64) -> String {
    format!("{}.{:03}", us / 1000, us % 1000)
}

/// The stage that did not let it pass.
fn end_here(core: &Core, row: &AuditRow, detail: &Value, lines: &Lines<'_>, shown: &mut ExplainStage) {
    shown.verdict = match row.status.as_str() {
        "denied" => "refused",
        "error" | "timeout" => "failed",
        _ => "ended",
    }
    .to_owned();
    let data = &detail["detail"];
    let message = text(detail, "message");
    let rule = text(detail, "rule");
    let names = Names { client: &row.client, roles: &row.roles, tool: &row.tool, backend: &row.backend };
    let (why, rules) = match row.kind.as_str() {
        "disabled" => switched(core, lines, &names, data),
        kind if kind.starts_with("hidden_") && rule.starts_with("roles.") => {
            ("a role denies it".to_owned(), vec![lines.place(rule)])
        }
        kind if kind.starts_with("hidden_") && rule.is_empty() => ("its roles did not show it".to_owned(), Vec::new()),
        kind if kind.starts_with("hidden_") => (rule.to_owned(), Vec::new()),
        kind if kind.starts_with("unknown_") => ("no backend offered anything of this name".to_owned(), Vec::new()),
        "forbidden" => ("an argument rule did not hold".to_owned(), vec![lines.place(text(data, "rule"))]),
        "overloaded" => (message.to_owned(), vec![lines.place("gateway.max_in_flight")]),
        "rate_limited" if text(data, "limit") == "concurrency" => {
            (message.to_owned(), vec![lines.place("gateway.max_in_flight")])
        }
        "" if row.status == "abandoned" => ("the caller went away".to_owned(), shown.rules.clone()),
        "" => ("the client took it back, or hung up".to_owned(), shown.rules.clone()),
        kind if message.is_empty() => (kind.to_owned(), shown.rules.clone()),
        _ => (message.to_owned(), shown.rules.clone()),
    };
    shown.why = if shown.stage == "dispatch" { format!("{}; {why}", sending(row, detail)) } else { why };
    shown.rules = rules;
}

/// The error as the client had it.
fn told(row: &AuditRow, detail: &Value) -> Option<ToldError> {
    let data = &detail["detail"];
    let has_error = data["kind"].is_string() && data["requestId"].is_string();
    let code = detail["code"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    let error = || ToldError { code, message: text(detail, "message").to_owned(), data: data.to_string() };
    (has_error && !matches!(row.status.as_str(), "ok" | "tool_error")).then(error)
}

/// How it went, in a sentence.
fn outcome(row: &AuditRow, detail: &Value) -> String {
    let data = &detail["detail"];
    let sent = if detail["sent"] == true { "the backend may have run it" } else { "the backend never had it" };
    let backend = &row.backend;
    match (row.method.as_str(), row.status.as_str()) {
        ("plane/start", _) => "a plane began here: this is no call".to_owned(),
        ("plane/gap", _) => {
            format!("{} records are missing here ({}): this is no call", row.count, text(data, "reason"))
        }
        ("refusals", _) => {
            let who = if row.client.is_empty() {
                format!("unknown callers from {}", data["peer"].as_str().unwrap_or("somewhere"))
            } else {
                format!("client {}", row.client)
            };
            let last = data["last"].as_i64().map_or_else(String::new, |last| format!(" to {}", stamp(last / 1000)));
            format!(
                "this row stands for {} refusals ({}) of {who}, from {}{last}; what each of them asked is not recorded",
                row.count,
                row.kind,
                stamp(row.ts_unix_us / 1000)
            )
        }
        ("initialize", "ok") => "a session began".to_owned(),
        (method, status) if ASKED.contains(&method) => {
            let why = if row.kind.is_empty() { String::new() } else { format!(" ({})", row.kind) };
            let call = if row.parent.is_empty() { String::new() } else { format!(" within call {}", row.parent) };
            format!("a question of backend {backend} to its client{call}: {status}{why}")
        }
        (_, "denied") if !is_routed(row, detail) => {
            format!("refused before it was a call ({}): nothing was asked of roles, limits or backends", row.kind)
        }
        ("tools/call", "ok") if data["task"].is_string() => {
            format!(
                "backend {backend} goes on with it as a task: rows of tasks/get with it as parent say what became of it"
            )
        }
        ("tasks/get", "ok" | "tool_error") if data["task"].is_string() => {
            format!("backend {backend} says of the task of call {}: {}", row.parent, text(data, "task"))
        }
        ("tasks/cancel", "cancelled" | "error") if !is_routed(row, detail) => {
            format!("a kill switch took the task of call {} back at backend {backend}: {}", row.parent, row.status)
        }
        (_, "ok") => format!("answered by backend {backend}"),
        (_, "tool_error") => format!("backend {backend} answered with an error of its own, which was passed on"),
        (_, "denied") => format!("refused ({}); {sent}", row.kind),
        (_, "timeout") => format!("backend {backend} did not answer in time; {sent}"),
        (_, "error") => format!("backend {backend} or the way to it failed ({}); {sent}", row.kind),
        (_, "cancelled") if row.kind == "disabled" => format!("cut by a kill switch; {sent}"),
        (_, "cancelled") => format!("the client took it back, or hung up; {sent}"),
        (_, "input_required") => format!("backend {backend} needs input of the client, which was asked for it"),
        (_, "abandoned") if !row.parent.is_empty() => {
            format!("backend {backend} asked for input, and the client did not come again with it")
        }
        (_, "abandoned") => "the caller went away before it was sent".to_owned(),
        (_, status) => status.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(status: &str, kind: &str, detail: &Value) -> AuditRow {
        AuditRow {
            method: "tools/call".into(),
            backend: "b".into(),
            status: status.into(),
            kind: kind.into(),
            detail: detail.to_string(),
            ..AuditRow::default()
        }
    }

    #[test]
    fn a_record_that_names_no_stage_is_told_by_its_kind() {
        for (kind, data, stage) in [
            ("disabled", serde_json::json!({ "scope": "role" }), "caller_kills"),
            ("disabled", serde_json::json!({ "scope": "backend" }), "target_kills"),
            ("rate_limited", serde_json::json!({ "limit": "tool" }), "target_limits"),
            ("rate_limited", serde_json::json!({ "limit": "client" }), "client_limits"),
            ("hidden_tool", Value::Null, "visible"),
            ("unknown_resource", Value::Null, "visible"),
            ("invalid_arguments", Value::Null, "arguments"),
            ("forbidden", Value::Null, "rules"),
            ("backend_unavailable", Value::Null, "dispatch"),
        ] {
            let detail = serde_json::json!({ "detail": data });
            assert_eq!(ended_at(&row("denied", kind, &detail), &detail), Some(stage), "{kind}");
        }
        let named = serde_json::json!({ "stage": "dispatch", "detail": { "scope": "role" } });
        assert_eq!(ended_at(&row("denied", "disabled", &named), &named), Some("dispatch"));
        assert_eq!(ended_at(&row("ok", "", &named), &named), None);
    }

    #[test]
    fn a_call_that_went_on_as_a_task_and_what_came_of_it_say_so() {
        let of = |method: &str, status: &str, kind: &str, detail: Value| {
            let row = AuditRow { method: method.into(), parent: "p".into(), ..row(status, kind, &detail) };
            outcome(&row, &detail)
        };
        let told = |status: &str| serde_json::json!({ "attempts": 1, "sent": true, "detail": { "task": status } });
        assert!(of("tools/call", "ok", "", told("working")).contains("goes on with it as a task"));
        assert_eq!(of("tasks/get", "tool_error", "", told("failed")), "backend b says of the task of call p: failed");
        assert_eq!(of("tasks/update", "ok", "", serde_json::json!({ "attempts": 1 })), "answered by backend b");
        let taken = of("tasks/cancel", "cancelled", "disabled", serde_json::json!({ "sent": true }));
        assert!(taken.contains("a kill switch took the task of call p back"), "{taken}");
    }

    #[test]
    fn a_question_of_a_backend_is_no_call_of_a_client() {
        let asked = AuditRow {
            method: "sampling/createMessage".into(),
            parent: "id".into(),
            ..row("denied", "forbidden", &Value::Null)
        };
        let told = outcome(&asked, &Value::Null);
        assert_eq!(told, "a question of backend b to its client within call id: denied (forbidden)");
        assert!(!is_routed(&asked, &Value::Null));
    }

    #[test]
    fn an_error_of_an_old_record_has_its_data_and_no_words() {
        let data = serde_json::json!({ "kind": "forbidden", "requestId": "x", "rule": "r" });
        let detail = serde_json::json!({ "detail": data });
        let told = told(&row("denied", "forbidden", &detail), &detail).unwrap();
        assert_eq!((told.code, told.message.as_str()), (0, ""));
        assert_eq!(serde_json::from_str::<Value>(&told.data).unwrap(), data);
    }
}

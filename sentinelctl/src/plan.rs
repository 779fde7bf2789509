//! `sentinelctl config plan FILE`: what a file would do before it is published.

use sentinel_proto::v1::{ConfigPlanReply, ConfigPlanRequest, PlanGroup};
use serde_json::{Value, json};

use crate::client::Client;
use crate::clock;
use crate::diff;
use crate::fault::Fault;
use crate::output::{Output, Rows, Tone, plain};
use crate::reload;

/// Prints problems, the difference and the calls judged again. Errors: `Usage` for problems of the file; else as the
/// control plane says.
pub(crate) async fn run(client: &mut Client, request: ConfigPlanRequest, output: &mut Output) -> Result<(), Fault> {
    let reply = client.config_plan(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
    output.json(&to_json(&reply));
    for warning in &reply.warnings {
        output.note(&format!("{} (warning)", reload::line_of(warning)));
    }
    if !reply.problems.is_empty() {
        for problem in &reply.problems {
            output.problem(&reload::line_of(problem));
        }
        let count = reply.problems.len();
        return Err(Fault::Usage(format!("{count} {}", if count == 1 { "problem" } else { "problems" })));
    }
    if let Some(diff) = &reply.diff {
        diff::show(diff, output);
    }
    output.line(&format!(
        "{} of {} calls since {} would be refused, {} more would be allowed (judged by {})",
        reply.newly_refused,
        reply.judged,
        clock::rfc3339_ms(reply.since_unix_ms),
        reply.newly_allowed,
        reply.judged_by
    ));
    let mut rows = Rows::new(&["WOULD BE", "CALLS", "CLIENT", "ROLES", "TOOL", "KIND", "RULE", "REQUEST ID"]);
    for (word, tone, groups) in [("refused", Tone::Bad, &reply.refused), ("allowed", Tone::Good, &reply.allowed)] {
        for group in groups {
            rows.push([
                (word.to_owned(), tone),
                plain(group.calls),
                plain(&group.client),
                plain(group.roles.join(", ")),
                plain(&group.tool),
                plain(&group.kind),
                plain(&group.rule),
                plain(&group.request_id),
            ]);
        }
    }
    output.table(rows, "No call would be judged otherwise.");
    if reply.unjudged > 0 {
        output.note(&format!(
            "{} calls are not judged: a rule about arguments decides, and the audit does not have them as they were sent",
            reply.unjudged
        ));
    }
    if reply.truncated {
        output.note("older calls of these days were not looked at; ask for fewer --days");
    }
    Ok(())
}

fn to_json(reply: &ConfigPlanReply) -> Value {
    let group = |group: &PlanGroup| {
        json!({
            "client": group.client, "roles": group.roles, "tool": group.tool, "kind": group.kind, "rule": group.rule,
            "calls": group.calls, "request_id": group.request_id,
        })
    };
    json!({
        "problems": reply.problems.iter().map(reload::problem_json).collect::<Vec<_>>(),
        "warnings": reply.warnings.iter().map(reload::problem_json).collect::<Vec<_>>(),
        "diff": reply.diff.as_ref().map(diff::to_json), "judged_by": reply.judged_by,
        "since": clock::rfc3339_ms(reply.since_unix_ms), "rows": reply.rows, "skipped": reply.skipped,
        "judged": reply.judged, "unjudged": reply.unjudged, "newly_refused": reply.newly_refused,
        "newly_allowed": reply.newly_allowed, "refused": reply.refused.iter().map(group).collect::<Vec<_>>(),
        "allowed": reply.allowed.iter().map(group).collect::<Vec<_>>(), "truncated": reply.truncated,
    })
}

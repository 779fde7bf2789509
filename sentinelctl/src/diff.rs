//! `sentinelctl config diff A B`: two configurations by meaning, each a revision or a file.

use std::path::Path;

use sentinel_proto::v1::{ConfigChange, ConfigDiffReply, ConfigDiffRequest, ConfigSide, RoleDiff};
use serde_json::{Value, json};

use crate::client::Client;
use crate::fault::Fault;
use crate::output::{Output, Rows, Tone, plain};
use crate::reload;

/// Tools that a line names before it counts the rest.
const NAMED: usize = 20;

/// A number is a revision, `current` the one in force, anything else a file. Errors: a file that cannot be read.
pub(crate) fn side(written: &str) -> Result<ConfigSide, Fault> {
    if written == "current" {
        return Ok(ConfigSide::default());
    }
    if let Ok(revision) = written.parse::<u64>() {
        return Ok(ConfigSide { revision, ..ConfigSide::default() });
    }
    let text = std::fs::read_to_string(Path::new(written))
        .map_err(|why| Fault::Usage(format!("{written}: {why}; name a revision's number, `current` or a file")))?;
    Ok(ConfigSide { file: written.to_owned(), text, ..ConfigSide::default() })
}

/// Prints what differs. Errors: `Usage` for problems of a file; else as the control plane says.
pub(crate) async fn run(client: &mut Client, request: ConfigDiffRequest, output: &mut Output) -> Result<(), Fault> {
    let reply = client.config_diff(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
    let value = to_json(&reply);
    output.json(&value);
    if !reply.problems.is_empty() {
        for problem in &reply.problems {
            output.problem(&reload::line_of(problem));
        }
        let count = reply.problems.len();
        return Err(Fault::Usage(format!("{count} {}", if count == 1 { "problem" } else { "problems" })));
    }
    show(&reply, output);
    Ok(())
}

pub(crate) fn show(reply: &ConfigDiffReply, output: &mut Output) {
    if reply.changes.is_empty() && reply.roles.is_empty() {
        output.line(&format!("{} and {} are the same.", reply.before, reply.after));
        return;
    }
    output.line(&format!("from {} to {}", reply.before, reply.after));
    for role in &reply.roles {
        output.line(&format!(
            "role {}{}",
            role.role,
            if role.state == "changed" { String::new() } else { format!(" ({})", role.state) }
        ));
        for (word, tools) in [("gains", &role.gains), ("loses", &role.loses)] {
            if !tools.is_empty() {
                output.line(&format!("  {word} {}", listed(tools)));
            }
        }
    }
    let mut rows = Rows::new(&["WHAT", "KEY", "BEFORE", "AFTER"]);
    for change in &reply.changes {
        let tone = match change.kind.as_str() {
            "added" => Tone::Good,
            "removed" => Tone::Bad,
            _ => Tone::Doubtful,
        };
        let key =
            if change.key.is_empty() { change.section.clone() } else { format!("{}.{}", change.section, change.key) };
        rows.push([(change.kind.clone(), tone), plain(key), plain(&change.before), plain(&change.after)]);
    }
    output.table(rows, "No key differs.");
    for note in &reply.notes {
        output.note(note);
    }
}

fn listed(tools: &[String]) -> String {
    let shown: Vec<&str> = tools.iter().take(NAMED).map(String::as_str).collect();
    match tools.len().saturating_sub(shown.len()) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

pub(crate) fn to_json(reply: &ConfigDiffReply) -> Value {
    let role =
        |role: &RoleDiff| json!({ "role": role.role, "state": role.state, "gains": role.gains, "loses": role.loses });
    let change = |change: &ConfigChange| {
        // A value is JSON already; a thing that came or went as a whole has none.
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap_or_else(|_| Value::from(text));
        json!({
            "kind": change.kind, "section": change.section, "key": change.key,
            "before": value(&change.before), "after": value(&change.after),
        })
    };
    json!({
        "before": reply.before, "after": reply.after,
        "same": reply.problems.is_empty() && reply.changes.is_empty() && reply.roles.is_empty(),
        "problems": reply.problems.iter().map(reload::problem_json).collect::<Vec<_>>(),
        "roles": reply.roles.iter().map(role).collect::<Vec<_>>(),
        "changes": reply.changes.iter().map(change).collect::<Vec<_>>(),
        "notes": reply.notes,
    })
}

//! `sentinelctl reload`, and how the outcome of any publish is told: `config rollback` ends here too.

use sentinel_proto::v1::{ConfigProblem, PlaneOutcome, PublishReply, ReloadRequest};
use serde_json::{Value, json};

use crate::client::Client;
use crate::fault::Fault;
use crate::locate::World;
use crate::output::{Output, Rows, Tone, plain};

#[derive(Clone, Copy, Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "four flags of one command, each its own question")]
pub struct Args {
    /// Say what would happen; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Go on without planes that are silent; they catch up when they are back
    #[arg(long)]
    skip_unresponsive: bool,
    /// A backend that a plane cannot build is off there, and shown
    #[arg(long)]
    allow_degraded: bool,
    /// Also after a rollback away from this very content
    #[arg(long)]
    from_file: bool,
}

/// Errors: `Usage` for problems of the file, `Refused` where it is not applied everywhere.
pub async fn run(client: &mut Client, world: &World, args: Args, output: &mut Output) -> Result<(), Fault> {
    let Args { dry_run, skip_unresponsive, allow_degraded, from_file } = args;
    let request = ReloadRequest { actor: Some(world.actor()), dry_run, skip_unresponsive, allow_degraded, from_file };
    let reply = client.reload(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
    report(&reply, dry_run, output)
}

/// Prints a publish. Errors: as `run`.
pub(crate) fn report(reply: &PublishReply, dry_run: bool, output: &mut Output) -> Result<(), Fault> {
    output.json(&to_json(reply));
    for problem in reply.warnings.iter().chain(&reply.problems) {
        output.problem(&line_of(problem));
    }
    if !reply.problems.is_empty() {
        return Err(Fault::Usage(format!(
            "{} {}; nothing was changed",
            reply.problems.len(),
            if reply.problems.len() == 1 { "problem" } else { "problems" }
        )));
    }
    output.table(outcome_rows(&reply.planes), "No plane is connected; the revision reaches each as it comes.");
    let told_below = reply.note == format!("revision {} is in force", reply.revision);
    if !reply.note.is_empty() && !told_below {
        output.note(&reply.note);
    }
    let everywhere = reply.planes.iter().all(|plane| match plane.outcome.as_str() {
        "applied" | "skipped" => true,
        "ready" => dry_run,
        _ => false,
    });
    if dry_run && everywhere {
        output.line("it would be applied by every plane; nothing was changed");
        return Ok(());
    }
    if !everywhere {
        let state = if reply.published {
            format!("revision {} is published, but not applied everywhere", reply.revision)
        } else {
            "nothing was changed".to_owned()
        };
        let missing: Vec<&str> = reply
            .planes
            .iter()
            .filter(|plane| !matches!(plane.outcome.as_str(), "applied" | "skipped" | "ready"))
            .map(|plane| plane.name.as_str())
            .collect();
        return Err(Fault::Refused(format!(
            "{state}: {}",
            if missing.is_empty() { "a plane has not committed".to_owned() } else { missing.join(", ") }
        )));
    }
    let digest: String = reply.digest.chars().take(12).collect();
    if reply.unchanged {
        output.line(&format!("revision {} ({digest}) is unchanged; rotated secrets were read again", reply.revision));
    } else if reply.published {
        output.line(&format!("revision {} ({digest}) is in force", reply.revision));
    } else {
        return Err(Fault::Refused("nothing was published".to_owned()));
    }
    Ok(())
}

/// For a publish and for `backend restart`.
pub(crate) fn outcome_rows(planes: &[PlaneOutcome]) -> Rows {
    let mut rows = Rows::new(&["PLANE", "OUTCOME", "MS", "WHY"]);
    for plane in planes {
        let tone = match plane.outcome.as_str() {
            "applied" | "ready" => Tone::Good,
            "skipped" => Tone::Doubtful,
            _ => Tone::Bad,
        };
        let problems = plane.problems.iter().map(|problem| {
            let place = [problem.backend.as_str(), problem.key.as_str()]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(".");
            if place.is_empty() { problem.message.clone() } else { format!("{place}: {}", problem.message) }
        });
        let why: Vec<String> =
            problems.chain(plane.degraded.iter().map(|name| format!("{name} is off here"))).collect();
        rows.push([plain(&plane.name), (plane.outcome.clone(), tone), plain(plane.took_ms), plain(why.join("; "))]);
    }
    rows
}

/// `FILE:LINE:COL: what; what to do`
pub(crate) fn line_of(problem: &ConfigProblem) -> String {
    format!("{}:{}:{}: {}", problem.file, problem.line, problem.col, problem.message)
}

pub(crate) fn problem_json(problem: &ConfigProblem) -> Value {
    json!({ "file": problem.file, "line": problem.line, "col": problem.col, "message": problem.message })
}

pub(crate) fn outcome_json(plane: &PlaneOutcome) -> Value {
    let problems: Vec<Value> = plane
        .problems
        .iter()
        .map(|problem| json!({ "backend": problem.backend, "key": problem.key, "message": problem.message }))
        .collect();
    json!({ "id": plane.id, "name": plane.name, "outcome": plane.outcome, "took_ms": plane.took_ms, "problems": problems, "degraded": plane.degraded })
}

fn to_json(reply: &PublishReply) -> Value {
    json!({
        "published": reply.published, "unchanged": reply.unchanged, "revision": reply.revision, "digest": reply.digest,
        "problems": reply.problems.iter().map(problem_json).collect::<Vec<_>>(),
        "warnings": reply.warnings.iter().map(problem_json).collect::<Vec<_>>(),
        "planes": reply.planes.iter().map(outcome_json).collect::<Vec<_>>(),
        "note": reply.note,
    })
}

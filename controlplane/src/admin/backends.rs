//! The two commands about backends that planes carry out.

use std::time::Duration;

use futures_util::future::join_all;
use sentinel_proto::v1::command::What;
use sentinel_proto::v1::{
    BackendRestartReply, BackendRestartRequest, BackendStderrReply, PlaneLines, PlaneOutcome, PlaneProblem, ReadStderr,
    RestartBackend,
};
use tokio::time::Instant;

use crate::core::{By, Core};
use crate::fleet::plane::millis;
use crate::nearest::{did_you_mean, nearest};
use crate::refusal::Refusal;

/// How long a plane may take for a command.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn stderr(core: &Core, name: &str) -> Result<BackendStderrReply, Refusal> {
    let planes = planes_for(core, name)?;
    let each = planes.into_iter().map(|(id, plane_name)| async move {
        let what = What::ReadStderr(ReadStderr { name: name.to_owned() });
        match core.fleet.command(&id, what, Instant::now() + PATIENCE).await {
            Ok(done) if done.ok => PlaneLines { plane_name, lines: done.lines, problem: String::new() },
            Ok(done) => PlaneLines { plane_name, lines: done.lines, problem: done.message },
            Err(why) => PlaneLines { plane_name, lines: Vec::new(), problem: why.to_string() },
        }
    });
    Ok(BackendStderrReply { planes: join_all(each).await })
}

pub(super) async fn restart(core: &Core, asked: BackendRestartRequest) -> Result<BackendRestartReply, Refusal> {
    let by = By::claimed(asked.actor.as_ref());
    let planes = planes_for(core, &asked.name)?;
    let (parts, target) = (core.clone(), format!("backend {}", asked.name));
    let deed = Box::pin(async move {
        let each = planes.into_iter().map(|(id, name)| restart_on(&parts, id, name, &asked.name));
        Ok(BackendRestartReply { planes: join_all(each).await })
    });
    let outcome = |reply: &BackendRestartReply| {
        let each = reply.planes.iter().map(|plane| format!("{}: {}", plane.name, plane.outcome));
        each.collect::<Vec<_>>().join(", ")
    };
    core.act(&by, "backend.restart", target, "", deed, outcome).await
}

async fn restart_on(core: &Core, id: String, name: String, backend: &str) -> PlaneOutcome {
    let since = Instant::now();
    let what = What::RestartBackend(RestartBackend { name: backend.to_owned() });
    let done = core.fleet.command(&id, what, since + PATIENCE).await;
    let (outcome, message) = match done {
        Ok(done) if done.ok => ("applied", done.message),
        Ok(done) => ("refused", done.message),
        Err(crate::fleet::Unheard::Away) => ("lost", String::new()),
        Err(why) => ("silent", why.to_string()),
    };
    let problem = || PlaneProblem { backend: backend.to_owned(), message, ..PlaneProblem::default() };
    PlaneOutcome {
        id,
        name,
        outcome: outcome.to_owned(),
        took_ms: millis(since.elapsed()),
        problems: if outcome == "applied" { Vec::new() } else { vec![problem()] },
        degraded: Vec::new(),
    }
}

/// The connected planes. Errors: no such backend in the configuration in force; nobody is connected.
fn planes_for(core: &Core, backend: &str) -> Result<Vec<(String, String)>, Refusal> {
    let current = core.revisions.current().ok_or_else(|| Refusal::state("no configuration is in force yet"))?;
    let names: Vec<&str> = current.snapshot.backends.iter().map(|known| known.name.as_str()).collect();
    if !names.contains(&backend) {
        let near = nearest(backend, names.iter().copied());
        return Err(Refusal::invalid(format!("no backend is named {backend}{}", did_you_mean(&near))));
    }
    let connected: Vec<_> = core.fleet.see(|all| {
        let here = all.values().filter(|plane| plane.link.is_some());
        here.map(|plane| (plane.id.clone(), plane.name.clone())).collect()
    });
    if connected.is_empty() {
        return Err(Refusal::state("no plane is connected; `sentinelctl plane list` shows which there were"));
    }
    Ok(connected)
}

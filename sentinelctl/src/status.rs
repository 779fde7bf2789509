//! `sentinelctl status`: planes, revision, kill switches, backends, audit lag, and what to look at.

use std::time::Duration;

use sentinel_proto::v1::{PlaneBackend, StatusReply, StatusRequest};
use serde_json::{Map, Value, json};
use tokio::time::MissedTickBehavior;

use crate::client::Client;
use crate::fault::Fault;
use crate::output::{Output, Rows, Tone, plain};
use crate::{clock, kill, plane};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Again and again, until it is ended
    #[arg(long)]
    watch: bool,
    /// Seconds between two looks of --watch
    #[arg(long, value_name = "SECS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

/// Prints the whole state; with `--watch` until nobody reads any more. Errors: as the control plane says; while
/// watching, one that is away is waited for.
pub async fn run(client: &mut Client, args: &Args, output: &mut Output) -> Result<(), Fault> {
    if !args.watch {
        let reply = ask(client).await?;
        output.json(&to_json(&reply));
        show(&reply, output);
        return Ok(());
    }
    let mut beat = tokio::time::interval(Duration::from_secs(args.interval));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !output.is_cut() {
        beat.tick().await;
        let looked = ask(client).await;
        output.again(&clock::rfc3339_ms(clock::now_ms()));
        match looked {
            Ok(reply) => {
                output.json(&to_json(&reply));
                show(&reply, output);
            }
            Err(why @ (Fault::Unreachable(_) | Fault::Failed(_))) => output.problem(&why.to_string()),
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

async fn ask(client: &mut Client) -> Result<StatusReply, Fault> {
    Ok(client.status(StatusRequest {}).await.map_err(|status| Fault::of_status(&status))?.into_inner())
}

fn show(reply: &StatusReply, output: &mut Output) {
    let now = clock::now_ms();
    for warning in &reply.warnings {
        output.line(&format!("! {warning}"));
    }
    let digest: String = reply.digest.chars().take(12).collect();
    let mut facts = Rows::new(&["WHAT", "STATE"]);
    facts.push([
        plain("control plane"),
        plain(format!("{}, since {}", reply.version, clock::rfc3339_ms(reply.started_unix_ms))),
    ]);
    facts.push([
        plain("configuration"),
        plain(format!("revision {} ({digest}), {}", reply.revision, reply.config_file)),
    ]);
    facts.push([plain("file"), of_state(&reply.config_state)]);
    facts.push([plain(format!("store {}", reply.store)), of_state(&reply.store_state)]);
    facts.push([plain("kill switches"), plain(format!("{} in force, epoch {}", reply.kills.len(), reply.epoch))]);
    let quarantined = if reply.audit_quarantined == 0 { Tone::Plain } else { Tone::Bad };
    let audit = format!(
        "{} rows, {} on the way, {} quarantined",
        reply.audit_rows, reply.audit_backlog, reply.audit_quarantined
    );
    facts.push([plain("audit"), (audit, quarantined)]);
    if !reply.quarantined.is_empty() {
        facts.push([plain("quarantined"), (reply.quarantined.join(", "), Tone::Bad)]);
    }
    if reply.anonymous {
        facts.push([plain("callers"), ("anonymous: [auth] mode = \"none\" is in force".to_owned(), Tone::Doubtful)]);
    }
    output.table(facts, "");
    output.line("");
    plane::show(&reply.planes, false, output);
    output.line("");
    show_backends(&reply.backends, output);
    if !reply.kills.is_empty() {
        output.line("");
        output.table(kill::rows(&reply.kills, now), "");
    }
}

fn of_state(text: &str) -> (String, Tone) {
    (text.to_owned(), if text == "ok" { Tone::Good } else { Tone::Bad })
}

/// One row a backend and plane.
fn backend_rows(backends: &[PlaneBackend], now_ms: i64) -> Rows {
    let mut rows =
        Rows::new(&["BACKEND", "PLANE", "STATE", "BREAKER", "TOOLS", "BUSY", "RESTARTS", "PID", "SINCE", "SERVER"]);
    for PlaneBackend { plane_name, health, .. } in backends {
        let Some(health) = health else { continue };
        let tone = match health.state.as_str() {
            "ready" | "idle" => Tone::Good,
            "starting" | "draining" | "stopped" => Tone::Doubtful,
            _ => Tone::Bad,
        };
        let breaker = if health.breaker == "closed" || health.breaker.is_empty() { Tone::Plain } else { Tone::Bad };
        let pid = if health.pid == 0 { String::new() } else { health.pid.to_string() };
        rows.push([
            plain(&health.name),
            plain(plane_name),
            (health.state.clone(), tone),
            (health.breaker.clone(), breaker),
            plain(health.tools),
            plain(health.in_flight),
            plain(health.restarts),
            plain(pid),
            plain(clock::ago(health.since_unix_ms, now_ms)),
            plain(&health.server),
        ]);
    }
    rows
}

/// Why a backend is as it is: whole sentences, beneath the table.
pub(crate) fn show_backends(backends: &[PlaneBackend], output: &mut Output) {
    output.table(backend_rows(backends, clock::now_ms()), "No backend is reported.");
    for PlaneBackend { plane_name, health, .. } in backends {
        if let Some(health) = health.as_ref().filter(|health| !health.reason.is_empty()) {
            output.line(&format!("  {} on {plane_name}: {}", health.name, health.reason));
        }
        if let Some(health) = health.as_ref().filter(|health| !health.noise.is_empty()) {
            let said: Vec<String> =
                health.noise.iter().map(|noise| format!("{} {}", noise.count, noise.kind)).collect();
            output.line(&format!("  {} on {plane_name} said wrong: {}", health.name, said.join(", ")));
        }
        if let Some(health) = health.as_ref().filter(|health| health.max_instances > 0) {
            let (count, most) = (health.instances.len(), health.max_instances);
            output.line(&format!("  {} on {plane_name}: {count} of {most} instances", health.name));
            for one in &health.instances {
                let session = if one.session.is_empty() { String::new() } else { format!(", session {}", one.session) };
                let reason = if one.reason.is_empty() { String::new() } else { format!(": {}", one.reason) };
                output.line(&format!("    {}{session}: {}{reason}", one.client, one.state));
            }
        }
    }
}

/// One backend on one plane; documented in docs/operations.md.
pub(crate) fn backend_json(backend: &PlaneBackend) -> Value {
    let health = backend.health.clone().unwrap_or_default();
    json!({
        "name": health.name, "kind": health.kind, "state": health.state, "reason": health.reason,
        "breaker": health.breaker, "in_flight": health.in_flight, "tools": health.tools, "restarts": health.restarts,
        "pid": (health.pid != 0).then_some(health.pid), "since": clock::rfc3339_ms(health.since_unix_ms),
        "noise": health.noise.iter().map(|noise| (noise.kind.clone(), noise.count.into())).collect::<Map<_, _>>(),
        "server": health.server, "protocol_version": health.protocol_version,
        "max_instances": (health.max_instances != 0).then_some(health.max_instances),
        "instances": health.instances.iter().map(|one| json!({
            "client": one.client, "session": (!one.session.is_empty()).then_some(&one.session), "state": one.state,
            "reason": one.reason, "in_flight": one.in_flight, "restarts": one.restarts,
            "pid": (one.pid != 0).then_some(one.pid), "since": clock::rfc3339_ms(one.since_unix_ms),
        })).collect::<Vec<_>>(),
        "plane_id": backend.plane_id, "plane_name": backend.plane_name,
    })
}

fn to_json(reply: &StatusReply) -> Value {
    json!({
        "version": reply.version, "started": clock::rfc3339_ms(reply.started_unix_ms),
        "store": { "kind": reply.store, "state": reply.store_state },
        "revision": reply.revision, "digest": reply.digest,
        "config": { "file": reply.config_file, "state": reply.config_state },
        "epoch": reply.epoch, "anonymous": reply.anonymous, "warnings": reply.warnings, "quarantined": reply.quarantined,
        "audit": { "rows": reply.audit_rows, "backlog": reply.audit_backlog, "quarantined": reply.audit_quarantined },
        "planes": reply.planes.iter().map(plane::to_json).collect::<Vec<_>>(),
        "backends": reply.backends.iter().map(backend_json).collect::<Vec<_>>(),
        "kills": reply.kills.iter().map(kill::entry_json).collect::<Vec<_>>(),
    })
}

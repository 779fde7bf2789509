//! `sentinelctl kill-switch`: stop a tool, a backend, a client, a role or everything; lift that; list what is stopped.
//!
//! It prints which planes acknowledged and how fast, and exits with 4 where one that counts has not.

use clap::{Args, Subcommand};
use sentinel_proto::v1::{FileKill, KillAck, KillEntry, KillListReply, KillListRequest, KillReply, KillRequest, Scope};
use serde_json::{Value, json};

use crate::client::Client;
use crate::clock;
use crate::fault::Fault;
use crate::locate::World;
use crate::output::{Output, Rows, Tone, plain};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// One tool, by the name under which it is listed
    Tool(Named),
    /// A backend with all its tools
    Backend(Named),
    /// A client, by the name in its tokens; always taken
    Client(Named),
    /// Everybody who acts in a role
    Role(Named),
    /// Every call of everybody
    All(Common),
    /// What is stopped, since when, by whom and why
    List,
}

#[derive(Debug, Args)]
pub struct Named {
    /// As it is listed, or as it stands in the file or in tokens; must exist, but for clients
    name: String,
    /// Also a name that nobody knows (yet)
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub struct Common {
    /// Told to callers, and kept in the audit
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// End it: what was stopped goes on
    #[arg(long)]
    lift: bool,
    /// Return once the entry is stored and sent
    #[arg(long)]
    no_wait: bool,
    /// Planes that are cut off do not count
    #[arg(long)]
    connected_only: bool,
    /// The switch that this plane (its name or id) threw itself; goes with --lift
    #[arg(long, value_name = "PLANE", requires = "lift")]
    origin: Option<String>,
}

/// What to ask for.
#[derive(Debug)]
pub enum Ask {
    Set(KillRequest),
    List,
}

impl Verb {
    pub(crate) fn prepared(self) -> Ask {
        let (scope, named) = match self {
            Self::Tool(named) => (Scope::Tool, named),
            Self::Backend(named) => (Scope::Backend, named),
            Self::Client(named) => (Scope::Client, named),
            Self::Role(named) => (Scope::Role, named),
            Self::All(common) => (Scope::All, Named { name: String::new(), force: false, common }),
            Self::List => return Ask::List,
        };
        let Named { name, force, common: Common { reason, lift, no_wait, connected_only, origin } } = named;
        let scope = scope.into();
        let origin = origin.unwrap_or_default();
        Ask::Set(KillRequest {
            actor: None,
            scope,
            name,
            reason,
            lift,
            force,
            no_wait,
            connected_only,
            lifts: 0,
            origin,
        })
    }
}

/// Errors: `Refused` where a plane that counts has not acknowledged; else as the control plane says.
pub async fn run(client: &mut Client, world: &World, ask: Ask, output: &mut Output) -> Result<(), Fault> {
    match ask {
        Ask::Set(request) => {
            let mut request = KillRequest { actor: Some(world.actor()), ..request };
            let waited = !request.no_wait;
            // A plane's own has another counter, and nobody else throws it.
            if request.lift && request.origin.is_empty() {
                // Named, so that a switch that somebody throws at this very moment is not lifted with it.
                let standing = list(client).await?;
                let is_meant = |entry: &&KillEntry| {
                    entry.scope == request.scope && entry.name == request.name && entry.origin.is_empty()
                };
                request.lifts = standing.entries.iter().find(is_meant).map_or(0, |entry| entry.epoch);
            }
            let reply = client.kill(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
            report(&reply, waited, output)
        }
        Ask::List => {
            let reply = list(client).await?;
            output.json(&json!({
                "epoch": reply.epoch,
                "entries": reply.entries.iter().map(entry_json).collect::<Vec<_>>(),
                "from_file": reply.from_file.iter().map(file_json).collect::<Vec<_>>(),
            }));
            let mut rows = rows(&reply.entries, clock::now_ms());
            for FileKill { scope, name, file, line } in &reply.from_file {
                let place = format!("{file}:{line}");
                rows.push([
                    plain(scope_name(*scope)),
                    plain(name),
                    plain("file"),
                    plain(""),
                    plain(place),
                    plain("in the configuration"),
                ]);
            }
            output.table(rows, "Nothing is stopped.");
            Ok(())
        }
    }
}

async fn list(client: &mut Client) -> Result<KillListReply, Fault> {
    Ok(client.kill_list(KillListRequest {}).await.map_err(|status| Fault::of_status(&status))?.into_inner())
}

/// Prints the acknowledgements of a kill or of a revocation. Errors: `Refused` where they are not complete.
pub(crate) fn report(reply: &KillReply, waited: bool, output: &mut Output) -> Result<(), Fault> {
    let now = clock::now_ms();
    let acked = reply.acks.iter().filter(|ack| ack.acked).count();
    output.json(&json!({
        "epoch": reply.epoch, "complete": reply.complete, "note": reply.note,
        "acks": reply.acks.iter().map(ack_json).collect::<Vec<_>>(),
    }));
    for ack in &reply.acks {
        output.line(&ack_line(ack, now));
    }
    let summary = format!("acknowledged by {acked} of {} planes", reply.acks.len());
    // The note begins with what the summary says; what it adds is told.
    let added = reply.note.strip_prefix(&summary).unwrap_or(&reply.note).trim_start_matches("; ");
    if !added.is_empty() {
        output.note(added);
    }
    if !waited {
        output.line(&format!("stored as epoch {} and sent; not waited for", reply.epoch));
        return Ok(());
    }
    output.line(&summary);
    if reply.complete {
        return Ok(());
    }
    let missing: Vec<String> = reply
        .acks
        .iter()
        .filter(|ack| !ack.acked)
        .map(|ack| format!("{} (last seen {})", ack.plane_name, clock::ago(ack.last_seen_unix_ms, now)))
        .collect();
    Err(Fault::Refused(format!(
        "not acknowledged by {}; the entry is stored and reaches them before they serve again (--connected-only accepts that)",
        if missing.is_empty() { "every plane".to_owned() } else { missing.join(", ") }
    )))
}

fn ack_line(ack: &KillAck, now_ms: i64) -> String {
    if ack.acked {
        let cut = if ack.cut == 0 { String::new() } else { format!(", {} calls in flight ended", ack.cut) };
        return format!("{}: acknowledged in {} ms{cut}", ack.plane_name, ack.took_ms);
    }
    let seen = match ack.last_seen_unix_ms {
        0 => "never seen".to_owned(),
        at => format!("last seen {} ({})", clock::rfc3339_ms(at), clock::ago(at, now_ms)),
    };
    format!("{}: not acknowledged, {}, {seen}", ack.plane_name, ack.state)
}

pub(crate) fn ack_json(ack: &KillAck) -> Value {
    json!({
        "plane_id": ack.plane_id, "plane_name": ack.plane_name, "acked": ack.acked, "took_ms": ack.took_ms,
        "cut": ack.cut, "state": ack.state, "last_seen": clock::rfc3339_ms(ack.last_seen_unix_ms),
    })
}

pub(crate) fn scope_name(scope: i32) -> &'static str {
    match Scope::try_from(scope) {
        Ok(Scope::Tool) => "tool",
        Ok(Scope::Backend) => "backend",
        Ok(Scope::Client) => "client",
        Ok(Scope::Role) => "role",
        Ok(Scope::All) => "all",
        Ok(Scope::Unspecified) | Err(_) => "unknown",
    }
}

/// For `kill-switch list` and `status`. A tool shows both its names.
pub(crate) fn rows(entries: &[KillEntry], now_ms: i64) -> Rows {
    let mut rows = Rows::new(&["SCOPE", "NAME", "BY", "SINCE", "ORIGIN", "REASON"]);
    for entry in entries.iter().filter(|entry| entry.on) {
        let name = if entry.own.is_empty() {
            entry.name.clone()
        } else {
            format!("{} ({} of {})", entry.name, entry.own, entry.backend)
        };
        rows.push([
            plain(scope_name(entry.scope)),
            (name, Tone::Bad),
            plain(&entry.by),
            plain(clock::ago(entry.since_unix_ms, now_ms)),
            plain(origin(entry)),
            plain(&entry.reason),
        ]);
    }
    rows
}

/// Who threw it: the control plane, or a plane on its own (break-glass).
fn origin(entry: &KillEntry) -> String {
    match (entry.origin.as_str(), entry.origin_name.as_str()) {
        ("", _) => "centre".to_owned(),
        (id, "") => format!("local: {id}"),
        (_, name) => format!("local: {name}"),
    }
}

pub(crate) fn entry_json(entry: &KillEntry) -> Value {
    json!({
        "scope": scope_name(entry.scope), "name": entry.name, "backend": entry.backend, "own": entry.own,
        "epoch": entry.epoch, "on": entry.on, "reason": entry.reason, "by": entry.by,
        "since": clock::rfc3339_ms(entry.since_unix_ms), "origin": entry.origin, "origin_name": entry.origin_name,
    })
}

fn file_json(entry: &FileKill) -> Value {
    json!({ "scope": scope_name(entry.scope), "name": entry.name, "file": entry.file, "line": entry.line })
}

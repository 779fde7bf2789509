//! kill-switch: whether a name is there to be killed, what a lift can lift, and the list.
//!
//! Throwing, storing and sending is `killswitch.rs`'s.

use std::collections::BTreeSet;
use std::time::Duration;

use sentinel_proto::v1::{FileKill, KillEntry, KillListReply, KillReply, KillRequest, Scope};

use tokio::time::Instant;

use super::status::in_force;
use crate::core::{By, Core};
use crate::fleet::Planes;
use crate::fleet::plane::Plane;
use crate::guard::printable;
use crate::kill_set::{Kills, scope_word};
use crate::killswitch::Wait;
use crate::nearest::{did_you_mean, nearest};
use crate::refusal::Refusal;

/// Longest name and reason that are taken, in characters.
const LONGEST_NAME: usize = 256;
const LONGEST_REASON: usize = 500;
/// Planes tell what they list 0.2 s after they list it: a tool that a client has just seen may be killed by its name.
const NEXT_REPORT: Duration = Duration::from_millis(400);

pub(super) async fn kill(core: &Core, asked: KillRequest) -> Result<KillReply, Refusal> {
    let by = By::claimed(asked.actor.as_ref());
    let scope = Scope::try_from(asked.scope).unwrap_or(Scope::Unspecified);
    check(scope, &asked.name)?;
    let origin = origin(core, &asked)?;
    if scope == Scope::Tool && !asked.lift && core.fleet.tool(&asked.name).is_none() {
        core.fleet.all_reported(Instant::now() + super::FIRST_REPORT).await;
        let listed =
            |all: &Planes| all.values().flat_map(|plane| &plane.catalogue).any(|tool| tool.exposed == asked.name);
        core.fleet.until(Instant::now() + NEXT_REPORT, |all| listed(all).then_some(())).await;
    }
    let reason = printable(&asked.reason, LONGEST_REASON);
    let mut entry = KillEntry {
        scope: scope.into(),
        name: asked.name.clone(),
        on: !asked.lift,
        reason: reason.clone(),
        by: by.word(),
        since_unix_ms: core.clock.unix_ms(),
        origin: origin.clone(),
        ..KillEntry::default()
    };
    if scope == Scope::Tool {
        if let Some(tool) = core.fleet.tool(&asked.name) {
            entry.backend = tool.backend;
            entry.own = tool.own;
        } else if let Some(held) = core.kills.see(|held| held.of_origin(scope, &asked.name, &origin).cloned()) {
            entry.backend = held.backend;
            entry.own = held.own;
        }
    }
    let wait = wait(asked.no_wait, asked.connected_only);
    let (verb, target) = (if asked.lift { "kill.lift" } else { "kill" }, named(scope, &asked.name));
    let core = core.clone();
    let parts = core.clone();
    let deed = Box::pin(async move {
        if asked.lift {
            liftable(&parts, scope, &asked.name, &origin, asked.force)?;
        } else if !asked.force {
            exists(&parts, scope, &asked.name)?;
        }
        let mut reply = parts.kills.set(entry, asked.lifts, wait).await?;
        if let Some(more) = remark(&parts, scope, &asked.name, asked.lift) {
            reply.note = format!("{}; {more}", reply.note);
        }
        Ok(reply)
    });
    core.act(&by, verb, target, &reason, deed, told).await
}

/// The plane whose own switch is to be lifted: its id, by id or by a name that one alone has; empty for the centre's.
fn origin(core: &Core, asked: &KillRequest) -> Result<String, Refusal> {
    let named = asked.origin.as_str();
    if named.is_empty() {
        return Ok(String::new());
    }
    if !asked.lift {
        return Err(Refusal::invalid("--origin goes with --lift: the centre throws no switch in a plane's name"));
    }
    let known = core.kills.see(|held| held.in_force().any(|entry| entry.origin == named));
    let ids: Vec<String> = core.fleet.see(|all| {
        let is_meant = |plane: &&Plane| plane.id == named || plane.name == named;
        all.values().filter(is_meant).map(|plane| plane.id.clone()).collect()
    });
    match ids.as_slice() {
        [id] => Ok(id.clone()),
        [] if known => Ok(named.to_owned()), // a plane that is forgotten
        [] => {
            Err(Refusal::invalid(format!("no plane is named {named}; `sentinelctl plane list` shows which there are")))
        }
        _ => Err(Refusal::invalid(format!("more than one plane is named {named}; give its id"))),
    }
}

/// What `audit_actions` keeps of it.
pub(super) fn told(reply: &KillReply) -> String {
    format!("done: epoch {}, {}", reply.epoch, reply.note)
}

pub(super) const fn wait(no_wait: bool, connected_only: bool) -> Wait {
    match (no_wait, connected_only) {
        (true, _) => Wait::Nobody,
        (false, true) => Wait::Connected,
        (false, false) => Wait::Known,
    }
}

fn named(scope: Scope, name: &str) -> String {
    match scope {
        Scope::All => "all".to_owned(),
        _ => format!("{} {name}", scope_word(scope)),
    }
}

fn check(scope: Scope, name: &str) -> Result<(), Refusal> {
    if scope == Scope::Unspecified {
        return Err(Refusal::invalid("say what to kill: tool, backend, client, role or all"));
    }
    if scope == Scope::All {
        return if name.is_empty() { Ok(()) } else { Err(Refusal::invalid("`all` takes no name")) };
    }
    if name.is_empty() || name.chars().count() > LONGEST_NAME || printable(name, LONGEST_NAME) != name {
        return Err(Refusal::invalid(format!(
            "the name of a {} has 1 to {LONGEST_NAME} printable characters",
            scope_word(scope)
        )));
    }
    Ok(())
}

/// Errors: nobody knows this name, with the nearest that are known.
fn exists(core: &Core, scope: Scope, name: &str) -> Result<(), Refusal> {
    let known = known(core, scope);
    if matches!(scope, Scope::All | Scope::Client | Scope::Unspecified) || known.contains(name) {
        return Ok(());
    }
    let near = nearest(name, known.iter().map(String::as_str));
    let word = scope_word(scope);
    Err(Refusal::state(format!(
        "no {word} is named {name}{}{}; --force throws the switch all the same, and it holds when the {word} appears",
        did_you_mean(&near),
        if known.is_empty() { format!(" (no {word} is known yet)") } else { String::new() },
    )))
}

fn known(core: &Core, scope: Scope) -> BTreeSet<String> {
    let current = core.revisions.current();
    let snapshot = current.as_ref().map(|current| &current.snapshot);
    match scope {
        Scope::Tool => core.fleet.tools().into_iter().map(|(tool, _)| tool.exposed).collect(),
        Scope::Backend => snapshot.iter().flat_map(|s| &s.backends).map(|backend| backend.name.clone()).collect(),
        Scope::Role => snapshot.iter().flat_map(|s| &s.roles).map(|role| role.name.clone()).collect(),
        Scope::All | Scope::Client | Scope::Unspecified => BTreeSet::new(),
    }
}

/// Errors: there is no central switch to lift; says where the one that holds stands.
fn liftable(core: &Core, scope: Scope, name: &str, origin: &str, force: bool) -> Result<(), Refusal> {
    if core.kills.see(|held| held.of_origin(scope, name, origin).is_some_and(|entry| entry.on)) {
        return Ok(());
    }
    let what = named(scope, name);
    if !origin.is_empty() {
        return Err(Refusal::state(format!(
            "{what} is not killed on plane {origin} itself; `sentinelctl kill-switch list` shows each switch with its origin"
        )));
    }
    if let Some(place) = in_file(core, scope, name) {
        return Err(Refusal::state(format!(
            "{what} is killed by the file ({place}); take it out there and `sentinelctl reload`"
        )));
    }
    if let Some(plane) = local(core, scope, name) {
        return Err(Refusal::state(format!(
            "{what} was killed on plane {plane} itself; lift that with --origin {plane} (or there: `sentinel-dataplane kill … --lift`)"
        )));
    }
    if force {
        return Ok(());
    }
    let killed: Vec<String> = core.kills.see(|held| {
        let same = held.in_force().filter(|entry| entry.scope == i32::from(scope));
        same.map(|entry| entry.name.clone()).collect()
    });
    let near = nearest(name, killed.iter().map(String::as_str));
    Err(Refusal::state(format!(
        "{what} is not killed{}; `sentinelctl kill-switch list` shows what is",
        did_you_mean(&near)
    )))
}

/// `FILE:LINE` where the file in force lists it.
fn in_file(core: &Core, scope: Scope, name: &str) -> Option<String> {
    let current = core.revisions.current()?;
    let kill = current.kills.iter().find(|kill| kill.scope == scope && kill.name == name)?;
    Some(format!("{}:{}", core.revisions.path().display(), kill.line))
}

/// The name of a plane that was told so locally.
fn local(core: &Core, scope: Scope, name: &str) -> Option<String> {
    let origin = core.kills.see(|held| {
        let mut on = held.in_force();
        let found = on.find(|entry| !entry.origin.is_empty() && entry.scope == i32::from(scope) && entry.name == name);
        found.map(|entry| entry.origin.clone())
    })?;
    Some(core.fleet.see(|all| all.get(&origin).map_or_else(|| origin.clone(), |plane| plane.name.clone())))
}

/// What else the operator should know.
fn remark(core: &Core, scope: Scope, name: &str, lift: bool) -> Option<String> {
    if lift {
        let file = in_file(core, scope, name).map(|place| format!("the file ({place})"));
        let holds = file.or_else(|| local(core, scope, name).map(|plane| format!("a local switch on plane {plane}")));
        return holds.map(|what| format!("it stays killed by {what}"));
    }
    let unknown = !matches!(scope, Scope::All | Scope::Client) && !known(core, scope).contains(name);
    match scope {
        Scope::Client => {
            Some("a client's name is taken as it is; check it against `sentinelctl audit list`".to_owned())
        }
        _ if unknown => Some(format!("no {} of this name is known yet; it holds when one appears", scope_word(scope))),
        _ => None,
    }
}

pub(super) fn list(core: &Core) -> KillListReply {
    let file = core.revisions.path().display().to_string();
    let from_file = core.revisions.current().map_or_else(Vec::new, |current| {
        let each = current.kills.iter().map(|kill| FileKill {
            scope: kill.scope.into(),
            name: kill.name.clone(),
            file: file.clone(),
            line: kill.line,
        });
        each.collect()
    });
    let listed = in_force(core).into_iter().filter(|entry| entry.epoch > 0);
    KillListReply { entries: listed.collect(), epoch: core.kills.see(Kills::epoch), from_file }
}

//! `tool approve` and `tool quarantine`: which tools a name means, and which definition is approved.
//!
//! Writing and sending is `pins.rs`'s.

use std::collections::{BTreeMap, BTreeSet};

use sentinel_proto::v1::{
    Actor, Pin, PlaneSighting, Sighting, ToolApproveRequest, ToolQuarantineRequest, ToolTrustReply,
};
use tokio::time::Instant;
use wildmatch::WildMatch;

use crate::core::{By, Core};
use crate::guard::printable;
use crate::nearest::{did_you_mean, nearest};
use crate::pins;
use crate::refusal::Refusal;
use crate::secrets::hex;
use crate::store::pins::Pinned;

const LONGEST_REASON: usize = 500;

/// Who decides about which tool, and why, as the record of the deed shows it.
struct Order {
    by: By,
    target: String,
    reason: String,
}

impl Order {
    /// Once every plane has said what it lists: a name is judged by that.
    async fn of(core: &Core, actor: Option<&Actor>, name: &str, reason: &str) -> Self {
        core.fleet.all_reported(Instant::now() + super::FIRST_REPORT).await;
        Self {
            by: By::claimed(actor),
            target: format!("tool {}", printable(name, LONGEST_REASON)),
            reason: printable(reason, LONGEST_REASON),
        }
    }
}

/// What planes report of this exposed name, or of all; by the planes' names.
pub(super) fn sightings(core: &Core, exposed: Option<&str>) -> Vec<PlaneSighting> {
    let mut seen: Vec<_> = core.fleet.see(|all| {
        let each = all.values().flat_map(|plane| {
            let meant = |seen: &&Sighting| !seen.trusted && exposed.is_none_or(|exposed| seen.exposed == exposed);
            plane
                .sightings
                .iter()
                .filter(meant)
                .map(|seen| PlaneSighting { plane_name: plane.name.clone(), sighting: Some(seen.clone()) })
        });
        each.collect()
    });
    seen.sort_by(|one, other| one.plane_name.cmp(&other.plane_name));
    seen
}

/// Exposed names of tools that are held on a plane, sorted.
pub(super) fn quarantined(core: &Core) -> Vec<String> {
    let held = core.fleet.see(|all| {
        let each = all.values().flat_map(|plane| &plane.sightings).filter(|seen| seen.held);
        each.map(|seen| seen.exposed.clone()).collect::<BTreeSet<_>>()
    });
    held.into_iter().collect()
}

/// Trusts the definition that planes hold now. Errors: nothing is held under this name, or not one definition alone.
pub(super) async fn approve(core: &Core, asked: ToolApproveRequest) -> Result<ToolTrustReply, Refusal> {
    let Order { by, target, reason } = Order::of(core, asked.actor.as_ref(), &asked.name, &asked.reason).await;
    let (parts, word, told) = (core.clone(), by.word(), reason.clone());
    let deed = Box::pin(async move {
        let all: Vec<Sighting> = sightings(&parts, None).into_iter().filter_map(|seen| seen.sighting).collect();
        let approved = chosen(&parts, &asked, &all)?;
        let now = parts.clock.unix_ms();
        let mut decided: Vec<Pinned> = approved.iter().map(|seen| pins::of(seen, &word, &told, now)).collect();
        decided.extend(settled(&parts, &approved, &all));
        let mut reply = parts.pins.decide(&decided).await?;
        let is_gone = |pin: &mut Pin| !approved.iter().any(|seen| seen.backend == pin.backend && seen.own == pin.own);
        reply.gone = reply.pins.extract_if(.., is_gone).collect();
        Ok(reply)
    });
    core.act(&by, "tool.approve", target, &reason, deed, outcome).await
}

/// One sighting for each tool that is meant.
fn chosen(core: &Core, asked: &ToolApproveRequest, all: &[Sighting]) -> Result<Vec<Sighting>, Refusal> {
    let wanted = asked.hash.to_ascii_lowercase();
    let pattern = asked.name.contains(['*', '?']).then(|| WildMatch::new(&asked.name));
    let is_meant = |seen: &&Sighting| {
        pattern.as_ref().map_or(seen.exposed == asked.name, |pattern| pattern.matches(&seen.exposed))
    };
    let mut found: BTreeMap<(&str, &str), BTreeMap<&[u8], &Sighting>> = BTreeMap::new();
    for seen in all.iter().filter(is_meant) {
        found.entry((&seen.backend, &seen.own)).or_default().insert(&seen.hash, seen);
    }
    if found.is_empty() {
        return Err(nothing(core, asked, all));
    }
    let mut chosen = Vec::new();
    for definitions in found.into_values() {
        let mut fits: Vec<&Sighting> =
            definitions.into_values().filter(|seen| hex(&seen.hash).starts_with(&wanted)).collect();
        match (fits.pop(), fits.len()) {
            (Some(seen), 0) => chosen.push(seen.clone()),
            (Some(seen), _) => {
                let hashes: Vec<String> = fits.into_iter().chain([seen]).map(|seen| short(&seen.hash)).collect();
                return Err(Refusal::state(format!(
                    "planes hold different definitions of {}: {}; see `sentinelctl tool show {}` and approve one with --hash",
                    seen.exposed,
                    hashes.join(", "),
                    seen.exposed
                )));
            }
            (None, _) => {}
        }
    }
    if chosen.is_empty() {
        return Err(Refusal::state(format!(
            "the definition of {} is not {wanted} any more, and nothing was approved; see `sentinelctl tool show {}`",
            asked.name, asked.name
        )));
    }
    Ok(chosen)
}

/// The first digits of a hash, as `tool show` prints them.
fn short(hash: &[u8]) -> String {
    hex(hash).chars().take(12).collect()
}

fn nothing(core: &Core, asked: &ToolApproveRequest, all: &[Sighting]) -> Refusal {
    let name = &asked.name;
    if core.fleet.tool(name).is_some_and(|tool| tool.status != "refused") {
        return Refusal::state(format!("{name} is as it is pinned; there is nothing to approve"));
    }
    let near = nearest(name, all.iter().map(|seen| seen.exposed.as_str()));
    Refusal::invalid(format!(
        "no plane holds a tool {name}{}; `sentinelctl tool list` shows what is quarantined",
        did_you_mean(&near)
    ))
}

/// Pins of names that are gone, once nothing else waits that could be one of them.
fn settled(core: &Core, approved: &[Sighting], all: &[Sighting]) -> Vec<Pinned> {
    let is_approved = |seen: &Sighting| approved.iter().any(|one| one.backend == seen.backend && one.own == seen.own);
    let gone: BTreeSet<(&str, &str)> = approved
        .iter()
        .filter(|seen| {
            !all.iter().any(|other| other.backend == seen.backend && !other.gone.is_empty() && !is_approved(other))
        })
        .flat_map(|seen| seen.gone.iter().map(|own| (seen.backend.as_str(), own.as_str())))
        .collect();
    core.pins.see(|held| {
        let pins = gone.into_iter().filter_map(|(backend, own)| held.find(backend, own));
        pins.map(|pin| Pinned { pin: Pin { settled: true, ..pin.clone() }, definition: None }).collect()
    })
}

/// Holds a tool whatever its definition. Errors: no plane reports one of this name.
pub(super) async fn quarantine(core: &Core, asked: ToolQuarantineRequest) -> Result<ToolTrustReply, Refusal> {
    let Order { by, target, reason } = Order::of(core, asked.actor.as_ref(), &asked.name, &asked.reason).await;
    let (parts, word, told) = (core.clone(), by.word(), reason.clone());
    let deed = Box::pin(async move {
        let keys: BTreeSet<(String, String)> = parts.fleet.see(|all| {
            let named = all.values().flat_map(|plane| &plane.catalogue).filter(|tool| tool.exposed == asked.name);
            named.filter(|tool| tool.status != "refused").map(|tool| (tool.backend.clone(), tool.own.clone())).collect()
        });
        if keys.is_empty() {
            let names: Vec<String> = parts.fleet.tools().into_iter().map(|(tool, _)| tool.exposed).collect();
            let near = nearest(&asked.name, names.iter().map(String::as_str));
            return Err(Refusal::invalid(format!("no plane reports a tool {}{}", asked.name, did_you_mean(&near))));
        }
        let now = parts.clock.unix_ms();
        let decided: Vec<Pinned> = parts.pins.see(|held| {
            let each = keys.iter().map(|(backend, own)| {
                let known = held.find(backend, own).cloned().unwrap_or_default();
                let pin = Pin {
                    backend: backend.clone(),
                    own: own.clone(),
                    exposed: asked.name.clone(),
                    held: true,
                    reason: told.clone(),
                    by: word.clone(),
                    since_unix_ms: now,
                    ..known
                };
                Pinned { pin, definition: None }
            });
            each.collect()
        });
        parts.pins.decide(&decided).await
    });
    core.act(&by, "tool.quarantine", target, &reason, deed, outcome).await
}

/// What `audit_actions` keeps of it: names and hashes.
fn outcome(reply: &ToolTrustReply) -> String {
    let each: Vec<String> =
        reply.pins.iter().take(20).map(|pin| format!("{} {}", pin.exposed, short(&pin.hash))).collect();
    format!("done: epoch {}, {}; {}", reply.epoch, reply.note, each.join(", "))
}

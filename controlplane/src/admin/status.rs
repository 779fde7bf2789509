//! `sentinelctl status`: everything that an operator looks at first, and the gravest first.

use sentinel_proto::v1::{KillEntry, StatusReply};

use super::trust;
use crate::core::Core;
use crate::kill_set::Kills;
use crate::revisions::FileState;
use crate::secrets::hex;

pub(super) async fn status(core: &Core) -> StatusReply {
    let current = core.revisions.current();
    let counts = match core.keeper.store() {
        Ok(store) => store.audit_counts().await.inspect_err(|why| core.keeper.failed(&why.to_string())).ok(),
        Err(_) => None,
    };
    let counts = counts.unwrap_or_default();
    let anonymous =
        current.as_ref().is_some_and(|current| current.snapshot.auth.as_ref().is_some_and(|auth| auth.anonymous));
    StatusReply {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: core.keeper.kind().to_owned(),
        store_state: core.keeper.word(),
        revision: current.as_ref().map_or(0, |current| current.revision.number),
        digest: current.as_ref().map_or_else(String::new, |current| hex(&current.revision.digest)),
        config_file: core.revisions.path().display().to_string(),
        config_state: core.revisions.file().word(),
        epoch: core.kills.see(Kills::epoch),
        planes: core.fleet.states(),
        backends: core.fleet.backends(),
        warnings: warnings(core, anonymous),
        audit_rows: counts.rows,
        audit_quarantined: counts.quarantined,
        audit_backlog: core.fleet.backlog(),
        kills: in_force(core),
        started_unix_ms: core.started_ms,
        anonymous,
        quarantined: trust::quarantined(core),
    }
}

/// What is killed now: thrown switches, and what the file lists.
pub(super) fn in_force(core: &Core) -> Vec<KillEntry> {
    let mut all: Vec<KillEntry> = core.kills.see(|held| held.in_force().cloned().collect());
    core.fleet.see(|planes| {
        for entry in all.iter_mut().filter(|entry| !entry.origin.is_empty()) {
            entry.origin_name = planes.get(&entry.origin).map_or_else(String::new, |plane| plane.name.clone());
        }
    });
    if let Some(current) = core.revisions.current() {
        all.extend(current.kills.iter().map(|kill| KillEntry {
            scope: kill.scope.into(),
            name: kill.name.clone(),
            on: true,
            reason: format!("listed in the file, line {}", kill.line),
            by: current.revision.by.clone(),
            since_unix_ms: current.revision.at_unix_ms,
            ..KillEntry::default()
        }));
    }
    all
}

fn warnings(core: &Core, anonymous: bool) -> Vec<String> {
    let mut all = Vec::new();
    if !core.keeper.is_there() {
        all.push(format!("the store is {}; commands that change something fail, calls go on", core.keeper.word()));
    } else if core.keeper.is_stuck() {
        all.push(format!("the store {}; calls go on, their records wait on the planes", core.keeper.word()));
    }
    match core.revisions.file() {
        FileState::Good => {}
        bad @ FileState::Bad(_) => all.push(format!("the stored revision is in force, not the file: {}", bad.word())),
        FileState::Differs(sentence) => all.push(sentence),
    }
    if anonymous {
        all.push("anybody who reaches a plane may call: mode = \"none\" is in force".to_owned());
    }
    for plane in core.fleet.states() {
        match plane.state.as_str() {
            "lost" => all.push(format!(
                "plane {} is lost since {}",
                plane.name,
                crate::keeper::stamp(plane.last_seen_unix_ms)
            )),
            _ if !plane.problem.is_empty() => all.push(format!("plane {}: {}", plane.name, plane.problem)),
            _ => {}
        }
    }
    all.extend(core.fleet.turned_away());
    let held = trust::quarantined(core);
    if let Some((first, more)) = held.split_first() {
        let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
        all.push(format!("{first}{more} quarantined: see `sentinelctl tool list` and `tool show {first}`"));
    }
    all.extend(core.fleet.warnings());
    if let Some(current) = core.revisions.current() {
        all.extend(current.warnings.iter().map(crate::revisions::sentence));
    }
    all
}

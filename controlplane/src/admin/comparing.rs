//! `config diff`: two revisions, or a file and a revision, by meaning: keys that differ, and what roles gain and lose
//! by the catalogue that planes report.
//!
//! Who sees what is shown by the same patterns as in `tool list`; planes decide for themselves.

use std::collections::BTreeSet;

use prost::Message as _;
use sentinel_proto::v1::{
    CatalogueTool, ConfigChange, ConfigDiffReply, ConfigDiffRequest, ConfigSide, RoleDiff, Snapshot,
};
use wildmatch::WildMatch;

use super::tools::Shows;
use crate::config::{self, diff};
use crate::core::Core;
use crate::refusal::Refusal;
use crate::revisions::told;
use crate::snapshot_json;
use crate::store::error::StoreError;

/// One side, read.
struct Side {
    called: String,
    snapshot: Snapshot,
}

/// Errors: no such revision; the store's. Problems of a file are in the reply.
pub(super) async fn compare(core: &Core, asked: ConfigDiffRequest) -> Result<ConfigDiffReply, Refusal> {
    let mut sides = Vec::new();
    for side in [asked.before.unwrap_or_default(), asked.after.unwrap_or_default()] {
        match read(core, side).await? {
            Ok(side) => sides.push(side),
            Err(problems) => return Ok(ConfigDiffReply { problems, ..ConfigDiffReply::default() }),
        }
    }
    let [before, after] = <[Side; 2]>::try_from(sides).map_err(|_| Refusal::invalid("two sides are wanted"))?;
    let tools: Vec<CatalogueTool> = core.fleet.tools().into_iter().map(|(tool, _)| tool).collect();
    let changes = diff::changes(&snapshot_json::value(&before.snapshot), &snapshot_json::value(&after.snapshot));
    let changes = changes.into_iter().map(|change| ConfigChange {
        kind: match (&change.before, &change.after) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(_), Some(_)) => "changed",
        }
        .to_owned(),
        section: change.section,
        key: change.key,
        before: change.before.unwrap_or_default(),
        after: change.after.unwrap_or_default(),
    });
    Ok(ConfigDiffReply {
        problems: Vec::new(),
        roles: roles(&before.snapshot, &after.snapshot, &tools),
        notes: notes(&before.snapshot, &after.snapshot, &tools),
        changes: changes.collect(),
        before: before.called,
        after: after.called,
    })
}

async fn read(core: &Core, side: ConfigSide) -> Result<Result<Side, Vec<sentinel_proto::v1::ConfigProblem>>, Refusal> {
    if !side.file.is_empty() {
        return Ok(match config::load(&side.file, &side.text, core.revisions.built_in()) {
            Ok(loaded) => Ok(Side { called: side.file, snapshot: loaded.snapshot }),
            Err(problems) => Err(told(&problems.0)),
        });
    }
    let store = core.keeper.store()?;
    let found = match side.revision {
        0 => store.current_revision().await?,
        number => store.revision(number).await?,
    };
    let found = found.ok_or_else(|| {
        Refusal::invalid(format!(
            "there is no revision {}; `sentinelctl config history` shows what there is",
            side.revision
        ))
    })?;
    let number = found.revision.number;
    let snapshot = Snapshot::decode(found.snapshot.as_slice()).map_err(|why| StoreError::Damaged {
        place: format!("revision {number}"),
        problem: format!("its snapshot can't be decoded ({why})"),
    })?;
    Ok(Ok(Side { called: format!("revision {number}"), snapshot }))
}

/// Roles that see another set of tools, by name.
fn roles(before: &Snapshot, after: &Snapshot, tools: &[CatalogueTool]) -> Vec<RoleDiff> {
    let names: BTreeSet<&str> = before.roles.iter().chain(&after.roles).map(|role| role.name.as_str()).collect();
    let mut all = Vec::new();
    for name in names {
        let (old, new) = (seen(before, name, tools), seen(after, name, tools));
        let state = match (old.is_some(), new.is_some()) {
            (false, _) => "added",
            (_, false) => "removed",
            (true, true) => "changed",
        };
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let gains: Vec<String> = new.difference(&old).cloned().collect();
        let loses: Vec<String> = old.difference(&new).cloned().collect();
        if state != "changed" || !gains.is_empty() || !loses.is_empty() {
            all.push(RoleDiff { role: name.to_owned(), gains, loses, state: state.to_owned() });
        }
    }
    all
}

/// Exposed names that a role sees; `None`: there is no such role.
fn seen(snapshot: &Snapshot, role: &str, tools: &[CatalogueTool]) -> Option<BTreeSet<String>> {
    let shows = snapshot.roles.iter().find(|known| known.name == role).map(Shows::of)?;
    let exposed = tools.iter().filter_map(|tool| exposed(snapshot, tool));
    Some(exposed.filter(|name| shows.shows(name)).collect())
}

/// How this configuration would expose a tool that is known; `None`: not at all.
pub(super) fn exposed(snapshot: &Snapshot, tool: &CatalogueTool) -> Option<String> {
    let backend = snapshot.backends.iter().find(|backend| backend.name == tool.backend)?;
    if backend.hide.iter().any(|pattern| WildMatch::new(pattern).matches(&tool.own)) {
        return None;
    }
    let renamed = backend.rename.iter().find(|pair| pair.key == tool.own).map(|pair| pair.value.as_str());
    let name = renamed.unwrap_or(&tool.own);
    let separator = snapshot.catalog.as_ref().map_or("__", |catalog| catalog.separator.as_str());
    Some(if backend.prefix.is_empty() { name.to_owned() } else { format!("{}{separator}{name}", backend.prefix) })
}

/// Backends of the later side whose tools nobody has reported.
fn notes(before: &Snapshot, after: &Snapshot, tools: &[CatalogueTool]) -> Vec<String> {
    let unknown = after.backends.iter().filter(|backend| tools.iter().all(|tool| tool.backend != backend.name));
    let mut notes: Vec<String> = unknown
        .map(|backend| {
            let is_new = before.backends.iter().all(|known| known.name != backend.name);
            let why = if is_new { "is new" } else { "has not been listed" };
            format!("backend {} {why}: what roles gain by its tools is known once it has run", backend.name)
        })
        .collect();
    let hidden = tools.iter().any(|tool| tool.status == "hidden");
    if !hidden && before.backends.iter().any(|backend| !backend.hide.is_empty()) {
        notes.push("tools that `hide` hides today are not reported, so gaining them is not shown".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests {
    use sentinel_proto::v1::{Backend, Catalog, Pair, Role};

    use super::*;

    fn tool(backend: &str, own: &str) -> CatalogueTool {
        CatalogueTool {
            backend: backend.into(),
            own: own.into(),
            exposed: format!("{backend}__{own}"),
            ..CatalogueTool::default()
        }
    }

    fn snapshot(allow: &[&str], backends: &[&str]) -> Snapshot {
        let role = Role {
            name: "r".into(),
            allow: allow.iter().map(|allow| (*allow).to_owned()).collect(),
            ..Role::default()
        };
        let backend = |name: &&str| Backend { name: (*name).into(), prefix: (*name).into(), ..Backend::default() };
        Snapshot {
            roles: vec![role],
            backends: backends.iter().map(backend).collect(),
            catalog: Some(Catalog { separator: "__".into(), ..Catalog::default() }),
            ..Snapshot::default()
        }
    }

    #[test]
    fn a_role_gains_and_loses_by_its_patterns_by_backends_and_by_names() {
        let tools = [tool("a", "x"), tool("a", "y"), tool("b", "x")];
        let before = snapshot(&["a__*"], &["a", "b"]);
        let mut after = snapshot(&["*__x", "a__z"], &["a", "b"]);
        after.backends[0].rename = vec![Pair { key: "y".into(), value: "z".into() }];
        let told = roles(&before, &after, &tools);
        assert_eq!(
            (&told[0].gains, &told[0].loses),
            (&vec!["a__z".to_owned(), "b__x".to_owned()], &vec!["a__y".to_owned()])
        );
        let gone = roles(&before, &snapshot(&["*"], &["b"]), &tools);
        assert_eq!(gone[0].loses, ["a__x", "a__y"]);
        assert!(roles(&before, &before, &tools).is_empty());
    }

    #[test]
    fn roles_that_come_and_go_are_said_and_unknown_tools_are_noted() {
        let mut after = snapshot(&["*"], &["a", "new"]);
        after.roles[0].name = "s".into();
        let told = roles(&snapshot(&["*"], &["a"]), &after, &[tool("a", "x")]);
        let states: Vec<(&str, &str)> = told.iter().map(|role| (role.role.as_str(), role.state.as_str())).collect();
        assert_eq!(states, [("r", "removed"), ("s", "added")]);
        let notes = notes(&snapshot(&["*"], &["a"]), &after, &[tool("a", "x")]);
        assert!(notes[0].starts_with("backend new is new"), "{notes:?}");
    }
}

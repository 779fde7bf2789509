//! What the control plane tells of itself, its planes and their backends, judged. Pure: a reply in, checks out.

use std::collections::BTreeSet;

use sentinel_proto::v1::{PlaneBackend, PlaneState, StatusReply};
use toml::de::{DeTable, DeValue};

use super::Check;
use crate::clock;

/// More records than this wait in no healthy plane.
const BACKLOG: u64 = 10_000;
/// A connected plane is heard each 5 s; more between two clocks is their difference.
const APART_MS: i64 = 60_000;
const AHEAD_MS: i64 = 5_000;

pub(super) fn checks(status: &StatusReply, config: &str, now_ms: i64) -> Vec<Check> {
    let mut checks = control_plane(status);
    checks.extend(planes(status));
    checks.extend(backends(status));
    checks.extend(variables(status, config));
    checks.extend(clocks(status, now_ms));
    for warning in &status.warnings {
        let (category, hint) = if warning.contains("backends can read Sentinel's keys") {
            ("security", "give backends that you do not trust a `sandbox` or a `user` (docs/operations.md, Security)")
        } else {
            ("warnings", "`sentinelctl status` shows it too")
        };
        checks.push(Check::doubtful(category, warning.clone(), hint));
    }
    checks
}

fn control_plane(status: &StatusReply) -> Vec<Check> {
    const NAME: &str = "control plane";
    let own = env!("CARGO_PKG_VERSION");
    let mut checks = vec![if status.version == own {
        Check::good(NAME, format!("answers, version {own}"))
    } else {
        let text = format!("answers, version {}; this sentinelctl is {own}", status.version);
        Check::doubtful(NAME, text, "upgrade the older one: control plane first")
    }];
    checks.push(if status.store_state == "ok" {
        Check::good(NAME, format!("store {} answers", status.store))
    } else {
        let hint = "calls go on; nothing can be changed and records wait on the planes until it is back";
        Check::bad(NAME, format!("store {}: {}", status.store, status.store_state), hint)
    });
    checks.push(if status.config_state == "ok" {
        Check::good(NAME, format!("{} is in force as revision {}", status.config_file, status.revision))
    } else {
        let hint = "mend the file, then `sentinelctl reload`";
        Check::bad(NAME, format!("{}: {}", status.config_file, status.config_state), hint)
    });
    if status.audit_quarantined > 0 {
        let text = format!("{} records could not be stored and are in quarantine", status.audit_quarantined);
        checks.push(Check::doubtful(NAME, text, "see `audit_quarantine` in the store: each has its reason"));
    }
    checks
}

fn planes(status: &StatusReply) -> Vec<Check> {
    const NAME: &str = "planes";
    if status.planes.is_empty() {
        return vec![Check::bad(NAME, "none is known", "start one: sentinel-dataplane serve --control-plane …")];
    }
    status.planes.iter().flat_map(|plane| plane_checks(NAME, plane, status)).collect()
}

fn plane_checks(name: &'static str, plane: &PlaneState, status: &StatusReply) -> Vec<Check> {
    let who = &plane.name;
    let seen = clock::rfc3339_ms(plane.last_seen_unix_ms);
    let mut checks = vec![match plane.state.as_str() {
        "connected" if plane.revision == status.revision => {
            Check::good(name, format!("{who}: connected, runs revision {}", plane.revision))
        }
        "connected" => {
            let text =
                format!("{who}: runs revision {}, {} is in force: {}", plane.revision, status.revision, plane.problem);
            Check::bad(name, text, "its log says what it lacks; then `sentinelctl reload`")
        }
        "stopped" => Check::doubtful(name, format!("{who}: stopped, last seen {seen}"), "start it, or leave it so"),
        _ => Check::bad(name, format!("{who}: lost, last seen {seen}"), "start it; kill switches wait for it"),
    }];
    if plane.state != "connected" {
        return checks;
    }
    if !plane.problem.is_empty() && plane.revision == status.revision {
        checks.push(Check::doubtful(name, format!("{who}: {}", plane.problem), "its log says more"));
    }
    if plane.version != status.version {
        let text = format!("{who}: version {}, the control plane is {}", plane.version, status.version);
        checks.push(Check::doubtful(name, text, "upgrade planes after the control plane"));
    }
    if plane.epoch < status.epoch {
        let text = format!("{who}: has the kill switches up to epoch {}, not {}", plane.epoch, status.epoch);
        checks.push(Check::bad(name, text, "its disk may refuse them: see its log"));
    }
    if plane.audit_backlog > BACKLOG {
        let text = format!("{who}: {} records wait to be stored", plane.audit_backlog);
        checks.push(Check::bad(name, text, "the store is slow or away; past 1 000 000 the plane refuses calls"));
    }
    checks
}

fn backends(status: &StatusReply) -> Vec<Check> {
    const NAME: &str = "backends";
    let mut checks: Vec<Check> = status.backends.iter().map(|backend| one_backend(NAME, backend)).collect();
    if checks.is_empty() {
        checks.push(Check::doubtful(
            NAME,
            "none is configured",
            "add [[backends]]; or `sentinelctl config import FILE`",
        ));
    }
    checks
}

fn one_backend(category: &'static str, backend: &PlaneBackend) -> Check {
    let health = backend.health.clone().unwrap_or_default();
    let who = format!("{} on {}", health.name, backend.plane_name);
    let why = if health.reason.is_empty() { String::new() } else { format!(": {}", health.reason) };
    match (health.state.as_str(), health.breaker.as_str()) {
        ("ready", "open" | "half_open") => Check::bad(
            category,
            format!("{who}: its calls fail, the breaker is {}{why}", health.breaker),
            "see the backend itself",
        ),
        ("ready", _) => Check::good(category, format!("{who}: ready, {} tools", health.tools)),
        ("idle", _) => Check::good(category, format!("{who}: idle, {} tools", health.tools)),
        ("starting", _) => {
            Check::doubtful(category, format!("{who}: starting{why}"), "a package runner may download for two minutes")
        }
        (state, _) => {
            let hint = if health.kind == "stdio" {
                format!("sentinelctl backend list --stderr {}", health.name)
            } else {
                "is the server running, and its url right?".to_owned()
            };
            Check::bad(category, format!("{who}: {state}{why}"), hint)
        }
    }
}

/// Planes refuse a configuration whose variables are not set; one that vanished later takes its backend down.
fn variables(status: &StatusReply, config: &str) -> Vec<Check> {
    const NAME: &str = "keys";
    let names = referred(config);
    if names.is_empty() {
        return Vec::new();
    }
    let mut missing: BTreeSet<String> = BTreeSet::new();
    let planes = status.planes.iter().map(|plane| plane.problem.as_str());
    let reasons = status.backends.iter().filter_map(|backend| Some(backend.health.as_ref()?.reason.as_str()));
    for text in planes.chain(reasons) {
        missing.extend(names.iter().filter(|name| text.contains(&format!("${{{name}}} is not set"))).cloned());
    }
    if !missing.is_empty() {
        let missing: Vec<String> = missing.into_iter().collect();
        let hint = "set them in the data plane's environment (or sentinel.env, with `up`) and restart it";
        return vec![Check::bad(NAME, format!("not set on a plane: {}", missing.join(", ")), hint)];
    }
    let behind = status.planes.iter().any(|plane| plane.state == "connected" && plane.revision != status.revision);
    if behind || status.planes.iter().all(|plane| plane.state != "connected") {
        let text = format!("{} variables are named; whether they are set is not known", names.len());
        return vec![Check::doubtful(NAME, text, "a plane that runs the current revision has them all")];
    }
    vec![Check::good(NAME, format!("all {} variables of the configuration are set on every plane", names.len()))]
}

/// `${NAME}` without a default, in the values of the file.
fn referred(config: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if let Ok(table) = DeTable::parse(config) {
        for value in table.get_ref().values() {
            gather(value.get_ref(), &mut names);
        }
    }
    names
}

fn gather(value: &DeValue<'_>, names: &mut BTreeSet<String>) {
    match value {
        DeValue::String(text) => {
            for (at, part) in text.split("${").enumerate().skip(1) {
                let literal = text.split("${").nth(at.saturating_sub(1)).is_some_and(|before| before.ends_with('$'));
                let inside = part.split_once('}').map(|(inside, _)| inside).filter(|inside| !inside.contains(":-"));
                names.extend(inside.filter(|_| !literal).map(str::to_owned));
            }
        }
        DeValue::Array(items) => items.iter().for_each(|item| gather(item.get_ref(), names)),
        DeValue::Table(table) => table.values().for_each(|value| gather(value.get_ref(), names)),
        DeValue::Boolean(_) | DeValue::Datetime(_) | DeValue::Float(_) | DeValue::Integer(_) => {}
    }
}

/// The commands of stdio backends, for a look at this machine's PATH.
pub(super) fn commands(config: &str) -> BTreeSet<String> {
    let Ok(table) = DeTable::parse(config) else { return BTreeSet::new() };
    let backends = table.get_ref().get("backends").and_then(|backends| backends.get_ref().as_array());
    let named = |backend: &toml::Spanned<DeValue<'_>>| {
        backend.get_ref().as_table()?.get("command")?.get_ref().as_str().map(str::to_owned)
    };
    backends.into_iter().flatten().filter_map(named).collect()
}

fn clocks(status: &StatusReply, now_ms: i64) -> Vec<Check> {
    const NAME: &str = "clock";
    let connected = status.planes.iter().filter(|plane| plane.state == "connected");
    let apart = connected.map(|plane| now_ms.saturating_sub(plane.last_seen_unix_ms)).min();
    match apart {
        Some(apart) if !(-AHEAD_MS..=APART_MS).contains(&apart) => {
            let text = format!("this machine's and the control plane's differ by about {} s", apart.abs() / 1000);
            let hint = "tokens are judged by time: run a time service (timedatectl set-ntp true)";
            vec![Check::bad(NAME, text, hint)]
        }
        Some(_) => vec![Check::good(NAME, "this machine and the control plane agree")],
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use sentinel_proto::v1::BackendHealth;

    use super::*;
    use crate::doctor::State;

    fn status() -> StatusReply {
        let plane = PlaneState {
            name: "one".into(),
            state: "connected".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            revision: 3,
            epoch: 7,
            last_seen_unix_ms: 1_000_000,
            ..PlaneState::default()
        };
        let health =
            BackendHealth { name: "b".into(), kind: "stdio".into(), state: "ready".into(), ..BackendHealth::default() };
        StatusReply {
            version: env!("CARGO_PKG_VERSION").into(),
            store: "sqlite".into(),
            store_state: "ok".into(),
            config_state: "ok".into(),
            revision: 3,
            epoch: 7,
            planes: vec![plane],
            backends: vec![PlaneBackend { health: Some(health), plane_name: "one".into(), ..PlaneBackend::default() }],
            ..StatusReply::default()
        }
    }

    fn bad(status: &StatusReply, config: &str) -> Vec<String> {
        let all = checks(status, config, 1_002_000);
        assert!(all.iter().all(|check| (check.state == State::Good) == check.hint.is_empty()), "{all:?}");
        all.into_iter().filter(|check| check.state == State::Bad).map(|check| check.text).collect()
    }

    #[test]
    fn a_healthy_installation_has_nothing_bad() {
        assert!(bad(&status(), "a = \"${SET}\"").is_empty());
        let all = checks(&status(), "[x]\na = [\"${SET} $${NOT}\", \"${D:-1}\"]", 1_002_000);
        assert!(all.iter().any(|check| check.text.starts_with("all 1 variables")), "{all:?}");
    }

    #[test]
    fn each_fault_is_named() {
        let mut sick = status();
        sick.store_state = "away since 10:00".into();
        sick.config_state = "sentinel.toml:3:1: no".into();
        sick.planes[0].revision = 2;
        sick.planes[0].problem = "backend b: env.K: ${K} is not set for this data plane".into();
        sick.planes[0].audit_backlog = 20_000;
        sick.planes[0].last_seen_unix_ms = 1;
        sick.backends[0].health.as_mut().unwrap().state = "gave_up".into();
        let told = bad(&sick, "a = \"${K}\"").join("\n");
        for fault in [
            "away since",
            "sentinel.toml:3:1",
            "runs revision 2",
            "20000 records",
            "b on one: gave_up",
            "not set on a plane: K",
            "differ by about",
        ] {
            assert!(told.contains(fault), "{fault} is not in {told}");
        }
    }

    #[test]
    fn a_lost_plane_is_bad_and_a_stopped_one_worth_a_look() {
        let mut away = status();
        away.planes[0].state = "lost".into();
        assert!(bad(&away, "").iter().any(|text| text.contains("one: lost")));
        away.planes[0].state = "stopped".into();
        assert!(bad(&away, "").is_empty());
    }
}

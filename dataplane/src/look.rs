//! One look at all parts: what `/ready`, `/metrics` and the reports to the control plane are made of.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use sentinel_dataplane::{
    audit::event::session_text,
    audit::spool::Full,
    backend::{
        State,
        instances::{Instance, Instances},
        registry::Backend,
        spec::{BackendSpec, Kind},
        stdio::cgroup::Exceeded,
    },
    call,
    catalogue::{Catalogue, Sighted, Target, print, schema::Check},
    kill::Kills,
    ops::status::{Look, PlaneStatus},
    plane::{Life, Plane},
    view::task::InForce,
};
use sentinel_proto::v1::{self, BackendHealth, BackendInstance, CatalogueTool, Sighting, Sightings};
use tokio::sync::watch;

/// Characters of a description in a report.
const DESCRIPTION: usize = 200;
/// Characters of what the control plane said when it took no stream.
const SENTENCE: usize = 500;
/// Of a tool that is not offered to all.
const APART: &str = "a process for one session or client offers it, to that one alone";
/// Longest definition that is kept to be compared, bytes.
const SHOWN: usize = 64 * 1024;
/// All definitions of one message, bytes.
const ALL_SHOWN: usize = 4 << 20;

/// What is said at each start and in `status` while a child of ours could read the data directory.
pub(crate) const SAME_USER: &str = "backends can read Sentinel's keys: same user, no sandbox";

#[derive(Debug)]
pub(crate) struct Eyes {
    pub(crate) plane: Arc<Plane>,
    pub(crate) kills: Arc<Kills>,
    pub(crate) in_force: watch::Receiver<InForce>,
    /// What was true at the start and stays so.
    pub(crate) warnings: Vec<String>,
}

impl Eyes {
    pub(crate) fn look(self) -> Look {
        let eyes = Arc::new(self);
        let (other, third) = (Arc::clone(&eyes), Arc::clone(&eyes));
        Look::new(move || eyes.status(), move || other.catalogue(), move || third.sightings())
    }

    fn status(&self) -> PlaneStatus {
        let in_force = self.in_force.borrow().clone();
        let view = self.plane.views.load_full();
        let audit = self.plane.audit.spool.counters();
        let mut tools: HashMap<&str, u32> = HashMap::new();
        for tool in view.iter().flat_map(|view| view.catalogue.all(call::Kind::Tool)) {
            *tools.entry(&tool.backend_name).or_default() += 1;
        }
        let live = self.plane.backends.all();
        let mut backends: Vec<_> =
            live.iter().map(|backend| health(backend, tools.get(&*backend.spec.name).copied().unwrap_or(0))).collect();
        let is_listed = |name: &str| view.as_ref().is_some_and(|view| view.catalogue.has_heard(name));
        // Answers to a ping are not yet tools that can be called: `/ready` must not be before them.
        for backend in backends.iter_mut().filter(|backend| backend.state == State::Ready.as_str()) {
            if !is_listed(&backend.name) {
                backend.state = State::Starting.as_str().into();
                backend.reason = "its tools are being listed".into();
            }
        }
        backends.extend(in_force.degraded.iter().map(|(name, reason)| BackendHealth {
            name: name.to_string(),
            state: "down".into(),
            reason: format!("off (allow-degraded): {reason}"),
            ..BackendHealth::default()
        }));
        // The gravest first.
        let mut warnings = Vec::new();
        if audit.disk_full {
            warnings.push(format!("calls are refused (audit_unavailable): {}", Full::Disk));
        }
        if let Some(why) = self.plane.contact.trouble() {
            warnings.push(format!("no stream to the control plane: {}", printable(&why, SENTENCE)));
        }
        if let Some(fault) = audit.last_error {
            warnings.push(format!("the audit spool had an error: {fault}"));
        }
        warnings.extend(self.warnings.iter().cloned());
        warnings.extend(live.iter().flat_map(|backend| self.unlimited(&backend.spec)));
        if live.iter().any(|backend| backend.spec.is_as_we_are()) {
            warnings.push(SAME_USER.into());
        }
        if view.as_ref().is_some_and(|view| view.policy.auth.anonymous().is_some()) {
            warnings.push("[auth] mode = \"none\": every caller on this machine is let in as \"anonymous\"".into());
        }
        let stamp = view.as_ref().map(|view| view.stamp);
        let sighted = || view.iter().flat_map(|view| view.sighted());
        let held = |backend: &str| {
            let of_backend = |sighted: &&Sighted| *sighted.target.backend_name == *backend;
            sighted().filter(of_backend).filter(|sighted| sighted.target.held.is_some()).count()
        };
        let life = *self.plane.life.borrow();
        PlaneStatus {
            is_draining: life == Life::Draining,
            is_starting: life == Life::Starting,
            is_stale: life == Life::Stale,
            revision: in_force.revision,
            digest: in_force.digest,
            applied_ms: in_force.applied_ms,
            source: in_force.source,
            kill_epoch: self.kills.epoch(),
            kills: self.plane.gate.load_full().counts().map(|(scope, count)| (scope.as_str(), count)).to_vec(),
            backends,
            catalogue_digest: stamp
                .map_or_else(Vec::new, |stamp| [stamp.revision.to_be_bytes(), stamp.generation.to_be_bytes()].concat()),
            unpinned: sighted().filter(|sighted| sighted.trusted).count(),
            quarantined: live.iter().map(|backend| (backend.spec.name.to_string(), held(&backend.spec.name))).collect(),
            audit_backlog: audit.backlog.records,
            audit_written: audit.written,
            audit_dropped: audit.dropped,
            audit_acked: self.plane.audit.spool.acked_head(),
            audit_stalls: audit.stalls,
            in_flight: u32::try_from(self.plane.in_flight.len()).unwrap_or(u32::MAX),
            parked: u32::try_from(self.plane.parked.len()).unwrap_or(u32::MAX),
            warnings,
        }
    }

    /// Limits that it asks for and that are not held here, a sentence each.
    fn unlimited(&self, spec: &BackendSpec) -> Vec<String> {
        let Kind::Stdio(stdio) = &spec.kind else { return Vec::new() };
        let lacking = self.plane.backends.groups().lacking(stdio.limits).into_iter();
        lacking.map(|(limit, why)| format!("{}: {} is not held here: {why}", spec.name, limit.key())).collect()
    }

    fn catalogue(&self) -> v1::Catalogue {
        let Some(view) = self.plane.views.load_full() else { return v1::Catalogue::default() };
        let mut tools = offered(&view.catalogue);
        // Known by name, so that an operator can speak of them: to stop them, or to let them in. Of several under one name
        // the one that needs somebody to decide.
        let mut known: HashSet<String> = tools.iter().map(|tool| tool.exposed.clone()).collect();
        let mut own: Vec<_> = view.apart().flat_map(offered).collect();
        own.sort_by_key(|tool| !matches!(&*tool.status, "quarantined" | "changed"));
        for mut tool in own {
            if known.insert(tool.exposed.clone()) {
                if tool.reason.is_empty() {
                    tool.reason = APART.into();
                }
                tools.push(tool);
            }
        }
        v1::Catalogue { tools }
    }

    /// What is trusted at first sight may wait for the next message; what is held is told without its definition when
    /// there is no room for it.
    fn sightings(&self) -> Sightings {
        let view = self.plane.views.load_full();
        let (mut tools, mut room) = (Vec::new(), ALL_SHOWN);
        for sighted in view.iter().flat_map(|view| view.sighted()) {
            let mut sighting = sighting(sighted);
            match room.checked_sub(sighting.definition.len()) {
                Some(left) => room = left,
                None if sighting.trusted => continue,
                None => sighting.definition.clear(),
            }
            tools.push(sighting);
        }
        Sightings { tools }
    }
}

/// The tools of a Catalogue, with what clients don't get.
fn offered(catalogue: &Catalogue) -> Vec<CatalogueTool> {
    let held = catalogue.sighted().map(|sighted| &sighted.target).filter(|tool| tool.held.is_some());
    let mut tools: Vec<_> =
        catalogue.all(call::Kind::Tool).iter().chain(held).map(|tool| listed(tool, catalogue)).collect();
    let refused = catalogue.refused().iter().filter(|refused| refused.kind == call::Kind::Tool);
    tools.extend(refused.map(|refused| CatalogueTool {
        exposed: refused.exposed.to_string(),
        backend: refused.backend.to_string(),
        own: refused.own.to_string(),
        description: String::new(),
        status: "refused".into(),
        reason: refused.reason.clone(),
    }));
    tools
}

fn sighting(sighted: &Sighted) -> Sighting {
    Sighting {
        backend: sighted.target.backend_name.to_string(),
        own: sighted.target.own.to_string(),
        exposed: sighted.target.exposed.to_string(),
        hash: sighted.hash.to_vec(),
        definition: print::canonical(&sighted.definition).filter(|text| text.len() <= SHOWN).unwrap_or_default(),
        trusted: sighted.trusted,
        held: sighted.target.held.is_some(),
        why: sighted.why.clone(),
        gone: sighted.gone.clone(),
        apart: sighted.apart,
    }
}

fn health(backend: &Backend, tools: u32) -> BackendHealth {
    let status = backend.link.status();
    let instances = backend.instances.as_ref().map_or_else(Vec::new, Instances::all);
    let exceeded = of_all(status.exceeded, &instances);
    let instances: Vec<_> = instances.iter().map(instance_health).collect();
    let occupied = u32::try_from(backend.bulkhead.occupied()).unwrap_or(u32::MAX);
    BackendHealth {
        name: backend.spec.name.to_string(),
        kind: match backend.spec.kind {
            Kind::Http(_) => "http",
            Kind::Stdio(_) => "stdio",
        }
        .into(),
        state: status.state.as_str().into(),
        reason: printable(&status.reason, usize::MAX),
        breaker: backend.breaker.phase().as_str().into(),
        in_flight: instances.iter().fold(occupied, |all, one| all.saturating_add(one.in_flight)),
        tools,
        restarts: instances.iter().fold(status.restarts, |all, one| all.saturating_add(one.restarts)),
        pid: status.pid,
        since_unix_ms: status.since,
        planned: status.planned,
        over_memory: exceeded.memory,
        over_pids: exceeded.pids,
        noise: backend.noise().into_iter().map(|(kind, count)| v1::Noise { kind: kind.into(), count }).collect(),
        server: printable(&status.server, DESCRIPTION),
        protocol_version: status.protocol_version.to_string(),
        max_instances: backend
            .instances
            .as_ref()
            .map_or(0, |instances| u32::try_from(instances.most()).unwrap_or(u32::MAX)),
        instances,
    }
}

fn of_all(own: Exceeded, instances: &[Instance]) -> Exceeded {
    instances.iter().map(|instance| instance.backend.link.status().exceeded).fold(own, |all, one| Exceeded {
        memory: all.memory.saturating_add(one.memory),
        pids: all.pids.saturating_add(one.pids),
    })
}

fn instance_health(instance: &Instance) -> BackendInstance {
    let status = instance.backend.link.status();
    BackendInstance {
        client: printable(&instance.principal.client, DESCRIPTION),
        session: instance.session.map_or_else(String::new, session_text),
        state: status.state.as_str().into(),
        reason: printable(&status.reason, usize::MAX),
        in_flight: u32::try_from(instance.backend.bulkhead.occupied()).unwrap_or(u32::MAX),
        restarts: status.restarts,
        pid: status.pid,
        since_unix_ms: status.since,
    }
}

fn listed(tool: &Target, catalogue: &Catalogue) -> CatalogueTool {
    #[derive(serde::Deserialize)]
    struct Described {
        #[serde(default)]
        description: String,
    }
    let described: Option<Described> = serde_json::from_slice(&tool.definition).ok();
    let sighted = catalogue.sighting(&tool.exposed).filter(|sighted| !sighted.trusted);
    let (status, reason) = match &tool.check {
        _ if tool.held.is_some() => ("quarantined", sighted.map_or_else(String::new, |sighted| sighted.why.clone())),
        _ if let Some(sighted) = sighted => ("changed", sighted.why.clone()),
        Check::Unchecked(reason) => ("unchecked", reason.to_string()),
        _ if catalogue.is_stale(&tool.backend_name) => ("stale", "its backend is down".into()),
        Check::Open | Check::Enforced(_) | Check::Warned(_) | Check::Refused(_) => ("listed", String::new()),
    };
    CatalogueTool {
        exposed: tool.exposed.to_string(),
        backend: tool.backend_name.to_string(),
        own: tool.own.to_string(),
        description: printable(&described.map_or_else(String::new, |tool| tool.description), DESCRIPTION),
        status: status.into(),
        reason,
    }
}

/// At most `most` characters, none of which steers a terminal.
pub(crate) fn printable(text: &str, most: usize) -> String {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().take(most).map(|c| if steers(c) { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_of_itself_steers_no_terminal() {
        assert_eq!(printable("a\u{1b}[31m\nb\u{202e}c", 6), "a [31m");
        assert_eq!(printable("x\u{202e}y", 9), "x y");
    }
}

//! The fleet as operators see it: planes, their backends, and the tools that they offer.

use std::collections::BTreeMap;
use std::time::Duration;

use sentinel_proto::v1::{CatalogueTool, PlaneBackend, PlaneProblem, PlaneState};
use tokio::time::Instant;

use super::Fleet;

/// How long after the start planes that are only remembered are expected to come back.
const COMING_BACK: Duration = Duration::from_secs(15);

impl Fleet {
    /// All planes, by name and then id.
    pub fn states(&self) -> Vec<PlaneState> {
        let mut states: Vec<_> = self.see(|all| all.values().map(super::Plane::shown).collect());
        states.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
        states
    }

    /// What connected planes say of their backends.
    pub fn backends(&self) -> Vec<PlaneBackend> {
        self.see(|all| {
            let connected = all.values().filter(|plane| plane.link.is_some());
            let each = connected.flat_map(|plane| {
                plane.backends().iter().map(|health| PlaneBackend {
                    plane_id: plane.id.clone(),
                    plane_name: plane.name.clone(),
                    health: Some(health.clone()),
                })
            });
            each.collect()
        })
    }

    /// The tools that planes last reported, by exposed name and backend, each with the names of its planes.
    pub fn tools(&self) -> Vec<(CatalogueTool, Vec<String>)> {
        self.see(|all| {
            let mut tools: BTreeMap<(String, String), (CatalogueTool, Vec<String>)> = BTreeMap::new();
            for plane in all.values() {
                for tool in &plane.catalogue {
                    let key = (tool.exposed.clone(), tool.backend.clone());
                    let (shown, planes) = tools.entry(key).or_insert_with(|| (tool.clone(), Vec::new()));
                    // Held on one plane is what operators have to see.
                    if tool.status == "quarantined" {
                        shown.clone_from(tool);
                    }
                    planes.push(plane.name.clone());
                }
            }
            tools.into_values().collect()
        })
    }

    /// The reported tool of this exposed name; one that is listed before one that was refused the name.
    pub fn tool(&self, exposed: &str) -> Option<CatalogueTool> {
        self.see(|all| {
            let named = all.values().flat_map(|plane| &plane.catalogue).filter(|tool| tool.exposed == exposed);
            named.min_by_key(|tool| tool.status == "refused").cloned()
        })
    }

    /// Waits until every connected plane has reported since it came and took its revision, at most to `deadline`:
    /// before it, what it offers is not known here. One that has a problem with the revision is not waited for. Right
    /// after the start those that the store remembers are on their way back, and are waited for as well.
    pub async fn all_reported(&self, deadline: Instant) {
        let silent = |plane: &super::Plane| match plane.link {
            Some(_) => !plane.reported && plane.problem.is_empty(),
            None => plane.boot == 0 && !plane.stopped && self.0.born.elapsed() < COMING_BACK,
        };
        self.until(deadline, |all| (!all.values().any(silent)).then_some(())).await;
    }

    /// Sentences that connected planes want operators to read, each with the plane's name.
    pub fn warnings(&self) -> Vec<String> {
        self.see(|all| {
            let reports = all.values().filter(|plane| plane.link.is_some());
            let each = reports.flat_map(|plane| {
                let said = plane.report.iter().flat_map(|report| report.warnings.iter().cloned());
                said.chain(plane.clock_warning()).map(|warning| format!("{}: {warning}", plane.name))
            });
            each.collect()
        })
    }

    /// Audit records that wait on all planes together.
    pub fn backlog(&self) -> u64 {
        self.see(|all| all.values().map(super::Plane::backlog).sum())
    }

    /// The highest revision that any plane applied.
    pub fn highest_revision(&self) -> u64 {
        self.see(|all| all.values().map(|plane| plane.revision).max().unwrap_or(0))
    }
}

/// Reasons in one line: `backend: key: message; …`.
pub(super) fn problems(problems: &[PlaneProblem]) -> String {
    let each = problems.iter().map(|problem| {
        let parts = [&problem.backend, &problem.key, &problem.message];
        parts.into_iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(": ")
    });
    each.collect::<Vec<_>>().join("; ")
}

//! Policy × offers → Catalogue: prefixes, renames, hides, collisions. Pure but for the schema cache.
//!
//! Names of tools and prompts get their backend's prefix. URIs stay as they are: they are routed by the catalogue, and
//! of two backends that offer one URI the first in the file has it.

use std::{collections::HashMap, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    Catalogue, Refused, Sighted, Support, Target, definition, mirrored, names,
    print::{self, Print, Printed},
    schema,
    template::Template,
};
use crate::{
    backend::{
        abilities::{Abilities, Ability},
        listing::{Offered, Offering},
    },
    call::{BackendId, Kind},
    denial::{Disabled, Scope},
    metrics::Metrics,
    pins::{Judging, Pins, Seen, Verdict},
    view::policy::{Policy, PolicyBackend},
};

/// Templates of all backends that are held against a URI.
pub(super) const MAX_TEMPLATES: usize = 256;

/// What one backend offers, as the view's task keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub backend: BackendId,
    pub offering: Offering,
    /// Of its tools, in their order.
    prints: Arc<[Printed]>,
    /// The backend is down; its entries are kept for a while.
    pub stale: bool,
}

impl Offer {
    /// Costs what its definitions cost to print: not for a worker that serves calls.
    pub fn new(backend: BackendId, offering: Offering) -> Self {
        let prints = print::of_all(offering.of(Kind::Tool));
        Self { backend, offering, prints, stale: false }
    }

    fn tools(&self) -> impl Iterator<Item = (&Offered, &Printed)> {
        self.offering.of(Kind::Tool).iter().zip(&*self.prints)
    }
}

/// What tells a tool that is trusted from one that is not.
#[derive(Debug)]
pub struct Trust<'a> {
    pub pins: &'a Pins,
    /// The Catalogue that this one follows.
    pub before: Option<&'a Catalogue>,
    /// Unix milliseconds.
    pub now: i64,
}

impl Trust<'_> {
    /// Since when a tool is held for what it says.
    fn since(&self, exposed: &str, hash: &[u8; 32]) -> i64 {
        let before = self.before.and_then(|before| before.sighting(exposed)).filter(|before| before.hash == *hash);
        before.and_then(|before| before.target.held.as_ref()).map_or(self.now, |held| held.since)
    }
}

#[derive(Default, Deserialize)]
struct Schemas<'a> {
    #[serde(borrow, rename = "inputSchema", default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, rename = "outputSchema", default)]
    output: Option<&'a RawValue>,
}

/// `offers` by backend name. Costs what its new schemas cost to compile: not for a worker that serves calls. The cache of
/// schemas is swept by who asked, when all that hold some are judged.
pub fn merge(
    policy: &Policy,
    offers: &HashMap<Arc<str>, Offer>,
    trust: &Trust<'_>,
    schemas: &mut schema::Cache,
    metrics: &Metrics,
) -> Catalogue {
    let mut merging = Merging { catalogue: Catalogue::default(), policy, trust, schemas, metrics, apart: false };
    for backend in &policy.backends {
        if let Some(offer) = offers.get(&backend.spec.name) {
            merging.offer(backend, offer, None);
        }
    }
    merging.catalogue
}

/// What one process alone offers, as a Catalogue of its own. `listed`: what the one offers that lists for all.
pub fn alone(
    policy: &Policy,
    (name, offer, listed): (&str, &Offer, &Offer),
    trust: &Trust<'_>,
    schemas: &mut schema::Cache,
    metrics: &Metrics,
) -> Catalogue {
    let mut merging = Merging { catalogue: Catalogue::default(), policy, trust, schemas, metrics, apart: true };
    if let Some(backend) = policy.backends.iter().find(|backend| *backend.spec.name == *name) {
        merging.offer(backend, offer, Some(listed));
    }
    merging.catalogue
}

struct Merging<'a> {
    catalogue: Catalogue,
    policy: &'a Policy,
    trust: &'a Trust<'a>,
    schemas: &'a mut schema::Cache,
    metrics: &'a Metrics,
    /// Of one process alone.
    apart: bool,
}

/// Whose entry it is, and of which list.
#[derive(Clone, Copy)]
struct Of<'a> {
    backend: &'a PolicyBackend,
    id: BackendId,
    kind: Kind,
    abilities: Abilities,
}

impl Merging<'_> {
    /// `beside`: what its backend offers elsewhere, and what is therefore not gone from it.
    fn offer(&mut self, backend: &PolicyBackend, offer: &Offer, beside: Option<&Offer>) {
        let name = Arc::clone(&backend.spec.name);
        self.catalogue.heard.push((Arc::clone(&name), offer.offering.abilities));
        if offer.stale {
            self.catalogue.stale.push(Arc::clone(&name));
        }
        let of = |kind| Of { backend, id: offer.backend, kind, abilities: offer.offering.abilities };
        let offered = [Some(offer), beside].into_iter().flatten().flat_map(Offer::tools);
        let offered = offered.map(|(tool, print)| (&*tool.name, print));
        let judging = Judging::of(self.trust.pins, self.policy.pinning, &name, offered);
        for (tool, print) in offer.tools() {
            self.add(of(Kind::Tool), tool, Some((&judging, print)));
        }
        for kind in [Kind::Prompt, Kind::Resource, Kind::Template] {
            for offered in offer.offering.of(kind) {
                self.add(of(kind), offered, None);
            }
        }
    }

    /// `trust`: of a tool.
    fn add(&mut self, of: Of<'_>, offered: &Offered, trust: Option<(&Judging<'_>, &Printed)>) {
        let backend = of.backend;
        if of.kind == Kind::Tool && backend.hide.iter().any(|pattern| pattern.matches(&offered.name)) {
            return;
        }
        let exposed = self.exposed(of, &offered.name);
        let judged = match trust {
            Some((_, Err(unprinted))) => Err(unprinted.to_string()),
            Some((judging, Ok(print))) => self.target(of, offered, &exposed).map(|(target, _)| {
                let verdict = judging.verdict(&offered.name, &exposed, print);
                self.put(target, offered, print, verdict);
            }),
            None => self.target(of, offered, &exposed).and_then(|(target, template)| {
                let target = Arc::new(target);
                match self.taken(of.kind, &exposed) {
                    None => self.catalogue.add(target, template),
                    Some(reason) => {
                        self.catalogue.shadowed.push((target, template));
                        return Err(reason);
                    }
                }
                Ok(())
            }),
        };
        match judged {
            Ok(()) => {}
            Err(reason) => self.catalogue.refused.push(Refused {
                kind: of.kind,
                exposed: (*exposed).into(),
                own: offered.name.clone(),
                backend: Arc::clone(&backend.spec.name),
                reason,
            }),
        }
    }

    /// What clients call it.
    fn exposed(&self, Of { backend, kind, .. }: Of<'_>, own: &str) -> Arc<str> {
        let renamed = match kind {
            Kind::Tool => backend.rename.get(own).map_or(own, |name| name),
            Kind::Prompt => own,
            Kind::Resource | Kind::Template => return own.into(),
        };
        if backend.prefix.is_empty() {
            renamed.into()
        } else {
            format!("{}{}{renamed}", backend.prefix, self.policy.separator).into()
        }
    }

    /// Errors: why clients don't get it.
    fn target(
        &mut self,
        of: Of<'_>,
        offered: &Offered,
        exposed: &Arc<str>,
    ) -> Result<(Target, Option<Template>), String> {
        let Of { backend, id, kind, abilities } = of;
        names::judge(kind, exposed)?;
        let has_tasks = abilities.can(Ability::Tasks) || abilities.can(Ability::CoreTasks);
        if kind == Kind::Tool && !has_tasks && definition::support(&offered.definition) == Some(Support::Required) {
            return Err("it can run as a task of revision 2025-11-25 alone, and its server has none".into());
        }
        names::judge_own(kind, &offered.name)?;
        let is_taken = match kind {
            Kind::Tool | Kind::Prompt => self.taken(kind, exposed),
            Kind::Resource | Kind::Template => None,
        };
        if let Some(reason) = is_taken {
            return Err(reason);
        }
        let (check, template) = match kind {
            Kind::Tool => (self.check(offered)?, None),
            Kind::Prompt | Kind::Resource => (schema::Check::Open, None),
            Kind::Template if self.catalogue.matchers.len() >= MAX_TEMPLATES => {
                return Err(format!("there are more than {MAX_TEMPLATES} templates"));
            }
            Kind::Template => (schema::Check::Open, Some(Template::read(exposed)?)),
        };
        let own = &*offered.name;
        let name = &backend.spec.name;
        let unreadable = |fault| format!("its definition can't be read: {fault}");
        let described = backend.describe.get(own).filter(|_| kind == Kind::Tool).map(|text| &**text);
        let (definition, metrics) = match kind {
            Kind::Tool => (definition::listed(offered, exposed, described, false), self.metrics.tool(exposed)),
            Kind::Prompt => {
                let definition = definition::listed(offered, exposed, described, false);
                (definition, self.metrics.tool(&format!("prompt:{exposed}")))
            }
            // One series for all of a backend: there may be many, and what is read by a template has no bound at all.
            Kind::Resource | Kind::Template => {
                (Ok(offered.definition.clone()), self.metrics.tool(&format!("resource:{name}")))
            }
        };
        let core_tasks = (kind == Kind::Tool && abilities.can(Ability::CoreTasks))
            .then(|| definition::core_tasks(offered, exposed, described))
            .transpose();
        let timeout = backend.timeouts.get(own).filter(|_| kind == Kind::Tool).copied();
        let mirrored = if kind == Kind::Tool { mirrored::read(&offered.definition)? } else { Box::default() };
        let target = Target {
            kind,
            exposed: Arc::clone(exposed),
            own: own.into(),
            backend: id,
            backend_name: Arc::clone(name),
            definition: definition.map_err(unreadable)?,
            core_tasks: core_tasks.map_err(unreadable)?,
            check,
            quota: self.policy.quota_of(kind, exposed),
            timeout: timeout.unwrap_or(backend.timeout),
            progress_renews: backend.progress_renews,
            max_timeout: backend.max_timeout,
            mirrored,
            metrics,
            may_repeat: kind != Kind::Tool || definition::may_repeat(&offered.definition),
            held: None,
            tasks: None,
        };
        Ok((target, template))
    }

    /// Why it can't have this name, where another has it.
    fn taken(&self, kind: Kind, exposed: &str) -> Option<String> {
        let other = self.catalogue.find(kind, exposed)?;
        Some(match kind {
            Kind::Tool => format!("collides with {} of {}; use tools.rename", other.own, other.backend_name),
            Kind::Prompt => format!("collides with {} of {}; set another prefix", other.own, other.backend_name),
            Kind::Resource | Kind::Template => {
                format!("is a URI of {} as well, which has it; a virtual server may have this one", other.backend_name)
            }
        })
    }

    /// Errors: its schema can't be judged, where it must be.
    fn check(&mut self, offered: &Offered) -> Result<schema::Check, String> {
        let Schemas { input, output } = serde_json::from_slice(&offered.definition).unwrap_or_default();
        self.schemas.check_output(self.policy.arguments, output.map(RawValue::get))?;
        match self.schemas.check(self.policy.arguments, input.map(RawValue::get)) {
            schema::Check::Refused(reason) => Err(reason.to_string()),
            check => Ok(check),
        }
    }
}

impl Merging<'_> {
    fn shelve(&mut self, mut tool: Target) -> Arc<Target> {
        let can = |ability| self.catalogue.can(&tool.backend_name, ability);
        if can(Ability::Tasks) || can(Ability::CoreTasks) {
            tool.tasks = Some(Arc::new(tool.for_tasks(self.policy.per_client)));
        }
        let tool = Arc::new(tool);
        self.catalogue.add(Arc::clone(&tool), None);
        tool
    }

    /// A tool, as its pin allows.
    fn put(&mut self, mut target: Target, offered: &Offered, print: &Print, verdict: Verdict) {
        let (trusted, seen, held) = match verdict {
            Verdict::Pinned => {
                self.shelve(target);
                return;
            }
            Verdict::First => (true, None, false),
            Verdict::Changed(seen) => {
                // What is in use though nobody approved it is believed nothing.
                target.may_repeat = false;
                (false, Some(seen), false)
            }
            Verdict::Held(seen) => (false, Some(seen), true),
        };
        let Seen { reason, why, gone, since } = seen.unwrap_or_default();
        if held {
            let since = if since == 0 { self.trust.since(&target.exposed, &print.hash) } else { since };
            target.held = Some(Disabled { scope: Scope::Tool, reason: reason.into(), since, sent: false });
        }
        let target = self.shelve(target);
        let definition = offered.definition.clone();
        let (hash, apart) = (print.hash, self.apart);
        let sighted = Sighted { hash, definition, trusted, apart, why, gone, target: Arc::clone(&target) };
        self.catalogue.sighted.insert(Arc::clone(&target.exposed), sighted);
    }
}

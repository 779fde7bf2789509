//! Policy × offers → Catalogue: prefixes, renames, hides, collisions. Pure but for the schema cache.
//!
//! Names of tools and prompts get their backend's prefix. URIs stay as they are: they are routed by the catalogue, and
//! of two backends that offer one URI the first in the file has it.

use std::{collections::HashMap, sync::Arc};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Catalogue, Refused, Target, definition, mirrored, schema, template::Template};
use crate::{
    backend::listing::{Offered, Offering},
    call::{BackendId, Kind},
    metrics::Metrics,
    view::policy::{Policy, PolicyBackend},
};

/// Longest exposed name of a tool that clients take.
pub const MAX_NAME: usize = 64;
/// The same of a prompt: no model sees it, people do.
const MAX_PROMPT: usize = 256;
/// Longest URI of a resource, bytes.
const MAX_URI: usize = 8_192;
/// Templates of all backends that are held against a URI.
const MAX_TEMPLATES: usize = 256;

/// What one backend offers, as the view's task keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub backend: BackendId,
    pub offering: Offering,
    /// The backend is down; its entries are kept for a while.
    pub stale: bool,
}

#[derive(Deserialize)]
struct Schemas<'a> {
    #[serde(borrow, rename = "inputSchema", default)]
    input: Option<&'a RawValue>,
}

/// `offers` by backend name. Costs what its new schemas cost to compile: not for a worker that serves calls.
pub fn merge(
    policy: &Policy,
    offers: &HashMap<Arc<str>, Offer>,
    schemas: &mut schema::Cache,
    metrics: &Metrics,
) -> Catalogue {
    let mut merging = Merging { catalogue: Catalogue::default(), policy, schemas, metrics };
    for backend in &policy.backends {
        let Some(offer) = offers.get(&backend.spec.name) else { continue };
        let name = Arc::clone(&backend.spec.name);
        merging.catalogue.heard.push((Arc::clone(&name), offer.offering.abilities));
        if offer.stale {
            merging.catalogue.stale.push(name);
        }
        for kind in Kind::ALL {
            for offered in offer.offering.of(kind) {
                merging.add(Of { backend, id: offer.backend, kind }, offered);
            }
        }
    }
    let Merging { catalogue, schemas, .. } = merging;
    schemas.sweep();
    catalogue
}

struct Merging<'a> {
    catalogue: Catalogue,
    policy: &'a Policy,
    schemas: &'a mut schema::Cache,
    metrics: &'a Metrics,
}

/// Whose entry it is, and of which list.
#[derive(Clone, Copy)]
struct Of<'a> {
    backend: &'a PolicyBackend,
    id: BackendId,
    kind: Kind,
}

impl Merging<'_> {
    fn add(&mut self, of: Of<'_>, offered: &Offered) {
        let backend = of.backend;
        if of.kind == Kind::Tool && backend.hide.iter().any(|pattern| pattern.matches(&offered.name)) {
            return;
        }
        let exposed = self.exposed(of, &offered.name);
        match self.target(of, offered, &exposed) {
            Ok((target, template)) => self.catalogue.add(target, template),
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
        let Of { backend, id, kind } = of;
        judge(kind, exposed)?;
        if let Some(other) = self.catalogue.find(kind, exposed) {
            return Err(match kind {
                Kind::Tool => format!("collides with {} of {}; use tools.rename", other.own, other.backend_name),
                Kind::Prompt => format!("collides with {} of {}; set another prefix", other.own, other.backend_name),
                Kind::Resource | Kind::Template => {
                    format!("is a URI of {} as well, which has it", other.backend_name)
                }
            });
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
            Kind::Tool => (definition::listed(offered, exposed, described), self.metrics.tool(exposed)),
            Kind::Prompt => {
                (definition::listed(offered, exposed, described), self.metrics.tool(&format!("prompt:{exposed}")))
            }
            // One series for all of a backend: there may be many, and what is read by a template has no bound at all.
            Kind::Resource | Kind::Template => {
                (Ok(offered.definition.clone()), self.metrics.tool(&format!("resource:{name}")))
            }
        };
        let timeout = backend.timeouts.get(own).filter(|_| kind == Kind::Tool).copied();
        let mirrored = if kind == Kind::Tool { mirrored::read(&offered.definition)? } else { Box::default() };
        let target = Target {
            kind,
            exposed: Arc::clone(exposed),
            own: own.into(),
            backend: id,
            backend_name: Arc::clone(name),
            definition: definition.map_err(unreadable)?,
            check,
            quota: self.policy.quota_of(kind, exposed),
            timeout: timeout.unwrap_or(backend.timeout),
            progress_renews: backend.progress_renews,
            max_timeout: backend.max_timeout,
            mirrored,
            metrics,
        };
        Ok((target, template))
    }

    /// Errors: its schema can't be judged, where it must be.
    fn check(&mut self, offered: &Offered) -> Result<schema::Check, String> {
        let input = serde_json::from_slice::<Schemas<'_>>(&offered.definition).ok().and_then(|schemas| schemas.input);
        match self.schemas.check(self.policy.arguments, input.map(RawValue::get)) {
            schema::Check::Refused(reason) => Err(reason.to_string()),
            check => Ok(check),
        }
    }
}

/// For tools MCP asks for `A-Za-z0-9_./-`, at most 64; what would trick a terminal or a reader is refused whatever
/// it names.
fn judge(kind: Kind, exposed: &str) -> Result<(), String> {
    match kind {
        Kind::Tool => judge_tool(exposed),
        Kind::Prompt if exposed.chars().count() > MAX_PROMPT => {
            Err(format!("its name has more than {MAX_PROMPT} characters"))
        }
        Kind::Resource | Kind::Template if exposed.len() > MAX_URI => {
            Err(format!("its URI has more than {MAX_URI} bytes"))
        }
        _ if exposed.is_empty() => Err("it has no name".into()),
        _ if exposed.chars().any(tricks) => Err("its name holds characters that are not printable".into()),
        Kind::Prompt | Kind::Resource | Kind::Template => Ok(()),
    }
}

fn judge_tool(exposed: &str) -> Result<(), String> {
    if exposed.chars().count() > MAX_NAME {
        return Err(format!("{} characters where clients take {MAX_NAME}; use tools.rename", exposed.chars().count()));
    }
    if exposed.is_empty() || !exposed.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        return Err("its name holds characters that clients don't take; use tools.rename".into());
    }
    Ok(())
}

/// Controls, and what turns the direction of text or is not seen.
fn tricks(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_would_trick_a_reader_is_refused() {
        assert!(judge(Kind::Tool, "a__b").is_ok());
        for bad in ["", "a\u{202e}b", "a\u{7}", "a b", "ä", &"x".repeat(65)] {
            assert!(judge(Kind::Tool, bad).is_err(), "{bad:?}");
        }
        assert!(judge(Kind::Prompt, "git__code review ä").is_ok());
        assert!(judge(Kind::Resource, "file:///home/ä?x=1#y").is_ok());
        for bad in ["", "a\u{202e}b", "a\u{7}", "a\nb", &"x".repeat(MAX_URI + 1)] {
            assert!(judge(Kind::Prompt, bad).is_err() && judge(Kind::Template, bad).is_err(), "{bad:?}");
        }
    }
}

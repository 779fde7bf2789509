//! Policy × offers → Catalogue: prefixes, renames, hides, collisions. Pure but for the schema cache.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{Catalogue, Refused, Tool, schema};
use crate::{
    backend::listing::OfferedTool,
    call::{BackendId, ToolId},
    metrics::Metrics,
    view::policy::{Policy, PolicyBackend},
};

/// Longest exposed name that clients take.
pub const MAX_NAME: usize = 64;

/// What one backend offers, as the view's task keeps it.
#[derive(Clone, Debug)]
pub struct Offer {
    pub backend: BackendId,
    pub tools: Arc<[OfferedTool]>,
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
    let mut catalogue = Catalogue::default();
    for backend in &policy.backends {
        let Some(offer) = offers.get(&backend.spec.name) else { continue };
        catalogue.heard.push(Arc::clone(&backend.spec.name));
        if offer.stale {
            catalogue.stale.push(Arc::clone(&backend.spec.name));
        }
        for offered in offer.tools.iter() {
            add(&mut catalogue, policy, backend, offer.backend, offered, schemas, metrics);
        }
    }
    schemas.sweep();
    catalogue
}

fn add(
    catalogue: &mut Catalogue,
    policy: &Policy,
    backend: &PolicyBackend,
    id: BackendId,
    offered: &OfferedTool,
    schemas: &mut schema::Cache,
    metrics: &Metrics,
) {
    if backend.hide.iter().any(|pattern| pattern.matches(&offered.name)) {
        return;
    }
    let renamed = backend.rename.get(&*offered.name).map_or(&*offered.name, |name| name);
    let exposed: Arc<str> = if backend.prefix.is_empty() {
        renamed.into()
    } else {
        format!("{}{}{renamed}", backend.prefix, policy.separator).into()
    };
    let refuse = |catalogue: &mut Catalogue, reason: String| {
        catalogue.refused.push(Refused {
            exposed: (*exposed).into(),
            own: offered.name.clone(),
            backend: Arc::clone(&backend.spec.name),
            reason,
        });
    };
    if let Err(reason) = judge_name(&exposed) {
        return refuse(catalogue, reason);
    }
    if let Some(other) = catalogue.find(&exposed).and_then(|held| catalogue.tool(held)) {
        let reason = format!("collides with {} of {}; use tools.rename", other.own, other.backend_name);
        return refuse(catalogue, reason);
    }
    let input = serde_json::from_slice::<Schemas<'_>>(&offered.definition).ok().and_then(|schemas| schemas.input);
    let check = schemas.check(policy.arguments, input.map(RawValue::get));
    if let schema::Check::Refused(reason) = &check {
        let reason = reason.to_string();
        return refuse(catalogue, reason);
    }
    let definition = match listed(offered, &exposed, backend.describe.get(&*offered.name).map(|text| &**text)) {
        Ok(definition) => definition,
        Err(fault) => return refuse(catalogue, format!("its definition can't be read: {fault}")),
    };
    let Ok(at) = u32::try_from(catalogue.tools.len()) else { return };
    catalogue.by_name.insert(Arc::clone(&exposed), ToolId(at));
    catalogue.tools.push(Arc::new(Tool {
        own: (*offered.name).into(),
        backend: id,
        backend_name: Arc::clone(&backend.spec.name),
        definition,
        check,
        quota: policy.quota_of(&exposed),
        timeout: backend.timeouts.get(&*offered.name).copied().unwrap_or(backend.timeout),
        progress_renews: backend.progress_renews,
        max_timeout: backend.max_timeout,
        metrics: metrics.tool(&exposed),
        exposed,
    }));
}

/// MCP asks for `A-Za-z0-9_./-`, at most 64; what would trick a terminal or a reader is refused whatever else.
fn judge_name(exposed: &str) -> Result<(), String> {
    if exposed.chars().count() > MAX_NAME {
        return Err(format!("{} characters where clients take {MAX_NAME}; use tools.rename", exposed.chars().count()));
    }
    if exposed.is_empty() || !exposed.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') {
        return Err("its name holds characters that clients don't take; use tools.rename".into());
    }
    Ok(())
}

/// The definition with the exposed name; every other member's bytes as they came.
fn listed(offered: &OfferedTool, exposed: &str, description: Option<&str>) -> Result<Bytes, serde_json::Error> {
    let members: Members<'_> = serde_json::from_slice(&offered.definition)?;
    let mut text = Vec::with_capacity(offered.definition.len() + exposed.len());
    text.push(b'{');
    let mut described = false;
    for (key, value) in members.0 {
        if text.len() > 1 {
            text.push(b',');
        }
        text.extend_from_slice(key.get().as_bytes());
        text.push(b':');
        match (serde_json::from_str::<String>(key.get())?.as_str(), description) {
            ("name", _) => serde_json::to_writer(&mut text, exposed)?,
            ("description", Some(description)) => {
                described = true;
                serde_json::to_writer(&mut text, description)?;
            }
            _ => text.extend_from_slice(value.get().as_bytes()),
        }
    }
    if let (false, Some(description)) = (described, description) {
        text.extend_from_slice(b",\"description\":");
        serde_json::to_writer(&mut text, description)?;
    }
    text.push(b'}');
    Ok(text.into())
}

/// An object's members in their order, keys and values raw.
struct Members<'a>(Vec<(Box<RawValue>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    let key =
                        RawValue::from_string(Value::String(key).to_string()).map_err(serde::de::Error::custom)?;
                    members.push((key, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

/// A tool's annotations and the rest are nobody's business here.
pub fn description_of(definition: &[u8]) -> String {
    serde_json::from_slice::<Map<String, Value>>(definition)
        .ok()
        .and_then(|members| members.get("description").and_then(Value::as_str).map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_keeps_every_byte_but_its_name() {
        let offered = OfferedTool {
            name: "add".into(),
            definition: Bytes::from_static(
                br#"{ "inputSchema" : {"type" : "object", "x": 1.50e3} ,"name":"add","_meta":{"a":[1, 2]}}"#,
            ),
        };
        let text = listed(&offered, "calc__add", Some("Adds")).expect("an object");
        assert_eq!(
            std::str::from_utf8(&text).expect("UTF-8"),
            r#"{"inputSchema":{"type" : "object", "x": 1.50e3},"name":"calc__add","_meta":{"a":[1, 2]},"description":"Adds"}"#
        );
    }

    #[test]
    fn a_name_that_would_trick_a_reader_is_refused() {
        assert!(judge_name("a__b").is_ok());
        for bad in ["", "a\u{202e}b", "a\u{7}", "a b", "ä", &"x".repeat(65)] {
            assert!(judge_name(bad).is_err(), "{bad:?}");
        }
    }
}

//! How much a schema would cost to judge calls by, known before anything is compiled.
//!
//! One memoized walk: nodes, each `$ref` counted as often as it is reached, and the patterns. Whatever the walk cannot
//! follow is refused, for the compiler might: a reference out of the document, a document within it (`$id`), an anchor
//! that is not there. What is data (`enum`, `const`, `default`, `examples`) is counted and not followed.

use std::collections::{HashMap, HashSet};

use jsonschema::Draft;
use serde_json::{Map, Value};

const MAX_DEPTH: usize = 64;
const MAX_PATTERNS: usize = 1_000;
/// Above it (≈ 0.5 ms a validation) a schema is not compiled.
const MAX_EXPANDED: u64 = 50_000;
/// What a reference that leads back to itself counts.
const CYCLE: u64 = 100;

/// What was found.
#[derive(Debug)]
pub(super) struct Measured<'s> {
    /// Nodes, references followed.
    pub size: u64,
    /// Each once.
    pub patterns: HashSet<&'s str>,
}

/// Errors: why it can't be judged, as a clause ("its schema …").
pub(super) fn measure(schema: &Value, draft: Draft) -> Result<Measured<'_>, String> {
    let mut anchors = HashMap::new();
    collect(schema, draft, true, 0, &mut anchors)?;
    let root_id = schema.get(id_key(draft)).and_then(Value::as_str).unwrap_or_default();
    let root_id = root_id.trim_end_matches('#');
    let mut walk = Walk { root: schema, root_id, anchors, known: HashMap::new(), patterns: HashSet::new() };
    let size = walk.expanded(schema, Place::Schema, 0, &mut Vec::new())?;
    if walk.patterns.len() > MAX_PATTERNS {
        return Err(format!("its schema has more than {MAX_PATTERNS} patterns"));
    }
    if size > MAX_EXPANDED {
        return Err(format!(
            "its schema expands to more than {MAX_EXPANDED} nodes, which is too costly to judge a call by"
        ));
    }
    Ok(Measured { size, patterns: walk.patterns })
}

const fn id_key(draft: Draft) -> &'static str {
    match draft {
        Draft::Draft4 => "id",
        _ => "$id",
    }
}

/// What a value is in a schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Data,
    /// An object whose members are schemas, by names of the author's.
    Names,
    Schema,
}

impl Place {
    /// That of a schema's member.
    fn of(key: &str, value: &Value) -> Self {
        match key {
            "$defs" | "definitions" | "dependentSchemas" | "patternProperties" | "properties" if value.is_object() => {
                Self::Names
            }
            "const" | "default" | "enum" | "example" | "examples" => Self::Data,
            _ => Self::Schema,
        }
    }
}

/// Every anchor, wherever the compiler might find it. Errors: a schema within the schema; too deep.
fn collect<'s>(
    node: &'s Value,
    draft: Draft,
    is_root: bool,
    depth: usize,
    anchors: &mut HashMap<&'s str, &'s Value>,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("its schema is nested deeper than {MAX_DEPTH}"));
    }
    match node {
        Value::Array(items) => items.iter().try_for_each(|item| collect(item, draft, false, depth + 1, anchors)),
        Value::Object(members) => {
            for key in ["$anchor", "$dynamicAnchor"] {
                anchor(members.get(key).and_then(Value::as_str), node, anchors)?;
            }
            match members.get(id_key(draft)).and_then(Value::as_str) {
                Some(id) if id.starts_with('#') => anchor(id.strip_prefix('#'), node, anchors)?,
                Some(id) if !is_root => {
                    let id: String = id.chars().take(64).collect();
                    return Err(format!("its schema holds another one ({id:?}), which is not followed here"));
                }
                Some(_) | None => {}
            }
            members.values().try_for_each(|value| collect(value, draft, false, depth + 1, anchors))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn anchor<'s>(name: Option<&'s str>, node: &'s Value, anchors: &mut HashMap<&'s str, &'s Value>) -> Result<(), String> {
    match name.map(|name| anchors.insert(name, node)) {
        // Which of them is meant is the compiler's guess.
        Some(Some(_)) => Err("its schema has one anchor twice".to_owned()),
        Some(None) | None => Ok(()),
    }
}

struct Walk<'s> {
    root: &'s Value,
    root_id: &'s str,
    anchors: HashMap<&'s str, &'s Value>,
    known: HashMap<&'s str, u64>,
    patterns: HashSet<&'s str>,
}

impl<'s> Walk<'s> {
    fn expanded(
        &mut self,
        node: &'s Value,
        place: Place,
        depth: usize,
        open: &mut Vec<&'s str>,
    ) -> Result<u64, String> {
        if depth > MAX_DEPTH {
            return Err(format!("its schema is nested deeper than {MAX_DEPTH}"));
        }
        match node {
            Value::Object(members) => self.members(members, place, depth, open),
            Value::Array(items) => items
                .iter()
                .try_fold(1_u64, |size, item| Ok(size.saturating_add(self.expanded(item, place, depth + 1, open)?))),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(1),
        }
    }

    fn members(
        &mut self,
        members: &'s Map<String, Value>,
        place: Place,
        depth: usize,
        open: &mut Vec<&'s str>,
    ) -> Result<u64, String> {
        let mut size = 1_u64;
        for (key, value) in members {
            let within = match place {
                Place::Schema => Place::of(key, value),
                Place::Names => Place::Schema,
                Place::Data => Place::Data,
            };
            if place == Place::Schema {
                match (key.as_str(), value) {
                    ("$ref" | "$dynamicRef" | "$recursiveRef", Value::String(target)) => {
                        size = size.saturating_add(self.referred(target, open)?);
                        continue;
                    }
                    ("pattern", Value::String(pattern)) => _ = self.patterns.insert(pattern),
                    ("patternProperties", Value::Object(all)) => self.patterns.extend(all.keys().map(String::as_str)),
                    _ => {}
                }
            }
            size = size.saturating_add(self.expanded(value, within, depth + 1, open)?);
        }
        Ok(size)
    }

    fn referred(&mut self, target: &'s str, open: &mut Vec<&'s str>) -> Result<u64, String> {
        if open.contains(&target) {
            return Ok(CYCLE);
        }
        if let Some(size) = self.known.get(target) {
            return Ok(*size);
        }
        let node = self.found(target)?;
        open.push(target);
        let size = self.expanded(node, Place::Schema, open.len(), open)?;
        open.pop();
        self.known.insert(target, size);
        Ok(size)
    }

    /// Errors: it is not in this document; nothing is fetched.
    fn found(&self, target: &'s str) -> Result<&'s Value, String> {
        let (base, fragment) = target.split_once('#').unwrap_or((target, ""));
        if !base.is_empty() && base != self.root_id {
            let base: String = base.chars().take(64).collect();
            return Err(format!("its schema refers to {base:?}, and nothing is fetched"));
        }
        let fragment = unescaped(fragment);
        let node = match fragment.as_str() {
            "" => Some(self.root),
            pointer if pointer.starts_with('/') => self.root.pointer(pointer),
            anchor => self.anchors.get(anchor).copied(),
        };
        node.ok_or_else(|| {
            let target: String = target.chars().take(64).collect();
            format!("its schema refers to {target:?}, which is not in it")
        })
    }
}

/// `%XX` read, as in a URI's fragment; what is no such escape stays.
fn unescaped(fragment: &str) -> String {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let digits = more.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        match digits.filter(|_| *first == b'%').and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = more.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

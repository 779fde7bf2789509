//! JSON Schemas of argument rules: from TOML to JSON text that is known to compile, within bounds that keep a
//! validation short (a schema of 2 KB can take 43 s: it doubles with each level of `$ref`).

use std::collections::BTreeMap;

use jsonschema::PatternOptions;
use serde_json::{Map, Value};
use toml::de::DeValue;

use super::values::a;

/// Text of one schema, in bytes.
const MOST_BYTES: usize = 64 * 1024;
const MOST_DEPTH: usize = 64;
const MOST_PATTERNS: usize = 1000;
/// Schema nodes, each `$ref` counted as often as it is reached: 0.5 ms of validation.
const MOST_EXPANDED: u64 = 50_000;
/// What a `$ref` that leads back to itself counts.
const CYCLE: u64 = 100;
/// `$ref` after `$ref`: followed no further.
const MOST_HOPS: usize = 256;
/// Compiled size of one pattern, in bytes.
const PATTERN_BYTES: usize = 1024 * 1024;
const BACKTRACK: usize = 10_000;
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Reads a rule's `arguments`: JSON Schema 2020-12 as TOML. The JSON text that comes back is the same for the same
/// schema (members by name).
pub(super) fn rule(value: &DeValue<'_>) -> Result<String, String> {
    if !value.is_table() {
        return Err(format!("a JSON Schema is wanted, not {}; write {{ properties = {{ … }} }}", a(value)));
    }
    let schema = json(value, 0)?;
    let text = schema.to_string();
    if text.len() > MOST_BYTES {
        return Err(format!("the schema has {} bytes; at most {MOST_BYTES} are taken, so split the rule", text.len()));
    }
    let mut patterns = 0;
    judge(&schema, &mut patterns)?;
    if patterns > MOST_PATTERNS {
        return Err(format!(
            "the schema has {patterns} patterns; at most {MOST_PATTERNS} are taken, so split the rule"
        ));
    }
    let expanded = Expansion { root: &schema, known: BTreeMap::new() }.of(&schema, 0);
    if expanded > MOST_EXPANDED {
        return Err(format!("the schema grows past {MOST_EXPANDED} nodes when its $ref are followed; make it flatter"));
    }
    compile(&schema)
        .map_err(|why| format!("the schema does not compile: {why}; see json-schema.org, draft 2020-12"))?;
    Ok(text)
}

fn json(value: &DeValue<'_>, depth: usize) -> Result<Value, String> {
    if depth > MOST_DEPTH {
        return Err(format!("the schema is deeper than {MOST_DEPTH} levels; make it flatter"));
    }
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            Value::from(number.map_err(|_| format!("{integer} is too large a number"))?)
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
            Value::Number(number.ok_or_else(|| format!("{float} is no number in JSON"))?)
        }
        DeValue::Datetime(_) => return Err("a date is no JSON; put it in quotes".to_owned()),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| json(item.get_ref(), depth + 1)).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let mut members = table
                .iter()
                .map(|(key, value)| Ok((key.get_ref().to_string(), json(value.get_ref(), depth + 1)?)))
                .collect::<Result<Vec<_>, String>>()?;
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(members.into_iter().collect::<Map<_, _>>())
        }
    })
}

/// Refuses what the measure below cannot follow, and counts patterns.
fn judge(node: &Value, patterns: &mut usize) -> Result<(), String> {
    match node {
        Value::Array(items) => items.iter().try_for_each(|item| judge(item, patterns)),
        Value::Object(members) => members.iter().try_for_each(|(key, value)| {
            match (key.as_str(), value) {
                ("$schema", Value::String(dialect)) if dialect.trim_end_matches('#') != DIALECT => {
                    return Err(format!("rules are draft 2020-12; take $schema out, or write {DIALECT:?}"));
                }
                ("$id" | "$anchor" | "$dynamicRef" | "$dynamicAnchor", Value::String(_)) => {
                    return Err(format!("{key} is not taken in a rule; use $defs and $ref = \"#/$defs/NAME\""));
                }
                ("$ref", Value::String(target)) if target != "#" && !target.starts_with("#/") => {
                    return Err("$ref leads out of the schema, and nothing is fetched; use $defs and \"#/$defs/NAME\""
                        .to_owned());
                }
                ("pattern", Value::String(_)) => *patterns += 1,
                ("patternProperties", Value::Object(all)) => *patterns += all.len(),
                _ => {}
            }
            judge(value, patterns)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// One memoized walk over a schema and what it refers to; saturating.
struct Expansion<'s> {
    root: &'s Value,
    /// By `$ref`; `None` while it is being counted.
    known: BTreeMap<&'s str, Option<u64>>,
}

impl<'s> Expansion<'s> {
    fn of(&mut self, node: &'s Value, hops: usize) -> u64 {
        match node {
            Value::Array(items) => items.iter().fold(1, |sum, item| self.of(item, hops).saturating_add(sum)),
            Value::Object(members) => members.iter().fold(1u64, |sum, (key, value)| {
                let size = match (key.as_str(), value) {
                    ("$ref", Value::String(target)) => self.referred(target, hops + 1),
                    _ => self.of(value, hops),
                };
                sum.saturating_add(size)
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
        }
    }

    fn referred(&mut self, target: &'s str, hops: usize) -> u64 {
        if hops > MOST_HOPS {
            return u64::MAX;
        }
        match self.known.get(target) {
            Some(Some(size)) => return *size,
            Some(None) => return CYCLE,
            None => {}
        }
        let root = self.root;
        let Some(node) = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else {
            return 1;
        };
        self.known.insert(target, None);
        let size = self.of(node, hops);
        self.known.insert(target, Some(size));
        size
    }
}

/// Compiles as a plane does: linear patterns, else such with bounded backtracking; nothing is fetched.
fn compile(schema: &Value) -> Result<(), String> {
    let options = || jsonschema::options().with_draft(jsonschema::Draft::Draft202012).should_validate_formats(false);
    let linear = options().with_pattern_options(PatternOptions::regex().size_limit(PATTERN_BYTES)).build(schema);
    if linear.is_ok() {
        return Ok(());
    }
    let bounded = PatternOptions::fancy_regex().size_limit(PATTERN_BYTES).backtrack_limit(BACKTRACK);
    options().with_pattern_options(bounded).build(schema).map(|_| ()).map_err(|why| {
        let place = why.instance_path().to_string();
        if place.is_empty() { why.to_string() } else { format!("{why} (at {place})") }
    })
}

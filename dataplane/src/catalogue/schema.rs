//! Argument schemas: compiled once, off the call path, within bounds that make a validation's cost known before.
//!
//! A running validation can't be cancelled, and n levels of `allOf` with twice the same `$ref` cost 2ⁿ
//! (`reliability.md` 6.5): so the schema is measured first. `is_valid` decides, the list of problems explains.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use aws_lc_rs::digest;
use jsonschema::{Draft, PatternOptions, Validator};
use sentinel_proto::v1::ArgumentMode;
use serde_json::Value;

use crate::denial::ArgumentProblem;

const MAX_BYTES: usize = 64 * 1024;
const MAX_DEPTH: usize = 64;
const MAX_PATTERNS: usize = 1_000;
/// Above it (≈ 0.5 ms a validation) a schema is not compiled.
const MAX_EXPANDED: u64 = 50_000;
/// Up to it (≈ 3 ms) all problems are listed; above, the first alone.
const MAX_LISTED: u64 = 2_000;
const REGEX_BYTES: usize = 1024 * 1024;
const MOST_PROBLEMS: usize = 16;

/// What stands between a tool's arguments and its backend.
#[derive(Clone, Debug)]
pub enum Check {
    /// Nothing is asked of the arguments: mode off, or no schema.
    Open,
    Enforced(Arc<Schema>),
    Warned(Arc<Schema>),
    /// The schema can't be judged within bounds, and the mode is `warn`: the operator is told.
    Unchecked(Arc<str>),
    /// The same in mode `enforce`: the tool is not exposed.
    Refused(Arc<str>),
}

pub struct Schema {
    validator: Validator,
    lists_all: bool,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("lists_all", &self.lists_all).finish_non_exhaustive()
    }
}

impl Schema {
    /// From JSON text. Errors: why it can't be judged, as a clause ("its schema …").
    pub fn compile(text: &str) -> Result<Self, String> {
        if text.len() > MAX_BYTES {
            return Err(format!("its schema has {} bytes where {MAX_BYTES} are judged", text.len()));
        }
        let schema: Value = serde_json::from_str(text).map_err(|fault| format!("its schema is no JSON: {fault}"))?;
        let size = measure(&schema)?;
        let draft = dialect(&schema)?;
        let linear = jsonschema::options()
            .with_draft(draft)
            .should_validate_formats(false)
            .with_pattern_options(PatternOptions::regex().size_limit(REGEX_BYTES))
            .build(&schema);
        let validator = match linear {
            Ok(validator) => validator,
            // Look-around needs the other engine, with a bound on its backtracking.
            Err(_) => jsonschema::options()
                .with_draft(draft)
                .should_validate_formats(false)
                .with_pattern_options(PatternOptions::fancy_regex().backtrack_limit(10_000))
                .build(&schema)
                .map_err(|fault| format!("its schema can't be compiled: {fault}"))?,
        };
        Ok(Self { validator, lists_all: size <= MAX_LISTED })
    }

    pub fn is_valid(&self, arguments: &Value) -> bool {
        self.validator.is_valid(arguments)
    }

    /// Why arguments are not valid; at most sixteen problems, one where the schema is costly.
    pub fn problems(&self, arguments: &Value) -> Vec<ArgumentProblem> {
        let problem = |fault: jsonschema::ValidationError<'_>| ArgumentProblem {
            path: fault.instance_path().to_string(),
            // `masked` keeps the arguments' values out of the text.
            message: fault.masked().to_string(),
        };
        if self.lists_all {
            self.validator.iter_errors(arguments).take(MOST_PROBLEMS).map(problem).collect()
        } else {
            self.validator.validate(arguments).err().map(problem).into_iter().collect()
        }
    }
}

fn dialect(schema: &Value) -> Result<Draft, String> {
    let Some(named) = schema.get("$schema").and_then(Value::as_str) else { return Ok(Draft::Draft202012) };
    let named = named.trim_end_matches('#');
    for (marker, draft) in [
        ("draft/2020-12/schema", Draft::Draft202012),
        ("draft/2019-09/schema", Draft::Draft201909),
        ("draft-07/schema", Draft::Draft7),
        ("draft-06/schema", Draft::Draft6),
        ("draft-04/schema", Draft::Draft4),
    ] {
        if named.ends_with(marker) {
            return Ok(draft);
        }
    }
    Err("its schema names a dialect that is not known here".into())
}

/// Nodes of the schema with each local `$ref` counted as often as it is reached; a cycle counts 100.
fn measure(schema: &Value) -> Result<u64, String> {
    let mut walk = Walk { root: schema, known: HashMap::new(), patterns: 0 };
    let size = walk.expanded(schema, 0, &mut Vec::new())?;
    if walk.patterns > MAX_PATTERNS {
        return Err(format!("its schema has more than {MAX_PATTERNS} patterns"));
    }
    if size > MAX_EXPANDED {
        return Err(format!(
            "its schema expands to more than {MAX_EXPANDED} nodes, which is too costly to judge a call by"
        ));
    }
    Ok(size)
}

struct Walk<'a> {
    root: &'a Value,
    known: HashMap<String, u64>,
    patterns: usize,
}

impl<'a> Walk<'a> {
    fn expanded(&mut self, node: &'a Value, depth: usize, open: &mut Vec<String>) -> Result<u64, String> {
        if depth > MAX_DEPTH {
            return Err(format!("its schema is nested deeper than {MAX_DEPTH}"));
        }
        let mut size = 1_u64;
        match node {
            Value::Object(members) => {
                self.patterns += usize::from(members.contains_key("pattern"));
                if let Some(patterns) = members.get("patternProperties").and_then(Value::as_object) {
                    self.patterns += patterns.len();
                }
                for (key, value) in members {
                    if matches!(key.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef")
                        && let Some(target) = value.as_str()
                    {
                        size = size.saturating_add(self.referred(target, open)?);
                    } else {
                        size = size.saturating_add(self.expanded(value, depth + 1, open)?);
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    size = size.saturating_add(self.expanded(item, depth + 1, open)?);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
        Ok(size)
    }

    fn referred(&mut self, target: &str, open: &mut Vec<String>) -> Result<u64, String> {
        if open.iter().any(|held| held == target) {
            return Ok(100);
        }
        if let Some(size) = self.known.get(target) {
            return Ok(*size);
        }
        let root = self.root;
        // Anchors and $id stay within the document, and the compiler refuses what it can't find: count them once.
        let Some(node) = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else { return Ok(100) };
        open.push(target.to_owned());
        let size = self.expanded(node, open.len(), open)?;
        open.pop();
        self.known.insert(target.to_owned(), size);
        Ok(size)
    }
}

type Compiled = Result<Arc<Schema>, Arc<str>>;

/// Compiled schemas by the hash of their text; what the last merge did not ask for goes.
#[derive(Debug, Default)]
pub struct Cache {
    held: Mutex<HashMap<[u8; 32], (Compiled, bool)>>,
}

impl Cache {
    pub fn check(&mut self, mode: ArgumentMode, schema: Option<&str>) -> Check {
        let (ArgumentMode::Enforce | ArgumentMode::Warn, Some(text)) = (mode, schema) else { return Check::Open };
        match (self.compiled(text), mode == ArgumentMode::Enforce) {
            (Ok(schema), true) => Check::Enforced(schema),
            (Ok(schema), false) => Check::Warned(schema),
            (Err(reason), true) => Check::Refused(reason),
            (Err(reason), false) => Check::Unchecked(reason),
        }
    }

    fn compiled(&mut self, text: &str) -> Compiled {
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        let entry = held.entry(key).or_insert_with(|| (Schema::compile(text).map(Arc::new).map_err(Arc::from), true));
        entry.1 = true;
        entry.0.clone()
    }

    /// Ends a merge.
    pub fn sweep(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (_, used)| std::mem::take(used));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubling(levels: usize) -> String {
        let mut definitions = serde_json::Map::new();
        for level in 0..levels {
            let next = format!("#/$defs/l{}", level + 1);
            definitions.insert(format!("l{level}"), serde_json::json!({"allOf": [{"$ref": next}, {"$ref": next}]}));
        }
        definitions.insert(format!("l{levels}"), serde_json::json!({"type": "string"}));
        serde_json::json!({"$ref": "#/$defs/l0", "$defs": definitions}).to_string()
    }

    #[test]
    fn a_schema_whose_validation_doubles_with_each_level_is_refused() {
        assert!(Schema::compile(&doubling(4)).is_ok());
        assert!(Schema::compile(&doubling(24)).expect_err("too costly").contains("too costly"));
    }

    #[test]
    fn a_remote_reference_is_an_error_and_not_a_fetch() {
        assert!(Schema::compile(r#"{"$ref": "http://127.0.0.1:1/schema.json"}"#).is_err());
    }

    #[test]
    fn a_schema_with_look_around_is_judged_all_the_same() {
        let schema =
            Schema::compile(r#"{"properties": {"a": {"type": "string", "pattern": "^(?!x)"}}}"#).expect("it compiles");
        assert!(schema.is_valid(&serde_json::json!({"a": "y"})));
        assert!(!schema.is_valid(&serde_json::json!({"a": "x"})));
    }

    #[test]
    fn problems_name_the_path_and_not_the_value() {
        let schema = Schema::compile(r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n","m"]}"#)
            .expect("ok");
        let problems = schema.problems(&serde_json::json!({"n": "hunter2"}));
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems.iter().any(|problem| problem.path == "/n"), "{problems:?}");
        assert!(problems.iter().all(|problem| !problem.message.contains("hunter2")), "{problems:?}");
    }
}

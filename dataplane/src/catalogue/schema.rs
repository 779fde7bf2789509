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

use super::{
    measure::{Measured, measure},
    patterns::written_out,
};
use crate::denial::ArgumentProblem;

const MAX_BYTES: usize = 64 * 1024;
/// Up to it (≈ 3 ms) all problems are listed; above, the first alone.
const MAX_LISTED: u64 = 2_000;
/// Compiled size of one pattern, bytes, and of all of a schema together: some 100 ms of compiling at most.
const REGEX_BYTES: usize = 1024 * 1024;
const ALL_REGEX_BYTES: usize = 16 * 1024 * 1024;
/// Atoms of a pattern with look-around, its repetitions written out: that engine knows no bound of size.
const MAX_WRITTEN_OUT: u64 = 10_000;
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
        let draft = dialect(&schema)?;
        let Measured { size, patterns } = measure(&schema, draft)?;
        let room = REGEX_BYTES.min(ALL_REGEX_BYTES / patterns.len().max(1));
        let options = || jsonschema::options().with_draft(draft).should_validate_formats(false);
        let linear = options().with_pattern_options(PatternOptions::regex().size_limit(room)).build(&schema);
        let validator = match linear {
            Ok(validator) => validator,
            // Look-around needs the other engine, with a bound on its backtracking; it counts repetitions out.
            Err(_) => {
                if let Some(pattern) = patterns.iter().find(|pattern| written_out(pattern) > MAX_WRITTEN_OUT) {
                    let pattern: String = pattern.chars().take(64).collect();
                    return Err(format!("its pattern {pattern:?} repeats too much to be judged"));
                }
                let bounded = PatternOptions::fancy_regex().size_limit(room).backtrack_limit(10_000);
                options()
                    .with_pattern_options(bounded)
                    .build(&schema)
                    .map_err(|fault| format!("its schema can't be compiled: {fault}"))?
            }
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

/// Whether a schema that is not compiled here stays within the bounds of one that is: clients compile what they are
/// given. Errors: why not, as a clause.
fn bounded(text: &str) -> Result<(), String> {
    if text.len() > MAX_BYTES {
        return Err(format!("its schema has {} bytes where {MAX_BYTES} are passed on", text.len()));
    }
    let schema: Value = serde_json::from_str(text).map_err(|fault| format!("its schema is no JSON: {fault}"))?;
    measure(&schema, dialect(&schema)?).map(drop)
}

type Compiled = Result<Arc<Schema>, Arc<str>>;
type Bounded = Result<(), Arc<str>>;

/// Compiled schemas by the hash of their text; what the last merge did not ask for goes.
#[derive(Debug, Default)]
pub struct Cache {
    held: Mutex<HashMap<[u8; 32], (Compiled, bool)>>,
    /// Of schemas that are only passed on.
    bounded: HashMap<[u8; 32], (Bounded, bool)>,
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

    /// Of a tool's results. Errors: it could cost clients what arguments must not cost us, and the mode is `enforce`.
    pub fn check_output(&mut self, mode: ArgumentMode, schema: Option<&str>) -> Result<(), String> {
        let (ArgumentMode::Enforce, Some(text)) = (mode, schema) else { return Ok(()) };
        let entry = self.bounded.entry(key_of(text)).or_insert_with(|| (bounded(text).map_err(Arc::from), true));
        entry.1 = true;
        entry.0.as_ref().copied().map_err(|why| why.replacen("its schema", "its output schema", 1))
    }

    fn compiled(&mut self, text: &str) -> Compiled {
        let key = key_of(text);
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        let entry = held.entry(key).or_insert_with(|| (Schema::compile(text).map(Arc::new).map_err(Arc::from), true));
        entry.1 = true;
        entry.0.clone()
    }

    /// Ends a merge.
    pub fn sweep(&mut self) {
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (_, used)| std::mem::take(used));
        self.bounded.retain(|_, (_, used)| std::mem::take(used));
    }
}

fn key_of(text: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    key
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
    fn a_schema_of_results_is_measured_and_named_as_that_and_only_where_arguments_are_enforced() {
        let (mut cache, costly) = (Cache::default(), doubling(24));
        let refused = cache.check_output(ArgumentMode::Enforce, Some(&costly)).expect_err("too costly");
        assert!(refused.starts_with("its output schema") && refused.contains("too costly"), "{refused}");
        assert_eq!(cache.check_output(ArgumentMode::Warn, Some(&costly)), Ok(()));
        assert_eq!(cache.check_output(ArgumentMode::Enforce, Some(&doubling(4))), Ok(()));
        assert_eq!(cache.check_output(ArgumentMode::Enforce, None), Ok(()));
        cache.sweep();
        cache.sweep();
        assert!(cache.bounded.is_empty(), "what the last merge did not ask for goes");
    }

    #[test]
    fn doubling_behind_anchors_escapes_or_an_address_of_its_own_is_found_as_well() {
        let anchored = doubling(24).replace("#/$defs/", "#");
        let named = (0..=24).fold(anchored, |text, level| {
            text.replace(&format!("\"l{level}\":{{"), &format!("\"l{level}\":{{\"$anchor\":\"l{level}\","))
        });
        assert!(Schema::compile(&named).expect_err("anchors").contains("too costly"), "{named}");
        let escaped = doubling(24).replace("#/$defs/", "#/%24defs/");
        assert!(Schema::compile(&escaped).expect_err("escapes").contains("too costly"));
        let addressed =
            doubling(24).replace("#/$defs/", "http://a.b/c#/$defs/").replacen('{', "{\"$id\":\"http://a.b/c\",", 1);
        assert!(Schema::compile(&addressed).expect_err("its own address").contains("too costly"));
    }

    #[test]
    fn what_cannot_be_followed_is_refused_with_what_it_is() {
        for (schema, why) in [
            (r#"{"$ref":"http://127.0.0.1:1/schema.json"}"#, "nothing is fetched"),
            (r#"{"$ref":"file:///etc/passwd"}"#, "nothing is fetched"),
            (r##"{"$ref":"#/$defs/none"}"##, "is not in it"),
            (r##"{"$ref":"#none"}"##, "is not in it"),
            (r#"{"properties":{"a":{"$id":"http://a.b/c","type":"string"}}}"#, "holds another one"),
            (r#"{"$defs":{"a":{"$anchor":"x"},"b":{"$anchor":"x"}}}"#, "one anchor twice"),
        ] {
            let refused = Schema::compile(schema).expect_err(schema);
            assert!(refused.contains(why), "{schema}: {refused}");
        }
    }

    #[test]
    fn names_and_data_that_look_like_keywords_are_no_references() {
        for schema in [
            r#"{"properties":{"$ref":{"type":"string"},"$id":{"type":"string"},"pattern":{"type":"string"}}}"#,
            r##"{"properties":{"a":{"default":{"$ref":"#/components/schemas/Pet"},"examples":[{"$ref":"x.json"}]}}}"##,
            r##"{"$ref":"#/properties/a","properties":{"a":{"items":{"$ref":"#"}}}}"##,
        ] {
            assert!(Schema::compile(schema).is_ok(), "{schema}: {:?}", Schema::compile(schema));
        }
    }

    #[test]
    fn costly_patterns_are_refused_in_bounded_time() {
        let many = |pattern: &str, count: usize| {
            let all = (0..count).map(|n| (format!("p{n}"), serde_json::json!({ "pattern": format!("{pattern}{n}") })));
            serde_json::json!({ "properties": all.collect::<serde_json::Map<_, _>>() }).to_string()
        };
        let since = tokio::time::Instant::now();
        for schema in [
            many(r"(\p{L}{90}){90}", 1),
            many(r"\p{L}{99}", 900),
            many(r"(((?=a)b){999}){999}", 1),
            many(r"((((?!x)y){99}){99}){99}", 20),
        ] {
            let refused = Schema::compile(&schema).expect_err("it is refused");
            assert!(refused.contains("compiled") || refused.contains("repeats"), "{refused}");
        }
        assert!(since.elapsed() < std::time::Duration::from_secs(20), "{:?}", since.elapsed());
        assert!(Schema::compile(&many(r"^[a-z]{1,64}$|", 100)).is_ok());
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

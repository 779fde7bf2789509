//! The print of a tool's definition: SHA-256 over the canonical form (RFC 8785) of what a model or a client goes by.
//!
//! Members that are not read here (`_meta`, `icons`) may change without a word. A definition that has more than one
//! reading, or that is too large to be judged, has no print, and its tool is not exposed.

use std::sync::Arc;

use aws_lc_rs::digest;
use serde_json::{Map, Value};

use crate::{backend::listing::Offered, wire::scan};

/// Longest definition of one tool, bytes.
pub const MAX_DEFINITION: usize = 256 * 1024;

/// Name and title first: the rest is the shape.
const MEMBERS: [&str; 6] = ["name", "title", "description", "inputSchema", "outputSchema", "annotations"];
const NAMES: [&str; 2] = ["name", "title"];

/// Two definitions of one print say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print {
    pub hash: [u8; 32],
    /// The same without name and title: what a rename leaves as it was.
    pub shape: [u8; 32],
}

/// Of one tool; or why its definition can't be judged, as a clause ("its definition …").
pub type Printed = Result<Print, Arc<str>>;

/// One a tool, in their order. Costs some 10 µs a KiB: not for a worker that serves calls.
pub fn of_all(tools: &[Offered]) -> Arc<[Printed]> {
    tools.iter().map(|tool| of(&tool.definition).map_err(Arc::from)).collect()
}

/// Errors: why there is none.
pub fn of(definition: &[u8]) -> Result<Print, String> {
    let members = members(definition)?;
    let hash = hashed(&members)?;
    let shape = hashed(&members.into_iter().filter(|(key, _)| !NAMES.contains(&key.as_str())).collect())?;
    Ok(Print { hash, shape })
}

/// What the print is made of, as canonical JSON. None: it has no print.
pub fn canonical(definition: &[u8]) -> Option<String> {
    serde_json_canonicalizer::to_string(&members(definition).ok()?).ok()
}

fn members(definition: &[u8]) -> Result<Map<String, Value>, String> {
    if definition.len() > MAX_DEFINITION {
        return Err(format!("its definition has {} bytes where {MAX_DEFINITION} are taken", definition.len()));
    }
    scan::value(definition).map_err(|fault| format!("its definition is refused: {fault}"))?;
    let all: Map<String, Value> =
        serde_json::from_slice(definition).map_err(|fault| format!("its definition can't be judged: {fault}"))?;
    Ok(all.into_iter().filter(|(key, _)| MEMBERS.contains(&key.as_str())).collect())
}

fn hashed(members: &Map<String, Value>) -> Result<[u8; 32], String> {
    let text = serde_json_canonicalizer::to_vec(members)
        .map_err(|fault| format!("its definition has no canonical form: {fault}"))?;
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, &text).as_ref());
    Ok(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOL: &[u8] =
        br#"{"name":"read","description":"Reads.","inputSchema":{"type":"object","properties":{"n":{"maximum":10}}}}"#;

    #[test]
    fn what_says_the_same_has_the_same_print() {
        let other = br#"{ "inputSchema": {"properties":{"n":{"maximum":1e1}}, "type":"object"},
            "description":"Re\u0061ds.", "_meta":{"build":7}, "name":"read"}"#;
        assert_eq!(of(TOOL), of(other));
        assert_eq!(canonical(TOOL), canonical(other));
    }

    #[test]
    fn any_word_that_a_model_goes_by_makes_another_print() {
        let print = of(TOOL).unwrap();
        let text = std::str::from_utf8(TOOL).unwrap();
        for (from, to) in [
            ("Reads.", "Reads. "),
            ("10", "11"),
            ("\"read\"", "\"reed\""),
            ("{\"name\"", "{\"annotations\":{\"readOnlyHint\":true},\"name\""),
        ] {
            let changed = of(text.replacen(from, to, 1).as_bytes()).unwrap();
            assert_ne!(changed.hash, print.hash, "{to}");
        }
    }

    #[test]
    fn a_rename_leaves_the_shape() {
        let renamed = std::str::from_utf8(TOOL).unwrap().replace("\"read\"", "\"read2\",\"title\":\"Read\"");
        let (before, after) = (of(TOOL).unwrap(), of(renamed.as_bytes()).unwrap());
        assert_ne!(before.hash, after.hash);
        assert_eq!(before.shape, after.shape);
    }

    #[test]
    fn a_definition_with_two_readings_or_without_an_end_has_none() {
        let twice = br#"{"name":"a","description":"good","desc\u0072iption":"evil"}"#;
        assert!(of(twice).unwrap_err().contains("stands twice"));
        let deep = format!(r#"{{"name":"a","annotations":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        assert!(of(deep.as_bytes()).unwrap_err().contains("nesting"));
        let huge = format!(r#"{{"name":"a","description":"{}"}}"#, "x".repeat(MAX_DEFINITION));
        assert!(of(huge.as_bytes()).unwrap_err().contains("bytes"));
        assert!(of(br#"{"name":"a","inputSchema":{"maximum":1e999}}"#).unwrap_err().contains("judged"));
    }
}

//! Two configurations compared by meaning: every key that differs, by section and name, whatever its place in the file.
//!
//! Pure, over the JSON form of snapshots (`snapshot_json.rs`), which names every field: what is new there is compared
//! here without a word more. What roles gain and lose is asked of the catalogue, in `admin/comparing.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Longest value that is shown, in characters.
const LONGEST: usize = 300;

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `backends`, `roles`, `rate_limit` …: the file's first word.
    pub section: String,
    /// The rest of the way, with names in place of numbers: `n8n.timeout_secs`.
    pub key: String,
    /// JSON text; `None`: it was not there.
    pub before: Option<String>,
    pub after: Option<String>,
}

/// Every key that differs, sorted by section and key.
pub fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let (before, after) = (flat(before), flat(after));
    let keys: BTreeSet<&Path> = before.keys().chain(after.keys()).collect();
    let mut all = Vec::new();
    for path in keys {
        let (old, new) = (before.get(path), after.get(path));
        // A thing that came or went as a whole is said once, by its own line.
        let within = |other: &BTreeMap<Path, String>| parents(path).any(|parent| !other.contains_key(&parent));
        let said = match (old, new) {
            (Some(old), Some(new)) => old != new,
            (Some(_), None) => !within(&after),
            (None, Some(_)) => !within(&before),
            (None, None) => false,
        };
        if said {
            let (section, key) =
                path.split_first().map_or(("", String::new()), |(first, rest)| (first, rest.join(".")));
            all.push(Change { section: section.to_owned(), key, before: old.cloned(), after: new.cloned() });
        }
    }
    all
}

type Path = Vec<String>;

/// The named things above this path.
fn parents(path: &Path) -> impl Iterator<Item = Path> {
    (1..path.len()).map(|length| path.iter().take(length).cloned().collect())
}

/// Each value by its path. A thing with a name has a line of its own, so that its coming and going is one change.
fn flat(value: &Value) -> BTreeMap<Path, String> {
    let mut all = BTreeMap::new();
    flatten(&mut Vec::new(), value, &mut all);
    all
}

fn flatten(path: &mut Path, value: &Value, all: &mut BTreeMap<Path, String>) {
    match value {
        Value::Object(members) => {
            if !path.is_empty() {
                // Nothing to compare while it is on both sides: then its parts are.
                all.insert(path.clone(), String::new());
            }
            for (key, value) in members {
                // Its own name is the path already.
                if ["name", "kid"].contains(&key.as_str()) && path.last().is_some_and(|last| value == last.as_str()) {
                    continue;
                }
                path.push(key.clone());
                flatten(path, value, all);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() && items.iter().all(|item| name_of(item).is_some()) => {
            all.insert(path.clone(), String::new());
            let names: Vec<&str> = items.iter().filter_map(name_of).collect();
            path.push("(order)".to_owned());
            all.insert(path.clone(), Value::from(names.clone()).to_string());
            path.pop();
            for (item, name) in items.iter().zip(names) {
                path.push(name.to_owned());
                flatten(path, item, all);
                path.pop();
            }
        }
        Value::Array(_) | Value::Bool(_) | Value::Null | Value::Number(_) | Value::String(_) => {
            all.insert(path.clone(), cut(&value.to_string()));
        }
    }
}

/// What tells one thing of a list from another.
fn name_of(item: &Value) -> Option<&str> {
    let named = |key: &str| item.get(key).and_then(Value::as_str).filter(|name| !name.is_empty());
    named("name").or_else(|| named("kid")).or_else(|| named("tool"))
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: &Value, after: &Value) -> Vec<String> {
        let each = changes(before, after).into_iter().map(|change| {
            let or = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
            format!("{}.{}: {} > {}", change.section, change.key, or(change.before), or(change.after))
        });
        each.collect()
    }

    #[test]
    fn the_same_in_another_order_is_the_same() {
        let one = json!({"gateway": {"a": 1, "b": [1, 2]}, "roles": [{"name": "x", "allow": ["*"]}]});
        assert!(changes(&one, &one).is_empty());
    }

    #[test]
    fn keys_are_named_by_their_thing_and_not_by_their_place() {
        let before = json!({"backends": [{"name": "a", "t": 1}, {"name": "b", "t": 1, "env": {"K": "v"}}]});
        let after = json!({"backends": [{"name": "b", "t": 2, "env": {"K": "w"}}, {"name": "c", "t": 1}]});
        assert_eq!(
            told(&before, &after),
            [
                "backends.(order): [\"a\",\"b\"] > [\"b\",\"c\"]",
                "backends.a:  > -",
                "backends.b.env.K: \"v\" > \"w\"",
                "backends.b.t: 1 > 2",
                "backends.c: - > ",
            ]
        );
    }

    #[test]
    fn a_section_that_comes_is_one_line() {
        assert_eq!(told(&json!({}), &json!({"health": {"a": 1, "b": 2}})), ["health.: - > "]);
        assert_eq!(told(&json!({"k": [1]}), &json!({"k": [1, 2]})), ["k.: [1] > [1,2]"]);
    }

    #[test]
    fn a_long_value_is_cut() {
        let shown = changes(&json!({"a": "x"}), &json!({"a": "ä".repeat(900)}));
        assert_eq!(shown[0].after.as_ref().unwrap().chars().count(), LONGEST + 1);
    }
}

//! Tests of the configuration as a whole: what a file becomes, and what is said about a bad one.

mod becomes;
mod documents;
mod mistakes;
mod refusals;
mod survives;

use super::{BuiltInKey, Loaded, load};

const KEY: BuiltInKey = BuiltInKey { public: [7; 32] };

/// A complete file, to which a test adds what it is about.
const BASE: &str = "[auth]\n[roles.operator]\nallow = ['*']\n";

fn good(text: &str) -> Loaded {
    load("sentinel.toml", text, &KEY).unwrap_or_else(|problems| panic!("{problems}\n---\n{text}"))
}

/// What is said about `text`, one line each.
fn problems(text: &str) -> Vec<String> {
    match load("sentinel.toml", text, &KEY) {
        Ok(_) => panic!("taken as good:\n{text}"),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

fn warnings(text: &str) -> Vec<String> {
    good(text).warnings.iter().map(ToString::to_string).collect()
}

/// `BASE` with `more` behind it.
fn with(more: &str) -> String {
    format!("{BASE}{more}")
}

/// A file that uses every key that is here.
const FULL: &str = include_str!("full.toml");

//! `explain`: of a call that was made (`after`, from its audit row) and of one that is not (`before`, asked of planes).
//!
//! What stages decide is a plane's to say (`Explain`); here rules get their lines in the revision's text, and switches
//! who threw them.

mod absent;
pub(super) mod after;
pub(super) mod before;

use std::collections::HashMap;
use std::time::Duration;

use sentinel_proto::v1::{ExplainStage, KillEntry, RulePlace, Scope, ToldError};
use serde::Deserialize;
use serde_json::Value;

use crate::config::places::Places;
use crate::core::Core;
use crate::keeper::stamp;

/// How long a plane may take for one answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a plane says of one call, a line of JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    revision: u64,
    kind: String,
    error: Option<SaidError>,
    backend: String,
    stages: Vec<SaidStage>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SaidError {
    code: i32,
    message: String,
    data: Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct SaidStage {
    stage: String,
    verdict: String,
    why: String,
    rules: Vec<String>,
}

/// The texts of revisions that rules are looked up in.
struct Texts {
    file: String,
    held: HashMap<u64, String>,
}

impl Texts {
    fn new(core: &Core) -> Self {
        let path = core.revisions.path();
        let file = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Self { file, held: HashMap::new() }
    }

    /// Reads the text of a revision, once. False: the store does not have it, or is away.
    async fn read(&mut self, core: &Core, revision: u64) -> bool {
        if self.held.contains_key(&revision) {
            return true;
        }
        let Ok(store) = core.keeper.store() else { return false };
        let Ok(Some(found)) = store.revision(revision).await else { return false };
        self.held.insert(revision, found.text);
        true
    }

    /// Rules as they stand in a revision; without its text they have no line.
    fn of(&self, revision: u64) -> Lines<'_> {
        Lines { file: &self.file, places: self.held.get(&revision).map(|text| Places::of(text)) }
    }
}

struct Lines<'t> {
    file: &'t str,
    places: Option<Places<'t>>,
}

impl Lines<'_> {
    fn line(&self, rule: &str) -> Option<u32> {
        self.places.as_ref()?.line(rule)
    }

    fn place(&self, rule: &str) -> RulePlace {
        let line = self.line(rule);
        let file = if line.is_some() { self.file.to_owned() } else { String::new() };
        RulePlace { rule: rule.to_owned(), file, line: line.unwrap_or(0) }
    }

    fn places(&self, rules: &[String]) -> Vec<RulePlace> {
        rules.iter().map(|rule| self.place(rule)).collect()
    }
}

/// Who is asked about, for a kill switch.
struct Names<'a> {
    client: &'a str,
    roles: &'a [String],
    tool: &'a str,
    backend: &'a str,
}

/// The stage that a switch refused: which one, by whom, since when; `data` is the error's.
fn switched(core: &Core, lines: &Lines<'_>, names: &Names<'_>, data: &Value) -> (String, Vec<RulePlace>) {
    let word = data["scope"].as_str().unwrap_or_default();
    let (scope, list, candidates) = match word {
        "client" => (Scope::Client, "clients", vec![names.client]),
        "role" => (Scope::Role, "roles", names.roles.iter().map(String::as_str).collect()),
        "tool" => (Scope::Tool, "tools", vec![names.tool]),
        "backend" => (Scope::Backend, "backends", vec![names.backend]),
        _ => (Scope::All, "all", vec![""]),
    };
    let since = data["since"].as_i64().unwrap_or_default();
    let thrown = core.kills.see(|held| {
        let fits = |entry: &&KillEntry| {
            let named = candidates.contains(&entry.name.as_str())
                || scope == Scope::Tool && !entry.own.is_empty() && entry.backend == names.backend;
            entry.scope == i32::from(scope) && entry.since_unix_ms == since && named
        };
        held.in_force().find(fits).cloned()
    });
    if let Some(entry) = thrown {
        let origin = if entry.origin.is_empty() { "" } else { ", on a plane itself" };
        let why = format!("kill switch for {word} {}: {}", entry.name, reason(&entry.reason));
        return (format!("{why}; thrown by {} at {}{origin}", entry.by, stamp(since)), Vec::new());
    }
    let in_file = candidates.iter().map(|name| format!("kill_switch.{list}.{name}"));
    if let Some(rule) = in_file.into_iter().find(|rule| lines.line(rule).is_some()) {
        return (format!("the file's kill switch for a {word}"), vec![lines.place(&rule)]);
    }
    let text = data["reason"].as_str().unwrap_or_default();
    let since = if since == 0 { String::new() } else { format!("; thrown at {}", stamp(since)) };
    (format!("kill switch for {word}: {}{since}; it does not stand any more", reason(text)), Vec::new())
}

fn reason(text: &str) -> &str {
    if text.is_empty() { "no reason was given" } else { text }
}

fn told(error: &SaidError) -> ToldError {
    ToldError { code: error.code, message: error.message.clone(), data: error.data.to_string() }
}

fn stage(said: &SaidStage, lines: &Lines<'_>) -> ExplainStage {
    ExplainStage {
        stage: said.stage.clone(),
        verdict: said.verdict.clone(),
        why: said.why.clone(),
        rules: lines.places(&said.rules),
    }
}

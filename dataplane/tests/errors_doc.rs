//! `docs/errors.md` against the program: every kind has a heading with its code, its HTTP status and its `data`, and
//! no heading is left over. It does not judge the prose.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, reason = "a test of two texts of ours")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sentinel_dataplane::{
    denial::{ArgumentProblem, Denial, Disabled, Failure, Limit, NotReady, Scope, TokenFault, Told, Unavailable},
    listen::http::status,
};

const PAGE: &str = include_str!("../../docs/errors.md");
const TABLE: &str = concat!(
    include_str!("../src/denial/mod.rs"),
    include_str!("../src/denial/failure.rs"),
    include_str!("../src/denial/reason.rs")
);

#[derive(Debug, Default, PartialEq, Eq)]
struct Entry {
    code: String,
    http: String,
    data: BTreeSet<String>,
}

/// `### \`kind\`` and the line beneath it, `code N · HTTP N · data: \`a\`, \`b\``.
fn page() -> BTreeMap<String, Entry> {
    let mut entries = BTreeMap::new();
    let mut lines = PAGE.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`')) else { continue };
        let mut entry = Entry::default();
        for part in lines.next().unwrap_or_default().split(" · ") {
            if let Some(code) = part.strip_prefix("code ") {
                entry.code = code.to_owned();
            } else if let Some(http) = part.strip_prefix("HTTP ") {
                entry.http = http.to_owned();
            } else if let Some(data) = part.strip_prefix("data: ") {
                entry.data = data.split(", ").map(|key| key.trim_matches('`').to_owned()).collect();
            }
        }
        assert!(entries.insert(kind.to_owned(), entry).is_none(), "{kind} stands twice on the page");
    }
    entries
}

fn add(entries: &mut BTreeMap<String, Entry>, told: &Told, http: u16) {
    let data: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&told.data).unwrap();
    let kind = data["kind"].as_str().unwrap().to_owned();
    let entry = entries.entry(kind.clone()).or_default();
    entry.data.extend(data.keys().filter(|key| !["kind", "requestId"].contains(&key.as_str())).cloned());
    for (held, new) in [(&mut entry.code, told.code.to_string()), (&mut entry.http, http.to_string())] {
        assert!(held.is_empty() || *held == new, "{kind} has two codes or statuses");
        *held = new;
    }
}

/// One of each; `data` of a kind is what any of them has.
fn program() -> BTreeMap<String, Entry> {
    let wait = Some(Duration::from_secs(1));
    let disabled = Disabled { scope: Scope::Tool, reason: "r".into(), since: 1, sent: false };
    let denials = [
        Denial::AuditUnavailable { sent: false },
        Denial::Disabled(disabled),
        Denial::Forbidden { rule: "r".into() },
        Denial::ForbiddenOrigin { key: "gateway.allowed_hosts" },
        Denial::HeaderMismatch { what: "w".into() },
        Denial::InsufficientScope,
        Denial::Internal,
        Denial::InvalidArguments { problems: vec![ArgumentProblem { path: "/a".into(), message: "m".into() }] },
        Denial::InvalidMeta { what: "w".into() },
        Denial::InvalidParams { what: "w".into() },
        Denial::InvalidRequest { what: "w".into(), position: Some(1) },
        Denial::MethodNotFound,
        Denial::MissingCapability,
        Denial::NotReady { reason: NotReady::Starting },
        Denial::Overloaded,
        Denial::Parse { what: "w".into(), position: 1 },
        Denial::RateLimited { limit: Limit::Tool, retry_after: wait },
        Denial::InteractionLost,
        Denial::SessionNotFound,
        Denial::TooLarge { limit: 1 },
        Denial::Unauthenticated { reason: TokenFault::Missing },
        Denial::UnknownPrompt { hidden: true },
        Denial::UnknownPrompt { hidden: false },
        Denial::UnknownResource { hidden: true, uri: "u".into() },
        Denial::UnknownResource { hidden: false, uri: "u".into() },
        Denial::UnknownTask { hidden: true },
        Denial::UnknownTask { hidden: false },
        Denial::UnknownTool { hidden: true },
        Denial::UnknownTool { hidden: false },
        Denial::UnsupportedVersion { requested: "v".into() },
    ];
    let failures = [
        Failure::BackendError { backend: "b".into(), what: "w".into() },
        Failure::BackendUnavailable { backend: "b".into(), state: Unavailable::Open, retry_after: wait },
        Failure::Timeout { backend: "b".into(), timeout: Duration::from_secs(1) },
    ];
    let mut entries = BTreeMap::new();
    for denial in &denials {
        add(&mut entries, &denial.told("id"), status::of(denial).as_u16());
    }
    for failure in &failures {
        add(&mut entries, &failure.told("id"), 200);
    }
    entries
}

#[test]
fn every_kind_stands_on_the_page_with_code_status_and_data() {
    let (page, program) = (page(), program());
    for (kind, entry) in &program {
        assert_eq!(page.get(kind), Some(entry), "docs/errors.md (left) and denial/ (right) differ about {kind}");
    }
    for kind in page.keys() {
        assert!(program.contains_key(kind), "docs/errors.md describes {kind}, which the program does not have");
    }
}

/// So that a new variant cannot be missing above: the table's rows, read from its source.
#[test]
fn every_row_of_the_table_is_compared() {
    let program = program();
    let rows: Vec<&str> = TABLE
        .split("row(\"")
        .skip(1)
        .chain(TABLE.split("kind: \"").skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(rows.len() >= 20, "the table is written differently now; mend this test");
    for kind in rows {
        assert!(program.contains_key(kind), "{kind} is in denial/ and not in this test's list");
    }
}

/// The words of a closed list that stand in the page's tables, each in backticks.
#[test]
fn every_word_of_a_closed_list_stands_on_the_page() {
    let listed = |names: &str| {
        let start = TABLE.find(names).unwrap_or_else(|| panic!("{names} is not in denial/ any more"));
        let body = TABLE[start..].split("\n}\n").next().unwrap_or_default();
        body.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["impl Scope", "impl Limit", "impl NotReady", "impl Unavailable"] {
        let found = listed(name);
        assert!(found.len() > 1, "{name} is written differently now; mend this test");
        for word in found {
            assert!(PAGE.contains(&format!("`{word}`")), "{name}: `{word}` is not on docs/errors.md");
        }
    }
    let reasons = TABLE.split("impl TokenFault").nth(1).and_then(|rest| rest.split("fn advice").next()).unwrap();
    for word in reasons.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(PAGE.contains(&format!("| `{word}` |")), "the reason `{word}` is not on docs/errors.md");
    }
}

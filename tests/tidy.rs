//! Rules of the tree that no compiler holds: headers, sizes, sealed proofs, one place for `unsafe`, documented flags.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests are tests"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use sentinel_tests::harness::process::program;

/// Files above 400 lines, each with the lines that it may have. May only shrink: split the file instead.
const LONG: &[(&str, usize)] = &[];
/// What the compiler makes, nobody edits.
const GENERATED: &str = "proto/src/gen/";
const LINES: usize = 400;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !["target", ".git", ".peers", "node_modules"].iter().any(|skipped| name == *skipped) {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Each Rust file that people write: its path in the tree and its text.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    let named = found.into_iter().map(|path| {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        (name, std::fs::read_to_string(&path).unwrap())
    });
    named.filter(|(name, _)| !name.starts_with(GENERATED)).collect()
}

/// The code of a file, without comments, texts and its unit tests.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let mut code = String::new();
    for line in before_tests.lines() {
        let line = line.split("//").next().unwrap();
        for (number, piece) in line.split('"').enumerate() {
            if number % 2 == 0 {
                code.push_str(piece);
            }
        }
        code.push('\n');
    }
    code
}

fn assert_none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let broken: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(name, _)| name).collect();
    assert_none("these files do not begin with `//! `", &broken);
}

#[test]
fn no_file_is_longer_than_can_be_read_and_the_exceptions_only_shrink() {
    let sources = sources();
    let mut broken = Vec::new();
    for (name, text) in &sources {
        let lines = text.lines().count();
        let allowed = LONG.iter().find(|(long, _)| long == name).map_or(LINES, |(_, lines)| *lines);
        if lines > allowed {
            broken.push(format!("{name}: {lines} lines, {allowed} allowed; split it by subject"));
        }
    }
    for (name, _) in LONG {
        if !sources.iter().any(|(source, text)| source == name && text.lines().count() > LINES) {
            broken.push(format!("{name} is no exception any more: take it from the list"));
        }
    }
    assert_none("files that are too long", &broken);
}

#[test]
fn files_are_named_for_their_subject() {
    let vague = [
        "utils.rs",
        "util.rs",
        "helpers.rs",
        "helper.rs",
        "common.rs",
        "misc.rs",
        "types.rs",
        "traits.rs",
        "errors.rs",
    ];
    let broken: Vec<String> = sources()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| vague.iter().any(|vague| name.ends_with(&format!("/{vague}"))))
        .collect();
    assert_none("names that are no subject", &broken);
}

#[test]
fn nothing_is_left_for_later_and_no_test_is_switched_off() {
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("#[ign", "ore"),
        concat!("#[should", "_panic"),
    ];
    let mut broken = Vec::new();
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if let Some(mark) = marks.iter().find(|mark| line.contains(**mark)) {
                broken.push(format!("{name}:{}: {mark}", number + 1));
            }
        }
    }
    assert_none("unfinished work", &broken);
}

#[test]
fn unsafe_stands_in_one_file() {
    let allowed = "dataplane/src/backend/stdio/pre_exec.rs";
    let mut broken = Vec::new();
    for (name, text) in sources() {
        let is_bench = name.starts_with("tests/bench/");
        if name != allowed
            && !is_bench
            && code(&text).split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe")
        {
            broken.push(name);
        }
    }
    assert_none("`unsafe` outside the pre-exec step", &broken);
}

/// The proofs: the file of each, and the function that makes it.
const PROOFS: &[(&str, &str)] = &[
    ("limits/client.rs", "Charged"),
    ("resolve.rs", "Resolved"),
    ("visible.rs", "Visible"),
    ("limits/target.rs", "Admitted"),
    ("arguments.rs", "Valid"),
    ("rules.rs", "Ruled"),
];

#[test]
fn no_field_of_a_proof_can_be_reached_and_no_proof_can_be_copied_or_made_from_nothing() {
    let mut broken = Vec::new();
    for (file, proof) in PROOFS {
        let path = format!("dataplane/src/stages/{file}");
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        let code = code(&text);
        let declared = format!("pub struct {proof}");
        let Some(start) = code.find(&format!("{declared} ")).or_else(|| code.find(&format!("{declared}("))) else {
            broken.push(format!("{path}: there is no `{declared}`"));
            continue;
        };
        let (before, after) = code.split_at(start);
        let tuple = after.find('(').is_some_and(|open| after.find('{').is_none_or(|brace| open < brace));
        let end = after.find(if tuple { ");" } else { "\n}" }).unwrap();
        let fields = after[declared.len()..end].to_owned();
        if fields.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "pub") {
            broken.push(format!("{path}: a field of {proof} is pub"));
        }
        let attributes = before.rsplit("\n\n").next().unwrap();
        for copying in ["Clone", "Copy", "Default", "Deserialize"] {
            let by_hand = code.contains(&format!("{copying} for {proof}"));
            if attributes.contains(copying) || by_hand {
                broken.push(format!("{path}: {proof} is {copying}"));
            }
        }
    }
    assert_none("proofs that are not sealed", &broken);
}

#[test]
fn no_file_but_a_stages_own_makes_its_proof() {
    let mut broken = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| name.starts_with("dataplane/src/")) {
        let code = code(&text);
        for (file, proof) in PROOFS {
            // `Access::Ruled` is declared there, another type's variant.
            let other = name == "dataplane/src/view/policy.rs" && *proof == "Ruled";
            if other || name == format!("dataplane/src/stages/{file}") {
                continue;
            }
            for made in [format!("{proof} {{"), format!("{proof}("), format!("{proof}::")] {
                let found = code.match_indices(&made).any(|(at, _)| {
                    let before = code[..at].trim_end_matches('&').trim_end();
                    let whole_word = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_') || before.len() < at;
                    // `-> &Visible {` is a result type, `Access::Ruled(` another type's variant.
                    whole_word && !before.ends_with("->") && !before.ends_with("for") && !before.ends_with("Access::")
                });
                if found {
                    broken.push(format!("{name} has `{made}`"));
                }
            }
        }
    }
    assert_none("proofs made outside their stage", &broken);
}

#[test]
fn the_pipeline_alone_asks_for_a_lease() {
    let mut broken = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| name.starts_with("dataplane/src/")) {
        let own = ["dataplane/src/pipeline.rs", "dataplane/src/backend/lease.rs"].contains(&name.as_str());
        let code = code(&text);
        if !own && (code.contains("lease::lease") || code.contains("Lease {") || code.contains("lease(&")) {
            broken.push(name);
        }
    }
    assert_none("a backend is leased outside the pipeline", &broken);
}

#[test]
fn the_data_plane_knows_no_sql_and_the_control_plane_no_mcp() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        let code = code(&text);
        let is_crossed = (name.starts_with("dataplane/src/")
            && (code.contains("sqlx::") || code.contains("sentinel_controlplane")))
            || (name.starts_with("controlplane/src/") && code.contains("sentinel_dataplane"))
            || (name.starts_with("sentinelctl/src/")
                && (code.contains("sentinel_dataplane") || code.contains("sentinel_controlplane")));
        if is_crossed {
            broken.push(name);
        }
    }
    assert_none("a crate reaches where it must not", &broken);
}

#[test]
fn every_flag_that_help_shows_is_documented() {
    let mut pages = String::new();
    for entry in std::fs::read_dir(root().join("docs")).unwrap().flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "md") {
            pages.push_str(&std::fs::read_to_string(entry.path()).unwrap());
        }
    }
    let helps = [
        ("sentinel-controlplane", &["serve"][..]),
        ("sentinel-dataplane", &["serve"]),
        ("sentinel-dataplane", &["stdio"]),
        ("sentinelctl", &["up"]),
        ("sentinelctl", &["reload"]),
        ("sentinelctl", &["kill-switch", "tool"]),
        ("sentinelctl", &["audit", "list"]),
        ("sentinelctl", &["token", "mint"]),
    ];
    let mut broken = Vec::new();
    for (name, words) in helps {
        let output = Command::new(program(name)).args(words).arg("--help").output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && help.contains("--"), "{name} {words:?}: {help}");
        let flags = help
            .lines()
            .filter_map(|line| line.trim_start().split([' ', ',', '=']).find(|word| word.starts_with("--")));
        for flag in flags.filter(|flag| !["--help", "--version"].contains(flag)) {
            if !pages.contains(flag) {
                broken.push(format!("{name} {}: {flag}", words.join(" ")));
            }
        }
    }
    assert_none("flags that no page of docs/ names", &broken);
}

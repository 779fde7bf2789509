//! `docs/faults.md` against the sources: each test that is named after a row is there, and what is there is a test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rows of the design's table about backends, processes and the host: each has a test of its name.
const ROWS: std::ops::RangeInclusive<u32> = 51..=65;

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if !["target", "node_modules", "bench", ".peers"].iter().any(|skipped| entry.file_name() == *skipped) {
                walk(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `f12_…`
fn is_of_a_row(name: &str) -> bool {
    let mut parts = name.splitn(2, '_');
    let row = parts.next().unwrap_or_default();
    row.len() == 3 && row.starts_with('f') && row[1..].chars().all(|c| c.is_ascii_digit()) && parts.next().is_some()
}

/// Tests that are named after a row, in all of `tests/`.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")), &mut files);
    let mut found = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let mut is_test = false;
        for line in text.lines() {
            let name = line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            match name {
                Some(name) if is_test && is_of_a_row(name) => drop(found.insert(name.to_owned())),
                Some(_) | None => {}
            }
            is_test = line.starts_with("#[tokio::test") || line.starts_with("#[test");
        }
    }
    found
}

#[test]
fn the_page_of_faults_and_the_tests_name_each_other() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    let page = std::fs::read_to_string(page).unwrap();
    let tests = tests();
    let mut listed = BTreeSet::new();
    for line in page.lines().filter(|line| line.starts_with("| F")) {
        let row = line[2..].split(' ').next().unwrap().to_lowercase();
        for name in line.split('`').filter(|name| is_of_a_row(name)) {
            assert!(name.starts_with(&format!("{row}_")), "{name} stands at {row}");
            assert!(listed.insert(name.to_owned()), "{name} stands twice");
        }
    }

    let missing: Vec<_> = tests.difference(&listed).collect();
    let unknown: Vec<_> = listed.difference(&tests).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not in docs/faults.md: {missing:?}; no test: {unknown:?}");
    for row in ROWS {
        assert!(listed.iter().any(|name| name.starts_with(&format!("f{row}_"))), "row F{row} has no test of its name");
    }
}

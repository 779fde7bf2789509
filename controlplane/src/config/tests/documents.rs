//! The documentation and the example are held to what the parser knows.

use super::super::keys::ALL;
use super::{KEY, good, load};

const REFERENCE: &str = include_str!("../../../../docs/configuration.md");
const EXAMPLE: &str = include_str!("../../../../deploy/examples/sentinel.toml");

/// The part of the reference under the heading that names this table.
fn chapter(path: &str) -> Option<&'static str> {
    let heading = if path.is_empty() { "## The file".to_owned() } else { format!("## `{path}`") };
    let (_, after) = REFERENCE.split_once(&format!("\n{heading}\n"))?;
    Some(after.split("\n## ").next().unwrap_or(after))
}

#[test]
fn the_reference_has_each_key_with_type_default_and_meaning_and_no_other() {
    let mut wrong = Vec::new();
    for table in ALL {
        let Some(chapter) = chapter(table.path) else {
            wrong.push(format!("no chapter `{}`", table.path));
            continue;
        };
        let rows: Vec<&str> = chapter.lines().filter(|line| line.starts_with("| `")).collect();
        for key in table.keys {
            let start = format!("| `{}` |", key.name);
            match rows.iter().find(|row| row.starts_with(&start)) {
                None => wrong.push(format!("{}: no row for `{}`", table.path, key.name)),
                Some(row) if key.later.is_some() != row.contains("comes later") => {
                    wrong.push(format!("{}: `{}` is {:?} in keys.rs: {row}", table.path, key.name, key.later));
                }
                Some(row) if key.later.is_none() && !filled(row) => {
                    wrong.push(format!("{}: `{}` lacks type, default or meaning: {row}", table.path, key.name));
                }
                Some(_) => {}
            }
        }
        for row in rows {
            let name = row.trim_start_matches("| `").split('`').next().unwrap_or_default();
            if !table.keys.iter().any(|key| key.name == name) {
                wrong.push(format!("{}: `{name}` is documented and unknown", table.path));
            }
        }
    }
    assert!(wrong.is_empty(), "docs/configuration.md: {wrong:#?}");
}

/// Type, default and meaning say something; a range need not.
fn filled(row: &str) -> bool {
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    cells.len() == 7 && [2, 3, 5].iter().all(|cell| !cells[*cell].is_empty())
}

#[test]
fn the_ranges_of_the_reference_are_those_of_the_parser() {
    let mut tried = 0;
    for table in ALL.iter().filter(|table| !table.path.is_empty() && !table.path.contains('.')) {
        for row in chapter(table.path).unwrap().lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let limits = cells[4].split(',').next().and_then(|range| range.split_once(" to "));
            let (name, Some((least, most)), "number") = (cells[1].trim_matches('`'), limits, cells[2]) else {
                continue;
            };
            let (least, most): (i64, i64) = (least.parse().unwrap(), most.parse().unwrap());
            let file = |number: i64| {
                let auth = if table.path == "auth" { "" } else { "[auth]\n" };
                let (open, more) = match table.path {
                    "backends" if cells[3].contains("not with `shared`") => {
                        ("[[backends]]".to_owned(), "name = 'a'\ncommand = 'b'\nisolation = 'per-client'\n")
                    }
                    "backends" => ("[[backends]]".to_owned(), "name = 'a'\ncommand = 'b'\n"),
                    path => (format!("[{path}]"), ""),
                };
                let most = if name == "timeout_secs" && !more.is_empty() { "max_timeout_secs = 86400\n" } else { "" };
                let least = if name == "max_timeout_secs" { "timeout_secs = 1\n" } else { "" };
                let roles = "[roles.a]\nallow = ['*']\n";
                format!("{auth}{open}\n{more}{most}{least}{name} = {number}\n{roles}")
            };
            for number in [least, most] {
                good(&file(number));
            }
            for number in [least - 1, most + 1] {
                load("f", &file(number), &KEY).expect_err(&file(number));
            }
            tried += 1;
        }
    }
    assert!(tried >= 17, "only {tried} rows were understood");
}

#[test]
fn no_key_stands_twice_in_its_table() {
    for table in ALL {
        let names: std::collections::BTreeSet<&str> = table.keys.iter().map(|key| key.name).collect();
        assert_eq!(names.len(), table.keys.len(), "[{}]", table.path);
    }
}

/// Else a later key would be "unknown", and a known one would never be read.
#[test]
fn the_full_file_uses_each_key_that_is_here() {
    for table in ALL {
        for key in table.keys.iter().filter(|key| key.later.is_none()) {
            let name = key.name;
            let used = super::FULL.lines().any(|line| {
                line.starts_with(&format!("{name} ="))
                    || line.contains(&format!(" {name} ="))
                    || line.starts_with('[') && line.contains(name)
            });
            assert!(used, "[{}] {name} does not stand in full.toml", table.path);
        }
    }
}

#[test]
fn the_defaults_of_the_reference_are_those_of_the_parser() {
    let whole = good(
        "[auth]\n[roles.a]\nallow = ['*']\n[[backends]]\nname = 'a'\ncommand = 'b'\n[[backends]]\nname = 'c'\nurl = 'http://127.0.0.1/'\n",
    );
    let mut text = String::new();
    for table in ALL {
        let later = table.keys.iter().all(|key| key.later.is_some());
        let is_list = ["backends", "virtual_servers"].contains(&table.path);
        if table.path.is_empty() || table.path.contains('.') || is_list || later {
            continue;
        }
        let Some(chapter) = chapter(table.path) else {
            continue;
        };
        text.push_str(&format!("[{}]\n", table.path));
        for row in chapter.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let name = cells[0].trim_start_matches("| `").trim_end_matches('`');
            if let Some(default) =
                cells.get(2).and_then(|cell| cell.strip_prefix('`')).and_then(|cell| cell.strip_suffix('`'))
            {
                text.push_str(&format!("{name} = {default}\n"));
            }
        }
    }
    text.push_str("[roles.a]\nallow = ['*']\n");
    for of_type in ["name = 'a'\ncommand = 'b'\n", "name = 'c'\nurl = 'http://127.0.0.1/'\n"] {
        text.push_str(&format!("[[backends]]\n{of_type}"));
        let stdio = of_type.contains("command");
        for row in chapter("backends").unwrap().lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split(" | ").collect();
            let name = cells[0].trim_start_matches("| `").trim_end_matches('`');
            let other = if stdio { "(http)" } else { "(stdio)" };
            if let Some(default) =
                cells.get(2).and_then(|cell| cell.strip_prefix('`')).and_then(|cell| cell.strip_suffix('`'))
                && !row.contains(other)
            {
                text.push_str(&format!("{name} = {default}\n"));
            }
        }
    }
    assert_eq!(good(&text).snapshot, whole.snapshot, "{text}");
}

#[test]
fn the_example_is_good_and_says_nothing() {
    let loaded = good(EXAMPLE);
    assert_eq!(loaded.warnings, []);
    let roles: Vec<&str> = loaded.snapshot.roles.iter().map(|role| role.name.as_str()).collect();
    assert_eq!(roles, ["analyst", "operator"]);
    assert_eq!(loaded.snapshot.backends.len(), 1);
}

#[test]
fn each_commented_backend_of_the_example_is_ready_to_uncomment() {
    let all: String = EXAMPLE.lines().map(|line| format!("{}\n", line.strip_prefix("#| ").unwrap_or(line))).collect();
    let loaded = good(&all);
    let names: Vec<&str> = loaded.snapshot.backends.iter().map(|backend| backend.name.as_str()).collect();
    assert_eq!(
        names,
        ["example", "everything", "n8n", "sqlite", "context7", "firecrawl", "exa", "playwright", "sequential-thinking"]
    );
}

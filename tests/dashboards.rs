//! What people watch against what the daemons say: every metric and label that the dashboard and the alerts ask for is
//! exposed, and every family that is exposed stands in docs/monitoring.md.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

/// Labels that Prometheus itself adds.
const OF_PROMETHEUS: &[&str] = &["instance", "job", "alertname", "alertstate", "severity"];

/// Families and the labels of each.
type Exposed = BTreeMap<String, BTreeSet<String>>;

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)).unwrap()
}

/// The words of an expression that can be names.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("sentinel_"))
}

/// `name{a="…",b="…"}` lines of an exposition; a histogram counts as its three series.
fn exposed(text: &str, into: &mut Exposed) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let of_name = into.entry(name.into()).or_default();
        // A label's value has no `="` in it: values are from closed sets or the catalogue.
        of_name.extend(labels.split("=\"").filter_map(|before| {
            let label = before.rsplit(['"', ',', '{']).next()?;
            (!label.is_empty() && !label.ends_with('}')).then(|| label.to_owned())
        }));
    }
}

/// The labels in `{…}` after each name, and in `by (…)`.
fn labels(expression: &str) -> Vec<(String, String)> {
    let mut asked = Vec::new();
    for name in names(expression) {
        for after in expression.split(name).skip(1).filter_map(|rest| rest.strip_prefix('{')) {
            let selector = after.split('}').next().unwrap();
            for matcher in selector.split(", ") {
                let label = matcher.split(['=', '!']).next().unwrap().trim();
                asked.push((name.to_owned(), label.to_owned()));
            }
        }
        for by in expression.split("by (").skip(1) {
            for label in by.split(')').next().unwrap().split(',') {
                asked.push((name.to_owned(), label.trim().to_owned()));
            }
        }
    }
    asked
}

fn expressions_of(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                match member {
                    Value::String(text) if ["expr", "definition"].contains(&key.as_str()) => found.push(text.clone()),
                    other => expressions_of(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions_of(item, found)),
        _ => {}
    }
}

/// Every expression of the dashboard, of Prometheus' rules and of Grafana's.
fn expressions() -> Vec<String> {
    let mut found = Vec::new();
    expressions_of(&serde_json::from_str(&file("deploy/grafana/dashboards/sentinel.json")).unwrap(), &mut found);
    assert!(found.len() > 40, "the dashboard has {} expressions", found.len());
    for rules in ["deploy/prometheus/sentinel.rules.yml", "deploy/grafana/provisioning/alerting/sentinel.yaml"] {
        let text = file(rules);
        let before = found.len();
        // `expr: …`, or `expr: |` and what is indented deeper.
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let Some(expression) = line.trim_start().strip_prefix("expr: ") else { continue };
            let indent = line.len() - line.trim_start().len();
            let mut whole = expression.to_owned();
            while let Some(more) = lines.next_if(|more| more.len() - more.trim_start().len() > indent) {
                whole.push(' ');
                whole.push_str(more.trim_start());
            }
            found.push(whole);
        }
        assert!(found.len() > before, "no expression in {rules}");
    }
    found
}

/// What both daemons expose once calls of several kinds were made.
async fn exposed_by_daemons() -> Exposed {
    let setup = Setup::example().backend_with("own", "isolation = \"per-session\"");
    let fleet = Fleet::start(setup).await;
    let client = fleet.client("claude", "operator").await;
    // One that asks a client that can't be asked, from a process of its own.
    client.call("own__sample", json!({ "prompt": "x" })).await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    // One that fails, so that errors have a series; one reload, so that publishing has.
    client.call("example__nothing", json!({})).await;
    fleet.write(&fleet.setup().toml("# another"));
    let reloaded = fleet.ctl("reload").await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    until("the audit rows are stored", async || {
        let text = fleet.control_plane_metrics().await;
        if text.contains("sentinel_audit_ingested_total 0") { Err(text) } else { Ok(()) }
    })
    .await;
    let mut all = Exposed::new();
    exposed(&fleet.planes[0].ops("/metrics").await.unwrap().1, &mut all);
    exposed(&fleet.control_plane_metrics().await, &mut all);
    all
}

#[tokio::test]
async fn what_is_watched_is_what_the_daemons_expose() {
    let exposed = exposed_by_daemons().await;
    let mut wrong = BTreeSet::new();
    for expression in expressions() {
        for name in names(&expression) {
            if !exposed.contains_key(name) {
                wrong.insert(format!("{name} is exposed by no daemon: {expression}"));
            }
        }
        for (name, label) in labels(&expression) {
            let is_known = |labels: &BTreeSet<String>| labels.contains(&label);
            // Of two families in one expression a label of either will do.
            let known = names(&expression).filter_map(|name| exposed.get(name)).any(is_known);
            if !known && !OF_PROMETHEUS.contains(&label.as_str()) {
                wrong.insert(format!("{name} has no label {label}: {expression}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.into_iter().collect::<Vec<_>>().join("\n"));
}

#[tokio::test]
async fn every_family_is_explained_and_nothing_else_is() {
    let exposed = exposed_by_daemons().await;
    let is_part = |name: &str| {
        ["_bucket", "_sum", "_count"]
            .iter()
            .any(|end| name.strip_suffix(end).is_some_and(|family| exposed.contains_key(&format!("{family}_bucket"))))
    };
    let family = |name: &str| {
        let end = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        end.filter(|_| is_part(name)).unwrap_or(name).to_owned()
    };
    let families: BTreeSet<String> = exposed.keys().map(|name| family(name)).collect();
    let page = file("docs/monitoring.md");
    let table = page.split("## Metrics").nth(1).unwrap().split("\n## ").next().unwrap();
    let explained: BTreeSet<String> = names(table).map(str::to_owned).collect();
    assert_eq!(explained, families, "the table in docs/monitoring.md (left) and what is exposed (right)");
}

#[test]
fn every_alert_has_a_test_and_an_advice() {
    let rules = file("deploy/prometheus/sentinel.rules.yml");
    let (tests, page) = (file("deploy/prometheus/sentinel.rules.test.yml"), file("docs/monitoring.md"));
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(tests.contains(&format!("name: {alert} fires")), "{alert} has no test that it fires");
        assert!(tests.contains(&format!("{{ alertname: {alert}, eval_time")), "{alert} has no test that it is quiet");
        assert!(page.contains(&format!("| `{alert}` |")), "{alert} is not in docs/monitoring.md");
    }
}

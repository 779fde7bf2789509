//! Listings that mean harm: refused one by one with a reason, in bounded time, and nothing of them reaches a client or
//! a terminal raw.

use std::time::Duration;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::json;
use tokio::time::Instant;

use super::{entry, tool, until_listed};

/// A tool with this input schema, as text.
fn with_schema(name: &str, schema: &str) -> String {
    format!(r#"{{"name":"{name}","inputSchema":{schema}}}"#)
}

/// Twenty-six levels that double: by pointers, by anchors, by pointers in disguise.
fn doubling(reference: impl Fn(usize) -> String) -> String {
    let each = (0..26).map(|level| {
        let next = reference(level + 1);
        format!(r#""l{level}":{{"$anchor":"l{level}","allOf":[{{"$ref":"{next}"}},{{"$ref":"{next}"}}]}}"#)
    });
    let all = each.chain([r#""l26":{"$anchor":"l26","type":"string"}"#.to_owned()]).collect::<Vec<_>>().join(",");
    format!(r#"{{"$defs":{{{all}}},"properties":{{"a":{{"$ref":"{}"}}}}}}"#, reference(0))
}

/// Each with a part of the reason that operators read.
fn hostile() -> Vec<(&'static str, String, &'static str)> {
    let deep = format!(r#"{{"name":"deep","annotations":{}1{}}}"#, "[".repeat(300), "]".repeat(300));
    let patterns: Vec<String> = (0..900).map(|n| format!(r#""p{n}":{{"pattern":"\\p{{L}}{{99}}{n}"}}"#)).collect();
    vec![
        ("deep", deep, "levels of nesting"),
        ("huge", format!(r#"{{"name":"huge","description":"{}"}}"#, "x".repeat(300_000)), "bytes"),
        ("twice", r#"{"name":"twice","description":"good","desc\u0072iption":"evil"}"#.to_owned(), "stands twice"),
        ("remote", with_schema("remote", r#"{"$ref":"http://127.0.0.1:9/x.json"}"#), "nothing is fetched"),
        ("double", with_schema("double", &doubling(|level| format!("#/$defs/l{level}"))), "too costly"),
        (
            "results",
            format!(
                r#"{{"name":"results","inputSchema":{{}},"outputSchema":{}}}"#,
                doubling(|level| format!("#l{level}"))
            ),
            "its output schema expands",
        ),
        ("anchors", with_schema("anchors", &doubling(|level| format!("#l{level}"))), "too costly"),
        ("disguise", with_schema("disguise", &doubling(|level| format!("#/%24defs/l{level}"))), "too costly"),
        ("words", with_schema("words", &format!(r#"{{"properties":{{{}}}}}"#, patterns.join(","))), "compiled"),
        (
            "backtrack",
            with_schema("backtrack", r#"{"properties":{"a":{"pattern":"(((?=a)b){999}){999}"}}}"#),
            "repeats too much",
        ),
    ]
}

#[tokio::test]
async fn each_hostile_definition_is_refused_with_its_reason_and_the_good_one_beside_them_is_served() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let texts: Vec<String> = hostile().into_iter().map(|(_, text, _)| text).collect();
    let good = tool("good", "Does no harm.").to_string();
    std::fs::write(fleet.folder().join("example.tools"), format!("{},{good}", texts.join(","))).unwrap();
    let since = Instant::now();
    let _told = client.call("example__misbehave", json!({ "how": "relist" })).await;
    until_listed(&client, "example__good", true).await;
    assert!(since.elapsed() < Duration::from_secs(30), "it took {:?}", since.elapsed());

    until("the control plane knows them", async || {
        let last = entry(&fleet, "example__backtrack").await;
        if last["status"] == "refused" { Ok(()) } else { Err(last) }
    })
    .await;
    for (name, _, why) in hostile() {
        let entry = entry(&fleet, &format!("example__{name}")).await;
        assert_eq!(entry["status"], "refused", "{name}: {entry}");
        assert!(entry["reason"].as_str().unwrap().contains(why), "{name}: {entry}");
        let _unknown = client.call(&format!("example__{name}"), json!({})).await.is_refused("unknown_tool", -32602);
    }
    assert_eq!(client.call("example__good", json!({})).await.content(), "good");
}

#[tokio::test]
async fn names_that_trick_a_reader_reach_no_client_and_no_terminal_raw() {
    let names = [
        "esc\u{1b}[31m",
        "bidi\u{202e}txt",
        "zero\u{200b}width",
        "tag\u{e0041}",
        "nul\0",
        "new\nline",
        &"x".repeat(5000),
    ];
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let mut tools: Vec<String> = names.iter().map(|name| tool(name, "Tricks.").to_string()).collect();
    tools.push(tool("good", "Says \u{1b}[2J\u{202e}dlrow.").to_string());
    std::fs::write(fleet.folder().join("example.tools"), tools.join(",")).unwrap();
    let _told = client.call("example__misbehave", json!({ "how": "relist" })).await;
    until_listed(&client, "example__good", true).await;

    let listed = client.tools().await;
    let raw = |text: &str| text.chars().any(|c| c.is_control() && c != '\n' || "\u{202e}\u{200b}\u{e0041}".contains(c));
    assert!(!listed.iter().any(|name| raw(name) || name.contains('\n') || name.len() > 64), "{listed:?}");
    until("all of them are known as refused", async || {
        let all = fleet.ctl("tool list --output json").await.json();
        let refused = all.as_array().unwrap().iter().filter(|tool| tool["status"] == "refused").count();
        if refused == names.len() { Ok(()) } else { Err(all) }
    })
    .await;
    for line in ["tool list", "tool list --output json", "tool show example__good", "status"] {
        let ran = fleet.ctl(line).await.exits(0);
        assert!(!raw(&ran.stdout) && !raw(&ran.stderr), "{line}: {ran:?}");
    }
}

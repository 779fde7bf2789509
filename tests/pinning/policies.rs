//! `[pinning]`: what a first sight and a change are taken for.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

use super::{entry, relist, tool, until_known, until_listed, until_pinned};

#[tokio::test]
async fn with_first_use_hold_nothing_is_in_use_before_it_is_approved() {
    let fleet = Fleet::start(Setup::example().toml("[pinning]\nfirst_use = \"hold\"")).await;
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.tools().await, Vec::<String>::new());
    let _refused = client.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);
    until_known(&fleet, "example__echo", "quarantined").await;
    let shown = fleet.ctl("tool show example__echo").await.exits(0);
    let _shown = shown.says("seen first; it waits for approval").says("Nothing is pinned under this name");

    let _one = fleet.ctl("tool approve example__echo").await.exits(0);
    assert_eq!(client.tools().await, ["example__echo"]);
    let _all = fleet.ctl("tool approve example__*").await.exits(0);
    assert!(client.tools().await.len() > 5);
    assert_eq!(client.call("example__add", json!({ "a": 1, "b": 2 })).await.result()["structuredContent"]["sum"], 3);
}

#[tokio::test]
async fn with_on_change_warn_a_changed_tool_stays_in_use_and_is_told() {
    let fleet = Fleet::start(Setup::example().toml("[pinning]\non_change = \"warn\"")).await;
    let client = fleet.client("claude", "operator").await;
    relist(&fleet, "example", &[tool("read", "Reads a file.")], &client).await;
    until_listed(&client, "example__read", true).await;
    let _pin = until_pinned(&fleet, "example__read").await;
    relist(&fleet, "example", &[tool("read", "Reads two.")], &client).await;
    until_known(&fleet, "example__read", "changed").await;
    assert_eq!(entry(&fleet, "example__read").await["reason"], "definition changed");
    assert_eq!(client.call("example__read", json!({})).await.content(), "read");
    let shown = fleet.ctl("tool show example__read").await.exits(0);
    let _shown = shown.says("CHANGED on plane-0").says("+   \"description\": \"Reads two.\"");

    // From now on it is held: the pin is what was approved, not what came later.
    let stricter =
        std::fs::read_to_string(fleet.file()).unwrap().replace("on_change = \"warn\"", "on_change = \"hold\"");
    std::fs::write(fleet.file(), stricter).unwrap();
    let _reloaded = fleet.ctl("reload").await.exits(0);
    until_listed(&client, "example__read", false).await;
    let _approved = fleet.ctl("tool approve example__read").await.exits(0);
    assert!(client.tools().await.contains(&"example__read".to_owned()));
}

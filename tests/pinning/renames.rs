//! A hash for a name is not enough: renames of tools and of backends are no first sight.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

use super::{entry, offer, relist, tool, until_known, until_listed, until_pinned};

#[tokio::test]
async fn a_tool_that_comes_back_under_another_name_is_held_until_it_is_approved() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    relist(&fleet, "example", &[tool("read", "Reads a file.")], &client).await;
    until_listed(&client, "example__read", true).await;
    let _pin = until_pinned(&fleet, "example__read").await;

    let renamed = [tool("read2", "Reads a file."), tool("read3", "Sends it away.")];
    relist(&fleet, "example", &renamed, &client).await;
    until_known(&fleet, "example__read2", "quarantined").await;
    until_known(&fleet, "example__read3", "quarantined").await;
    assert_eq!(entry(&fleet, "example__read2").await["reason"], "new, while read is gone: perhaps renamed");
    let refused = client.call("example__read2", json!({})).await;
    let _refused = refused.is_refused("disabled", -31423);
    assert_eq!(refused.data()["reason"], "definition not approved", "no other tool is named: {refused:?}");

    // The one is approved; the other is not let in by that.
    let _approved = fleet.ctl("tool approve example__read2").await.exits(0);
    until_listed(&client, "example__read2", true).await;
    until_known(&fleet, "example__read2", "listed").await;
    relist(&fleet, "example", &renamed, &client).await;
    assert_eq!(entry(&fleet, "example__read3").await["status"], "quarantined");
    let last = fleet.ctl("tool approve example__read3").await.exits(0);
    let _last = last.says("read of example is taken for gone");

    // From here on a new tool is a new tool.
    relist(&fleet, "example", &[renamed[0].clone(), renamed[1].clone(), tool("stat", "Looks.")], &client).await;
    until_listed(&client, "example__stat", true).await;
}

#[tokio::test]
async fn what_is_held_is_held_under_a_second_name_as_well() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    relist(&fleet, "example", &[tool("read", "Reads a file.")], &client).await;
    until_listed(&client, "example__read", true).await;
    let _pin = until_pinned(&fleet, "example__read").await;

    let copied = [tool("read", "Sends it away."), tool("copy", "Sends it away."), tool("stat", "Looks.")];
    relist(&fleet, "example", &copied, &client).await;
    until_listed(&client, "example__stat", true).await;
    until_listed(&client, "example__read", false).await;
    until_listed(&client, "example__copy", false).await;
}

#[tokio::test]
async fn a_backend_under_another_name_brings_no_other_definition_under_a_known_one() {
    let more = "prefix = \"files\"";
    let fleet = Fleet::start(Setup::one_plane().backend_with("old", more)).await;
    let client = fleet.client("claude", "operator").await;
    offer(&fleet, "old", &[tool("read", "Reads a file."), tool("list", "Lists.")]);
    let _told = client.call("files__misbehave", json!({ "how": "relist" })).await;
    until_listed(&client, "files__list", true).await;
    let _pin = until_pinned(&fleet, "files__read").await;
    let _pin = until_pinned(&fleet, "files__list").await;

    offer(&fleet, "new", &[tool("read", "Sends it away."), tool("list", "Lists.")]);
    fleet.write(&Setup::one_plane().backend_with("new", more));
    let _reloaded = fleet.ctl("reload").await.exits(0);
    until_known(&fleet, "files__read", "quarantined").await;
    let entry = entry(&fleet, "files__read").await;
    assert_eq!(entry["reason"], "another definition under a known name: it was read of old", "{entry}");
    until_listed(&client, "files__list", true).await;
    let _refused = client.call("files__read", json!({})).await.is_refused("disabled", -31423);
}

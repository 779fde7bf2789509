//! Lists that change are told to those who may see the change, and to nobody else.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::json;

const ROLES: &str = "[roles.operator]\nallow = [\"*\"]\n\
    [roles.toolish]\nallow = [\"example__*\"]\n\
    [roles.reader]\nallow = [\"resource:*\"]\n";

#[tokio::test]
async fn a_new_resource_and_a_new_prompt_are_told_listed_and_served() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let mut notes = client.listen().await;

    assert_eq!(client.call("example__grow", json!({ "what": "resource" })).await.content(), "example://grown/1");
    assert_eq!(notes.next_json().await.unwrap()["method"], "notifications/resources/list_changed");
    let read = client.request("resources/read", json!({ "uri": "example://grown/1" })).await;
    assert_eq!(read.result()["contents"][0]["text"], "has grown");

    assert_eq!(client.call("example__grow", json!({ "what": "prompt" })).await.content(), "grown_1");
    assert_eq!(notes.next_json().await.unwrap()["method"], "notifications/prompts/list_changed");
    let got = client.request("prompts/get", json!({ "name": "example__grown_1" })).await;
    assert_eq!(got.result()["messages"][0]["content"]["text"], "grown_1");
}

#[tokio::test]
async fn a_change_is_told_to_those_who_may_see_it_alone() {
    let fleet = Fleet::start(Setup::example().roles(ROLES)).await;
    let operator = fleet.client("boss", "operator").await;
    let (reader, toolish) = (fleet.client("reader", "reader").await, fleet.client("toolish", "toolish").await);
    let (mut to_reader, mut to_toolish) = (reader.listen().await, toolish.listen().await);

    let _grows = operator.call("example__grow", json!({ "what": "resource" })).await;
    assert_eq!(to_reader.next_json().await.unwrap()["method"], "notifications/resources/list_changed");
    let _grows = operator.call("example__grow", json!({})).await;

    // The first that this one hears is of the tool: the resource was none of its business.
    assert_eq!(to_toolish.next_json().await.unwrap()["method"], "notifications/tools/list_changed");
    let _grows = operator.call("example__grow", json!({ "what": "resource" })).await;
    assert_eq!(to_reader.next_json().await.unwrap()["method"], "notifications/resources/list_changed");
}

#[tokio::test]
async fn a_reload_that_hides_a_resource_is_told_and_holds_at_once() {
    let fleet = Fleet::start(Setup::example().roles(ROLES)).await;
    let reader = fleet.client("reader", "reader").await;
    let mut notes = reader.listen().await;
    let read = json!({ "uri": "example://greeting" });
    assert!(reader.request("resources/read", read.clone()).await.message.get("result").is_some());

    let hiding = format!("{ROLES}deny = [\"resource:*greeting\"]\n");
    fleet.write(&fleet.setup().roles(&hiding));
    let reloaded = fleet.ctl("reload").await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");

    assert_eq!(notes.next_json().await.unwrap()["method"], "notifications/resources/list_changed");
    let _hidden = reader.request("resources/read", read).await.is_refused("unknown_resource", -32002);
    until("it is not listed any more", async || {
        let listed = reader.request("resources/list", json!({})).await;
        if listed.text.contains("greeting") { Err(listed) } else { Ok(()) }
    })
    .await;
}

//! Who is told of tasks of 2025-11-25, and who can ask for one.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use serde_json::{Value, json};

use super::{BACKENDS, REVISION, begun, call, client, fleet, of_task, setup, status};
use crate::schema::fits;
use sentinel_tests::harness::setup::tasks_http_example;

/// A client of another revision.
async fn older(fleet: &Fleet, revision: &str) -> (Client, Value) {
    let token = fleet.token("older", "operator").await;
    let mut client = Client::new(&fleet.planes[0].url(), &token);
    let said = client.initialize(revision).await.result()["capabilities"].clone();
    (client, said)
}

async fn tool(client: &Client, name: &str) -> Option<Value> {
    let listed = client.request("tools/list", json!({})).await;
    listed.result()["tools"].as_array().unwrap().iter().find(|tool| tool["name"] == name).cloned()
}

#[tokio::test]
async fn a_session_of_2025_11_25_is_told_of_tasks_and_of_what_tools_say_of_them() {
    let (_server, fleet) = fleet("").await;
    let (client, said) = older(&fleet, REVISION).await;
    assert_eq!(said["tasks"], json!({ "requests": { "tools": { "call": {} } }, "cancel": {} }));
    for backend in BACKENDS {
        let may = tool(&client, &format!("{backend}__chore")).await.unwrap();
        assert_eq!(may["execution"], json!({ "taskSupport": "optional", "com.example/kept": 1 }), "as it came");
        let must = tool(&client, &format!("{backend}__must")).await.unwrap();
        assert_eq!(must["execution"]["taskSupport"], "required");
        assert!(tool(&client, &format!("{backend}__echo")).await.unwrap().get("execution").is_none());
        let id = begun(&client, &format!("{backend}__must"), json!({})).await;
        assert_eq!(status(&client, &id).await, "completed");
    }
    let listed = client.request("tools/list", json!({})).await;
    fits(REVISION, "ListToolsResult", listed.result());
}

#[tokio::test]
async fn no_other_client_hears_of_tasks_and_none_of_its_calls_becomes_one() {
    let (server, fleet) = fleet("").await;
    let modern = fleet.modern_client("modern", "operator").await;
    let listed = modern.request("tools/list", json!({})).await.result()["tools"].clone();
    let is_shown = |name: &str| listed.as_array().unwrap().iter().any(|tool| tool["name"] == name);
    assert!(is_shown("web__chore") && !is_shown("web__must") && !listed.to_string().contains("execution"), "{listed}");
    assert!(modern.request("server/discover", json!({})).await.result()["capabilities"].get("tasks").is_none());
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18"] {
        let (client, said) = older(&fleet, revision).await;
        assert_eq!(said.get("tasks"), None, "{revision}");
        for backend in BACKENDS {
            assert!(tool(&client, &format!("{backend}__chore")).await.unwrap().get("execution").is_none());
            assert_eq!(tool(&client, &format!("{backend}__must")).await, None);
            assert_eq!(call(&client, &format!("{backend}__chore"), json!({})).await.content(), "{}");
            let refused = call(&client, &format!("{backend}__must"), json!({})).await;
            assert_eq!(refused.message["error"]["code"], -32601, "its server's own word: {refused:?}");
        }
        for what in ["get", "result", "list", "cancel"] {
            let _id = of_task(&client, what, "x").await.is_refused("method_not_found", -32601);
        }
    }
    assert_eq!(server.received().count("as_task"), 0);
}

#[tokio::test]
async fn a_tool_that_says_nothing_of_tasks_is_called_as_ever() {
    let (server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    let answered = call(&client, "web__echo", json!({ "text": "x" })).await;
    assert_eq!(answered.content(), "x");
    assert_eq!(server.received().count("as_task"), 0);
}

#[tokio::test]
async fn tasks_are_not_listed_whoever_asks() {
    let (server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    let _id = begun(&client, "web__chore", json!({})).await;
    let _refused = client.request("tasks/list", json!({})).await.is_refused("method_not_found", -32601);
    assert_eq!(server.received().events().iter().filter(|event| event["tool"] == "tasks/list").count(), 0);
}

#[tokio::test]
async fn who_sees_no_tool_of_such_a_server_has_no_tasks() {
    let roles = "[roles.operator]\nallow = [\"*\"]\n[roles.guest]\nallow = [\"example__echo\"]\n\
        deny = [\"own__*\", \"web__*\"]\n[roles.blind]\ndeny = [\"*\"]\n";
    let server = tasks_http_example();
    let fleet = Fleet::start(setup(&server, "").backend("example").roles(roles)).await;
    let token = fleet.token("blind", "blind").await;
    let mut client = Client::new(&fleet.planes[0].url(), &token);
    let said = client.initialize(REVISION).await.result()["capabilities"].clone();
    assert_eq!(said.get("tasks"), None);
    let _id = of_task(&client, "get", "x").await.is_refused("method_not_found", -32601);
}

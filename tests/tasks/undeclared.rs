//! Who can follow no task is given none, and who can is told where there are some.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::setup::{Setup, modern_http_example};
use serde_json::{Value, json};

use crate::{EXTENSION, begun, call, declaring, fleet, follows, get, setup};

async fn extensions(client: &ModernClient) -> Value {
    client.request("server/discover", json!({})).await.result()["capabilities"]["extensions"].clone()
}

#[tokio::test]
async fn the_extension_is_offered_where_a_backend_that_is_seen_has_it() {
    let roles = "[roles.operator]\nallow = [\"*\"]\n[roles.old]\nallow = [\"prompt:*\"]\n";
    let server = modern_http_example(false);
    let modern = Fleet::start(setup(&server, "").roles(roles)).await;
    let client = modern.modern_client("one", "operator").await;
    assert_eq!(extensions(&client).await, json!({ EXTENSION: {} }));
    let blind = modern.modern_client("one", "old").await;
    assert_eq!(extensions(&blind).await, Value::Null, "it sees no tool");
    let id = begun(&client, "web__job", json!({})).await;
    let refused = get(&blind, &id).await;
    let _id = refused.is_refused("method_not_found", -32601);
    assert_eq!(refused.status, 404);

    let legacy = Fleet::start(Setup::example()).await;
    let client = legacy.modern_client("one", "operator").await;
    assert_eq!(extensions(&client).await, Value::Null);
    let _id = get(&client, "t1.x").await.is_refused("method_not_found", -32601);
}

#[tokio::test]
async fn a_server_hears_of_the_extension_in_the_requests_of_clients_that_declare_it() {
    let (_server, fleet) = fleet("may_ask = []").await;
    let client = fleet.modern_client("one", "operator").await;
    for backend in ["pipe", "web"] {
        let tool = format!("{backend}__declared");
        let mut other = follows();
        other["extensions"]["com.example/other"] = json!({});
        for (declares, told) in [
            (other, json!({ "extensions": { EXTENSION: {} } })),
            (json!({}), json!({})),
            (json!({ "extensions": { EXTENSION: null } }), json!({})),
        ] {
            let said = declaring(&client, &declares, "tools/call", json!({ "name": tool, "arguments": {} })).await;
            assert_eq!(serde_json::from_str::<Value>(said.content()).unwrap(), told);
        }
    }
}

#[tokio::test]
async fn a_task_never_reaches_a_client_that_did_not_say_that_it_can_follow_one() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let old = fleet.client("old", "operator").await;
    for backend in ["pipe", "web"] {
        let params = json!({ "name": format!("{backend}__job"), "arguments": { "id": "own-3" } });
        for refused in [
            declaring(&client, &json!({ "elicitation": {} }), "tools/call", params.clone()).await,
            old.request("tools/call", params.clone()).await,
        ] {
            let _id = refused.is_refused("backend_error", -31502);
            assert!(refused.data()["what"].as_str().unwrap().contains("makes a task"), "{refused:?}");
            assert!(!refused.text.contains("own-3"));
        }
    }
}

#[tokio::test]
async fn requests_about_tasks_are_for_clients_that_declare_the_extension() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let id = begun(&client, "web__job", json!({})).await;
    for (method, params) in [
        ("tasks/get", json!({ "taskId": id })),
        ("tasks/update", json!({ "taskId": id, "inputResponses": {} })),
        ("tasks/cancel", json!({ "taskId": id })),
        ("subscriptions/listen", json!({ "notifications": { "taskIds": [id] } })),
    ] {
        let refused = client.request(method, params).await;
        let _id = refused.is_refused("missing_capability", -32021);
        assert_eq!(refused.status, 400);
        assert_eq!(refused.data()["requiredCapabilities"], json!({ "extensions": { EXTENSION: {} } }));
        crate::schema::is_a("MissingRequiredClientCapabilityError", &refused.message);
    }
    assert_eq!(server.received().events().iter().filter(|event| event["tool"] == "tasks/get").count(), 0);
    assert_eq!(get(&client, &id).await.result()["status"], "completed");
}

#[tokio::test]
async fn a_stream_grants_no_news_of_tasks_and_says_so_by_leaving_them_out() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let id = begun(&client, "web__job", json!({})).await;
    let mut params = json!({ "notifications": { "toolsListChanged": true, "taskIds": [id] } });
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = follows();
    let (status, _headers, mut messages) = client.open(&client.message("subscriptions/listen", params)).await;
    assert_eq!(status, 200);
    let granted = messages.next_json().await.unwrap();
    assert_eq!(granted["params"]["notifications"], json!({ "toolsListChanged": true }));
}

#[tokio::test]
async fn what_is_no_request_about_a_task_is_refused() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let id = begun(&client, "web__job", json!({})).await;
    for (method, params) in [
        ("tasks/get", json!({})),
        ("tasks/get", json!({ "taskId": 7 })),
        ("tasks/get", json!({ "taskId": id, "inputResponses": {} })),
        ("tasks/update", json!({ "taskId": id })),
        ("tasks/update", json!({ "taskId": id, "inputResponses": [] })),
        ("tasks/update", json!({ "taskId": id, "inputResponses": {}, "requestState": "s1.x" })),
    ] {
        let _id = declaring(&client, &follows(), method, params).await.is_refused("invalid_params", -32602);
    }
    for method in ["tasks/list", "tasks/result"] {
        let refused = declaring(&client, &follows(), method, json!({ "taskId": id })).await;
        let _id = refused.is_refused("method_not_found", -32601);
    }
    let mut message = client.message("tasks/get", json!({ "taskId": id }));
    message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = follows();
    for name in ["another", ""] {
        let refused = client.send_with(&message, &[("mcp-name", name)]).await;
        let _id = refused.is_refused("header_mismatch", -32020);
        assert_eq!(refused.status, 400);
    }
    let done = client.send(&message).await;
    assert_eq!(done.result()["status"], "completed");
    let ordinary = call(&client, "web__echo", json!({ "text": "x" })).await;
    assert_eq!((ordinary.content(), &ordinary.result()["resultType"]), ("x", &json!("complete")));
}

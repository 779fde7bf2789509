//! Where one end alone has tasks: tools that need them are not shown, and calls go without.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

fn tool(name: &str, support: &str) -> String {
    json!({ "name": name, "inputSchema": { "type": "object" }, "execution": { "taskSupport": support } }).to_string()
}

#[tokio::test]
async fn a_tool_that_must_be_a_task_of_a_server_without_tasks_is_shown_to_nobody_and_others_lose_the_word_of_it() {
    let fleet = Fleet::start(Setup::example().modern_backend("new", "")).await;
    let (old, new) = (fleet.client("old", "operator").await, fleet.modern_client("new", "operator").await);
    for backend in ["example", "new"] {
        let more = format!("{},{}", tool("must", "required"), tool("may", "optional"));
        std::fs::write(fleet.folder().join(format!("{backend}.tools")), more).unwrap();
        let _relisted = old.call(&format!("{backend}__misbehave"), json!({ "how": "relist" })).await;
    }
    until("both are listed anew", async || {
        let shown = new.tools().await;
        if shown.contains(&"example__may".into()) && shown.contains(&"new__may".into()) { Ok(()) } else { Err(shown) }
    })
    .await;

    for listed in [
        old.request("tools/list", json!({})).await.result()["tools"].clone(),
        new.request("tools/list", json!({})).await.result()["tools"].clone(),
    ] {
        let names: Vec<_> = listed.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
        assert!(!names.contains(&"example__must"), "{names:?}");
        assert!(names.contains(&"new__must"), "a modern server makes its own tasks: {names:?}");
        assert!(listed.as_array().unwrap().iter().all(|tool| tool.get("execution").is_none()), "{listed}");
    }
    let _id = old.call("example__must", json!({})).await.is_refused("unknown_tool", -32602);
    until("an operator is told why", async || {
        let listed = fleet.ctl("tool list --output json").await;
        if listed.stdout.contains("its server has none") { Ok(()) } else { Err(listed) }
    })
    .await;
}

#[tokio::test]
async fn a_legacy_client_that_wants_a_task_of_a_server_without_gets_its_answer_and_its_server_hears_of_none() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("old", "operator").await;
    let params = json!({ "name": "example__echo", "arguments": { "text": "x" }, "task": { "ttl": 60_000 } });
    let answered = client.request("tools/call", params).await;
    assert_eq!(answered.content(), "x");
    assert_eq!(answered.result().get("task"), None::<&Value>);
    for method in ["tasks/get", "tasks/result", "tasks/list", "tasks/cancel"] {
        let refused = client.request(method, json!({ "taskId": "t" })).await;
        let _id = refused.is_refused("method_not_found", -32601);
    }
}

//! Each request about a task has its row, which names the call that the task goes on with and what became of it.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::reply::Reply;
use serde_json::{Value, json};

use crate::{begun, call, cancel, fleet, form, get, update};

async fn row(fleet: &Fleet, reply: &Reply) -> Value {
    fleet.audit_rows(&reply.request_id()).await[0].clone()
}

fn detail(row: &Value) -> Value {
    row["detail"]["detail"]["task"].clone()
}

#[tokio::test]
async fn what_is_asked_of_a_task_is_recorded_beside_its_call() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let handle = call(&client, "web__job", json!({ "asks": { "a": form("Sure?") } })).await;
    let (first, id) = (handle.request_id(), handle.result()["taskId"].as_str().unwrap());
    let begun = row(&fleet, &handle).await;
    assert_eq!(
        (&begun["status"], &begun["method"], detail(&begun)),
        (&json!("ok"), &json!("tools/call"), json!("working"))
    );

    let secret = json!({ "a": { "action": "accept", "content": { "password": "hunter2" } } });
    for (reply, method, became) in [
        (get(&client, id).await, "tasks/get", json!("input_required")),
        (update(&client, id, secret).await, "tasks/update", Value::Null),
        (get(&client, id).await, "tasks/get", json!("completed")),
        (cancel(&client, id).await, "tasks/cancel", Value::Null),
    ] {
        let row = row(&fleet, &reply).await;
        assert_eq!((&row["status"], &row["method"], detail(&row)), (&json!("ok"), &json!(method), became), "{row}");
        assert_eq!((&row["tool"], &row["backend"], &row["client"]), (&json!("web__job"), &json!("web"), &json!("one")));
        assert_eq!(row["parent"], first.as_str());
        assert!(!row.to_string().contains("hunter2"), "what a person answered stays out: {row}");
    }
    let asked = fleet.ctl("audit list --limit 100 --output json").await;
    let rows: Vec<Value> = serde_json::from_str(&asked.stdout).unwrap();
    let question = rows.iter().find(|row| row["method"] == "elicitation/create").unwrap();
    assert_eq!((&question["status"], &question["tool"]), (&json!("input_required"), &json!("web__job")));
}

#[tokio::test]
async fn a_task_that_failed_is_a_tools_error_in_the_row_of_who_looked() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for (fails, became) in [("tool", "completed"), ("protocol", "failed")] {
        let id = begun(&client, "pipe__job", json!({ "fails": fails })).await;
        let look = get(&client, &id).await;
        assert_eq!(look.result()["status"], became);
        let row = row(&fleet, &look).await;
        assert_eq!((&row["status"], detail(&row)), (&json!("tool_error"), json!(became)));
    }
}

#[tokio::test]
async fn a_refusal_is_recorded_by_its_method_and_kind() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let unknown = row(&fleet, &get(&client, "forged").await).await;
    assert_eq!(
        (&unknown["method"], &unknown["status"], &unknown["kind"]),
        (&json!("tasks/get"), &json!("denied"), &json!("unknown_task"))
    );
    let undeclared = client.request("tasks/cancel", json!({ "taskId": "x" })).await;
    let undeclared = row(&fleet, &undeclared).await;
    assert_eq!((&undeclared["method"], &undeclared["kind"]), (&json!("tasks/cancel"), &json!("missing_capability")));
}

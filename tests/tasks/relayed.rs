//! What passes: the handle, what became of it, what it asks for, its end. Under an id of the client's own.

use sentinel_tests::harness::modern::with_meta;
use serde_json::{Value, json};

use crate::{EXTENSION, begun, call, cancel, declaring, fleet, follows, form, get, received, schema, update};

#[tokio::test]
async fn a_call_goes_on_as_a_task_and_its_client_sees_what_becomes_of_it() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for backend in ["pipe", "web"] {
        let handle = call(&client, &format!("{backend}__job"), json!({ "looks": 1, "id": "own-1" })).await;
        let told = handle.result();
        assert_eq!(
            (&told["resultType"], &told["status"], &told["ttlMs"]),
            (&json!("task"), &json!("working"), &Value::Null)
        );
        schema::is_a("JSONRPCResultResponse", &handle.message);
        let id = told["taskId"].as_str().unwrap();
        assert!(id.starts_with("t1.") && !handle.text.contains("own-1"), "{handle:?}");

        for (status, result) in [("working", Value::Null), ("completed", json!("{}"))] {
            let look = get(&client, id).await;
            schema::is_a("JSONRPCResultResponse", &look.message);
            let told = look.result();
            assert_eq!(
                (&told["resultType"], &told["status"], told["taskId"].as_str()),
                (&json!("complete"), &json!(status), Some(id))
            );
            assert_eq!((&told["result"]["content"][0]["text"], told["pollIntervalMs"].as_u64()), (&result, Some(100)));
            assert!(!look.text.contains("own-1"), "{look:?}");
        }
        let events = received(&server, &fleet, backend).events();
        let looks: Vec<_> = events.iter().filter(|event| event["tool"] == "tasks/get").collect();
        assert_eq!(looks.len(), 2);
        for look in looks {
            assert_eq!(look["arguments"]["taskId"], "own-1", "its server knows its own ids alone");
            let declared = &look["arguments"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
            assert!(declared["extensions"][EXTENSION].is_object(), "{declared}");
        }
    }
}

#[tokio::test]
async fn an_id_goes_to_its_server_as_it_was_whatever_it_is_made_of() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for (backend, own) in [("pipe", "é \"1\"\\\n"), ("web", "a \"1\"\\")] {
        let id = begun(&client, &format!("{backend}__job"), json!({ "id": own })).await;
        assert_eq!(get(&client, &id).await.result()["status"], "completed");
        let events = received(&server, &fleet, backend).events();
        let look = events.iter().find(|event| event["tool"] == "tasks/get").unwrap();
        assert_eq!(look["arguments"]["taskId"], own);
    }
}

#[tokio::test]
async fn what_a_task_asks_for_reaches_its_client_and_the_answers_the_task() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for backend in ["pipe", "web"] {
        let asks = json!({ "a": form("First?"), "b": form("Second?") });
        let id = begun(&client, &format!("{backend}__job"), json!({ "asks": asks })).await;
        let asked = get(&client, &id).await;
        assert_eq!(asked.result()["status"], "input_required");
        let requests = &asked.result()["inputRequests"];
        assert_eq!(requests["a"]["method"], "elicitation/create");
        assert_eq!(requests["a"]["params"]["message"], format!("[{backend}] First?"), "whoever is asked sees who asks");
        assert_eq!(requests["b"]["params"]["requestedSchema"], asks["b"]["params"]["requestedSchema"]);

        let first = json!({ "a": { "action": "accept", "content": { "sure": true } }, "nobody": { "asked": "this" } });
        let taken = update(&client, &id, first.clone()).await;
        assert_eq!(taken.result()["resultType"], "complete");
        assert!(taken.result().get("taskId").is_none() && taken.result().get("status").is_none(), "{taken:?}");
        let again = get(&client, &id).await;
        let left: Vec<_> = again.result()["inputRequests"].as_object().unwrap().keys().collect();
        assert_eq!(left, ["b"]);

        let _taken = update(&client, &id, json!({ "b": { "action": "decline" } })).await;
        let done = get(&client, &id).await;
        assert_eq!(done.result()["status"], "completed");
        let said: Value =
            serde_json::from_str(done.result()["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!((&said["a"], &said["b"]), (&first["a"], &json!({ "action": "decline" })));
        let events = received(&server, &fleet, backend).events();
        let updates: Vec<_> = events.iter().filter(|event| event["tool"] == "tasks/update").collect();
        assert_eq!(updates[0]["arguments"]["inputResponses"], first, "as they came");
    }
}

#[tokio::test]
async fn a_task_may_ask_what_its_server_may_ask_and_its_client_declares_and_no_more() {
    let (_server, fleet) = fleet("may_ask = [\"elicitation\"]").await;
    let client = fleet.modern_client("one", "operator").await;
    let sample = json!({ "method": "sampling/createMessage", "params": { "messages": [], "maxTokens": 1 } });
    let url = |url: &str| {
        let params = json!({ "mode": "url", "message": "m", "url": url });
        json!({ "method": "elicitation/create", "params": params })
    };
    let mut declares = follows();
    declares["elicitation"] = json!({ "form": {}, "url": {} });
    declares["sampling"] = json!({});
    for backend in ["pipe", "web"] {
        let tool = format!("{backend}__job");
        let both = begun(&client, &tool, json!({ "asks": { "a": sample, "b": form("Sure?") } })).await;
        let asked = declaring(&client, &declares, "tasks/get", json!({ "taskId": both })).await;
        let put: Vec<_> = asked.result()["inputRequests"].as_object().unwrap().keys().collect();
        assert_eq!(put, ["b"], "what may be put is put");

        let forms = follows();
        for (question, declares, why) in [
            (sample.clone(), &declares, "forbidden"),
            (url("javascript:alert(1)"), &declares, "invalid_params"),
            (url("https://example.com/"), &forms, "not_declared"),
            (json!({ "method": "tools/call" }), &declares, "what no client can be asked"),
        ] {
            let id = begun(&client, &tool, json!({ "asks": { "a": question } })).await;
            let refused = declaring(&client, declares, "tasks/get", json!({ "taskId": id })).await;
            let _id = refused.is_refused("backend_error", -31502);
            assert!(refused.data()["what"].as_str().unwrap().contains(why), "{why}: {refused:?}");
            assert_eq!(cancel(&client, &id).await.result()["resultType"], "complete", "it can still be taken back");
        }
    }
}

#[tokio::test]
async fn a_task_is_taken_back_and_what_its_server_says_to_that_stays_here() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for backend in ["pipe", "web"] {
        let id = begun(&client, &format!("{backend}__job"), json!({ "looks": 1_000 })).await;
        for _ in 0..2 {
            let taken = cancel(&client, &id).await;
            schema::is_a("JSONRPCResultResponse", &taken.message);
            let members: Vec<_> = taken.result().as_object().unwrap().keys().collect();
            assert_eq!(members, ["_meta", "resultType"]);
        }
        assert_eq!(get(&client, &id).await.result()["status"], "cancelled");
    }
}

#[tokio::test]
async fn a_result_larger_than_what_is_streamed_on_arrives_whole_and_under_the_clients_id() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for backend in ["pipe", "web"] {
        let id = begun(&client, &format!("{backend}__job"), json!({ "bytes": 3_000_000, "id": "own-2" })).await;
        let done = get(&client, &id).await;
        assert_eq!(done.result()["taskId"], id.as_str());
        assert!(done.result()["result"]["content"][0]["text"].as_str().unwrap().len() > 3_000_000);
        assert!(!done.text.contains("own-2"));
    }
}

#[tokio::test]
async fn no_state_and_no_question_comes_with_a_handle_and_everything_else_does() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let says = json!({ "requestState": "s", "inputRequests": { "a": form("now?") }, "com.example/x": [1] });
    for backend in ["pipe", "web"] {
        let handle = call(&client, &format!("{backend}__job"), json!({ "says": says })).await;
        let told = handle.result();
        assert!(told.get("requestState").is_none() && told.get("inputRequests").is_none(), "{told}");
        assert_eq!(told["com.example/x"], json!([1]));
        let look = get(&client, told["taskId"].as_str().unwrap()).await;
        assert!(look.result().get("requestState").is_none());
        assert_eq!(
            look.result()["inputRequests"]["a"]["params"]["message"],
            format!("[{backend}] now?"),
            "judged there"
        );
    }
}

#[tokio::test]
async fn a_task_that_has_no_good_id_is_the_servers_fault() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for backend in ["pipe", "web"] {
        let tool = format!("{backend}__job");
        for arguments in [json!({ "says": { "taskId": 7 } }), json!({ "id": "x".repeat(1_025) }), json!({ "id": "" })] {
            let _id = call(&client, &tool, arguments).await.is_refused("backend_error", -31502);
        }
        let longest = begun(&client, &tool, json!({ "id": "x".repeat(1_024) })).await;
        assert_eq!(get(&client, &longest).await.result()["status"], "completed");
    }
}

#[tokio::test]
async fn tasks_are_followed_over_stdio_as_over_http() {
    let (_server, fleet) = fleet("").await;
    let mut client = fleet.stdio_client("attached", "operator").await;
    let mut ask = async |method: &str, mut params: Value| {
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = follows();
        client.request(method, with_meta(params)).await
    };
    let arguments = json!({ "asks": { "a": form("Sure?") } });
    let handle = ask("tools/call", json!({ "name": "web__job", "arguments": arguments })).await;
    let id = handle.result()["taskId"].clone();
    let asked = ask("tasks/get", json!({ "taskId": id })).await;
    assert_eq!(asked.result()["inputRequests"]["a"]["params"]["message"], "[web] Sure?");
    let _taken = ask("tasks/update", json!({ "taskId": id, "inputResponses": { "a": { "action": "cancel" } } })).await;
    assert_eq!(ask("tasks/get", json!({ "taskId": id })).await.result()["status"], "completed");
}

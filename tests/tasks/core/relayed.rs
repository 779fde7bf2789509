//! What passes: the handle, what became of it, its answer and what is asked before that. Under an id of the client's own.

use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use super::{BACKENDS, RELATED, REVISION, awaiting, begun, call, client, fleet, of_task, received, status};
use crate::form;
use crate::schema::fits;

#[tokio::test]
async fn a_call_that_asks_for_it_goes_on_as_a_task_to_its_answer() {
    let (server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    for backend in BACKENDS {
        let handle = call(&client, &format!("{backend}__chore"), json!({ "looks": 2, "id": "own-1" })).await;
        fits(REVISION, "CreateTaskResult", handle.result());
        let told = &handle.result()["task"];
        assert_eq!(
            (&told["status"], &told["ttl"], &told["pollInterval"]),
            (&json!("working"), &Value::Null, &json!(100))
        );
        assert_eq!(handle.result()["_meta"], json!({ "com.example/kept": 1 }));
        let id = told["taskId"].as_str().unwrap();
        assert!(id.starts_with("c1.") && !handle.text.contains("own-1"), "{handle:?}");

        for became in ["working", "completed"] {
            let look = of_task(&client, "get", id).await;
            fits(REVISION, "GetTaskResult", look.result());
            assert_eq!((&look.result()["status"], look.result()["taskId"].as_str()), (&json!(became), Some(id)));
            assert!(!look.text.contains("own-1"), "{look:?}");
        }
        let done = of_task(&client, "result", id).await;
        fits(REVISION, "CallToolResult", done.result());
        assert_eq!(done.content(), "{}");
        assert_eq!(done.result()["_meta"], json!({ RELATED: { "taskId": id }, "com.example/kept": 1 }));

        let events = received(&server, &fleet, backend).events();
        let asked: Vec<_> = events.iter().filter(|event| event["event"] == "as_task").collect();
        assert_eq!((asked.len(), &asked[0]["arguments"]), (1, &json!({ "ttl": 60_000 })), "as it came");
        let about: Vec<_> = events.iter().filter(|event| event["event"] == "task").collect();
        assert_eq!(about.len(), 3);
        assert!(about.iter().all(|event| event["arguments"] == json!({ "taskId": "own-1" })), "{about:?}");
    }
}

#[tokio::test]
async fn an_id_goes_to_its_server_as_it_was_whatever_it_is_made_of() {
    let (server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    for backend in BACKENDS {
        let own = "\u{e9} \"1\"\\\n";
        let id = begun(&client, &format!("{backend}__chore"), json!({ "id": own })).await;
        let done = of_task(&client, "result", &id).await;
        assert_eq!(done.result()["_meta"][RELATED]["taskId"], id.as_str());
        let events = received(&server, &fleet, backend).events();
        let asked = events.iter().find(|event| event["tool"] == "tasks/result").unwrap();
        assert_eq!(asked["arguments"]["taskId"], own);
    }
}

#[tokio::test]
async fn what_a_task_asks_comes_on_the_stream_of_its_result_and_the_answers_reach_it() {
    let (_server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    for backend in BACKENDS {
        let arguments = json!({ "asks": { "a": form("First?"), "b": form("Second?") }, "notes": true, "id": "own-2" });
        let id = begun(&client, &format!("{backend}__chore"), arguments).await;
        assert_eq!(status(&client, &id).await, "input_required");
        let mut messages = awaiting(&client, &id).await;
        let (mut asked, mut notes) = (Vec::new(), Vec::new());
        let done = loop {
            let message = messages.next_json().await.unwrap();
            assert!(message["method"].is_null() || !message.to_string().contains("own-2"), "{message}");
            match message["method"].as_str() {
                Some("elicitation/create") => {
                    assert_eq!(message["params"]["_meta"], json!({ RELATED: { "taskId": id } }));
                    asked.push(message["params"]["message"].as_str().unwrap().to_owned());
                    let said =
                        json!({ "action": "accept", "content": { "sure": true }, "_meta": message["params"]["_meta"] });
                    let _taken = client.respond(&message["id"], said).await;
                }
                Some(_) => notes.push(message),
                None => break message,
            }
        };
        assert_eq!(asked, [format!("[{backend}] First?"), format!("[{backend}] Second?")]);
        let said: Value = serde_json::from_str(done["result"]["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(said["a"]["result"]["content"], json!({ "sure": true }));
        assert_eq!(said["a"]["result"]["_meta"], json!({ RELATED: { "taskId": "own-2" } }), "as its server calls it");
        for note in &notes {
            assert_eq!(note["params"]["_meta"], json!({ RELATED: { "taskId": id } }), "{note}");
        }
        assert_eq!(status(&client, &id).await, "completed");
    }
}

#[tokio::test]
async fn a_question_goes_to_the_call_that_waits_for_its_task_whatever_else_runs() {
    let (server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    let id = begun(&client, "own__chore", json!({ "looks": 1, "asks": { "a": form("Sure?") } })).await;
    let reached = async |tool: &str| {
        until("its server has it", async || {
            let events = received(&server, &fleet, "own").events();
            if events.iter().any(|event| event["tool"] == tool) { Ok(()) } else { Err(events) }
        })
        .await;
    };
    let waits = async { awaiting(&client, &id).await.next_json().await.unwrap() };
    let newer = client.call("own__slow", json!({ "ms": 600_000 }));
    let asked = async {
        reached("tasks/result").await;
        tokio::select! {
            answered = newer => panic!("{answered:?}"),
            () = reached("slow") => {}
        }
        assert_eq!(status(&client, &id).await, "input_required");
    };
    let (question, ()) = tokio::join!(waits, asked);
    assert_eq!(question["params"]["_meta"][RELATED]["taskId"], id.as_str());
}

#[tokio::test]
async fn what_a_server_says_of_a_task_unasked_is_told_to_the_session_that_asked_for_it_alone() {
    let (_server, fleet) = fleet("").await;
    let (mine, other) = (client(&fleet, "one").await, client(&fleet, "two").await);
    let (mut notes, mut others) = (mine.listen().await, other.listen().await);
    for backend in BACKENDS {
        let tool = format!("{backend}__chore");
        let id = begun(&mine, &tool, json!({ "looks": 9, "tells": true, "id": "own-5" })).await;
        let theirs = begun(&other, &tool, json!({ "looks": 9, "tells": true, "id": "own-6" })).await;
        for (client, notes, id) in [(&mine, &mut notes, &id), (&other, &mut others, &theirs)] {
            for _ in 0..2 {
                assert_eq!(status(client, id).await, "working");
                let note = notes.next_json().await.unwrap();
                fits(REVISION, "TaskStatusNotification", &note);
                assert_eq!(
                    (note["params"]["taskId"].as_str(), &note["params"]["status"]),
                    (Some(&**id), &json!("working"))
                );
                assert!(!note.to_string().contains("own-"), "{note}");
            }
        }
    }
}

#[tokio::test]
async fn a_task_is_taken_back_and_says_so_under_the_clients_id() {
    let (_server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    for backend in BACKENDS {
        let id = begun(&client, &format!("{backend}__chore"), json!({ "looks": 1_000 })).await;
        let taken = of_task(&client, "cancel", &id).await;
        fits(REVISION, "CancelTaskResult", taken.result());
        assert_eq!((&taken.result()["status"], taken.result()["taskId"].as_str()), (&json!("cancelled"), Some(&*id)));
        assert_eq!(status(&client, &id).await, "cancelled");
    }
}

#[tokio::test]
async fn a_result_larger_than_what_is_streamed_on_arrives_whole_and_under_the_clients_id() {
    let (_server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    for backend in BACKENDS {
        let id = begun(&client, &format!("{backend}__chore"), json!({ "bytes": 3_000_000, "id": "own-3" })).await;
        let done = of_task(&client, "result", &id).await;
        assert!(done.content().len() > 3_000_000);
        assert_eq!(done.result()["_meta"][RELATED]["taskId"], id.as_str());
        assert!(!done.text.contains("own-3"));
    }
}

#[tokio::test]
async fn a_server_that_answers_plainly_what_could_have_been_a_task_is_heard_as_it_is() {
    let (_server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    for backend in BACKENDS {
        for bytes in [0, 300_000] {
            let answered =
                call(&client, &format!("{backend}__chore"), json!({ "answers": "plainly", "bytes": bytes })).await;
            assert_eq!(answered.content().len(), 2 + bytes);
        }
    }
}

#[tokio::test]
async fn a_task_that_nobody_asked_for_is_the_servers_fault() {
    let (_server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    for backend in BACKENDS {
        let refused = client.call(&format!("{backend}__chore"), json!({ "answers": "unasked", "id": "own-4" })).await;
        let _id = refused.is_refused("backend_error", -31502);
        assert!(!refused.text.contains("own-4"), "{refused:?}");
        for broken in [json!({ "says": { "taskId": 7 } }), json!({ "id": "x".repeat(1_025) }), json!({ "id": "" })] {
            let _id = call(&client, &format!("{backend}__chore"), broken).await.is_refused("backend_error", -31502);
        }
    }
}

#[tokio::test]
async fn an_error_of_a_task_passes_as_it_came() {
    let (_server, fleet) = fleet("").await;
    let client = client(&fleet, "one").await;
    for backend in BACKENDS {
        let id = begun(&client, &format!("{backend}__chore"), json!({ "fails": "protocol" })).await;
        assert_eq!(status(&client, &id).await, "failed");
        let broke = of_task(&client, "result", &id).await;
        assert_eq!(broke.message["error"], json!({ "code": -32603, "message": "it broke" }));
        let failed = begun(&client, &format!("{backend}__chore"), json!({ "fails": "tool" })).await;
        assert_eq!(of_task(&client, "result", &failed).await.result()["isError"], true);
    }
}

#[tokio::test]
async fn tasks_are_followed_over_stdio_as_over_http() {
    let (_server, fleet) = fleet("").await;
    let mut client = fleet.stdio_client("attached", "operator").await;
    let opened = client.initialize().await;
    assert!(opened.result()["capabilities"]["tasks"]["requests"]["tools"]["call"].is_object(), "{opened:?}");
    for backend in BACKENDS {
        let params = json!({ "name": format!("{backend}__must"), "arguments": { "id": "own-7" }, "task": {} });
        let handle = client.request("tools/call", params).await;
        fits(REVISION, "CreateTaskResult", handle.result());
        let id = json!({ "taskId": handle.result()["task"]["taskId"] });
        assert_eq!(client.request("tasks/get", id.clone()).await.result()["status"], "completed");
        let done = client.request("tasks/result", id.clone()).await;
        assert_eq!((done.content(), &done.result()["_meta"][RELATED]), ("{}", &id));
    }
}

//! A modern client and a modern server: what the server asks for is the client's answer, and the retry goes to it.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::{HttpExample, Setup, modern_http_example};
use serde_json::{Value, json};

use crate::{all, answers, call, next, question, rows, said};

/// The same server as `pipe` over stdio and as `web` over HTTP.
async fn fleet(more: &str) -> (HttpExample, Fleet) {
    let server = modern_http_example(false);
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n{more}\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().modern_backend("pipe", more).toml(&web)).await;
    (server, fleet)
}

#[tokio::test]
async fn each_question_reaches_the_client_and_its_answer_the_server() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for backend in ["pipe", "web"] {
        for (tool, arguments, method, answer) in answers() {
            let tool = format!("{backend}__{tool}");
            let asked = call(&client, &tool, &arguments, &all(), Value::Null).await;
            let (key, asks, params) = question(&asked);
            assert_eq!((asked.status, &*key, &*asks), (200, "q \"1\"", method));
            if method == "elicitation/create" {
                let message = arguments["message"].as_str().unwrap_or("Sure?");
                assert_eq!(params["message"], format!("[{backend}] {message}"), "whoever is asked sees who asks");
                assert_eq!(params["url"], arguments["url"]);
            }
            let state = asked.result()["requestState"].as_str().unwrap();
            assert!(state.starts_with("s1.") && !state.contains(tool.as_str()), "{state}");

            let responses = json!({ key: answer });
            let done = call(&client, &tool, &arguments, &all(), next(&asked, &responses)).await;
            assert_eq!(done.result()["resultType"], "complete");
            assert_eq!(said(&done.message), responses, "{tool}");
        }
    }
}

#[tokio::test]
async fn each_round_is_a_row_that_names_the_first_and_so_is_each_question() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let arguments = json!({ "rounds": 3 });
    let mut asked = call(&client, "web__elicit", &arguments, &all(), Value::Null).await;
    let first = asked.request_id();
    let mut states = Vec::new();
    for round in 1..=3 {
        let (key, _, _) = question(&asked);
        assert_eq!(key, format!("q \"{round}\""));
        states.push(asked.result()["requestState"].clone());
        let responses = json!({ key: { "action": "accept", "content": { "round": round } } });
        asked = call(&client, "web__elicit", &arguments, &all(), next(&asked, &responses)).await;
    }
    assert_eq!(said(&asked.message)["q \"3\""]["content"]["round"], 3);
    assert!(states[0] != states[1] && states[1] != states[2]);

    let calls = rows(&fleet, "tools/call", 4).await;
    let statuses: Vec<_> = calls.iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["input_required", "input_required", "input_required", "ok"]);
    assert_eq!(calls[0]["request_id"], first);
    assert!(calls[0]["parent"] == "" && calls[1..].iter().all(|row| row["parent"] == first), "{calls:?}");
    let questions = rows(&fleet, "elicitation/create", 3).await;
    for (question, of) in questions.iter().zip(&calls) {
        assert_eq!((&question["status"], &question["client"]), (&json!("input_required"), &json!("one")), "{question}");
        assert_eq!((&question["backend"], &question["tool"]), (&json!("web"), &json!("web__elicit")));
        assert_eq!(question["parent"], of["request_id"]);
        assert_eq!(question["arguments"]["message"], "Sure?", "what was asked is kept");
    }
}

#[tokio::test]
async fn a_server_is_told_what_the_client_declares_and_may_ask_no_more() {
    let (_server, fleet) = fleet("may_ask = [\"elicitation\", \"roots\"]").await;
    let client = fleet.modern_client("one", "operator").await;
    for backend in ["pipe", "web"] {
        let tool = |tool: &str| format!("{backend}__{tool}");
        let declared = call(&client, &tool("declared"), &json!({}), &all(), Value::Null).await;
        assert_eq!(said(&declared.message), json!({ "elicitation": { "form": {}, "url": {} }, "roots": {} }));
        let forms = json!({ "elicitation": {} });
        let declared = call(&client, &tool("declared"), &json!({}), &forms, Value::Null).await;
        assert_eq!(said(&declared.message), forms);

        // Of three questions, those that may be put.
        let asked = call(&client, &tool("all"), &json!({}), &all(), Value::Null).await;
        let keys: Vec<_> = asked.result()["inputRequests"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["form", "roots"]);

        for (name, arguments, declares, why) in [
            ("sample", json!({}), all(), "forbidden"),
            ("roots", json!({}), forms.clone(), "not_declared"),
            ("elicit", json!({ "url": "https://example.com/" }), forms.clone(), "not_declared"),
            ("elicit", json!({ "url": "javascript:alert(1)" }), all(), "invalid_params"),
            ("elicit", json!({}), json!({}), "not_declared"),
        ] {
            let refused = call(&client, &tool(name), &arguments, &declares, Value::Null).await;
            let _id = refused.is_refused("backend_error", -31502);
            let what = refused.data()["what"].as_str().unwrap();
            assert!(what.contains(why), "{name}: {what}");
        }
    }
    let denied = rows(&fleet, "sampling/createMessage", 4).await;
    assert!(denied.iter().all(|row| row["status"] == "denied" && row["kind"] == "forbidden"), "{denied:?}");
}

#[tokio::test]
async fn what_is_asked_at_once_is_answered_at_once_and_what_is_missing_is_asked_again() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let asked = call(&client, "web__all", &json!({}), &all(), Value::Null).await;
    assert_eq!(asked.result()["inputRequests"].as_object().unwrap().len(), 3);
    let again = call(&client, "web__all", &json!({}), &all(), next(&asked, &json!({ "other": {} }))).await;
    assert_eq!(again.result()["resultType"], "input_required");
    let responses = json!({ "form": { "action": "decline" }, "model": { "role": "assistant" }, "roots": { "roots": [] }, "more": {} });
    let done = call(&client, "web__all", &json!({}), &all(), next(&again, &responses)).await;
    assert_eq!(said(&done.message), responses, "as they came, with what nobody asked for");
}

#[tokio::test]
async fn a_server_without_a_state_gets_none_and_one_with_nothing_but_a_state_gets_it_back() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let arguments = json!({ "stateless": true });
    let asked = call(&client, "web__elicit", &arguments, &all(), Value::Null).await;
    assert!(asked.result().get("requestState").is_none(), "{asked:?}");
    let (key, _, _) = question(&asked);
    let responses = json!({ key: { "action": "accept" } });
    let done = call(&client, "web__elicit", &arguments, &all(), next(&asked, &responses)).await;
    assert_eq!(said(&done.message), responses);
    let events = server.received().events();
    let calls: Vec<_> =
        events.iter().filter(|event| event["event"] == "modern" && event["tool"] == "tools/call").collect();
    assert!(calls.iter().all(|event| event["arguments"].get("requestState").is_none()), "{calls:?}");

    let mut asked = call(&client, "web__again", &json!({ "rounds": 3 }), &all(), Value::Null).await;
    for _ in 0..3 {
        assert_eq!(asked.result()["resultType"], "input_required");
        assert!(asked.result().get("inputRequests").is_none(), "{asked:?}");
        let state = json!({ "requestState": asked.result()["requestState"] });
        asked = call(&client, "web__again", &json!({ "rounds": 3 }), &all(), state).await;
    }
    assert_eq!(asked.result()["resultType"], "complete");
}

#[tokio::test]
async fn a_question_larger_than_what_is_streamed_on_arrives_whole() {
    let (_server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let arguments = json!({ "bytes": 300_000 });
    for backend in ["pipe", "web"] {
        let asked = call(&client, &format!("{backend}__elicit"), &arguments, &all(), Value::Null).await;
        let (_, _, params) = question(&asked);
        assert!(params["message"].as_str().unwrap().len() > 300_000);
    }
}

#[tokio::test]
async fn a_kill_between_two_rounds_refuses_the_second() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let asked = call(&client, "web__elicit", &json!({}), &all(), Value::Null).await;
    let (key, _, _) = question(&asked);
    let retry = next(&asked, &json!({ key: { "action": "accept" } }));
    let _killed = fleet.ctl("kill-switch tool web__elicit --reason test").await.exits(0);
    let refused = call(&client, "web__elicit", &json!({}), &all(), retry.clone()).await;
    let _id = refused.is_refused("disabled", -31423);
    let calls = || server.received().events().iter().filter(|event| event["event"] == "call").count();
    assert_eq!(calls(), 1);
    let _lifted = fleet.ctl("kill-switch tool web__elicit --lift").await.exits(0);
    let done = call(&client, "web__elicit", &json!({}), &all(), retry).await;
    assert_eq!((done.result()["resultType"].as_str(), calls()), (Some("complete"), 2));
}

//! A legacy client and a modern server: what the server asks for becomes requests to the client, and its answers go with
//! the call again.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::{HttpExample, Setup, modern_http_example};
use sentinel_tests::harness::sse::Messages;
use sentinel_tests::harness::stdio_client::StdioClient;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use crate::{all, answers, rows, said};

/// The same server as `pipe` over stdio and as `web` over HTTP.
async fn fleet(more: &str) -> (HttpExample, Fleet) {
    let server = modern_http_example(false);
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n{more}\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().modern_backend("pipe", more).toml(&web)).await;
    (server, fleet)
}

async fn able(fleet: &Fleet, name: &str, capabilities: Value) -> Client {
    Client::able(&fleet.planes[0].url(), &fleet.token(name, "operator").await, capabilities).await
}

/// The next request of the server, or its last word.
async fn heard(messages: &mut Messages) -> Value {
    loop {
        let message = messages.next_json().await.expect("the answer ended without a last word");
        if message.get("id").is_some() {
            return message;
        }
    }
}

#[tokio::test]
async fn each_question_is_a_request_on_the_calls_stream_and_its_answer_reaches_the_server() {
    let (_server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    for backend in ["pipe", "web"] {
        assert_eq!(said(&client.call(&format!("{backend}__declared"), json!({})).await.message), all());
        for (tool, arguments, method, answer) in answers() {
            let mut messages = client.calling(&format!("{backend}__{tool}"), arguments.clone()).await;
            let asked = heard(&mut messages).await;
            assert_eq!(asked["method"], method);
            if method == "elicitation/create" {
                assert!(asked["params"]["message"].as_str().unwrap().starts_with(&format!("[{backend}] ")));
                let has_id = asked["params"]["elicitationId"].is_string();
                assert_eq!(has_id, arguments.get("url").is_some(), "this revision knows a URL by an id");
            }
            assert_eq!(client.respond(&asked["id"], answer.clone()).await.status, 202);
            let done = heard(&mut messages).await;
            assert_eq!(said(&done), json!({ "q \"1\"": answer }), "{backend} {tool}");
            assert!(done["result"].get("resultType").is_none());
        }
    }
    let questions = rows(&fleet, "elicitation/create", 4).await;
    let calls = rows(&fleet, "tools/call", 10).await;
    assert!(questions.iter().all(|row| row["status"] == "ok" && row["detail"]["detail"]["action"] == "accept"));
    assert!(questions.iter().all(|row| calls.iter().any(|call| call["request_id"] == row["parent"])));
    assert!(calls.iter().all(|row| row["status"] == "ok"), "a row a call, however many rounds: {calls:?}");
}

#[tokio::test]
async fn all_that_is_asked_at_once_is_put_at_once_in_any_order_of_answers() {
    let (_server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    let mut messages = client.calling("web__all", json!({})).await;
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(heard(&mut messages).await);
    }
    for one in asked.iter().rev() {
        client.respond(&one["id"], json!({ "to": one["method"] })).await;
    }
    let done = said(&heard(&mut messages).await);
    let wanted = json!({
        "form": { "to": "elicitation/create" }, "model": { "to": "sampling/createMessage" }, "roots": { "to": "roots/list" },
    });
    assert_eq!(done, wanted);
}

#[tokio::test]
async fn rounds_go_on_until_the_tenth_and_no_further() {
    let (server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    for (rounds, is_done) in [(10, true), (11, false)] {
        let mut messages = client.calling("web__elicit", json!({ "rounds": rounds })).await;
        let mut count = 0;
        let last = loop {
            let message = heard(&mut messages).await;
            if message.get("method").is_none() {
                break message;
            }
            count += 1;
            client.respond(&message["id"], json!({ "action": "accept", "content": { "n": count } })).await;
        };
        assert_eq!((count, last.get("result").is_some()), (10, is_done), "{last}");
        if !is_done {
            assert_eq!(last["error"]["data"]["kind"], "backend_error");
        }
    }
    assert_eq!(server.received().count("call"), 11 + 11);
}

#[tokio::test]
async fn a_person_who_does_not_answer_cancels_and_a_model_that_is_refused_ends_the_call() {
    let (server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    let refuse =
        |id: &Value| json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -1, "message": "no" } }).to_string();
    let mut messages = client.calling("web__elicit", json!({})).await;
    let asked = heard(&mut messages).await;
    client.send(&refuse(&asked["id"])).await;
    assert_eq!(said(&heard(&mut messages).await), json!({ "q \"1\"": { "action": "cancel" } }));

    for tool in ["sample", "roots"] {
        let before = server.received().count("call");
        let mut messages = client.calling(&format!("web__{tool}"), json!({})).await;
        let asked = heard(&mut messages).await;
        client.send(&refuse(&asked["id"])).await;
        let done = heard(&mut messages).await;
        assert_eq!(done["result"]["isError"], true, "{done}");
        let text = done["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("web needed ") && text.contains("refused"), "{text}");
        assert_eq!(server.received().count("call"), before + 1, "nothing more was sent");
    }
}

#[tokio::test]
async fn a_client_is_asked_only_what_it_declared_and_the_policy_allows() {
    let (_server, fleet) = fleet("may_ask = [\"roots\"]").await;
    let client = able(&fleet, "one", all()).await;
    assert_eq!(said(&client.call("web__declared", json!({})).await.message), json!({ "roots": {} }));
    // It asks all the same.
    assert_eq!(said(&client.call("web__elicit", json!({})).await.message)["q \"1\""]["action"], "cancel");
    let refused = client.call("web__sample", json!({})).await;
    assert_eq!(refused.result()["isError"], true, "{refused:?}");
    let plain = able(&fleet, "plain", json!({})).await;
    let refused = plain.call("web__roots", json!({})).await;
    assert!(refused.content().contains("not_declared"), "{refused:?}");
    let denied = rows(&fleet, "sampling/createMessage", 1).await;
    assert_eq!((&denied[0]["status"], &denied[0]["kind"]), (&json!("denied"), &json!("forbidden")));
}

#[tokio::test]
async fn a_server_that_only_wants_another_round_gets_it_without_a_question() {
    let (_server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    let done = client.call("pipe__again", json!({ "rounds": 2 })).await;
    assert_eq!(done.content(), "null", "{done:?}");
    assert!(done.notes.is_empty());
}

#[tokio::test]
async fn an_attached_client_is_asked_over_its_pipe() {
    let (_server, fleet) = fleet("").await;
    let token = fleet.token("one", "operator").await;
    let mut client = StdioClient::attached(&fleet.planes[0], fleet.folder(), &token);
    client.begin(all()).await;
    let params = json!({ "name": "pipe__elicit", "arguments": { "rounds": 2 } });
    client.write(&json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": params }).to_string()).await;
    for round in 1..=2 {
        let asked: Value = serde_json::from_str(&client.read().await.unwrap()).unwrap();
        assert_eq!(asked["method"], "elicitation/create");
        let result = json!({ "action": "accept", "content": { "round": round } });
        client.write(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result }).to_string()).await;
    }
    assert_eq!(said(&client.answer_to(&json!("c")).await.message)["q \"2\""]["content"]["round"], 2);
    let _ended = client.end().await;
}

#[tokio::test]
async fn a_kill_ends_the_call_between_two_rounds() {
    let (server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    let mut messages = client.calling("web__elicit", json!({})).await;
    let asked = heard(&mut messages).await;
    let _killed = fleet.ctl("kill-switch backend web --reason test").await.exits(0);
    let last = heard(&mut messages).await;
    assert_eq!(last["error"]["data"]["kind"], "disabled", "{last}");
    client.respond(&asked["id"], json!({ "action": "accept" })).await;
    let _lifted = fleet.ctl("kill-switch backend web --lift").await.exits(0);
    until("it serves again", async || {
        let reply = client.call("web__echo", json!({ "text": "again" })).await;
        if reply.message.get("result").is_some() { Ok(()) } else { Err(reply) }
    })
    .await;
    assert_eq!(server.received().calls("elicit").len(), 1);
}

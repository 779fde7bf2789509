//! A server that all clients share: it is told of no feature, and what it asks all the same goes to the client in whose
//! answer stream it came, or to nobody.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::{HttpExample, Setup, http_example};
use sentinel_tests::harness::sse::Messages;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use crate::{able, all, answered, question, rows};

async fn fleet(more: &str) -> (HttpExample, Fleet) {
    let server = http_example(false);
    let backend = format!("[[backends]]\nname = \"shared\"\nurl = \"{}\"\n{more}\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().toml(&backend)).await;
    (server, fleet)
}

#[tokio::test]
async fn each_question_goes_to_the_client_whose_call_it_is_and_its_answer_back() {
    let (_server, fleet) = fleet("").await;
    let (first, second) = (able(&fleet, "one", all()).await, able(&fleet, "two", all()).await);

    let mut to_first = first.calling("shared__sample", json!({ "prompt": "for one" })).await;
    let mut to_second = second.calling("shared__sample", json!({ "prompt": "for two" })).await;
    let (one, two) = (question(&mut to_first).await, question(&mut to_second).await);
    assert_eq!(one["method"], "sampling/createMessage");
    assert_eq!(one["params"]["messages"][0]["content"]["text"], "for one");
    assert_eq!(two["params"]["messages"][0]["content"]["text"], "for two");
    assert_ne!(one["id"], two["id"], "ours, not the server's: that asked both");

    assert_eq!(second.respond(&two["id"], json!({ "role": "assistant", "n": 2 })).await.status, 202);
    assert_eq!(first.respond(&one["id"], json!({ "role": "assistant", "n": 1 })).await.status, 202);
    assert_eq!(answered(&mut to_first).await, json!({ "result": { "role": "assistant", "n": 1 } }));
    assert_eq!(answered(&mut to_second).await, json!({ "result": { "role": "assistant", "n": 2 } }));

    let rows = rows(&fleet, "sampling/createMessage", 2).await;
    for (name, row) in ["one", "two"].into_iter().map(|name| (name, rows.iter().find(|row| row["client"] == name))) {
        let row = row.unwrap_or_else(|| panic!("no row of {name}: {rows:?}"));
        assert_eq!(
            (&row["status"], &row["backend"], &row["tool"]),
            (&json!("ok"), &json!("shared"), &json!("shared__sample"))
        );
        assert!(row["parent"].is_string(), "it names the call's row: {row}");
    }
}

#[tokio::test]
async fn a_shared_server_is_told_of_no_feature() {
    let (_server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    assert_eq!(client.call("shared__declared", json!({})).await.content(), "{}");
}

#[tokio::test]
async fn whoever_is_asked_sees_which_server_asks_and_can_refuse() {
    let (_server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    let mut messages = client.calling("shared__elicit", json!({ "message": "Delete it?" })).await;
    let asked = question(&mut messages).await;
    assert_eq!(asked["params"]["message"], "[shared] Delete it?");
    assert_eq!(asked["params"]["requestedSchema"]["properties"]["sure"]["default"], true);
    let error = json!({ "jsonrpc": "2.0", "id": asked["id"], "error": { "code": -1, "message": "no", "data": [1] } });
    assert_eq!(client.send(&error.to_string()).await.status, 202);
    assert_eq!(answered(&mut messages).await, json!({ "error": { "code": -1, "message": "no", "data": [1] } }));

    let mut messages = client.calling("shared__elicit", json!({ "url": "https://example.com/consent" })).await;
    let asked = question(&mut messages).await;
    assert_eq!(
        (&asked["params"]["url"], &asked["params"]["elicitationId"]),
        (&json!("https://example.com/consent"), &json!("visit-1"))
    );
    client.respond(&asked["id"], json!({ "action": "accept" })).await;
    let done = messages.next_json().await.unwrap();
    assert_eq!(done["method"], "notifications/elicitation/complete");
    assert_eq!(done["params"]["elicitationId"], "visit-1");
    assert_eq!(answered(&mut messages).await["result"]["action"], "accept");

    let rows = rows(&fleet, "elicitation/create", 2).await;
    assert!(rows.iter().any(|row| row["status"] == "error" && row["kind"] == "client_error"), "{rows:?}");
    let accepted = rows.iter().find(|row| row["status"] == "ok").unwrap();
    assert_eq!(accepted["detail"]["detail"]["action"], "accept", "{accepted}");
}

#[tokio::test]
async fn a_client_is_asked_only_what_it_declared() {
    let (_server, fleet) = fleet("").await;
    let nobody = able(&fleet, "nobody", json!({})).await;
    for (tool, code) in [("sample", -32601), ("elicit", -32601), ("roots", -32601)] {
        let mut messages = nobody.calling(&format!("shared__{tool}"), json!({})).await;
        assert_eq!(answered(&mut messages).await["error"]["code"], code, "{tool}");
    }
    let plain = able(&fleet, "plain", json!({ "sampling": {}, "elicitation": {} })).await;
    for (tool, arguments) in [
        ("sample", json!({ "tools": true })),
        ("elicit", json!({ "url": "https://example.com/" })),
        ("elicit", json!({ "url": "javascript:alert(1)" })),
    ] {
        let mut messages = plain.calling(&format!("shared__{tool}"), arguments).await;
        assert_eq!(answered(&mut messages).await["error"]["code"], -32602, "a way that it did not declare: {tool}");
    }
    // A client that reads no stream can't be asked.
    let able = able(&fleet, "able", all()).await;
    let call = able.message("tools/call", &json!({ "name": "shared__sample", "arguments": {} }));
    let json_alone = [(reqwest::header::ACCEPT, "application/json".parse().unwrap())].into_iter().collect();
    let text = able.post(call.into_bytes()).headers(json_alone).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("-32601"), "{text}");
}

#[tokio::test]
async fn what_is_asked_outside_of_a_call_goes_to_nobody() {
    let (server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    let mut notes = client.listen().await;
    assert_eq!(client.call("shared__roots_later", json!({})).await.content(), "\"soon\"");
    until("the server has its refusal", async || {
        if server.received().count("answer") > 0 { Ok(()) } else { Err(server.received().events()) }
    })
    .await;
    let _grows = client.call("shared__grow", json!({})).await;
    assert_eq!(
        notes.next_json().await.unwrap()["method"],
        "notifications/tools/list_changed",
        "and no question before it"
    );
}

#[tokio::test]
async fn a_server_that_may_not_ask_is_refused_and_the_client_hears_nothing() {
    let (_server, fleet) = fleet("may_ask = [\"roots\"]").await;
    let client = able(&fleet, "one", all()).await;
    let mut messages = client.calling("shared__sample", json!({})).await;
    assert_eq!(answered(&mut messages).await["error"]["code"], -32601);
    let mut messages = client.calling("shared__roots", json!({})).await;
    let asked = question(&mut messages).await;
    client.respond(&asked["id"], json!({ "roots": [{ "uri": "file:///work" }] })).await;
    assert_eq!(answered(&mut messages).await["result"]["roots"][0]["uri"], "file:///work");
    let rows = rows(&fleet, "sampling/createMessage", 1).await;
    assert_eq!((&rows[0]["status"], &rows[0]["kind"]), (&json!("denied"), &json!("forbidden")), "{rows:?}");
}

#[tokio::test]
async fn a_reply_that_was_not_asked_for_changes_nothing() {
    let (_server, fleet) = fleet("").await;
    let (mine, other) = (able(&fleet, "one", all()).await, able(&fleet, "two", all()).await);
    let again = able(&fleet, "one", all()).await;
    let mut messages = mine.calling("shared__sample", json!({})).await;
    let asked = question(&mut messages).await;
    let forged = json!({ "forged": true });

    // Another client, another session of the same client, other ids: each is taken and dropped.
    for (who, id) in [(&other, asked["id"].clone()), (&again, asked["id"].clone()), (&mine, json!(987_654))] {
        assert_eq!(who.respond(&id, forged.clone()).await.status, 202);
    }
    let as_text = json!(asked["id"].to_string());
    assert_eq!(mine.respond(&as_text, forged.clone()).await.status, 202);
    mine.respond(&asked["id"], json!({ "mine": true })).await;
    assert_eq!(answered(&mut messages).await["result"], json!({ "mine": true }));
    // After the call: to nothing any more.
    assert_eq!(mine.respond(&asked["id"], forged).await.status, 202);
    let dropped = fleet.planes[0].metric("sentinel_shed_total{reason=\"unasked_response\"}").await;
    assert_eq!(dropped, Some(5.0));
}

#[tokio::test]
async fn too_many_questions_at_once_are_refused_and_the_rest_have_their_answers() {
    let (_server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    let mut messages = client.calling("shared__sample", json!({ "times": 40 })).await;
    let answers = loop {
        let message = messages.next_json().await.unwrap();
        match (message.get("id"), message.get("method")) {
            (Some(id), Some(_)) => drop(client.respond(id, json!({ "n": 1 })).await),
            (Some(_), None) => break crate::said(&message),
            (None, _) => {}
        }
    };
    let answers = answers.as_array().unwrap();
    let good = answers.iter().filter(|answer| answer["result"]["n"] == 1).count();
    let refused = answers.iter().filter(|answer| answer["error"]["code"] == -32603).count();
    assert_eq!(good + refused, 40, "{answers:?}");
    assert!(good >= 16, "{answers:?}");
}

#[tokio::test]
async fn a_thousand_questions_that_nobody_answers_hold_sixteen_places_and_go_with_their_call() {
    let (_server, fleet) = fleet("").await;
    let (client, other) = (able(&fleet, "one", all()).await, able(&fleet, "two", all()).await);
    let call = client.message("tools/call", &json!({ "name": "shared__sample", "arguments": { "times": 1000 } }));
    let id = serde_json::from_str::<Value>(&call).unwrap()["id"].clone();
    let (_, _, mut messages) = client.open(&call).await;
    for _ in 0..16 {
        let _asked = question(&mut messages).await;
    }
    let mut messages_of_other = other.calling("shared__sample", json!({})).await;
    let asked = answered_or_asked(&mut messages_of_other).await;
    assert!(asked.is_object(), "the other client's question is put, or refused for its server's noise: {asked}");
    assert_eq!(other.call("shared__echo", json!({ "text": "fine" })).await.content(), "fine");

    client.notify("notifications/cancelled", json!({ "requestId": id, "reason": "enough" })).await;
    let cancelled = "sentinel_upcalls_total{backend=\"shared\",feature=\"sampling\",status=\"cancelled\"}";
    until("its questions went with the call", async || {
        let count = fleet.planes[0].metric(cancelled).await;
        if count >= Some(16.0) { Ok(()) } else { Err(count) }
    })
    .await;
}

async fn answered_or_asked(messages: &mut Messages) -> Value {
    messages.next_json().await.expect("a question or an answer")
}

#[tokio::test]
async fn a_kill_ends_a_question_and_its_answer_is_not_passed() {
    let (server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    let mut messages = client.calling("shared__sample", json!({})).await;
    let asked = question(&mut messages).await;
    let _killed = fleet.ctl("kill-switch backend shared --reason test").await.exits(0);
    let last = loop {
        let message = messages.next_json().await.unwrap();
        if message.get("error").is_some() {
            break message;
        }
    };
    assert_eq!(last["error"]["data"]["kind"], "disabled");
    client.respond(&asked["id"], json!({ "late": true })).await;
    let _lifted = fleet.ctl("kill-switch backend shared --lift").await.exits(0);
    let after = client.call("shared__echo", json!({ "text": "again" })).await;
    assert_eq!(after.content(), "again");
    let events = server.received().events();
    let results = events.iter().filter(|event| event["event"] == "answer").count();
    assert!(results <= 1, "at most that it is refused: {events:?}");
}

#[tokio::test]
async fn a_server_that_takes_its_question_back_has_it_taken_back_at_the_client() {
    let (_server, fleet) = fleet("").await;
    let client = able(&fleet, "one", all()).await;
    let mut messages = client.calling("shared__elicit", json!({ "withdraw": true })).await;
    let asked = question(&mut messages).await;
    let taken_back = messages.next_json().await.unwrap();
    assert_eq!(
        (&taken_back["method"], &taken_back["params"]["requestId"]),
        (&json!("notifications/cancelled"), &asked["id"])
    );
    client.respond(&asked["id"], json!({ "action": "accept" })).await;
    assert_eq!(answered(&mut messages).await, "withdrawn");
}

//! A `requestState` that is not what this client was given for just this request: refused, and no server hears of it.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::{Setup, modern_http_example};
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use crate::{all, call, next, question};

fn accepted(asked: &Reply) -> Value {
    let (key, _, _) = question(asked);
    next(asked, &json!({ key: { "action": "accept" } }))
}

#[tokio::test]
async fn forged_foreign_and_borrowed_states_are_refused_before_the_server_is_asked() {
    let server = modern_http_example(false);
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().modern_backend("pipe", "").toml(&web)).await;
    let (mine, other) = (fleet.modern_client("one", "operator").await, fleet.modern_client("two", "operator").await);
    let asked = call(&mine, "web__elicit", &json!({}), &all(), Value::Null).await;
    let good = accepted(&asked);
    let sealed = good["requestState"].as_str().unwrap();
    let with = |state: Value| {
        let mut retry = good.clone();
        retry["requestState"] = state;
        retry
    };
    let mut middle = sealed.as_bytes().to_vec();
    let at = middle.len() / 2;
    middle[at] = if middle[at] == b'A' { b'B' } else { b'A' };
    let reached = || server.received().count("call") + fleet.received("pipe").count("call");
    assert_eq!(reached(), 1);

    for forged in [
        json!("forged"),
        json!(""),
        json!("s1."),
        json!(format!("{sealed}-TAMPERED")),
        json!(sealed.split_at(sealed.len() - 1).0),
        json!(String::from_utf8(middle).unwrap()),
        json!("\u{e9}\u{1f980} \"elicit\"\\ 1"),
        json!("s1.".to_owned() + &"A".repeat(3_000_000)),
        json!(7),
        json!({ "a": 1 }),
        Value::Null,
    ] {
        let refused = call(&mine, "web__elicit", &json!({}), &all(), with(forged.clone())).await;
        let kind = refused.data()["kind"].as_str().unwrap_or_default();
        assert!(matches!(kind, "invalid_params" | "interaction_lost"), "{forged:.100}: {refused:?}");
    }
    let same = || with(json!(sealed));
    let borrowed = [
        call(&other, "web__elicit", &json!({}), &all(), same()).await,
        call(&mine, "web__elicit", &json!({ "message": "another" }), &all(), same()).await,
        call(&mine, "web__sample", &json!({}), &all(), same()).await,
        call(&mine, "pipe__elicit", &json!({}), &all(), same()).await,
    ];
    for refused in borrowed {
        let _id = refused.is_refused("invalid_params", -32602);
    }
    for (method, params) in [
        ("prompts/get", json!({ "name": "web__greet", "arguments": {}, "requestState": sealed })),
        (
            "completion/complete",
            json!({
                "ref": { "type": "ref/prompt", "name": "web__greet" }, "argument": { "name": "style", "value": "f" },
                "requestState": sealed,
            }),
        ),
    ] {
        let _id = mine.request(method, params).await.is_refused("invalid_params", -32602);
    }
    assert_eq!(reached(), 1, "none of them reached a server");
    let done = call(&mine, "web__elicit", &json!({}), &all(), good).await;
    assert_eq!(done.result()["resultType"], "complete", "the good one still does");
}

#[tokio::test]
async fn malformed_answers_are_refused_or_the_servers_own_business() {
    let server = modern_http_example(false);
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().toml(&web)).await;
    let client = fleet.modern_client("one", "operator").await;
    for bad in [json!([]), json!("x"), Value::Null] {
        let refused = call(&client, "web__elicit", &json!({}), &all(), json!({ "inputResponses": bad })).await;
        let _id = refused.is_refused("invalid_params", -32602);
    }
    let asked = call(&client, "web__elicit", &json!({}), &all(), Value::Null).await;
    let (key, _, _) = question(&asked);
    for odd in [json!(7), Value::Null] {
        let again = call(&client, "web__elicit", &json!({}), &all(), next(&asked, &json!({ key.as_str(): odd }))).await;
        assert_eq!(again.result()["resultType"], "input_required", "it asks again: {again:?}");
    }
}

#[tokio::test]
async fn a_state_is_good_for_as_long_as_is_configured() {
    let server = modern_http_example(false);
    let more = format!("[gateway]\nparked_secs = 1\n[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().toml(&more)).await;
    let client = fleet.modern_client("one", "operator").await;
    let asked = call(&client, "web__elicit", &json!({ "rounds": 100 }), &all(), Value::Null).await;
    let retry = accepted(&asked);
    until("it is over its time", async || {
        let reply = call(&client, "web__elicit", &json!({ "rounds": 100 }), &all(), retry.clone()).await;
        let message = reply.message["error"]["message"].as_str().unwrap_or_default();
        if message.contains("over its time") { Ok(()) } else { Err(reply) }
    })
    .await;
}

#[tokio::test]
async fn another_plane_says_that_it_is_another_and_sends_nothing() {
    let server = modern_http_example(false);
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().planes(2).toml(&web)).await;
    let token = fleet.token("one", "operator").await;
    let [here, there] =
        [0, 1].map(|at| sentinel_tests::harness::modern::ModernClient::new(&fleet.planes[at].url(), &token));
    let asked = call(&here, "web__elicit", &json!({}), &all(), Value::Null).await;
    let lost = call(&there, "web__elicit", &json!({}), &all(), accepted(&asked)).await;
    let _id = lost.is_refused("interaction_lost", -31410);
    assert_eq!((lost.status, server.received().count("call")), (200, 1));
    let done = call(&here, "web__elicit", &json!({}), &all(), accepted(&asked)).await;
    assert_eq!(done.result()["resultType"], "complete");
}

#[tokio::test]
async fn a_legacy_client_can_slip_no_state_and_no_answer_to_a_modern_server() {
    let server = modern_http_example(false);
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().modern_backend("pipe", "").toml(&web)).await;
    let client = fleet.client("old", "operator").await;
    for name in ["web__echo", "pipe__echo"] {
        for params in [
            json!({ "requestState": "forged", "inputResponses": { "a": {} }, "name": name, "arguments": { "text": "x" } }),
            json!({ "name": name, "inputResponses": { "a": {} }, "arguments": { "text": "x" }, "requestState": "forged" }),
            json!({ "task": {}, "requestState": "forged", "name": name, "arguments": { "text": "x" }, "_meta": { "k": 1 } }),
        ] {
            assert_eq!(client.request("tools/call", params).await.content(), "x");
        }
    }
    for log in [server.received(), fleet.received("pipe")] {
        let events = log.events();
        let calls: Vec<_> =
            events.iter().filter(|event| event["event"] == "modern" && event["tool"] == "tools/call").collect();
        assert_eq!(calls.len(), 3);
        assert!(!calls.iter().any(|call| call["arguments"].to_string().contains("forged")), "{calls:?}");
    }
}

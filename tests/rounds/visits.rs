//! A legacy server that wants URLs visited before it does what a call asks (error -32042 of revision 2025-11-25): who can be
//! sent there is, by the same error or within an answer; any other client is told so.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::{HttpExample, Setup, http_example};
use serde_json::{Value, json};

use crate::{all, call, next, question, rows};

/// A shared server over HTTP, one over stdio, and one of each client's own.
async fn fleet(more: &str) -> (HttpExample, Fleet) {
    let server = http_example(false);
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n{more}\n", server.url);
    let setup = Setup::one_plane().backend_with("own", &format!("isolation = \"per-session\"\n{more}"));
    (server, Fleet::start(setup.backend_with("pipe", more).toml(&web)).await)
}

const BACKENDS: [&str; 3] = ["web", "pipe", "own"];

async fn able(fleet: &Fleet, revision: &str, capabilities: Value) -> Client {
    let mut client = Client::new(&fleet.planes[0].url(), &fleet.token("old", "operator").await);
    let _opened = client.begin(revision, capabilities).await;
    client
}

fn text(result: &Value) -> &str {
    assert_eq!(result["isError"], true, "{result}");
    result["content"][0]["text"].as_str().unwrap()
}

#[tokio::test]
async fn a_modern_client_is_sent_there_within_the_answer_and_its_retry_is_the_call_once_more() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    for backend in BACKENDS {
        let tool = format!("{backend}__visit");
        let arguments = json!({ "urls": ["https://example.com/in"] });
        let asked = call(&client, &tool, &arguments, &all(), Value::Null).await;
        let (key, method, params) = question(&asked);
        let wanted =
            json!({ "mode": "url", "url": "https://example.com/in", "message": format!("[{backend}] Sign in") });
        assert_eq!((&*method, &params), ("elicitation/create", &wanted));

        let done =
            call(&client, &tool, &arguments, &all(), next(&asked, &json!({ key: { "action": "accept" } }))).await;

        assert_eq!((done.content(), &done.result()["resultType"]), ("visited", &json!("complete")), "{backend}");
    }
    assert_eq!(server.received().calls("visit").len(), 2);
    let calls = rows(&fleet, "tools/call", 6).await;
    for pair in calls.chunks(2) {
        assert_eq!((&pair[0]["status"], &pair[1]["status"]), (&json!("input_required"), &json!("ok")));
        assert_eq!(pair[1]["parent"], pair[0]["request_id"]);
    }
    let questions = rows(&fleet, "elicitation/create", 3).await;
    assert!(questions.iter().all(|row| row["status"] == "input_required"), "{questions:?}");
    assert!(questions.iter().all(|row| calls.iter().any(|call| call["request_id"] == row["parent"])));
}

#[tokio::test]
async fn whoever_declines_has_not_called_again_and_odd_answers_are_refused() {
    let (server, fleet) = fleet("").await;
    let client = fleet.modern_client("one", "operator").await;
    let arguments = json!({ "urls": ["https://example.com/a", "https://example.com/b"] });
    let asked = call(&client, "web__visit", &arguments, &all(), Value::Null).await;
    let keys: Vec<_> = asked.result()["inputRequests"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(keys.len(), 2, "{asked:?}");

    let declined = json!({ &keys[0]: { "action": "accept" }, &keys[1]: { "action": "decline" } });
    let done = call(&client, "web__visit", &arguments, &all(), next(&asked, &declined)).await;
    assert!(text(done.result()).contains("declined"), "{done:?}");
    let odd = call(&client, "web__visit", &arguments, &all(), next(&asked, &json!({ &keys[0]: 7 }))).await;
    let _id = odd.is_refused("invalid_params", -32602);
    let other = json!({ "urls": ["https://example.com/other"] });
    let forged = call(&client, "web__visit", &other, &all(), next(&asked, &json!({}))).await;
    let _id = forged.is_refused("invalid_params", -32602);

    assert_eq!(server.received().calls("visit").len(), 1);
}

#[tokio::test]
async fn a_legacy_client_that_can_be_sent_there_has_the_same_error_and_calls_again() {
    let (_server, fleet) = fleet("").await;
    let client = able(&fleet, "2025-11-25", all()).await;
    for backend in BACKENDS {
        let (tool, arguments) = (format!("{backend}__visit"), json!({ "urls": ["https://example.com/in"] }));
        let sent = client.call(&tool, arguments.clone()).await;
        let visit = json!({
            "mode": "url", "elicitationId": "visit-0", "url": "https://example.com/in", "message": format!("[{backend}] Sign in"),
        });
        let wanted = json!({ "code": -32042, "message": "visit these first", "data": { "elicitations": [visit] } });
        assert_eq!(sent.message["error"], wanted);
        assert_eq!(client.call(&tool, arguments).await.content(), "visited");
    }
    assert_eq!(rows(&fleet, "elicitation/create", 3).await.len(), 3);
}

#[tokio::test]
async fn a_client_that_can_not_be_sent_there_is_told_so_in_its_eras_own_way() {
    let (_server, fleet) = fleet("").await;
    let forms = json!({ "elicitation": {} });
    let urls = json!({ "urls": ["https://example.com/in", "javascript:alert(1)"] });
    for (revision, declares) in [("2025-11-25", &forms), ("2025-11-25", &json!({})), ("2025-06-18", &all())] {
        let client = able(&fleet, revision, declares.clone()).await;
        let mut urls = urls.clone();
        urls["urls"][1] = json!(format!("javascript:{revision}{declares}"));
        let told = client.call("web__visit", urls).await;
        let told = text(told.result());
        assert!(told.contains("Sign in: https://example.com/in") && !told.contains("javascript"), "{told}");
    }
    let client = fleet.modern_client("one", "operator").await;
    for backend in BACKENDS {
        let lacks = call(&client, &format!("{backend}__visit"), &urls, &forms, Value::Null).await;
        assert_eq!((lacks.status, &lacks.message["error"]["code"]), (400, &json!(-32021)), "{lacks:?}");
        let wanted = json!({ "requiredCapabilities": { "elicitation": { "url": {} } } });
        assert_eq!(lacks.message["error"]["data"], wanted);
    }
}

#[tokio::test]
async fn a_url_that_nobody_may_be_sent_to_and_a_server_that_may_not_ask_send_nobody_anywhere() {
    let bad = json!({ "urls": ["https://example.com/in", "javascript:alert(1)"] });
    let good = json!({ "urls": ["https://example.com/in"] });
    for (more, urls, why) in [("", &bad, "invalid_params"), ("may_ask = [\"sampling\"]", &good, "forbidden")] {
        let (_server, fleet) = fleet(more).await;
        let (old, new) = (able(&fleet, "2025-11-25", all()).await, fleet.modern_client("one", "operator").await);
        let told = old.call("web__visit", urls.clone()).await;
        assert!(text(told.result()).contains(why), "{told:?}");
        let told = call(&new, "own__visit", urls, &all(), Value::Null).await;
        assert!(text(told.result()).contains(why), "{told:?}");
        let denied = rows(&fleet, "elicitation/create", 2).await;
        assert!(denied.iter().any(|row| row["status"] == "denied" && row["kind"] == why), "{denied:?}");
    }
}

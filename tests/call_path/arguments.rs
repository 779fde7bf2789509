//! Arguments against the tool's own schema and against the fine print of a role.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

#[tokio::test]
async fn arguments_that_do_not_fit_the_schema_are_refused_with_their_places() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    let reply = client.call("example__add", json!({ "a": "one", "c": 3 })).await;

    let id = reply.is_refused("invalid_arguments", -32602);
    let problems = reply.data()["problems"].as_array().unwrap();
    assert!(problems.iter().any(|problem| problem["path"] == "/a"), "{problems:?}");
    assert!(problems.iter().all(|problem| problem["message"].as_str().is_some_and(|text| !text.is_empty())));
    assert_eq!(fleet.received("example").count("call"), 0);
    assert_eq!(fleet.audit_rows(&id).await[0]["status"], "denied");
}

#[tokio::test]
async fn a_rule_refuses_what_the_schema_would_take() {
    let fleet = Fleet::start(Setup::example()).await;
    let (analyst, operator) = (fleet.client("a", "analyst").await, fleet.client("o", "operator").await);

    let small = analyst.call("example__add", json!({ "a": 1000, "b": 1 })).await;
    let great = analyst.call("example__add", json!({ "a": 1001, "b": 1 })).await;
    let unruled = operator.call("example__add", json!({ "a": 1001, "b": 1 })).await;

    assert_eq!((small.content(), unruled.content()), ("1001", "1002"));
    let _id = great.is_refused("forbidden", -31403);
    assert!(great.data()["rule"].is_string(), "{great:?}");
    assert_eq!(fleet.received("example").calls("add").len(), 2);
}

#[tokio::test]
async fn with_arguments_off_or_warned_the_backend_gets_what_does_not_fit() {
    for mode in ["off", "warn"] {
        let setup = Setup::example().toml(&format!("[schema]\narguments = \"{mode}\""));
        let fleet = Fleet::start(setup).await;
        let client = fleet.client("claude", "operator").await;

        let reply = client.call("example__add", json!({ "a": "one" })).await;

        assert_eq!(reply.content(), "0.0", "{mode}");
    }
}

#[tokio::test]
async fn a_rule_is_judged_on_the_bytes_that_are_sent() {
    let fleet = Fleet::start(Setup::example()).await;
    let analyst = fleet.client("a", "analyst").await;
    // Two readings of one object: whichever counts, nothing above 1000 may get through.
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"example__add","arguments":{"a":1,"a":5000,"b":1}}}"#;

    let reply = analyst.send(body).await;

    assert!(reply.message["error"].is_object(), "{reply:?}");
    assert_eq!(fleet.received("example").count("call"), 0);
}

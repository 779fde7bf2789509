//! What is stopped by which word, and what goes on.

use crate::started;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

#[tokio::test]
async fn an_acknowledged_kill_of_a_tool_refuses_the_next_call_with_its_reason() {
    let fleet = started(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.call("example__echo", json!({ "text": "before" })).await.content(), "before");

    let words = ["kill-switch", "tool", "example__echo", "--reason", "it leaks names"];
    let killed = fleet.controller().run_args(&words, &[]).await.exits(0);
    let refused = client.call("example__echo", json!({ "text": "after" })).await;
    let other = client.call("example__add", json!({ "a": 1, "b": 2 })).await;

    let killed = killed.says("plane-0: acknowledged in ").says(" ms").says("acknowledged by 1 of 1 planes");
    let id = refused.is_refused("disabled", -31423);
    assert_eq!(refused.data()["scope"], "tool", "{refused:?}");
    assert_eq!(refused.data()["reason"], "it leaks names");
    assert!(!refused.data()["since"].is_null(), "{refused:?}");
    assert_eq!(other.content(), "3", "{killed:?}");
    assert_eq!(fleet.received("example").calls("echo").len(), 1, "nothing of a killed tool reaches its backend");
    let rows = fleet.audit_rows(&id).await;
    assert_eq!((&rows[0]["status"], &rows[0]["kind"]), (&json!("denied"), &json!("disabled")), "{rows:?}");
    assert!(client.tools().await.contains(&"example__echo".to_owned()), "a killed tool stays listed");
}

#[tokio::test]
async fn a_lift_lets_calls_through_again() {
    let fleet = started(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let _ran = fleet.ctl("kill-switch tool example__echo").await.exits(0);
    let _id = client.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);

    let _ran = fleet.ctl("kill-switch tool example__echo --lift").await.exits(0);

    assert_eq!(client.call("example__echo", json!({ "text": "again" })).await.content(), "again");
    let again = fleet.ctl("kill-switch tool example__echo --lift").await;
    assert_eq!(again.code, Some(4), "{again:?}");
    let _ran = again.says("is not killed");
}

#[tokio::test]
async fn a_killed_backend_refuses_all_its_tools_and_no_others() {
    let fleet = started(Setup::example().backend("other")).await;
    let client = fleet.client("claude", "operator").await;

    let _ran = fleet.ctl("kill-switch backend example --reason maintenance").await.exits(0);

    for tool in ["example__echo", "example__counter"] {
        let refused = client.call(tool, json!({ "text": "x" })).await;
        let _id = refused.is_refused("disabled", -31423);
        assert_eq!((&refused.data()["scope"], &refused.data()["reason"]), (&json!("backend"), &json!("maintenance")));
    }
    assert_eq!(client.call("other__echo", json!({ "text": "x" })).await.content(), "x");
    let _ran = fleet.ctl("kill-switch backend example --lift").await.exits(0);
    assert_eq!(client.call("example__echo", json!({ "text": "y" })).await.content(), "y");
}

#[tokio::test]
async fn a_killed_client_is_refused_everything_and_no_other_client_is() {
    let fleet = started(Setup::example()).await;
    let (bad, good) = (fleet.client("bad", "operator").await, fleet.client("good", "operator").await);

    let _ran = fleet.ctl("kill-switch client bad").await.exits(0);

    let refused = bad.call("example__echo", json!({ "text": "x" })).await;
    let _id = refused.is_refused("disabled", -31423);
    assert_eq!(refused.data()["scope"], "client");
    assert_eq!(good.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    assert!(!bad.tools().await.is_empty(), "lists go on, so that no client drops the server for good");
    let _ran = fleet.ctl("kill-switch client bad --lift").await.exits(0);
    assert_eq!(bad.call("example__echo", json!({ "text": "y" })).await.content(), "y");
}

#[tokio::test]
async fn a_killed_role_is_refused_and_other_roles_are_not() {
    let fleet = started(Setup::example()).await;
    let (analyst, operator) = (fleet.client("a", "analyst").await, fleet.client("o", "operator").await);

    let _ran = fleet.ctl("kill-switch role analyst").await.exits(0);

    let refused = analyst.call("example__echo", json!({ "text": "x" })).await;
    let _id = refused.is_refused("disabled", -31423);
    assert_eq!(refused.data()["scope"], "role");
    assert_eq!(operator.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    let _ran = fleet.ctl("kill-switch role analyst --lift").await.exits(0);
    assert_eq!(analyst.call("example__echo", json!({ "text": "y" })).await.content(), "y");
}

#[tokio::test]
async fn all_stops_everybody_over_http_and_over_stdio() {
    let fleet = started(Setup::example()).await;
    let client = fleet.client("one", "operator").await;
    let mut attached = fleet.stdio_client("two", "analyst").await;

    let _ran = fleet.ctl("kill-switch all --reason drill").await.exits(0);

    for refused in [
        client.call("example__echo", json!({ "text": "x" })).await,
        attached.call("example__echo", json!({ "text": "x" })).await,
    ] {
        let _id = refused.is_refused("disabled", -31423);
        assert_eq!((&refused.data()["scope"], &refused.data()["reason"]), (&json!("all"), &json!("drill")));
    }
    assert!(!client.tools().await.is_empty());
    let _ran = fleet.ctl("kill-switch all --lift").await.exits(0);
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    assert_eq!(attached.call("example__echo", json!({ "text": "y" })).await.content(), "y");
}

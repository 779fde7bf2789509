//! Roles, switches and limits know no endpoint: what they say of a tool holds wherever it is called. The audit trail names
//! it.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

use super::SERVERS;

#[tokio::test]
async fn roles_hide_there_what_they_hide_everywhere() {
    let fleet = Fleet::start(Setup::example().backend("other").toml(SERVERS)).await;
    let analyst = fleet.client_of("research", "ana", "analyst").await;

    assert_eq!(analyst.tools().await, ["example__echo"], "counter belongs to it, and the role does not show it");
    let hidden = analyst.call("example__counter", json!({})).await;
    let id = hidden.is_refused("unknown_tool", -32602);
    assert_eq!(fleet.audit_rows(&id).await[0]["kind"], "hidden_tool");
    let second = fleet.client_of("second", "ana", "analyst").await;
    let ruled = second.call("other__add", json!({ "a": 5000, "b": 1 })).await;
    let _rule = ruled.is_refused("forbidden", -31403);
}

#[tokio::test]
async fn a_switch_thrown_once_stops_it_at_each_endpoint_and_calls_are_recorded() {
    let fleet = Fleet::start(Setup::example().backend("other").toml(SERVERS)).await;
    let (main, research) =
        (fleet.client("claude", "operator").await, fleet.client_of("research", "claude", "operator").await);
    let called = research.call("example__echo", json!({ "text": "x" })).await;
    let row = &fleet.audit_rows(&called.request_id()).await[0];
    assert_eq!(
        (&row["tool"], &row["status"], &row["client"]),
        (&json!("example__echo"), &json!("ok"), &json!("claude"))
    );
    assert_eq!(row["detail"]["server"], "research");
    let unknown = research.call("other__echo", json!({})).await.is_refused("unknown_tool", -32602);
    assert_eq!(fleet.audit_rows(&unknown).await[0]["detail"]["server"], "research");
    let odd = research.request("tools/list", json!({ "cursor": "x" })).await.is_refused("invalid_params", -32602);
    assert_eq!(fleet.audit_rows(&odd).await[0]["detail"]["server"], "research");
    let at_all = main.call("example__echo", json!({ "text": "x" })).await;
    assert!(fleet.audit_rows(&at_all.request_id()).await[0]["detail"].get("server").is_none());
    let verified = fleet.ctl("audit verify").await;
    assert_eq!(verified.code, Some(0), "{verified:?}");

    let killed = fleet.ctl("kill-switch tool example__echo --reason leak").await;
    assert_eq!(killed.code, Some(0), "{killed:?}");

    for client in [&main, &research] {
        let refused = client.call("example__echo", json!({ "text": "x" })).await;
        let _id = refused.is_refused("disabled", -31423);
    }
    assert!(research.tools().await.contains(&"example__echo".to_owned()), "killed tools stay listed");
}

#[tokio::test]
async fn one_client_has_one_bucket_for_a_tool_whatever_the_endpoint() {
    let limits = "[rate_limit]\ndefault = { requests = 2, per_secs = 86400 }\n\
        per_client = { requests = 1000, per_secs = 1, burst = 1000 }\n";
    let fleet = Fleet::start(Setup::example().backend("other").limits(limits).toml(SERVERS)).await;
    let (main, research) =
        (fleet.client("claude", "operator").await, fleet.client_of("research", "claude", "operator").await);

    assert_eq!(main.call("example__echo", json!({ "text": "1" })).await.content(), "1");
    assert_eq!(research.call("example__echo", json!({ "text": "2" })).await.content(), "2");
    let third = research.call("example__echo", json!({ "text": "3" })).await;
    let _limit = third.is_refused("rate_limited", -31429);
    assert_eq!(research.call("example__counter", json!({})).await.content(), "1");
}

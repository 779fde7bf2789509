//! Tokens that are ended before their time: the way of a kill, and as lasting.

use crate::started;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

fn is_revoked(reply: &Reply) {
    let _id = reply.is_refused("unauthenticated", -31401);
    assert_eq!(reply.status, 401);
    assert_eq!(reply.data()["reason"], "revoked");
    assert!(reply.header("www-authenticate").starts_with("Bearer"), "{reply:?}");
}

#[tokio::test]
async fn f23_a_revoked_token_is_refused_from_the_ack_on_and_after_restarts() {
    let mut fleet = started(Setup::example()).await;
    let minted = fleet.ctl("token mint --client claude --role operator --output json").await.json();
    let (token, jti) = (minted["token"].as_str().unwrap(), minted["jti"].as_str().unwrap());
    let client = Client::connected(&fleet.planes[0].url(), token).await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");

    let revoked = fleet.ctl(&format!("token revoke {jti}")).await.exits(0);
    let refused = client.call("example__echo", json!({ "text": "x" })).await;

    let _ran = revoked.says("plane-0: acknowledged in ");
    is_revoked(&refused);
    let other = fleet.client("claude", "operator").await;
    assert_eq!(other.call("example__echo", json!({ "text": "another token of the client" })).await.status, 200);
    let listed = fleet.ctl("token list-revoked").await.exits(0);
    let _ran = listed.says(jti);

    fleet.control_plane.kill().await;
    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    fleet.planes[0].until_ready(true).await;
    is_revoked(&client.call("example__echo", json!({ "text": "x" })).await);
    fleet.control_plane.restart().await;
    fleet.until_ready().await;
    is_revoked(&client.call("example__echo", json!({ "text": "x" })).await);
}

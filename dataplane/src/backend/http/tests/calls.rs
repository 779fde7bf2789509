//! Calls that are answered, whatever the answer comes as.

use serde_json::json;

use super::{
    Rig,
    server::{Reply, Server},
};
use crate::backend::State;

#[tokio::test]
async fn a_link_shakes_hands_lists_and_calls_with_the_right_headers() {
    let server = Server::start(|_| Reply::Good).await;
    let mut rig = Rig::start(server.address);
    assert_eq!(&*rig.listed().await[0].name, "echo");
    let status = rig.state(State::Ready).await;
    assert_eq!((&*status.server, &*status.protocol_version), ("scripted 7", "2025-11-25"));
    let said = rig.call_as(&json!("mine"), &json!({"a": 1}), None).send().await.said();
    assert_eq!(said["id"], "mine");
    assert_eq!(said["result"]["structuredContent"], json!({"a": 1}));
    let heard = server.heard();
    let call = heard.iter().find(|heard| heard.method() == "tools/call").unwrap();
    assert_eq!(call.header("host"), server.address.to_string());
    assert_eq!(call.header("accept"), "application/json, text/event-stream");
    assert_eq!(call.header("authorization"), "Bearer configured");
    assert_eq!(call.header("mcp-protocol-version"), "2025-11-25");
    assert!(call.header("mcp-session-id").starts_with("s0"));
    assert!(call.header("traceparent").starts_with("00-0af7"));
    assert_eq!(call.body["params"]["name"], "echo");
    assert_eq!(heard[0].method(), "initialize");
    assert_eq!(heard[0].header("mcp-protocol-version"), "");
    assert_eq!(heard[1].method(), "notifications/initialized");
    assert_eq!(server.count("initialize"), 1);
}

//! What a modern server says on the stream that tells of single resources.

use serde_json::{Value, json};

use super::{
    PATIENCE, Rig,
    server::{Heard, Reply, Server, event},
    until,
};
use crate::backend::wanted::Standing;

/// A good server with one resource; `told`: what it says right behind what it grants, in the same chunk.
fn telling(heard: &Heard, told: &[Value]) -> Reply {
    let (id, params) = (&heard.body["id"], &heard.body["params"]);
    let result = |result: Value| Reply::json(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
    match heard.method() {
        "server/discover" => result(json!({
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": {"resources": {"subscribe": true}}, "ttlMs": 0, "cacheScope": "private",
        })),
        "resources/list" => result(json!({"resultType": "complete", "resources": [{"uri": "a:b", "name": "b"}]})),
        "resources/templates/list" => result(json!({"resultType": "complete", "resourceTemplates": []})),
        "subscriptions/listen" => {
            let params = json!({
                "_meta": {"io.modelcontextprotocol/subscriptionId": id}, "notifications": params["notifications"],
            });
            let granted = json!({
                "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params,
            });
            let chunk: String = std::iter::once(&granted).chain(told).map(event).collect();
            Reply::Endless(200, "text/event-stream", vec![chunk.into()])
        }
        _ => Reply::Body(404, "", vec![]),
    }
}

#[tokio::test]
async fn what_comes_in_one_chunk_with_what_is_granted_is_heard() {
    let changed = json!({
        "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "a:b"},
    });
    let server = Server::start(move |heard: &Heard| telling(heard, std::slice::from_ref(&changed))).await;
    let rig = Rig::asked(server.address).await;

    let watch = rig.wanted.watch(&"a:b".into()).unwrap();

    assert_eq!(watch.settled(PATIENCE).await, Standing::Held);
    until("the change is told", || rig.wanted.take_updates().contains("a:b").then_some(())).await;
}

//! What is refused: like reading it would be, and what would be too much.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::{Value, json};

use super::{GREETING, asked, subscribe};

const ROLES: &str = "[roles.operator]\nallow = [\"*\"]\n\
    [roles.narrow]\nallow = [\"resource:example://notes/*\"]\n\
    [roles.toolish]\nallow = [\"example__*\"]\n";

#[tokio::test]
async fn what_may_not_be_seen_is_refused_like_what_is_not_there_and_reaches_no_server() {
    let fleet = Fleet::start(Setup::example().roles(ROLES)).await;
    let (narrow, stateless) = (fleet.client("narrow", "narrow").await, fleet.modern_client("narrow", "narrow").await);

    let hidden = narrow.request("resources/subscribe", json!({ "uri": GREETING })).await;
    let nothing = narrow.request("resources/subscribe", json!({ "uri": "example://greetinx" })).await;
    let wanted = json!({ "resourceSubscriptions": [GREETING, "example://greetinx", "example://notes/alpha"] });
    let (granted, _notes) = stateless.listen(json!(1), wanted).await;

    let ids = [&hidden, &nothing].map(|reply| reply.is_refused("unknown_resource", -32002));
    let told = |text: &str, id: &str, uri: &str| {
        let mut message: Value = serde_json::from_str(&text.replace(id, "ID").replace(uri, "URI")).unwrap();
        message["id"] = Value::Null;
        message
    };
    assert_eq!(told(&hidden.text, &ids[0], GREETING), told(&nothing.text, &ids[1], "example://greetinx"));
    assert_eq!(granted["params"]["notifications"], json!({ "resourceSubscriptions": ["example://notes/alpha"] }));
    assert_eq!(asked(&fleet.received("example"), "subscribe"), ["example://notes/alpha"]);
    let row = &fleet.audit_rows(&ids[0]).await[0];
    assert_eq!((&row["method"], &row["kind"]), (&json!("resources/subscribe"), &json!("hidden_resource")), "{row}");
    let toolish = fleet.client("toolish", "toolish").await;
    let unoffered = toolish.request("resources/subscribe", json!({ "uri": GREETING })).await;
    let _id = unoffered.is_refused("method_not_found", -32601);
}

#[tokio::test]
async fn a_servers_own_refusal_is_passed_on_and_a_stream_is_granted_the_rest() {
    for modern in [false, true] {
        let setup = Setup::one_plane();
        let setup = if modern { setup.modern_backend("example", "") } else { setup.backend("example") };
        let fleet = Fleet::start(setup).await;
        let (client, stateless) = (fleet.client("a", "operator").await, fleet.modern_client("b", "operator").await);

        let refused = client.request("resources/subscribe", json!({ "uri": "example://slow/5" })).await;
        let wanted = json!({ "resourceSubscriptions": ["example://slow/5", GREETING], "toolsListChanged": true });
        let (granted, _notes) = stateless.listen(json!(1), wanted).await;

        let code = if modern { -32602 } else { -32002 };
        assert_eq!(refused.message["error"]["code"], code, "{refused:?}");
        let wanted = json!({ "toolsListChanged": true, "resourceSubscriptions": [GREETING] });
        assert_eq!(granted["params"]["notifications"], wanted);
    }
}

#[tokio::test]
async fn a_killed_backend_is_told_as_such() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("a", "operator").await;
    let _killed = fleet.ctl("kill-switch backend example").await.exits(0);

    let refused = client.request("resources/subscribe", json!({ "uri": GREETING })).await;

    let _id = refused.is_refused("disabled", -31423);
    assert_eq!(asked(&fleet.received("example"), "subscribe"), [""; 0]);
}

#[tokio::test]
async fn a_session_and_a_stream_have_so_many_and_no_more() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("a", "operator").await;
    let uri = |number: usize| format!("example://notes/{number}");
    for number in 0..128 {
        subscribe(&client, &uri(number)).await;
    }

    let refused = client.request("resources/subscribe", json!({ "uri": uri(128) })).await;
    let _id = refused.is_refused("invalid_params", -32602);
    subscribe(&client, &uri(7)).await;
    let left = client.request("resources/unsubscribe", json!({ "uri": uri(7) })).await;
    assert_eq!(left.result(), &json!({}));
    subscribe(&client, &uri(128)).await;

    let stateless = fleet.modern_client("b", "operator").await;
    let many: Vec<String> = (0..129).map(uri).collect();
    let filter = json!({ "notifications": { "resourceSubscriptions": many } });
    let refused = stateless.request("subscriptions/listen", filter).await;
    let _id = refused.is_refused("invalid_params", -32602);
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_so() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("a", "operator").await;
    for params in [json!({}), json!({ "uri": 7 })] {
        let refused = client.request("resources/subscribe", params).await;
        let _id = refused.is_refused("invalid_params", -32602);
    }
    let never = client.request("resources/unsubscribe", json!({ "uri": "example://never" })).await;
    assert_eq!(never.result(), &json!({}));
}

//! Resources, prompts and completion for modern clients: the same law and the same backends, in the words of their era.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::{Value, json};

use crate::schema::is_a;

const READER: &str = "[roles.operator]\nallow = [\"*\"]\n\
    [roles.reader]\nallow = [\"resource:example://notes/*\"]\n\
    [roles.toolish]\nallow = [\"example__*\"]\n";

fn style() -> Value {
    json!({ "ref": { "type": "ref/prompt", "name": "example__greet" }, "argument": { "name": "style", "value": "f" } })
}

#[tokio::test]
async fn each_list_is_the_legacy_ones_and_says_how_long_and_by_whom_it_may_be_kept() {
    let fleet = Fleet::start(Setup::example()).await;
    let (modern, legacy) = (fleet.modern_client("claude", "operator").await, fleet.client("old", "operator").await);

    for (method, member) in [
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
        ("prompts/list", "prompts"),
    ] {
        let listed = modern.request(method, json!({})).await;

        let result = listed.result();
        assert_eq!(result[member], legacy.request(method, json!({})).await.result()[member], "{method}");
        assert!(!result[member].as_array().unwrap().is_empty(), "{method}");
        assert_eq!((&result["resultType"], &result["cacheScope"]), (&json!("complete"), &json!("private")), "{method}");
        assert!(result["ttlMs"].is_u64(), "{method}: {result}");
    }
}

#[tokio::test]
async fn a_read_a_prompt_and_a_completion_are_the_backends_own_and_say_their_type() {
    let fleet = Fleet::start(Setup::example()).await;
    let (modern, legacy) = (fleet.modern_client("claude", "operator").await, fleet.client("old", "operator").await);
    let greet = json!({ "name": "example__greet", "arguments": { "name": "Ada", "style": "short" } });

    for (method, params) in [
        ("resources/read", json!({ "uri": "example://greeting" })),
        ("resources/read", json!({ "uri": "example://notes/beta" })),
        ("prompts/get", greet),
        ("completion/complete", style()),
    ] {
        let reply = modern.request(method, params.clone()).await;

        let mut result = reply.result().clone();
        let members = result.as_object_mut().unwrap();
        assert_eq!(members.remove("resultType"), Some(json!("complete")), "{method}");
        if method == "resources/read" {
            assert_eq!(members.remove("ttlMs"), Some(json!(0)));
            assert_eq!(members.remove("cacheScope"), Some(json!("private")));
        }
        assert_eq!(&result, legacy.request(method, params).await.result(), "{method}");
        let rows = fleet.audit_rows(&reply.request_id()).await;
        assert_eq!(
            (&rows[0]["method"], &rows[0]["status"], &rows[0]["client"]),
            (&json!(method), &json!("ok"), &json!("claude"))
        );
    }
}

#[tokio::test]
async fn what_is_hidden_is_absent_and_its_error_is_one_of_this_era() {
    let fleet = Fleet::start(Setup::example().roles(READER)).await;
    let reader = fleet.modern_client("reader", "reader").await;

    let [hidden, unknown] = ["example://greeting", "example://greetinx"];
    let (hidden, unknown) = (
        reader.request("resources/read", json!({ "uri": hidden })).await,
        reader.request("resources/read", json!({ "uri": unknown })).await,
    );

    // -32002 must not be sent in this revision.
    let (first, second) =
        (hidden.is_refused("unknown_resource", -32602), unknown.is_refused("unknown_resource", -32602));
    assert_eq!(hidden.data()["uri"], "example://greeting");
    let plain =
        |text: &str, id: &str| text.replace(id, "ID").replace("greetinx", "greeting").replace("\"id\":2", "\"id\":1");
    assert_eq!(plain(&hidden.text, &first), plain(&unknown.text, &second));
    assert_eq!(fleet.received("example").count("read"), 0);
    assert!(
        reader
            .request("resources/read", json!({ "uri": "example://notes/alpha" }))
            .await
            .message
            .get("result")
            .is_some()
    );
}

#[tokio::test]
async fn what_discover_offers_is_what_the_role_has_and_the_rest_is_no_method() {
    let fleet = Fleet::start(Setup::example().roles(READER)).await;
    let toolish = fleet.modern_client("toolish", "toolish").await;
    let operator = fleet.modern_client("boss", "operator").await;

    let offered = operator.request("server/discover", json!({})).await;
    let less = toolish.request("server/discover", json!({})).await;
    let refused = toolish.request("resources/read", json!({ "uri": "example://greeting" })).await;

    is_a("DiscoverResultResponse", &offered.message);
    let capabilities = &offered.result()["capabilities"];
    for name in ["tools", "resources", "prompts", "completions"] {
        assert!(capabilities[name].is_object(), "{name}: {capabilities}");
    }
    assert!(less.result()["capabilities"].get("resources").is_none(), "{less:?}");
    assert_eq!((refused.status, &refused.message["error"]["code"]), (404, &json!(-32601)), "{refused:?}");
}

#[tokio::test]
async fn a_stream_is_told_of_a_new_resource_and_a_new_prompt_where_it_asked_to_be() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.modern_client("claude", "operator").await;
    let filter = json!({ "resourcesListChanged": true, "promptsListChanged": true });
    let (first, mut notes) = client.listen(json!(1), filter.clone()).await;
    assert_eq!(first["params"]["notifications"], filter);

    let _grown = client.call("example__grow", json!({})).await;
    let _grown = client.call("example__grow", json!({ "what": "resource" })).await;
    assert_eq!(notes.next_json().await.unwrap()["method"], "notifications/resources/list_changed");
    let _grown = client.call("example__grow", json!({ "what": "prompt" })).await;
    assert_eq!(notes.next_json().await.unwrap()["method"], "notifications/prompts/list_changed");
}

//! What is listed: all pages of each list, by role, byte for byte but for the names of prompts.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::{Setup, http_example};
use serde_json::{Value, json};

const ROLES: &str = "[roles.operator]\nallow = [\"*\"]\n\
    [roles.tools]\nallow = [\"example__*\"]\n\
    [roles.reader]\nallow = [\"resource:example://notes/*\", \"prompt:example__gr*\"]\ndeny = [\"resource:*beta\"]\n\
    [roles.promptless]\nallow = [\"*\"]\ndeny = [\"prompt:*\"]\n";

async fn listed(client: &Client, method: &str, member: &str, key: &str) -> Vec<String> {
    let reply = client.request(method, json!({})).await;
    let entries = reply.result()[member].as_array().unwrap_or_else(|| panic!("{reply:?}")).clone();
    entries.iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn all_pages_of_each_list_are_one_with_prompts_prefixed_and_uris_as_they_are() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    assert_eq!(
        listed(&client, "resources/list", "resources", "uri").await,
        ["example://greeting", "example://dot", "example://notes/alpha"]
    );
    assert_eq!(
        listed(&client, "resources/templates/list", "resourceTemplates", "uriTemplate").await,
        ["example://notes/{name}", "example://slow/{ms}"]
    );
    assert_eq!(listed(&client, "prompts/list", "prompts", "name").await, ["example__greet"]);
    let all = client.request("resources/list", json!({})).await;
    assert!(all.result_text().contains(r#""_meta":{"example/x":[1,2]}"#), "{all:?}");
    assert!(all.result().get("nextCursor").is_none());
    let _one_page = client.request("prompts/list", json!({ "cursor": "2" })).await.is_refused("invalid_params", -32602);
}

#[tokio::test]
async fn each_role_sees_its_own_and_initialize_offers_what_there_is_for_it() {
    let fleet = Fleet::start(Setup::example().roles(ROLES)).await;
    let capabilities = async |role: &str| {
        let mut client = Client::new(&fleet.planes[0].url(), &fleet.token(role, role).await);
        let said = client.initialize("2025-11-25").await.result()["capabilities"].clone();
        (client, said)
    };

    let (reader, said) = capabilities("reader").await;
    assert_eq!(listed(&reader, "resources/list", "resources", "uri").await, ["example://notes/alpha"]);
    assert_eq!(
        listed(&reader, "resources/templates/list", "resourceTemplates", "uriTemplate").await,
        ["example://notes/{name}"]
    );
    assert_eq!(listed(&reader, "prompts/list", "prompts", "name").await, ["example__greet"]);
    assert!(reader.tools().await.is_empty(), "patterns with a prefix show no tool");
    for offered in ["resources", "prompts", "completions"] {
        assert!(said[offered].is_object(), "{offered}: {said}");
    }
    let (tools, said) = capabilities("tools").await;
    assert!(said["tools"].is_object() && said.get("resources").is_none() && said.get("prompts").is_none(), "{said}");
    for method in ["resources/list", "resources/templates/list", "prompts/list"] {
        let _unoffered = tools.request(method, json!({})).await.is_refused("method_not_found", -32601);
    }
    let (_, said) = capabilities("promptless").await;
    assert!(said["resources"].is_object() && said.get("prompts").is_none(), "{said}");
}

#[tokio::test]
async fn a_backend_that_is_down_stays_listed_and_says_so_when_it_is_asked() {
    let fleet = Fleet::start(Setup::one_plane().backend_with("example", "restart_on_exit = false")).await;
    let client = fleet.client("claude", "operator").await;

    let _dies = client.call("example__crash", json!({})).await;

    let read = client.request("resources/read", json!({ "uri": "example://greeting" })).await;
    let _down = read.is_refused("backend_unavailable", -31503);
    let got = client.request("prompts/get", json!({ "name": "example__greet", "arguments": { "name": "x" } })).await;
    let _down = got.is_refused("backend_unavailable", -31503);
    assert_eq!(listed(&client, "resources/list", "resources", "uri").await.len(), 3);
    assert_eq!(listed(&client, "prompts/list", "prompts", "name").await.len(), 1);
}

#[tokio::test]
async fn a_list_over_http_is_the_backends_own_but_for_the_names_of_prompts() {
    for sse in [false, true] {
        let server = http_example(sse);
        let backend = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url);
        let fleet = Fleet::start(Setup::one_plane().toml(&backend)).await;
        let client = fleet.client("claude", "operator").await;
        let direct = Client::connected(&server.url, "").await;

        let first = direct.request("resources/list", json!({})).await.result()["resources"].clone();
        let second = direct.request("resources/list", json!({ "cursor": "2" })).await.result()["resources"].clone();
        let whole: Vec<Value> = [first, second].iter().flat_map(|page| page.as_array().unwrap().clone()).collect();

        assert_eq!(client.request("resources/list", json!({})).await.result()["resources"], json!(whole));
        let mut prompts = direct.request("prompts/list", json!({})).await.result().clone();
        prompts["prompts"][0]["name"] = json!("web__greet");
        assert_eq!(client.request("prompts/list", json!({})).await.result(), &prompts);
    }
}

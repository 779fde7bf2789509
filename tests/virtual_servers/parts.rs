//! What belongs to a virtual server is there, nothing else is, and what is named twice is the one that belongs to it.

use sentinel_tests::harness::client::{Client, whole};
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::{ModernClient, with_meta};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::stdio_client::StdioClient;
use serde_json::{Value, json};

use super::SERVERS;

fn setup() -> Setup {
    Setup::example().backend("other").toml(SERVERS)
}

fn names(listed: &Value) -> Vec<&str> {
    listed.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_endpoint_has_its_own_tools_prompts_and_capabilities() {
    let fleet = Fleet::start(setup()).await;
    let token = fleet.token("claude", "operator").await;
    let mut research = Client::new(&fleet.planes[0].server_url("research"), &token);

    let begun = research.initialize("2025-11-25").await;
    let prompts = research.request("prompts/list", json!({})).await;
    let resources = research.request("resources/list", json!({})).await;
    let got = research.request("prompts/get", json!({ "name": "example__greet", "arguments": { "name": "x" } })).await;

    assert_eq!(research.tools().await, ["example__echo", "example__counter"]);
    assert_eq!(research.call("example__echo", json!({ "text": "here" })).await.content(), "here");
    assert_eq!(names(&prompts.result()["prompts"]), ["example__greet"]);
    assert!(got.message.get("result").is_some(), "{got:?}");
    let capabilities = &begun.result()["capabilities"];
    assert!(capabilities["prompts"].is_object() && capabilities["completions"].is_object(), "{begun:?}");
    assert!(capabilities.get("resources").is_none(), "{begun:?}");
    let _none = resources.is_refused("method_not_found", -32601);
    let second = fleet.client_of("second", "claude", "operator").await;
    assert!(second.tools().await.iter().all(|tool| tool.starts_with("other__")));
    let all = fleet.client("claude", "operator").await.tools().await;
    assert!(all.contains(&"example__add".to_owned()) && all.contains(&"other__add".to_owned()), "{all:?}");
}

#[tokio::test]
async fn an_attached_client_of_either_era_names_the_one_that_it_means() {
    let fleet = Fleet::start(setup()).await;
    let token = fleet.token("claude", "operator").await;
    let data_dir = fleet.planes[0].data_dir().display().to_string();
    let attached = |server: &str| {
        let words = ["stdio", "--data-dir", &data_dir, "--server", server];
        StdioClient::started(&words, fleet.folder(), &[("SENTINEL_TOKEN", &token)])
    };

    let mut research = attached("research");
    let begun = research.initialize().await;
    let (old, new) =
        (research.request("tools/list", json!({})).await, research.request("tools/list", with_meta(json!({}))).await);
    let outside = research.call("example__add", json!({ "a": 1, "b": 2 })).await;
    let inside = research.call("example__echo", json!({ "text": "here" })).await;
    let mut none = attached("nowhere");
    let nowhere = none.request("tools/list", with_meta(json!({}))).await;

    assert!(begun.result()["capabilities"].get("resources").is_none(), "{begun:?}");
    for listed in [old, new] {
        assert_eq!(names(&listed.result()["tools"]), ["example__echo", "example__counter"]);
    }
    let id = outside.is_refused("unknown_tool", -32602);
    assert_eq!(fleet.audit_rows(&id).await[0]["detail"]["server"], "research");
    assert_eq!(inside.content(), "here");
    let _id = nowhere.is_refused("invalid_request", -32600);
    assert!(nowhere.message["error"]["message"].as_str().unwrap().contains("nowhere"), "{nowhere:?}");
}

#[tokio::test]
async fn what_is_no_part_of_it_is_answered_like_what_nobody_has() {
    let fleet = Fleet::start(setup()).await;
    let research = fleet.client_of("research", "claude", "operator").await;

    let there = research.call("example__add", json!({ "a": 1, "b": 2 })).await;
    let nowhere = research.call("example__ad_d", json!({ "a": 1, "b": 2 })).await;

    let (one, other) = (there.is_refused("unknown_tool", -32602), nowhere.is_refused("unknown_tool", -32602));
    let told = |text: &str, id: &str, name: &str| {
        let mut message: Value = serde_json::from_str(&text.replace(id, "ID").replace(name, "NAME")).unwrap();
        message["id"] = Value::Null;
        message
    };
    assert_eq!(told(&there.text, &one, "example__add"), told(&nowhere.text, &other, "example__ad_d"));
    assert_eq!(fleet.received("example").count("call"), 0);
}

#[tokio::test]
async fn a_uri_that_two_backends_have_is_the_one_that_belongs_to_the_endpoint() {
    let fleet = Fleet::start(setup()).await;
    let (main, second) =
        (fleet.client("claude", "operator").await, fleet.client_of("second", "claude", "operator").await);

    for (client, uri) in
        [(&main, "example://greeting"), (&second, "example://greeting"), (&second, "example://notes/beta")]
    {
        let read = client.request("resources/read", json!({ "uri": uri })).await;
        assert!(read.message.get("result").is_some(), "{read:?}");
    }
    let listed = second.request("resources/list", json!({})).await;
    let templates = second.request("resources/templates/list", json!({})).await;

    assert_eq!((fleet.received("example").count("read"), fleet.received("other").count("read")), (1, 2));
    assert_eq!(listed.result()["resources"].as_array().unwrap().len(), 3, "{listed:?}");
    assert_eq!(templates.result()["resourceTemplates"].as_array().unwrap().len(), 2, "{templates:?}");
}

#[tokio::test]
async fn a_session_of_one_endpoint_is_none_at_another() {
    let fleet = Fleet::start(setup()).await;
    let plane = &fleet.planes[0];
    let research = fleet.client_of("research", "claude", "operator").await;
    let main = fleet.client("claude", "operator").await;

    for (from, to) in
        [(&research, plane.url()), (&research, plane.server_url("second")), (&main, plane.server_url("research"))]
    {
        let mut elsewhere = Client::new(&to, &from.token);
        elsewhere.session.clone_from(&from.session);
        let refused = elsewhere.call("example__echo", json!({ "text": "x" })).await;
        assert_eq!(refused.status, 404, "{refused:?}");
        let mut unknown = Client::new(&to, &from.token);
        unknown.session = Some("forged".into());
        let forged = unknown.call("example__echo", json!({ "text": "x" })).await;
        assert_eq!((refused.data()["kind"].as_str(), forged.status), (Some("session_not_found"), 404));
        assert_eq!(elsewhere.end().await.status, 404);
        let get = elsewhere.get().await;
        assert_eq!(get.status().as_u16(), 404);
        assert_eq!(whole(get).await.data()["kind"], "session_not_found");
    }
    for (client, tool) in [(&research, "example__echo"), (&main, "example__echo")] {
        assert_eq!(client.call(tool, json!({ "text": "still" })).await.content(), "still");
    }
    let cursor = research.request("tools/list", json!({ "cursor": "2" })).await;
    let _no_cursor = cursor.is_refused("invalid_params", -32602);
}

#[tokio::test]
async fn a_slash_at_the_end_is_the_same_endpoint_and_an_unknown_name_is_none() {
    let fleet = Fleet::start(setup()).await;
    let token = fleet.token("claude", "operator").await;
    let at = |path: &str| ModernClient::new(&format!("http://{}{path}", fleet.planes[0].address()), &token);

    assert_eq!(at("/servers/research/mcp/").tools().await, ["example__echo", "example__counter"]);
    for path in
        ["/servers/researc/mcp", "/servers//mcp", "/servers/research", "/servers/research/mcp/x", "/servers/a/b/mcp"]
    {
        let reply = at(path).request("tools/list", json!({})).await;
        assert_eq!((reply.status, reply.text.as_str()), (404, ""), "{path}");
    }
}

#[tokio::test]
async fn modern_clients_discover_list_and_call_what_belongs_to_the_endpoint() {
    let fleet = Fleet::start(Setup::example().modern_backend("other", "").toml(SERVERS)).await;
    let token = fleet.token("claude", "operator").await;
    let research = ModernClient::new(&fleet.planes[0].server_url("research"), &token);

    let discovered = research.request("server/discover", json!({})).await;
    let capabilities = discovered.result()["capabilities"].clone();
    let read = research.request("resources/read", json!({ "uri": "example://greeting" })).await;
    let second = ModernClient::new(&fleet.planes[0].server_url("second"), &token);
    let found = second.request("resources/read", json!({ "uri": "example://greeting" })).await;

    assert!(capabilities.get("resources").is_none() && capabilities["prompts"].is_object(), "{capabilities}");
    assert_eq!(research.tools().await, ["example__echo", "example__counter"]);
    assert_eq!(research.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    let _no_resources = read.is_refused("method_not_found", -32601);
    assert!(found.message.get("result").is_some(), "{found:?}");
    assert_eq!((fleet.received("example").count("read"), fleet.received("other").count("read")), (0, 1));
}

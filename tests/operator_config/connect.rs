//! `sentinelctl connect`: what it writes lets a client in.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::stdio_client::StdioClient;
use serde_json::{Value, json};

fn written(fleet: &Fleet, file: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fleet.folder().join(file)).unwrap()).unwrap()
}

#[tokio::test]
async fn a_client_gets_in_with_what_was_written_and_nothing_else_of_its_file_changed() {
    let fleet = Fleet::start(Setup::example()).await;
    let before = "{\n  \"theme\": \"dark\",\n  \"mcpServers\": { \"other\": { \"command\": \"x\" } }\n}\n";
    std::fs::write(fleet.folder().join("client.json"), before).unwrap();

    let ran = fleet.ctl("connect claude-code --write --file client.json --client alice --output json").await;

    let told = ran.json();
    let file = written(&fleet, "client.json");
    let server = &file["mcpServers"]["sentinel"];
    assert_eq!((&file["theme"], &file["mcpServers"]["other"]["command"]), (&json!("dark"), &json!("x")));
    assert_eq!(server["url"], fleet.planes[0].url());
    let token = server["headers"]["Authorization"].as_str().unwrap().strip_prefix("Bearer ").unwrap();
    let client = Client::connected(&fleet.planes[0].url(), token).await;
    let reply = client.call("example__echo", json!({ "text": "hello" })).await;
    assert_eq!(reply.content(), "hello");
    assert_eq!(fleet.audit_rows(&reply.request_id()).await[0]["client"], "alice");
    assert_eq!(std::fs::read_to_string(told["backup"].as_str().unwrap()).unwrap(), before);
    let again = fleet.ctl("connect claude-code --write --file client.json --output json").await.json();
    assert_eq!(again["replaced"], true);
}

#[tokio::test]
async fn a_token_that_was_written_is_not_printed_as_well() {
    let fleet = Fleet::start(Setup::one_plane()).await;
    for (client, own) in [("claude-code", "claude mcp add-json"), ("openclaw", "openclaw mcp set")] {
        let file = format!("{client}.json");
        for output in ["table", "json"] {
            let ran = fleet.ctl(&format!("connect {client} --write --file {file} --output {output}")).await.exits(0);

            let text = std::fs::read_to_string(fleet.folder().join(&file)).unwrap();
            let token = text.split("Bearer ").nth(1).unwrap().split('"').next().unwrap();
            assert!(token.len() > 100, "{text}");
            assert!(!ran.stdout.contains(token) && !ran.stderr.contains(token) && !ran.stdout.contains(own), "{ran:?}");
        }
        let _printed = fleet.ctl(&format!("connect {client}")).await.exits(0).says(own);
    }
}

#[tokio::test]
async fn a_client_attaches_by_what_was_written_for_stdio() {
    let fleet = Fleet::start(Setup::example()).await;
    let socket = fleet.planes[0].data_dir().join("plane/plane.sock");
    let line = format!("connect claude-desktop --write --file desktop.json --attach {}", socket.display());

    let _ran = fleet.ctl(&line).await.exits(0).says("over stdio alone");

    let server = &written(&fleet, "desktop.json")["mcpServers"]["sentinel"];
    assert!(server["command"].as_str().unwrap().ends_with("sentinel-dataplane"));
    let args: Vec<&str> = server["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    let token = server["env"]["SENTINEL_TOKEN"].as_str().unwrap();
    let mut client = StdioClient::started(&args, fleet.folder(), &[("SENTINEL_TOKEN", token)]);
    client.initialize().await;
    assert_eq!(client.call("example__echo", json!({ "text": "over stdio" })).await.content(), "over stdio");
}

#[tokio::test]
async fn a_file_that_does_not_parse_is_left_alone_and_no_token_is_made() {
    let fleet = Fleet::start(Setup::one_plane()).await;
    let broken = "{\n  \"mcpServers\": {,}\n}";
    std::fs::write(fleet.folder().join("broken.json"), broken).unwrap();

    let ran = fleet.ctl("connect cursor --write --file broken.json").await.exits(2);

    let _ran = ran.says("broken.json:2:18: a name in \"quotes\" is wanted");
    assert_eq!(std::fs::read_to_string(fleet.folder().join("broken.json")).unwrap(), broken);
}

#[tokio::test]
async fn each_client_is_shown_its_own_words_and_what_it_cannot_do() {
    let fleet = Fleet::start(Setup::one_plane()).await;
    for (client, path) in [
        ("claude-code", "/mcpServers/sentinel/type"),
        ("cursor", "/mcpServers/sentinel/url"),
        ("vscode", "/servers/sentinel/url"),
        ("openclaw", "/mcp/servers/sentinel/transport"),
        ("n8n", "/nodes/0/parameters/endpointUrl"),
    ] {
        let told = fleet.ctl(&format!("connect {client} --role analyst --output json")).await.json();
        assert!(told["config"].pointer(path).is_some_and(Value::is_string), "{told}");
        assert_eq!((&told["role"], &told["written"]), (&json!("analyst"), &json!(false)));
    }
    let _refused = fleet.ctl("connect n8n --write").await.exits(2).says("its own database");
    let _refused = fleet.ctl("connect n8n --stdio").await.exits(2).says("HTTP alone");
    let _refused = fleet.ctl("connect cursor --role nobody").await.says("nobody");
}

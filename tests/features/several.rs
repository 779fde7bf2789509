//! Several backends: names are told apart by prefix, URIs by the catalogue, and of two the first in the file has it.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::{Setup, http_example};
use serde_json::json;

#[tokio::test]
async fn of_two_backends_with_one_uri_the_first_in_the_file_has_it_and_prompts_are_both_there() {
    let server = http_example(false);
    let second = format!("[[backends]]\nname = \"second\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().backend("first").toml(&second)).await;
    let client = fleet.client("claude", "operator").await;

    let resources = client.request("resources/list", json!({})).await;
    let prompts = client.request("prompts/list", json!({})).await;
    for uri in ["example://greeting", "example://notes/gamma"] {
        let read = client.request("resources/read", json!({ "uri": uri })).await;
        assert!(read.message.get("result").is_some(), "{read:?}");
    }
    let got = client.request("prompts/get", json!({ "name": "second__greet", "arguments": { "name": "x" } })).await;

    assert_eq!(resources.result()["resources"].as_array().unwrap().len(), 3, "{resources:?}");
    let names: Vec<_> = prompts.result()["prompts"].as_array().unwrap().iter().map(|prompt| &prompt["name"]).collect();
    assert_eq!(names, ["first__greet", "second__greet"]);
    assert!(got.message.get("result").is_some(), "{got:?}");
    assert_eq!((fleet.received("first").count("read"), server.received().count("read")), (2, 0));
    assert_eq!((fleet.received("first").count("get"), server.received().count("get")), (0, 1));
}

#[tokio::test]
async fn a_backend_that_leaves_gives_its_uris_to_the_next() {
    let server = http_example(false);
    let second = format!("[[backends]]\nname = \"second\"\nurl = \"{}\"\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().backend("first").toml(&second)).await;
    let client = fleet.client("claude", "operator").await;

    fleet.write(&Setup::one_plane().toml(&second));
    let reloaded = fleet.ctl("reload").await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");

    let read = client.request("resources/read", json!({ "uri": "example://greeting" })).await;
    assert!(read.message.get("result").is_some(), "{read:?}");
    assert_eq!(server.received().count("read"), 1);
}

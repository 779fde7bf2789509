//! `stdio --alone`: a whole plane in the client's own process, governed by what was last published, without any daemon.

use std::path::Path;

use nix::sys::signal::Signal;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::{descendants, is_alive};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::stdio_client::StdioClient;
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

/// A client with a plane of its own on the directory of the fleet's first plane, without `initialize`.
fn alone(fleet: &Fleet, token: &str) -> StdioClient {
    let data_dir = fleet.planes[0].data_dir().display().to_string();
    let control_plane = format!("unix:{}", fleet.folder().join("control/controlplane/grpc.sock").display());
    let plane_token = fleet.folder().join("control/plane.token").display().to_string();
    StdioClient::started(
        &["stdio", "--alone", "--data-dir", &data_dir, "--control-plane", &control_plane],
        fleet.folder(),
        &[("SENTINEL_TOKEN", token), ("SENTINEL_PLANE_TOKEN_FILE", &plane_token)],
    )
}

async fn refused(mut client: StdioClient) -> (Value, Option<i32>, String) {
    client.write(&json!({ "jsonrpc": "2.0", "id": 7, "method": "initialize", "params": {} }).to_string()).await;
    let answer: Value = serde_json::from_str(&client.read().await.unwrap()).unwrap();
    assert_eq!((client.read().await, &answer["id"]), (None, &json!(7)));
    let (status, said) = client.ended().await;
    (answer["error"]["data"].clone(), status.code(), said)
}

/// Both daemons ended in order: what is left is what is on disk.
async fn without_daemons(fleet: &mut Fleet) {
    fleet.planes[0].process.signal(Signal::SIGTERM);
    assert!(fleet.planes[0].process.wait().await.success());
    fleet.control_plane.signal(Signal::SIGTERM);
    assert!(fleet.control_plane.wait().await.success());
}

#[tokio::test]
async fn without_any_daemon_a_client_is_served_and_governed_by_what_was_last_in_force() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let token = fleet.token("laptop", "analyst").await;
    let _killed = fleet.ctl("kill-switch client mallory").await.exits(0);
    let mallory = fleet.token("mallory", "operator").await;
    without_daemons(&mut fleet).await;

    let mut client = alone(&fleet, &token);
    client.initialize().await;

    // The first list has the tools: many clients ask once.
    let listed = client.request("tools/list", json!({})).await;
    let names: Vec<&str> =
        listed.result()["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["example__echo", "example__add"]);
    let echo = client.call("example__echo", json!({ "text": "alone" })).await;
    assert_eq!(echo.content(), "alone");
    let _id = client.call("example__counter", json!({})).await.is_refused("unknown_tool", -32602);
    let forbidden = client.call("example__add", json!({ "a": 5000, "b": 1 })).await.is_refused("forbidden", -31403);
    assert!(!fleet.planes[0].data_dir().join("plane/plane.sock").exists() || is_nobody_there(&fleet).await);
    let children = descendants(client.pid());
    let (status, said) = client.end().await;
    assert!(status.success(), "{status} {said}");
    until("no child is left", async || holds(children.iter().all(|child| !is_alive(*child)))).await;

    let mut client = alone(&fleet, &mallory);
    client.initialize().await;
    let _id = client.call("example__echo", json!({ "text": "x" })).await.is_refused("disabled", -31423);
    let _ended = client.end().await;
    // What it did is in the audit as soon as there is one again.
    fleet.control_plane.restart().await;
    fleet.planes[0].process.restart().await;
    fleet.until_ready().await;
    let row = fleet.audit_rows(&forbidden).await.remove(0);
    assert_eq!((&row["client"], &row["kind"]), (&json!("laptop"), &json!("forbidden")));
    let _whole = fleet.ctl("audit verify").await.exits(0);
}

async fn is_nobody_there(fleet: &Fleet) -> bool {
    tokio::net::UnixStream::connect(fleet.planes[0].data_dir().join("plane/plane.sock")).await.is_err()
}

#[tokio::test]
async fn with_a_control_plane_it_is_a_plane_like_any_other() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let token = fleet.token("laptop", "operator").await;
    fleet.planes[0].process.signal(Signal::SIGTERM);
    assert!(fleet.planes[0].process.wait().await.success());

    let mut client = alone(&fleet, &token);
    client.initialize().await;

    until("the control plane sees it", async || {
        let listed = fleet.ctl("plane list --output json").await.json();
        let here =
            listed[0]["state"] == "connected" && listed[0]["listen"] == "" && listed.as_array().unwrap().len() == 1;
        if here { Ok(()) } else { Err(listed) }
    })
    .await;
    let echo = client.call("example__echo", json!({ "text": "x" })).await;
    assert_eq!(echo.content(), "x");
    let _killed = fleet.ctl("kill-switch tool example__echo --reason leak").await.exits(0);
    let refused = client.call("example__echo", json!({ "text": "x" })).await;
    let id = refused.is_refused("disabled", -31423);
    assert_eq!(fleet.audit_rows(&id).await[0]["client"], "laptop");
    let call = json!({ "jsonrpc": "2.0", "id": "slow", "method": "tools/call", "params": { "name": "example__slow", "arguments": { "ms": 700 } } });
    client.write(&call.to_string()).await;
    until("the call is at the backend", async || holds(!fleet.received("example").calls("slow").is_empty())).await;
    // Whoever ends the process lets calls finish; the control plane hears that it goes.
    client.signal(Signal::SIGTERM);
    assert_eq!(client.answer_to(&json!("slow")).await.message["result"]["isError"], Value::Null);
    let (status, said) = client.ended().await;
    assert!(status.success(), "{status} {said}");
    until("it has said goodbye", async || {
        let listed = fleet.ctl("plane list --output json").await.json();
        if listed[0]["state"] == "stopped" { Ok(()) } else { Err(listed) }
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_a_plane_holds_is_left_to_it() {
    let fleet = Fleet::start(Setup::example()).await;
    let token = fleet.token("laptop", "operator").await;

    let (data, code, said) = refused(alone(&fleet, &token)).await;

    assert_eq!((&data["reason"], code), (&json!("no_plane"), Some(2)), "{said}");
    let pid = format!("pid {}", fleet.planes[0].process.pid());
    assert!(said.contains(&pid) && said.contains("--data-dir") && said.contains("leave --alone out"), "{said}");
    assert!(fleet.planes[0].ready().await.is_ok());
}

#[tokio::test]
async fn without_a_configuration_it_says_so_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let start = |args: &[&str]| StdioClient::started(args, folder.path(), &[("SENTINEL_TOKEN", "x")]);

    let (data, code, said) = refused(start(&["stdio", "--alone", "--data-dir", &path(folder.path(), "new")])).await;

    assert_eq!((&data["kind"], &data["reason"], code), (&json!("not_ready"), &json!("no_snapshot"), Some(2)), "{said}");
    assert!(said.contains("no configuration is known") && said.contains("sentinelctl up"), "{said}");
    let (status, said) = start(&["stdio", "--alone", "--attach", "x.sock"]).ended().await;
    assert_eq!(status.code(), Some(2), "{said}");
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

#[tokio::test]
async fn a_token_that_it_does_not_take_ends_it_with_2() {
    let mut fleet = Fleet::start(Setup::example()).await;
    without_daemons(&mut fleet).await;

    let (data, code, said) = refused(alone(&fleet, "x.y.z")).await;

    assert_eq!((&data["kind"], code), (&json!("unauthenticated"), Some(2)), "{said}");
}

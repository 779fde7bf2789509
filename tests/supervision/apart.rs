//! `user` and `sandbox` in the file: refused by key and reason where they can't be had, and no backend is as we are where
//! all are set apart. What is seen inside is tried in the data plane's own tests.

use std::path::PathBuf;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::program;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

use crate::until_state;

const SAME_USER: &str = "backends can read Sentinel's keys";

/// The example server, without a log that it would have to reach.
fn apart(more: &str) -> Setup {
    let server = program("sentinel-example-server").display().to_string();
    Setup::one_plane().toml(&format!("[[backends]]\nname = \"example\"\ncommand = {}\n{more}", json!(server)))
}

fn programs() -> String {
    let folder = program("sentinel-example-server").parent().map(PathBuf::from).unwrap();
    json!([folder]).to_string()
}

/// What the plane says to this addition to a file.
async fn refused(fleet: &Fleet, more: &str) -> String {
    fleet.write(&apart(more));
    let ran = fleet.ctl("reload").await;
    assert_ne!(ran.code, Some(0), "{more}: {ran:?}");
    format!("{}{}", ran.stdout, ran.stderr)
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_by_key_and_reason_and_the_rest_goes_on() {
    // A plane that finds no program beside its own.
    let fleet = Fleet::start(apart("").env("PATH", "/no/such/folder")).await;
    let said = refused(&fleet, "sandbox = \"bwrap\"").await;
    assert!(said.contains("sandbox") && said.contains("bwrap is not on this data plane; install it"), "{said}");
    let said = refused(&fleet, "user = \"no-such-user\"").await;
    assert!(said.contains("there is no user no-such-user"), "{said}");
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.call_once_known("example__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn in_a_sandbox_it_serves_and_the_warning_of_the_same_user_is_gone() {
    if !PathBuf::from("/usr/bin/bwrap").exists() {
        println!("not run: there is no bwrap on this machine");
        return;
    }
    let fleet = Fleet::start(apart("")).await;
    assert!(fleet.ctl("status").await.stdout.contains(SAME_USER));
    let said = refused(&fleet, "sandbox = \"bwrap\"").await;
    if said.contains("bwrap can make no sandbox") {
        println!("not run: {said}");
        return;
    }
    assert!(said.contains("not in sight inside the sandbox; add its folder to sandbox_read"), "{said}");
    let keys = json!([fleet.planes[0].data_dir()]).to_string();
    let said = refused(&fleet, &format!("sandbox = \"bwrap\"\nsandbox_read = {keys}")).await;
    assert!(said.contains("would show Sentinel's keys"), "{said}");

    fleet.write(&apart(&format!("sandbox = \"bwrap\"\nsandbox_network = false\nsandbox_read = {}", programs())));
    let _ran = fleet.ctl("reload").await.exits(0);
    until_state(&fleet, "example", "ready").await;
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.call_once_known("example__echo", json!({ "text": "x" })).await.content(), "x");
    let status = fleet.ctl("status").await;
    assert!(!status.stdout.contains(SAME_USER), "{}", status.stdout);
}

//! Definitions of tools that change: pinned, quarantined, shown, approved; over a fleet, over restarts, under renames.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests are tests"
)]

mod apart;
mod changes;
mod hostile;
mod lasting;
mod policies;
mod renames;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

/// A tool as its server lists it.
fn tool(name: &str, description: &str) -> Value {
    json!({ "name": name, "description": description, "inputSchema": { "type": "object" } })
}

/// What the example server lists more, from its next list on.
fn offer(fleet: &Fleet, backend: &str, tools: &[Value]) {
    let texts: Vec<String> = tools.iter().map(Value::to_string).collect();
    std::fs::write(fleet.folder().join(format!("{backend}.tools")), texts.join(",")).unwrap();
}

/// The same, and its gateway lists it anew.
async fn relist(fleet: &Fleet, backend: &str, tools: &[Value], client: &Client) {
    offer(fleet, backend, tools);
    let told = client.call(&format!("{backend}__misbehave"), json!({ "how": "relist" })).await;
    assert_eq!(told.content(), "as asked", "{told:?}");
}

/// Until this client's list has the tool, or has it no more.
async fn until_listed(client: &Client, name: &str, wanted: bool) {
    until("the list is as wanted", async || {
        let tools = client.tools().await;
        if tools.iter().any(|tool| tool == name) == wanted { Ok(()) } else { Err(tools) }
    })
    .await;
}

/// The entry of `tool list`.
async fn entry(fleet: &Fleet, name: &str) -> Value {
    let all = fleet.ctl("tool list --output json").await.json();
    let found = all.as_array().unwrap().iter().find(|tool| tool["name"] == name);
    found.cloned().unwrap_or_default()
}

/// Until the control plane knows the tool in this state.
async fn until_known(fleet: &Fleet, name: &str, status: &str) {
    until("the control plane knows it so", async || {
        let entry = entry(fleet, name).await;
        if entry["status"] == status { Ok(()) } else { Err(entry) }
    })
    .await;
}

/// Until the control plane has pinned a tool, so that its next change is one for every plane.
async fn until_pinned(fleet: &Fleet, name: &str) -> Value {
    until("the tool is pinned", async || {
        let shown = fleet.ctl(&format!("tool show {name} --output json")).await;
        let pin = serde_json::from_str::<Value>(&shown.stdout).unwrap_or_default()["pin"].clone();
        if pin["epoch"].as_u64().unwrap_or(0) > 0 { Ok(pin) } else { Err(shown) }
    })
    .await
}

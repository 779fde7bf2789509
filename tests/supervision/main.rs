//! Processes of stdio backends: how long they are there, what they may take, who they are, and what is left of them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of tests are tests"
)]

mod apart;
mod cycles;
mod lifetime;
mod limits;
mod restarts;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::until::until;
use serde_json::Value;

/// The backend as the operator sees it.
async fn backend(fleet: &Fleet, name: &str) -> Value {
    let listed = fleet.ctl("backend list --output json").await.json();
    let all = listed.as_array().unwrap_or_else(|| panic!("no list: {listed}"));
    all.iter().find(|backend| backend["name"] == name).cloned().unwrap_or_default()
}

async fn until_state(fleet: &Fleet, name: &str, state: &str) -> Value {
    until(&format!("{name} is {state}"), async || {
        let seen = backend(fleet, name).await;
        if seen["state"] == state { Ok(seen) } else { Err(seen) }
    })
    .await
}

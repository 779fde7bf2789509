//! The fault table of the design, row by row: its backends, its processes, its host. Each test is named after its row;
//! `docs/faults.md` lists them, and `table.rs` holds that page against the sources.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests are tests"
)]

mod answers;
mod clock;
mod host;
mod http;
mod old;
mod repeats;
mod shares;
mod stdio;
mod table;
mod talk;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::hostile::HttpFault;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

/// Faults of one case must not open the breaker for the next.
const PATIENT: &str = "[circuit_breaker]\nfailures = 1000\n";

/// A good backend beside a bad one over HTTP, which is called `wild`. `more`: lines of its table.
async fn beside_wild(more: &str, toml: &str) -> (Fleet, HttpFault, Client) {
    let wild = HttpFault::start();
    let (fleet, client) = beside(&wild, &format!("url = \"{}\"\n{more}", wild.url()), toml).await;
    (fleet, wild, client)
}

/// The same with a bad one that runs already. `table`: the lines of its table.
async fn beside(wild: &HttpFault, table: &str, toml: &str) -> (Fleet, Client) {
    wild.is_there().await;
    let backend = format!("[[backends]]\nname = \"wild\"\n{table}\n");
    let fleet = Fleet::start(Setup::example().toml(&backend).toml(toml)).await;
    let client = fleet.client("claude", "operator").await;
    until("its tools are known", async || {
        let tools = client.tools().await;
        if tools.iter().any(|tool| tool == "wild__bad") { Ok(()) } else { Err(tools) }
    })
    .await;
    (fleet, client)
}

/// Until a call of this backend is answered again.
async fn serves(client: &Client, backend: &str) {
    until(&format!("{backend} serves"), async || {
        let reply = client.call(&format!("{backend}__echo"), json!({ "nonce": "again", "text": "again" })).await;
        if reply.message["result"].is_object() { Ok(()) } else { Err(reply) }
    })
    .await;
}

/// The bad server knows its session no more: calls at once make one new session for all, and none fails.
async fn forgets(wild: &HttpFault, client: &Client) {
    let sessions = wild.received().count("initialize");
    let forgets = client.call("wild__bad", json!({ "how": "forget", "nonce": "f" })).await;
    assert_eq!(forgets.content(), "f");

    let calls = (0..16).map(|number| {
        let nonce = number.to_string();
        async move { (client.call("wild__once", json!({ "nonce": nonce })).await, nonce) }
    });
    for (reply, nonce) in futures_util::future::join_all(calls).await {
        assert_eq!(reply.content(), nonce);
    }

    assert_eq!(wild.received().count("initialize"), sessions + 1);
    assert_eq!(wild.received().calls("once").len(), 16, "what a 404 refused was never executed, so it is sent again");
}

/// The one row of a call, with its detail.
async fn row_of(fleet: &Fleet, reply: &Reply) -> Value {
    let mut rows = fleet.audit_rows(&reply.request_id()).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

/// What `backend list` says of one.
async fn state_of(fleet: &Fleet, name: &str) -> Value {
    let listed = fleet.ctl("backend list --output json").await.json();
    let found = listed.as_array().unwrap().iter().find(|backend| backend["name"] == name).cloned();
    found.unwrap_or_else(|| panic!("{name} is not in {listed}"))
}

/// Until the plane says that nothing is at this backend, and nothing runs.
async fn all_is_given_back(fleet: &Fleet, backend: &str) {
    for series in [format!("sentinel_backend_inflight{{backend=\"{backend}\"}}"), "sentinel_in_flight".to_owned()] {
        until(&format!("{series} is 0"), async || match fleet.planes[0].metric(&series).await {
            Some(0.0) => Ok(()),
            other => Err(other),
        })
        .await;
    }
}

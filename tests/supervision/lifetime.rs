//! `idle_stop_secs` and `max_lifetime_secs`: who calls notices the time that a start takes, and nothing else.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::load::Load;
use sentinel_tests::harness::process::is_alive;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

use crate::{backend, until_state};

const HEALTHY: &str = "sentinel_backend_healthy{backend=\"example\"}";

async fn fleet(more: &str) -> Fleet {
    Fleet::start(Setup::one_plane().backend_with("example", more).not_waiting_for_backends()).await
}

fn pid(backend: &Value) -> u32 {
    u32::try_from(backend["pid"].as_u64().unwrap_or_else(|| panic!("no process: {backend}"))).unwrap()
}

#[tokio::test]
async fn a_backend_that_idles_costs_no_process_stays_offered_and_is_back_at_the_next_call() {
    let fleet = fleet("idle_stop_secs = 1").await;
    let client = fleet.client("claude", "operator").await;
    let idle = until_state(&fleet, "example", "idle").await;
    assert!(idle["pid"].is_null() && idle["reason"].as_str().unwrap().contains("idle_stop_secs"), "{idle}");
    let server = fleet.received("example").pids()[0];
    assert!(!is_alive(server));

    let tools = client.tools().await;
    assert!(tools.contains(&"example__echo".to_owned()), "{tools:?}");
    assert_eq!(fleet.planes[0].ready().await.unwrap()["ready"], true, "it is the only one, and it can be used");
    assert_eq!(fleet.planes[0].metric(HEALTHY).await, Some(1.0));
    let listed = fleet.ctl("tool list --output json").await.json();
    let stale = listed.as_array().unwrap().iter().filter(|tool| tool["status"] != "listed").collect::<Vec<_>>();
    assert!(stale.is_empty(), "{stale:?}");
    let shown = fleet.ctl("status").await;
    assert!(shown.stdout.contains("idle") && shown.stdout.contains("the next one starts it"), "{}", shown.stdout);

    let answers =
        futures_util::future::join_all((0..10).map(|n| client.call("example__add", json!({ "a": n, "b": 1 })))).await;
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.result()["structuredContent"]["sum"], n + 1, "{answer:?}");
    }
    let pids = fleet.received("example").pids();
    assert_eq!(pids.len(), 2, "ten calls started one process: {pids:?}");
    assert_eq!(client.tools().await, tools);
    assert_eq!(until_state(&fleet, "example", "idle").await["restarts"], 0);
}

#[tokio::test]
async fn with_isolation_each_process_idles_by_itself_and_the_clients_own_comes_back() {
    let fleet = fleet("isolation = \"per-client\"\nidle_stop_secs = 1").await;
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.call_once_known("example__counter", json!({})).await.content(), "1");
    let instance = until("its process idles", async || {
        let seen = backend(&fleet, "example").await;
        if seen["instances"][0]["state"] == "idle" && seen["state"] == "idle" {
            Ok(seen["instances"][0].clone())
        } else {
            Err(seen)
        }
    })
    .await;
    assert!(instance["pid"].is_null() && instance["client"] == "claude", "{instance}");
    assert_eq!(client.call("example__counter", json!({})).await.content(), "1", "another process, which counts anew");
    assert_eq!(backend(&fleet, "example").await["instances"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn processes_that_are_replaced_for_their_age_cost_no_call_under_load() {
    let fleet = fleet("max_lifetime_secs = 1").await;
    let first = until_state(&fleet, "example", "ready").await;
    let client = fleet.client("claude", "operator").await;
    client.call_once_known("example__echo", json!({ "text": "x" })).await;
    let load = Load::start(vec![client]);
    until("three have come and gone", async || holds(fleet.received("example").pids().len() >= 4)).await;
    let seen = load.stop().await;

    assert!(seen.failed.is_empty(), "{:?}", seen.failed);
    let wrong: Vec<_> = seen.answered.iter().filter(|answered| !answered.is_echo()).take(3).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(!is_alive(pid(&first)));
    assert_eq!(backend(&fleet, "example").await["restarts"], 0);
}

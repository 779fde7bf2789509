//! A changed file under load: nothing fails, and only what changed is touched.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::load::Load;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until};
use serde_json::json;

use crate::clients;

const RELOADS: usize = 100;

#[tokio::test]
async fn p11_of_100_reloads_under_load_no_call_fails_and_processes_and_buckets_stay() {
    // The load's tool is unlimited; `counter` refills so slowly that a bucket made anew would show.
    let limits = "[rate_limit]\ndefault = { requests = 1000000, per_secs = 1, burst = 1000000 }\n\
        per_client = { requests = 1000000, per_secs = 1, burst = 1000000 }\n\
        [rate_limit.tools]\n\"example__counter\" = { requests = 1, per_secs = 86400, burst = 3 }\n";
    let setup = Setup::example().backend("other").limits(limits);
    let fleet = Fleet::start(setup.clone()).await;
    let counter = fleet.client("counter", "operator").await;
    for count in ["1", "2"] {
        assert_eq!(counter.call("example__counter", json!({})).await.content(), count);
    }
    let pids = (fleet.received("example").pids(), fleet.received("other").pids());
    let load = Load::start(clients(&fleet, 4).await);
    load.goes_on_for(20).await;

    for number in 0..RELOADS {
        let changed = setup.clone().toml(&format!("[roles.extra]\nallow = [\"example__tool_{number}\"]"));
        fleet.write(&changed);
        let reloaded = fleet.ctl("reload --output json").await.json();
        assert_eq!(reloaded["revision"], number + 2, "{reloaded}");
        assert_eq!(reloaded["planes"][0]["outcome"], "applied", "{reloaded}");
    }
    load.goes_on_for(20).await;
    let seen = load.stop().await;

    assert!(seen.failed.is_empty(), "{:?}", seen.failed);
    let wrong: Vec<_> = seen.answered.iter().filter(|answered| !answered.is_echo()).take(3).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    println!("{RELOADS} reloads, {} calls, 0 failed", seen.answered.len());
    assert_eq!((fleet.received("example").pids(), fleet.received("other").pids()), pids);
    assert_eq!(fleet.planes[0].metric("sentinel_snapshot_revision").await, Some(101.0));
    // One was left in the bucket, and none came back.
    assert_eq!(counter.call("example__counter", json!({})).await.content(), "3");
    let _id = counter.call("example__counter", json!({})).await.is_refused("rate_limited", -31429);
}

#[tokio::test]
async fn a_changed_backend_is_started_anew_and_the_others_are_not() {
    let fleet = Fleet::start(Setup::example().backend("other")).await;
    let client = fleet.client("claude", "operator").await;
    let (example, other) = (fleet.received("example").pids(), fleet.received("other").pids());
    let slow = client.call("other__slow", json!({ "ms": 1500 }));
    let change = async {
        until("it is at the backend", async || holds(!fleet.received("other").calls("slow").is_empty())).await;
        fleet.write(&Setup::example().backend_with("other", "env = { CHANGED = \"yes\" }"));
        fleet.ctl("reload").await.exits(0)
    };

    let (reply, _) = tokio::join!(slow, change);

    assert_eq!(reply.content(), "done after 1 steps", "a call in flight finishes on the old one");
    until("the new one is there", async || {
        let pids = fleet.received("other").pids();
        if pids.len() == 2 { Ok(()) } else { Err(pids) }
    })
    .await;
    fleet.planes[0].until_ready(true).await;
    assert_eq!(fleet.received("example").pids(), example);
    assert_eq!(fleet.received("other").pids()[0], other[0]);
    until("calls go to it", async || {
        let reply = client.call("other__env", json!({})).await;
        holds(reply.message["result"]["content"][0]["text"].as_str().is_some_and(|names| names.contains("CHANGED")))
    })
    .await;
}

#[tokio::test]
async fn a_broken_file_changes_nothing_under_load() {
    let fleet = Fleet::start(Setup::example()).await;
    let load = Load::start(clients(&fleet, 2).await);
    load.goes_on_for(20).await;

    for broken in ["[gateway\n", "[roles.x]\nallow = 7\n", "[surprise]\nx = 1\n"] {
        fleet.write(&fleet.setup().toml(broken));
        let refused = fleet.ctl("reload").await.exits(2);
        let _ran = refused.says("sentinel.toml:");
    }
    load.goes_on_for(20).await;
    let seen = load.stop().await;

    assert!(seen.failed.is_empty() && seen.answered.iter().all(|answered| answered.is_echo()));
    assert_eq!(fleet.planes[0].ready().await.unwrap()["revision"], 1);
}

//! Many calls at once over one process, and many processes one after the other: what the plane holds stays what it was.
//! `SENTINEL_PROOF` (`make proof`): ten thousand ends instead of a few.

use std::time::Duration;

use futures_util::future::join_all;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::descendants;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{until, until_within};
use serde_json::json;

const CALLS: usize = 1000;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    resident_kib: u64,
    descriptors: usize,
    threads: u64,
    children: usize,
}

fn held(pid: u32) -> Held {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    Held {
        resident_kib: number("VmRSS:"),
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
        threads: number("Threads:"),
        children: descendants(pid).len(),
    }
}

fn proof() -> bool {
    std::env::var_os("SENTINEL_PROOF").is_some()
}

#[tokio::test]
async fn a_thousand_calls_at_once_over_one_process_are_all_answered_and_nothing_of_them_stays() {
    let setup = Setup::one_plane().backend_with("example", "max_concurrency = 1000");
    let fleet = Fleet::start(setup.toml("[gateway]\nmax_in_flight = 8192")).await;
    let plane = &fleet.planes[0];
    let (url, token) = (plane.url(), fleet.token("many", "operator").await);
    let clients = join_all((0..20).map(|_| Client::connected(&url, &token))).await;
    let round = async |ms: u64| {
        let calls = clients.iter().cycle().take(CALLS).map(|client| client.call("example__slow", json!({ "ms": ms })));
        let all = join_all(calls);
        let seen = until("a thousand are at the backend", async || {
            let at = plane.metric("sentinel_backend_inflight{backend=\"example\"}").await.unwrap_or_default();
            if at >= 1000.0 { Ok(at) } else { Err(at) }
        });
        let (answers, _) = tokio::join!(all, seen);
        for answer in &answers {
            assert!(answer.result()["content"].is_array(), "{answer:?}");
        }
    };
    round(20_000).await;
    let warm = held(plane.process.pid());
    for _ in 0..if proof() { 10 } else { 2 } {
        round(20_000).await;
    }
    let after = until("what it held is let go", async || {
        let now = held(plane.process.pid());
        let (idle, open) = (plane.metric("sentinel_in_flight").await == Some(0.0), now.descriptors <= warm.descriptors);
        if idle && open { Ok(now) } else { Err(now) }
    })
    .await;
    println!("rounds of {CALLS} calls at once: {warm:?}, then {after:?}");
    assert!(after.resident_kib < warm.resident_kib + 16 * 1024, "{warm:?} {after:?}");
    assert!(after.threads <= warm.threads + 2, "{warm:?} {after:?}");
    assert_eq!(after.children, warm.children);
    assert_eq!(fleet.received("example").pids().len(), 1, "one process took them all");
}

#[tokio::test]
async fn a_process_that_crashes_and_is_started_again_and_again_leaves_nothing() {
    let cycles: usize = if proof() { 10_000 } else { 30 };
    let setup = Setup::example().toml("[circuit_breaker]\nfailures = 1000");
    let fleet = Fleet::start(setup).await;
    let pid = fleet.planes[0].process.pid();
    let client = fleet.client("claude", "operator").await;
    let cycle = async || {
        let told = client.call("example__crash", json!({})).await;
        assert_eq!(told.data()["kind"], "backend_error", "{told:?}");
        // Without the backoff, which would make a proof of hours.
        let _ran = fleet.ctl("backend restart example").await.exits(0);
        // More than half of a backend's calls must not fail, or its breaker opens.
        for _ in 0..3 {
            until("it serves again", async || {
                let answer = client.call("example__echo", json!({ "text": "x" })).await;
                if answer.message["result"].is_object() { Ok(()) } else { Err(answer) }
            })
            .await;
        }
    };
    let warm_up = cycles / 5;
    for _ in 0..warm_up {
        cycle().await;
    }
    let warm = held(pid);
    println!("after {warm_up} ends: {warm:?}");
    for number in warm_up..cycles {
        cycle().await;
        if number % 1000 == 0 {
            println!("after {number} ends: {:?}", held(pid));
        }
    }
    let after = until_within(Duration::from_secs(60), "what it held is let go", async || {
        let now = held(pid);
        if now.descriptors <= warm.descriptors && now.children <= warm.children { Ok(now) } else { Err(now) }
    })
    .await;
    println!("after {cycles} ends: {after:?}");
    assert!(after.resident_kib < warm.resident_kib + 8 * 1024, "{warm:?} {after:?}");
    // Tokio's own for blocking work come and go.
    assert!(after.threads <= warm.threads + 2, "{warm:?} {after:?}");
    // Not their ids: so many processes use some of them twice.
    assert!(fleet.received("example").count("initialize") > cycles, "each cycle was a process");
}

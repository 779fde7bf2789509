//! `memory_max` and `pids_max`: held where the machine lets the plane make control groups, and told where not. Which of
//! the two a machine can show is found out by asking the plane; `make limits-test` has a kernel that holds all of them.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use crate::{backend, until_state};

const MEMORY: &str = "memory_max = \"48MiB\"\nmax_response_bytes = \"128MiB\"";

/// What the plane warns of, once the control plane has heard of the backend.
async fn warnings(fleet: &Fleet) -> Vec<String> {
    until_state(fleet, "example", "ready").await;
    let status = fleet.ctl("status --output json").await.json();
    let warnings = status["warnings"].as_array().cloned().unwrap_or_default();
    warnings.iter().filter_map(|warning| warning.as_str().map(str::to_owned)).collect()
}

/// Why this machine does not hold a limit; none: it does.
async fn lacking(fleet: &Fleet, key: &str) -> Option<String> {
    let held = format!("example: {key} is not held here: ");
    let all = warnings(fleet).await;
    all.iter().find_map(|warning| warning.split_once(&held)).map(|(_, why)| why.to_owned())
}

/// That a limit is not held is said in `status` and `doctor`, its backend works all the same, and a file that requires
/// it is refused with the key and the reason.
async fn is_told(fleet: &Fleet, setup: Setup, key: &str, why: &str) {
    assert!(!why.is_empty());
    let doctor = fleet.ctl("doctor").await;
    assert!(doctor.stdout.contains(&format!("{key} is not held here")), "{}", doctor.stdout);
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");

    fleet.write(&setup);
    let refused = fleet.ctl("reload").await;
    assert_ne!(refused.code, Some(0), "{refused:?}");
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains(key) && said.contains("limits_required"), "{said}");
    assert_eq!(client.call("example__echo", json!({ "text": "y" })).await.content(), "y", "nothing has changed");
    println!("{key} can not be held on this machine, which was told: {why}");
}

#[tokio::test]
async fn a_backend_over_its_memory_is_ended_alone_and_told_or_the_limit_is_told_as_not_held() {
    let fleet = Fleet::start(Setup::example_with(MEMORY).backend("other")).await;
    if let Some(why) = lacking(&fleet, "memory_max").await {
        let required = format!("{MEMORY}\nlimits_required = true");
        return is_told(&fleet, Setup::example_with(&required).backend("other"), "memory_max", &why).await;
    }
    let client = fleet.client("claude", "operator").await;
    let (other, before) = (fleet.received("other").pids(), backend(&fleet, "example").await);
    let told = client.call("example__big", json!({ "bytes": 67_108_864 })).await;
    assert_eq!(told.data()["kind"], "backend_error", "{told:?}");
    assert!(told.data()["what"].as_str().unwrap().contains("memory_max"), "{told:?}");

    let over = "sentinel_backend_over_limit_total{backend=\"example\",limit=\"memory\"}";
    until("it is counted", async || match fleet.planes[0].metric(over).await {
        Some(1.0) => Ok(()),
        other => Err(other),
    })
    .await;
    let back = until("another process serves", async || {
        let seen = backend(&fleet, "example").await;
        if seen["state"] == "ready" && seen["pid"] != before["pid"] { Ok(seen) } else { Err(seen) }
    })
    .await;
    assert_eq!(back["restarts"], 1, "{back}");
    let log = fleet.planes[0].process.log();
    assert!(log.contains("it needed more than memory_max (48 MiB), and the kernel ended it"), "{log}");
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    assert_eq!(fleet.received("other").pids(), other, "the other was not touched");
}

#[tokio::test]
async fn a_backend_that_forks_without_end_meets_its_limit_and_nothing_of_it_is_left_or_that_is_told() {
    // Twenty sleepers, as many as it gets; then it makes room for itself and serves.
    let forks = |more: &str| {
        let script = "import os,subprocess,sys\nall=[]\nfor n in range(40):\n try: all.append(subprocess.Popen(['sleep','3000']))\n except OSError: pass\n\
            for one in all[8:]:\n one.kill()\n one.wait()\nos.execvp(sys.argv[1], sys.argv[1:])";
        let server = sentinel_tests::harness::process::program("sentinel-example-server");
        let args = json!(["-c", script, server]);
        Setup::one_plane()
            .toml(&format!(
                "[[backends]]\nname = \"example\"\ncommand = \"python3\"\nargs = {args}\npids_max = 24\n{more}"
            ))
            .not_waiting_for_backends()
    };
    let fleet = Fleet::start(forks("")).await;
    if let Some(why) = lacking(&fleet, "pids_max").await {
        return is_told(&fleet, forks("limits_required = true"), "pids_max", &why).await;
    }
    let shown = until("its limit is told", async || {
        let seen = backend(&fleet, "example").await;
        if seen["reason"].as_str().is_some_and(|why| why.contains("pids_max (24) was reached")) {
            Ok(seen)
        } else {
            Err(seen)
        }
    })
    .await;
    assert_eq!(shown["state"], "ready", "it goes on: {shown}");
    let over = "sentinel_backend_over_limit_total{backend=\"example\",limit=\"pids\"}";
    let counted = fleet.planes[0].metric(over).await;
    assert!(counted >= Some(1.0), "{counted:?}");
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.call_once_known("example__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn limits_that_are_not_asked_for_are_no_concern() {
    let fleet = Fleet::start(Setup::example()).await;
    let said: Value = json!(warnings(&fleet).await);
    assert!(!said.to_string().contains("is not held here"), "{said}");
}

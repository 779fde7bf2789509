//! F65: the clock of the machine is set, hours forward and back, under running daemons (Debian's libfaketime turns it for
//! them alone; the monotonic clock stays).

use std::path::PathBuf;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::token;
use sentinel_tests::harness::until::{holds, until};
use serde_json::json;

use crate::PATIENT;

fn libfaketime() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap().flatten();
    places
        .map(|place| place.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.is_file())
        .expect("no libfaketime under /usr/lib; install the package libfaketime")
}

fn turn(fleet: &Fleet, by: &str) {
    // Renamed into place: half a word is never read.
    let file = fleet.folder().join("clock");
    std::fs::write(file.with_extension("aside"), by).unwrap();
    std::fs::rename(file.with_extension("aside"), file).unwrap();
}

/// How far the stamp of a call's row is from this machine's clock, in whole hours.
async fn hours_off(fleet: &Fleet, request_id: &str) -> i64 {
    let rows = fleet.audit_rows(request_id).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(rows[0]["latency_us"].as_u64().unwrap() < 60_000_000, "a step of the clock is no latency: {rows:?}");
    let stamp: jiff::Timestamp = rows[0]["ts"].as_str().unwrap().parse().unwrap();
    let off = stamp.as_second() - i64::try_from(token::now()).unwrap();
    (off + off.signum() * 1800) / 3600
}

#[tokio::test]
async fn f65_a_clock_that_is_set_hours_forward_and_back_fails_no_call_restarts_nothing_and_shows_in_stamps_alone() {
    let setup = Setup::one_plane()
        .backend_with("example", "timeout_secs = 30")
        .env("LD_PRELOAD", &libfaketime().display().to_string())
        .env("DONT_FAKE_MONOTONIC", "1")
        .env("FAKETIME_CACHE_DURATION", "1")
        .env("FAKETIME_TIMESTAMP_FILE", "clock");
    let fleet = Fleet::start(setup.toml(PATIENT)).await;
    let client = fleet.client("claude", "operator").await;
    let example = fleet.received("example");
    let pids = example.pids();
    let until_off = async |hours: i64| {
        until(&format!("rows are {hours} h off"), async || {
            let reply = client.call("example__echo", json!({ "text": "x" })).await;
            assert_eq!(reply.content(), "x", "{reply:?}");
            holds(hours_off(&fleet, &reply.request_id()).await == hours)
        })
        .await;
    };
    until_off(0).await;

    for (number, (by, hours)) in [("+5h", 5), ("+0", 0)].into_iter().enumerate() {
        let slow = client.call("example__slow", json!({ "ms": 6000 }));
        let (slow, ()) = tokio::join!(slow, async {
            until("it is at the backend", async || holds(example.calls("slow").len() == number + 1)).await;
            turn(&fleet, by);
            until_off(hours).await;
        });
        assert!(slow.message["result"].is_object(), "a call in flight is not touched: {slow:?}");
    }

    assert_eq!(example.pids(), pids, "no process of a backend was replaced");
    assert_eq!(fleet.planes[0].metric("sentinel_backend_restarts_total{backend=\"example\"}").await, Some(0.0));
    let log = fleet.planes[0].process.log();
    assert!(!log.contains("panicked") && !log.contains("did not run for"), "{log}");
    let verified = fleet.ctl("audit verify").await;
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

//! A backend that will not stay: given up, shown, alarmed, and brought back by the operator or by another file.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::json;

use crate::{backend, until_state};

const GAVE_UP: &str = "sentinel_backend_gave_up{backend=\"example\"}";
const RESTARTS: &str = "sentinel_backend_restarts_total{backend=\"example\"}";

/// Ends at once, as long as there is the file `broken` in the folder.
fn breaking(folder: &str, more: &str) -> Setup {
    let server = sentinel_tests::harness::process::program("sentinel-example-server");
    let script =
        format!("test -e {folder}/broken && {{ echo no, thank you >&2; exit 7; }}; exec '{}'", server.display());
    let args = json!(["-c", script]);
    Setup::one_plane()
        .toml(&format!("[[backends]]\nname = \"example\"\ncommand = \"sh\"\nargs = {args}\nmax_restarts = 2\nera = \"legacy\"\n{more}"))
        .not_waiting_for_backends()
}

async fn until_metric(fleet: &Fleet, series: &str, value: f64) {
    until(&format!("{series} is {value}"), async || match fleet.planes[0].metric(series).await {
        Some(seen) if (seen - value).abs() < f64::EPSILON => Ok(()),
        other => Err(other),
    })
    .await;
}

#[tokio::test]
async fn one_that_ends_at_once_is_given_up_with_its_restarts_counted_and_is_brought_back() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display().to_string();
    std::fs::write(folder.path().join("broken"), "").unwrap();
    let fleet = Fleet::start_without_waiting(breaking(&here, ""));
    fleet.until_connected().await;

    let given_up = until_state(&fleet, "example", "gave_up").await;
    assert!(given_up["reason"].as_str().unwrap().contains("status 7"), "{given_up}");
    assert_eq!(given_up["restarts"], 2, "{given_up}");
    until_metric(&fleet, GAVE_UP, 1.0).await;
    until_metric(&fleet, RESTARTS, 2.0).await;
    let stderr = fleet.ctl("backend list --stderr example").await;
    assert!(stderr.stdout.contains("no, thank you"), "{stderr:?}");

    // By the operator: a budget of its own, which is spent as well.
    let _ran = fleet.ctl("backend restart example").await.exits(0);
    until_metric(&fleet, RESTARTS, 5.0).await;
    until_state(&fleet, "example", "gave_up").await;
    // The same again, when what was wrong is mended.
    std::fs::remove_file(folder.path().join("broken")).unwrap();
    let _ran = fleet.ctl("backend restart example").await.exits(0);
    until_state(&fleet, "example", "ready").await;
    until_metric(&fleet, GAVE_UP, 0.0).await;
    let client = fleet.client("claude", "operator").await;
    assert_eq!(client.call_once_known("example__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn one_that_was_given_up_is_brought_back_by_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display().to_string();
    std::fs::write(folder.path().join("broken"), "").unwrap();
    let fleet = Fleet::start_without_waiting(breaking(&here, ""));
    fleet.until_connected().await;
    until_state(&fleet, "example", "gave_up").await;

    std::fs::remove_file(folder.path().join("broken")).unwrap();
    fleet.write(&breaking(&here, "env = { MENDED = \"yes\" }"));
    let _ran = fleet.ctl("reload").await.exits(0);
    let back = until_state(&fleet, "example", "ready").await;
    assert_eq!(back["restarts"], 0, "it is another now: {back}");
}

#[tokio::test]
async fn what_a_backend_says_wrong_is_counted_and_shown_and_its_answers_arrive() {
    let fleet = Fleet::start(Setup::example_with("timeout_secs = 2")).await;
    let client = fleet.client("claude", "operator").await;
    // Half a message is no answer; a second answer is none that anybody waits for.
    let half = client.call("example__misbehave", json!({ "how": "rubbish" })).await;
    assert_eq!(half.data()["kind"], "timeout", "{half:?}");
    let twice = client.call("example__misbehave", json!({ "how": "twice" })).await;
    assert!(twice.message["result"].is_object(), "{twice:?}");
    let shown = until("both are shown", async || {
        let seen = backend(&fleet, "example").await;
        let is_there = seen["noise"]["garbage"].is_u64() && seen["noise"]["unknown_id"].is_u64();
        if is_there { Ok(seen) } else { Err(seen) }
    })
    .await;
    assert_eq!(shown["state"], "ready", "{shown}");
    for kind in ["garbage", "unknown_id"] {
        let series = format!("sentinel_backend_noise_total{{backend=\"example\",kind=\"{kind}\"}}");
        let count = shown["noise"][kind].as_f64();
        assert_eq!(fleet.planes[0].metric(&series).await, count, "{series}");
    }
    let listed = fleet.ctl("backend list").await;
    assert!(listed.stdout.contains("said wrong") && listed.stdout.contains("garbage"), "{}", listed.stdout);
}

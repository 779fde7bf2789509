//! Calls that were refused have their row too; those of nobody known share one.

use nix::sys::signal::Signal;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

#[tokio::test]
async fn every_refusal_is_found_by_the_request_id_of_its_answer() {
    let limits = "[rate_limit]\ndefault = { requests = 1000, per_secs = 1, burst = 1000 }\n\
        per_client = { requests = 1000, per_secs = 1, burst = 1000 }\n\
        [rate_limit.tools]\n\"example__counter\" = { requests = 1, per_secs = 86400, burst = 1 }\n";
    let fleet = Fleet::start(Setup::example().limits(limits)).await;
    let (operator, analyst) = (fleet.client("op", "operator").await, fleet.client("an", "analyst").await);
    let _ran = fleet.ctl("kill-switch tool example__env --force").await.exits(0);
    let _counted = operator.call("example__counter", json!({})).await;

    let asked = [
        ("ok", "", operator.call("example__echo", json!({ "text": "x" })).await),
        ("tool_error", "", operator.call("example__fail", json!({ "message": "no" })).await),
        ("denied", "unknown_tool", operator.call("example__nothing", json!({})).await),
        ("denied", "hidden_tool", analyst.call("example__counter", json!({})).await),
        ("denied", "forbidden", analyst.call("example__add", json!({ "a": 5000, "b": 1 })).await),
        ("denied", "invalid_arguments", operator.call("example__add", json!({ "a": "one", "b": 1 })).await),
        ("denied", "rate_limited", operator.call("example__counter", json!({})).await),
        ("denied", "disabled", operator.call("example__env", json!({})).await),
        ("error", "backend_error", operator.call("example__crash", json!({})).await),
    ];

    for (status, kind, reply) in asked {
        let rows = fleet.audit_rows(&reply.request_id()).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!((&rows[0]["status"], &rows[0]["kind"]), (&json!(status), &json!(kind)), "{reply:?} {rows:?}");
        assert_eq!(rows[0]["count"], 1);
        assert!(rows[0]["client"] == "op" || rows[0]["client"] == "an", "{rows:?}");
    }
}

#[tokio::test]
async fn a_row_tells_who_called_what_how_it_went_and_no_secret() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let arguments = json!({ "text": "hello", "password": "hunter2", "deep": [{ "Api-Key": "hunter3", "kept": 1 }] });

    let reply = client.call("example__echo", arguments).await;

    let rows = fleet.audit_rows(&reply.request_id()).await;
    let row = &rows[0];
    assert_eq!(row["arguments"]["text"], "hello");
    assert_eq!(row["arguments"]["password"], "[redacted]");
    assert_eq!(row["arguments"]["deep"], json!([{ "Api-Key": "[redacted]", "kept": 1 }]));
    assert_eq!((&row["client"], &row["roles"]), (&json!("claude"), &json!(["operator"])));
    assert_eq!((&row["tool"], &row["backend"]), (&json!("example__echo"), &json!("example")));
    assert_eq!((&row["method"], &row["revision"]), (&json!("tools/call"), &json!(1)));
    assert!(row["latency_us"].as_u64() >= row["backend_latency_us"].as_u64(), "{row}");
    for process in [&fleet.control_plane, &fleet.planes[0].process] {
        assert!(!process.log().contains("hunter"), "a secret is in a log");
    }
}

#[tokio::test]
async fn refusals_before_authentication_share_a_row_with_their_count() {
    const TRIES: u64 = 30;
    let mut fleet = Fleet::start(Setup::example()).await;
    let url = fleet.planes[0].url();
    for number in 0..TRIES {
        let stranger = Client::new(&url, &format!("not-a-token-{number}"));
        let refused = stranger.call("example__echo", json!({ "text": "x" })).await;
        assert_eq!(refused.status, 401);
    }

    // At its end a plane writes what it has counted.
    fleet.planes[0].process.signal(Signal::SIGTERM);
    assert!(fleet.planes[0].process.wait().await.success());

    until("all are counted", async || {
        let listed = fleet.ctl("audit list --status denied --limit 1000 --output json").await.json();
        let rows: Vec<&Value> =
            listed.as_array().unwrap().iter().filter(|row| row["kind"] == "unauthenticated").collect();
        let counted: u64 = rows.iter().filter_map(|row| row["count"].as_u64()).sum();
        // Two where the minute ended in between.
        if counted == TRIES && rows.len() <= 2 { Ok(()) } else { Err(listed) }
    })
    .await;
}

//! Planes that start without a control plane.

use nix::sys::signal::Signal;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until};
use serde_json::json;

#[tokio::test]
async fn p07_a_killed_plane_that_starts_alone_serves_what_it_last_acknowledged() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    fleet.control_plane.kill().await;

    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    fleet.planes[0].until_ready(true).await;

    let ready = fleet.planes[0].ready().await.unwrap();
    assert_eq!((&ready["source"], &ready["revision"]), (&json!("last_known_good"), &json!(1)));
    let mut ids = Vec::new();
    for number in 0..200 {
        let reply = client.call("example__add", json!({ "a": number, "b": 1 })).await;
        assert_eq!(reply.content(), (number + 1).to_string());
        ids.push(reply.request_id());
    }
    fleet.control_plane.restart().await;
    fleet.until_ready().await;
    until("it follows the control plane again", async || {
        let ready = fleet.planes[0].ready().await?;
        if ready["source"] == "control_plane" { Ok(()) } else { Err(ready.to_string()) }
    })
    .await;
    for id in ids.iter().step_by(20) {
        assert_eq!(fleet.audit_rows(id).await.len(), 1);
    }
}

#[tokio::test]
async fn p07_with_a_torn_newest_file_the_one_before_is_used_and_that_is_said() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    fleet.write(&fleet.setup().backend("second"));
    let _ran = fleet.ctl("reload").await.exits(0);
    fleet.planes[0].until_ready(true).await;
    assert_eq!(client.call("second__echo", json!({ "text": "x" })).await.content(), "x");

    fleet.control_plane.kill().await;
    fleet.planes[0].process.kill().await;
    let last = fleet.planes[0].data_dir().join("plane/snapshot.last");
    let bytes = std::fs::read(&last).unwrap();
    std::fs::write(&last, &bytes[..bytes.len() / 2]).unwrap();
    fleet.planes[0].process.restart().await;
    fleet.planes[0].until_ready(true).await;

    let ready = fleet.planes[0].ready().await.unwrap();
    assert_eq!((&ready["source"], &ready["revision"]), (&json!("last_known_good"), &json!(1)));
    assert!(fleet.planes[0].process.log().contains("snapshot.last is not used"));
    assert_eq!(client.call("example__echo", json!({ "text": "y" })).await.content(), "y");
    let _id = client.call("second__echo", json!({ "text": "y" })).await.is_refused("unknown_tool", -32602);

    fleet.control_plane.restart().await;
    fleet.until_ready().await;
    until("it has the newest again", async || {
        let ready = fleet.planes[0].ready().await?;
        if ready["revision"] == 2 { Ok(()) } else { Err(ready.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn f30_with_no_snapshot_that_can_be_used_calls_answer_503_not_ready() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    fleet.control_plane.kill().await;
    fleet.planes[0].process.kill().await;
    let state = fleet.planes[0].data_dir().join("plane");
    std::fs::write(state.join("snapshot.last"), b"rubbish").unwrap();
    std::fs::remove_file(state.join("snapshot.previous")).ok();

    fleet.planes[0].process.restart().await;
    let refused = until("it answers", async || {
        let body = client.message("tools/call", &json!({ "name": "example__echo", "arguments": { "text": "x" } }));
        client.try_send(&body).await
    })
    .await;

    let _id = refused.is_refused("not_ready", -31530);
    assert_eq!(refused.status, 503);
    assert!(!refused.header("retry-after").is_empty());
    let (status, body) = fleet.planes[0].ops("/ready").await.unwrap();
    assert_eq!(status, 503, "{body}");
    fleet.control_plane.restart().await;
    fleet.until_ready().await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn a_plane_that_said_goodbye_waits_for_the_control_plane_and_then_serves_what_it_knows() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    fleet.planes[0].process.signal(Signal::SIGTERM);
    assert!(fleet.planes[0].process.wait().await.success());
    fleet.control_plane.kill().await;

    fleet.planes[0].process.restart().await;
    let first = until("it answers", async || {
        let body = client.message("tools/call", &json!({ "name": "example__echo", "arguments": { "text": "x" } }));
        client.try_send(&body).await
    })
    .await;
    let since = tokio::time::Instant::now();
    fleet.planes[0].until_ready(true).await;

    let _id = first.is_refused("not_ready", -31530);
    // 10 s from its start, of which the first answer took some; on a slow machine more.
    assert!(since.elapsed().as_secs() >= 5, "it served after {:?}", since.elapsed());
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    until("it says so", async || holds(fleet.planes[0].process.log().contains("the control plane is not heard"))).await;
}

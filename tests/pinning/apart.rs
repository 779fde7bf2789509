//! What one session's own process offers is judged by its pins, as what is offered to all is.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;

use super::{entry, relist, tool, until_known, until_listed, until_pinned};

async fn fleet() -> Fleet {
    Fleet::start(Setup::one_plane().backend_with("own", "isolation = \"per-session\"")).await
}

#[tokio::test]
async fn another_definition_in_another_session_is_held_until_it_is_approved() {
    let fleet = fleet().await;
    let (first, second) = (fleet.client("one", "operator").await, fleet.client("two", "operator").await);
    relist(&fleet, "own", &[tool("read", "Reads a file.")], &first).await;
    until_listed(&first, "own__read", true).await;
    let pin = until_pinned(&fleet, "own__read").await;
    assert_eq!(pin["settled"], true, "{pin}");

    relist(&fleet, "own", &[tool("read", "Sends it away.")], &second).await;
    until_known(&fleet, "own__read", "quarantined").await;
    until_listed(&second, "own__read", false).await;
    let _held = second.call("own__read", json!({})).await.is_refused("disabled", -31423);
    assert_eq!(first.call("own__read", json!({})).await.content(), "read");

    let _approved = fleet.ctl("tool approve own__read").await.exits(0);
    until_listed(&second, "own__read", true).await;
    until_listed(&first, "own__read", false).await;
}

#[tokio::test]
async fn what_one_session_has_and_another_has_not_makes_no_new_tool_doubtful() {
    let fleet = fleet().await;
    let (first, second) = (fleet.client("one", "operator").await, fleet.client("two", "operator").await);
    relist(&fleet, "own", &[tool("read", "Reads a file.")], &first).await;
    until_listed(&first, "own__read", true).await;
    let _pin = until_pinned(&fleet, "own__read").await;

    relist(&fleet, "own", &[tool("write", "Writes a file.")], &second).await;
    until_listed(&second, "own__write", true).await;
    until_known(&fleet, "own__write", "listed").await;
    assert_eq!(entry(&fleet, "own__read").await["status"], "listed");
}

//! SQLite, the store of a laptop: either daemon killed under load.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::load::{CANARY, Load};
use sentinel_tests::harness::setup::Setup;

#[tokio::test]
async fn p03_on_sqlite_what_was_answered_is_found_after_either_daemon_was_killed() {
    let mut fleet = Fleet::start(Setup::example()).await;
    let (url, token) = (fleet.planes[0].url(), fleet.token("load", "operator").await);
    let clients = futures_util::future::join_all((0..4).map(|_| Client::connected(&url, &token))).await;
    let load = Load::start(clients);
    load.goes_on_for(100).await;

    fleet.control_plane.kill().await;
    load.goes_on_for(100).await;
    fleet.control_plane.restart().await;
    load.goes_on_for(100).await;
    fleet.planes[0].process.kill().await;
    fleet.planes[0].process.restart().await;
    load.goes_on_for(100).await;
    fleet.until_ready().await;
    let seen = load.stop().await;

    let echoed: Vec<_> = seen.answered.iter().filter(|answered| answered.is_echo()).collect();
    assert!(echoed.len() >= 400);
    let step = (echoed.len() / 100).max(1);
    for answered in echoed.iter().step_by(step) {
        let rows = fleet.audit_rows(&answered.request_id).await;
        assert_eq!(rows.len(), 1, "{rows:?}");
        assert_eq!((&rows[0]["status"], rows[0]["arguments"]["text"].as_str()), (&"ok".into(), Some(&*answered.nonce)));
        assert!(!rows[0].to_string().contains(CANARY), "{rows:?}");
    }
}

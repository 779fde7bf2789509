//! Starts, ends and changes of running daemons: nothing accepted is lost, nothing is left behind.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;

mod drain;
mod last_known_good;
mod orphans;
mod reload;
mod up;

/// So many clients with sessions of the first plane.
async fn clients(fleet: &Fleet, count: usize) -> Vec<Client> {
    let token = fleet.token("load", "operator").await;
    let url = fleet.planes[0].url();
    futures_util::future::join_all((0..count).map(|_| Client::connected(&url, &token))).await
}

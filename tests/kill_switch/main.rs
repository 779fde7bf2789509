//! The kill switch on real processes: what an operator is told, what callers meet, and that nothing but a lift undoes it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;

mod in_flight;
mod lasting;
mod operators;
mod partitions;
mod revocation;
mod scopes;

/// A fleet whose control plane knows the tools of `example`: before that a name of a tool wants `--force`.
async fn started(setup: Setup) -> Fleet {
    let fleet = Fleet::start(setup).await;
    until("the control plane knows the tools", async || {
        let listed = fleet.ctl("tool list").await;
        if listed.stdout.contains("example__echo") { Ok(()) } else { Err(listed) }
    })
    .await;
    fleet
}

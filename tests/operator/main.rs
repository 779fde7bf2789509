//! What an operator asks on a bad night, on real processes: one tool, a plane that is gone, a shell that completes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]
#![allow(clippy::large_futures, reason = "a connection to Postgres; a test makes few of them")]

mod chains;
mod commands;
mod damage;
mod session;
mod tamper;
mod trail;

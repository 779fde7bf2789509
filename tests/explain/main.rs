//! `sentinelctl explain`: of calls that were made, and of calls that are not.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

mod absent;
mod agreement;
mod before;
mod kinds;
mod rpc;

//! The audit trail on real processes: each answered call has exactly one row, whatever was killed or stopped meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]
#![allow(clippy::large_futures, reason = "a connection to Postgres; a test makes few of them")]

mod deaths;
mod proof;
mod refusals;
mod store;

//! An operator's tools around the configuration, on real processes: connecting clients, importing theirs, comparing.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

mod break_glass;
mod connect;
mod diff;
mod doctor;
mod import;
mod plan;
mod replay;
mod staleness;
mod watching;

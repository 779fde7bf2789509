//! What an operator asks on a bad night, on real processes: one tool, a plane that is gone, a shell that completes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

mod commands;

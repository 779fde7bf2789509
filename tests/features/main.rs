//! Resources, templates, prompts and completion, seen from a client: the same law for all of it as for tools.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests are tests"
)]

mod changes;
mod governed;
mod lists;
mod own;
mod passes;
mod several;

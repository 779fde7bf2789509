//! The way of a call, seen from a client: what is listed, called, told on the way, refused, and with which words.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests are tests"
)]

mod arguments;
mod backend_faults;
mod calls;
mod envelope;
mod limits;
mod oauth;
mod sessions;
mod smuggling;
mod tokens;
mod visibility;

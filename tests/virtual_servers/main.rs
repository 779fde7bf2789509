//! Virtual servers, seen from clients: each has its own part of what the backends offer, and the law of `/mcp`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests are tests"
)]

mod changes;
mod governed;
mod operators;
mod parts;

/// Two example servers, and two endpoints: `research` with a tool and the prompts of one, `second` with all of the other.
const SERVERS: &str = "[[virtual_servers]]\nname = \"research\"\n\
    include = [\"example__echo\", \"example__counter\", \"prompt:example__*\"]\n\
    [[virtual_servers]]\nname = \"second\"\nbackends = [\"other\"]\n";

//! Both eras of MCP on one endpoint: what a modern client (2026-07-28) is answered, refused and told, over HTTP and
//! stdio, beside legacy clients.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

mod backends;
mod calls;
mod every_message;
mod features;
mod http_sse;
mod listening;
mod mixups;
mod requests;
mod schema;
mod stdio;
mod to_servers;

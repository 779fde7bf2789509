//! Sentinel seen from outside: a small MCP server (the example's first backend, and what the tests call), and the
//! harness that starts real processes for the tests. Nothing of this is part of a running Sentinel.

pub mod example;
pub mod harness;

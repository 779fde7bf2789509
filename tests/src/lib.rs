//! Sentinel seen from outside: a small MCP server (the example's first backend, and what the tests call), another that
//! does each bad thing on command, the harness that starts real processes for the tests, and the judge of what a run's
//! clients have seen. Nothing of this is part of a running Sentinel.

pub mod example;
pub mod harness;
pub mod history;
pub mod hostile;

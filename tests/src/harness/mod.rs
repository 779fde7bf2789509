//! What the tests share: real daemons in a directory of their own, real clients, and waiting on conditions.
//!
//! A harness that cannot do what a test asks of it ends the test, with the reason: nothing here returns an error. It
//! imports nothing of the daemons: what it knows of them stands in `interfaces.md`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "the harness is part of the tests: what goes wrong ends the test that asked"
)]

pub mod client;
pub mod ctl;
pub mod fleet;
pub mod hostile;
pub mod load;
pub mod modern;
pub mod port;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod random;
pub mod received;
pub mod reply;
pub mod setup;
pub mod sse;
pub mod stdio_client;
pub mod terminal;
pub mod token;
pub mod until;

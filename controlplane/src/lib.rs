//! The control plane: owns the configuration and the store, and pushes snapshots and kill switches to the planes.
//!
//! It never sees a call. `serve.rs` builds the parts; each part says at its top what it does not know.

pub mod admin;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod fleet;
pub mod guard;
pub mod health;
pub mod home;
pub mod ingest;
pub mod keeper;
pub mod kill_set;
pub mod killswitch;
pub mod listen;
pub mod logs;
pub mod metrics;
pub mod nearest;
pub mod ops;
pub mod pins;
pub mod publish;
pub mod refusal;
pub mod revisions;
pub mod secrets;
pub mod serve;
pub mod signing;
pub mod snapshot_json;
pub mod spine;
pub mod store;
pub mod watch;

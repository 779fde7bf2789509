//! The control plane: owns the configuration and the store, and pushes snapshots and kill switches to the planes.
//!
//! It never sees a call. `serve.rs` builds the parts; each part says at its top what it does not know.

pub mod audit;
pub mod clock;
pub mod config;
pub mod home;
pub mod secrets;
pub mod signing;
pub mod store;

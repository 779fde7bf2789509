//! The data plane: every MCP call passes here, authenticated, permitted, limited, validated, routed and recorded.
//!
//! A library so that tests can try what must not compile; the program is `main.rs`. `pipeline.rs` is the way of a
//! call. It knows no SQL and needs the control plane for news, never for a call.

pub mod answering;
pub mod audit;
pub mod backend;
pub mod call;
pub mod catalogue;
pub mod clock;
pub mod contact;
pub mod denial;
pub mod disk;
pub mod endpoint;
pub mod explain;
pub mod feed;
pub mod identity;
pub mod in_flight;
pub mod input;
pub mod kill;
pub mod listen;
pub mod metrics;
pub mod ops;
pub mod pins;
pub mod pipeline;
pub mod plane;
pub mod planted;
pub mod seal;
pub mod stages;
pub mod tasks;
pub mod upcall;
pub mod view;
pub mod wire;
pub mod workers;

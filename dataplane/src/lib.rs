//! The data plane: the governed point that every MCP call passes.

pub mod audit;
pub mod clock;
pub mod disk;
pub mod identity;
pub mod wire;

//! Bytes as they stand on the wire: JSON-RPC in one pass, its answers, what goes out, and SSE.
//!
//! Nothing here knows a policy, a session or a connection: it reads bytes and says where what stands. No message
//! becomes a tree: what policy saw is what the backend gets, because both are the same bytes.

pub mod answer;
mod envelope;
mod fault;
pub mod incoming;
mod lexer;
pub mod members;
pub mod modern;
#[cfg(test)]
mod modern_tests;
mod nest;
pub mod neutral;
pub mod outgoing;
mod params;
mod pieces;
mod result;
pub mod scan;
pub mod splice;
pub mod sse;
mod text;
mod walk;

pub use fault::Fault;
pub use result::Places;
pub use text::{MemberSpan, Span, Text};

#[cfg(test)]
mod naive;
#[cfg(test)]
mod neutral_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod sse_tests;
#[cfg(test)]
mod tests;

//! Bytes as they stand on the wire: JSON-RPC in one pass, its answers, what goes out, and SSE.
//!
//! Nothing here knows a policy, a session or a connection: it reads bytes and says where what stands. No message
//! becomes a tree: what policy saw is what the backend gets, because both are the same bytes.

mod envelope;
mod fault;
mod lexer;
pub mod scan;
mod text;
mod walk;

pub use fault::Fault;
pub use text::{MemberSpan, Span, Text};

//! The audit trail of a plane: what a record looks like (`event`, `arguments`), where it is kept until it is
//! stored (`spool`), how it gets there (`ship`), and which refusals share a row (`aggregate`). It does not
//! decide which calls are recorded: the call path does.

pub mod aggregate;
pub mod arguments;
pub mod event;
mod outcome;
pub mod record;
pub mod ship;
pub mod spool;
pub mod trail;

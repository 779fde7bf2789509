//! Audit records: from a plane's batch to durable rows, from rows to an answer, and in time away.
//!
//! What a record says is the plane's word: nothing here changes it, and what can't be a row is kept whole in quarantine.

pub mod export;
pub mod ingest;
pub mod query;
mod record;
pub mod retention;
pub mod stats;
pub mod tail;
pub mod verify;

//! The stages of a call, in the pipeline's order: each consumes the proof before it and gives its own.
//!
//! `Verified → Caller → Charged → Resolved → Visible → Admitted → Valid → Ruled`. A proof's fields are private to its
//! stage's file, and no proof can be copied: whoever holds one has passed everything before it. Stages know no HTTP,
//! no era and no time of day.
#![deny(clippy::wildcard_enum_match_arm)]

pub mod arguments;
pub mod authn;
pub mod limits;
pub mod resolve;
pub mod rules;
pub mod visible;

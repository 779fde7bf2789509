//! `sentinel.toml`: from text to a snapshot, or to the list of everything that is wrong with it.
//!
//! Three steps: `parse` reads each key into its type, `validate` asks what only the whole file can tell,
//! `compile` makes the bytes that planes are sent. Pure: it reads no file, no environment and no clock, and it
//! never resolves a `${VAR}`; that is the plane's work, on the machine where the value is used.

mod compile;
pub mod diff;
mod keys;
mod names;
mod parse;
pub mod places;
mod problems;
mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod validate;
mod values;

use sentinel_proto::v1;

pub use problems::{Problem, Problems};

/// Key id of the built-in key, in the snapshot and in the header of the tokens that are minted with it.
pub const BUILT_IN_KID: &str = "sentinel";
/// Issuer and audience of the built-in key, whatever `[auth]` says for the others.
pub const BUILT_IN_ISSUER: &str = "sentinel";
/// A longer file is refused before it is read: it is no configuration (1 MiB is some 3 000 backends).
pub const MAX_FILE_BYTES: usize = 1024 * 1024;

/// The public half of the key that the control plane made at its first start.
#[derive(Debug, Clone, Copy)]
pub struct BuiltInKey {
    /// Raw Ed25519, as it travels in the snapshot.
    pub public: [u8; 32],
}

/// A good file, ready to be published.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub snapshot: v1::Snapshot,
    /// `snapshot`, encoded; the same configuration gives the same bytes, however it is laid out in the file.
    pub bytes: Vec<u8>,
    /// SHA-256 of `bytes`.
    pub digest: [u8; 32],
    /// What is allowed and probably not meant, in the file's order.
    pub warnings: Vec<Problem>,
    /// The file's lasting kill switches, in the file's order.
    pub kills: Vec<FileKill>,
    /// What the control plane itself needs; it is not in the snapshot.
    pub ops: ControlSettings,
}

/// One entry of `[kill_switch]`. It holds while it stands in the file; a lift names file and line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileKill {
    pub scope: v1::Scope,
    pub name: String,
    /// From 1.
    pub line: u32,
}

/// Keys that no plane needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlSettings {
    pub audit_retention_days: u32,
}

/// Reads a configuration. `file` is only for messages.
///
/// # Errors
/// Every problem of the text at once, each with line and column (from 1, in characters), in the file's order.
pub fn load(file: &str, text: &str, built_in: &BuiltInKey) -> Result<Loaded, Problems> {
    let mut notes = problems::Notes::new(file, text);
    let Some(config) = parse::config(text, &mut notes) else {
        return Err(notes.into_problems());
    };
    validate::whole(&config, &mut notes);
    let warnings = notes.finish()?;
    let lines = problems::Lines::new(text);
    let kills = config.kills.iter().map(|kill| kill.at_line(&lines)).collect();
    let ops = ControlSettings { audit_retention_days: config.retention_days };
    let snapshot = compile::snapshot(config, built_in);
    let (bytes, digest) = compile::encode(&snapshot);
    Ok(Loaded { snapshot, bytes, digest, warnings, kills, ops })
}

//! Bugs on purpose, for whoever judges the judge (`make chaos-planted`): a build with the feature `planted-bugs` has the
//! one that `SENTINEL_PLANTED_BUG` names. Without the feature nothing of this is there.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A call that somebody ended keeps its place at the backend.
    PermitLeak,
    /// What may have run is sent again, whatever its tool says.
    DoubleSend,
    /// A process is ended without those that it started.
    Orphan,
}

/// Whether this build has it, and is asked to.
#[cfg(feature = "planted-bugs")]
pub fn has(bug: Bug) -> bool {
    let name = match bug {
        Bug::PermitLeak => "permit-leak",
        Bug::DoubleSend => "double-send",
        Bug::Orphan => "orphan",
    };
    std::env::var("SENTINEL_PLANTED_BUG").is_ok_and(|planted| planted == name)
}

/// Never.
#[cfg(not(feature = "planted-bugs"))]
pub const fn has(_bug: Bug) -> bool {
    false
}

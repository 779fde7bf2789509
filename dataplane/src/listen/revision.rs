//! The revisions of the legacy era, and how one is agreed on (`protocol.md` 5.1).

use crate::{
    denial::LEGACY_REVISIONS,
    upcall::feature::{Feature, Features},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Revision {
    R2024_11_05,
    R2025_03_26,
    R2025_06_18,
    R2025_11_25,
}

const ALL: [Revision; 4] = [Revision::R2025_11_25, Revision::R2025_06_18, Revision::R2025_03_26, Revision::R2024_11_05];

impl Revision {
    pub const NEWEST: Self = Self::R2025_11_25;

    /// Exactly one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        ALL.into_iter().find(|revision| revision.as_str() == text)
    }

    /// What `initialize` is answered with: the one asked for, else our newest; the client may leave.
    pub fn agree(asked: &str) -> Self {
        Self::parse(asked).unwrap_or(Self::NEWEST)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::R2025_11_25 => LEGACY_REVISIONS[0],
            Self::R2025_06_18 => LEGACY_REVISIONS[1],
            Self::R2025_03_26 => LEGACY_REVISIONS[2],
            Self::R2024_11_05 => LEGACY_REVISIONS[3],
        }
    }

    /// Its place in a sealed session id.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::R2024_11_05 => 1,
            Self::R2025_03_26 => 2,
            Self::R2025_06_18 => 3,
            Self::R2025_11_25 => 4,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        ALL.into_iter().find(|revision| revision.number() == number)
    }

    /// What a client of this revision can be asked at all (`protocol.md` 5.3).
    pub fn features(self) -> Features {
        let all = Features::all_of(Feature::ALL);
        let newest = Features::URL.and(Features::SAMPLING_TOOLS).and(Features::SAMPLING_CONTEXT);
        match self {
            Self::R2024_11_05 | Self::R2025_03_26 => all.without(newest).without(Features::of(Feature::Elicitation)),
            Self::R2025_06_18 => all.without(newest),
            Self::R2025_11_25 => all,
        }
    }

    /// Calls may go on as tasks where the client asks for it: in 2025-11-25 alone.
    pub const fn has_tasks(self) -> bool {
        matches!(self, Self::R2025_11_25)
    }

    /// JSON-RPC batches exist in 2025-03-26 alone.
    pub const fn has_batches(self) -> bool {
        matches!(self, Self::R2025_03_26)
    }
}

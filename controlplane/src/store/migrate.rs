//! The schema's versions, embedded, and the judgement of what was found in a database. Running them is the engines'.

use super::error::StoreError;

/// One step; its version is its place in the list, from 1. A step that was released is never edited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    pub(crate) name: &'static str,
    pub(crate) sql: &'static str,
}

pub(crate) const SQLITE: &[Migration] = &[
    Migration { name: "first", sql: include_str!("../../../migrations/sqlite/0001_first.sql") },
    Migration { name: "pins", sql: include_str!("../../../migrations/sqlite/0002_pins.sql") },
];
pub(crate) const POSTGRES: &[Migration] = &[
    Migration { name: "first", sql: include_str!("../../../migrations/postgres/0001_first.sql") },
    Migration { name: "pins", sql: include_str!("../../../migrations/postgres/0002_pins.sql") },
];

/// Who wrote a `schema_version`: other programs have tables of that name.
pub(crate) const PRODUCT: &str = "sentinel";

/// What a database looked like before we touched it.
#[derive(Debug)]
pub(crate) struct Found {
    /// A table that is there; `None` in an empty database.
    pub(crate) table: Option<String>,
    /// The highest version in our own schema_version; `None` without one.
    pub(crate) version: Option<u64>,
}

/// The steps still to run, with their versions.
///
/// Errors: `Foreign`, `Newer`.
pub(crate) fn missing(
    place: &str,
    found: &Found,
    known: &'static [Migration],
) -> Result<Vec<(i64, Migration)>, StoreError> {
    let version = match (&found.version, &found.table) {
        (Some(version), _) => *version,
        (None, None) => 0,
        (None, Some(table)) => {
            return Err(StoreError::Foreign { place: place.to_owned(), found: table.clone() });
        }
    };
    let newest = known.len() as u64;
    if version > newest {
        return Err(StoreError::Newer { place: place.to_owned(), found: version, known: newest });
    }
    Ok((1_i64..)
        .zip(known.iter().copied())
        .filter(|(number, _)| u64::try_from(*number).is_ok_and(|n| n > version))
        .collect())
}

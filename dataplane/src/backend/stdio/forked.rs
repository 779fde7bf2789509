//! The pids of this process that somebody waits for: direct children. Pids belong to the process, not to a spawner,
//! hence the one global of this folder; a zombie that is not in here is an orphan that came to us.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

static FORKED: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

/// Held over a fork, so that no look for orphans comes between the fork and its entry.
pub(super) fn forked() -> MutexGuard<'static, BTreeSet<i32>> {
    FORKED.lock().unwrap_or_else(PoisonError::into_inner)
}

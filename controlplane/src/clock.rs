//! What time of day it is, as a value that is handed down, so that expiry can be tested.
//!
//! Not for measuring how long something takes: that is `tokio::time::Instant`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::UNIX_EPOCH;

/// A source of wall-clock time. Clones of a fixed clock move together.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    Fixed(Arc<AtomicI64>),
    System,
}

impl Clock {
    /// The machine's clock.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `unix_ms` until `set` moves it.
    pub fn fixed(unix_ms: i64) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(unix_ms))))
    }

    /// Moves a fixed clock; the machine's own is not ours to move.
    pub fn set(&self, unix_ms: i64) {
        if let Source::Fixed(at) = &self.0 {
            at.store(unix_ms, Ordering::SeqCst);
        }
    }

    /// Milliseconds since 1970, UTC.
    pub fn unix_ms(&self) -> i64 {
        match &self.0 {
            Source::Fixed(at) => at.load(Ordering::SeqCst),
            Source::System => system_ms(),
        }
    }

    /// Seconds since 1970, UTC.
    pub fn unix_secs(&self) -> i64 {
        self.unix_ms().div_euclid(1000)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
fn system_ms() -> i64 {
    let now = std::time::SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

//! Wall time, handed down so that expiry and time stamps can be tested: unix microseconds. The one place that
//! asks the system what time it is. It measures no durations: those are `tokio::time::Instant`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where wall time comes from. Cheap to clone; clones of a turned clock turn together.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Turned(Arc<AtomicU64>),
}

impl Clock {
    /// The system's time.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `micros` until it is turned.
    #[must_use]
    pub fn standing_at(micros: u64) -> Self {
        Self(Source::Turned(Arc::new(AtomicU64::new(micros))))
    }

    /// Turns a standing clock forward by `micros`; the system's clock is not ours to turn and stays.
    pub fn turn(&self, micros: u64) {
        if let Source::Turned(at) = &self.0 {
            at.fetch_add(micros, Ordering::Relaxed);
        }
    }

    /// Unix time in microseconds.
    #[must_use]
    pub fn now_micros(&self) -> u64 {
        match &self.0 {
            Source::System => system_micros(),
            Source::Turned(at) => at.load(Ordering::Relaxed),
        }
    }

    /// Unix time in whole seconds, as claims state it.
    #[must_use]
    pub fn now_secs(&self) -> u64 {
        self.now_micros() / 1_000_000
    }
}

#[expect(clippy::disallowed_methods, reason = "the clock that everybody else is handed")]
fn system_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_of_a_standing_clock_turn_together() {
        let clock = Clock::standing_at(5_000_000);
        let other = clock.clone();
        clock.turn(2_000_000);
        assert_eq!(other.now_micros(), 7_000_000);
        assert_eq!(other.now_secs(), 7);
    }

    #[test]
    fn the_systems_clock_is_past_2024_and_does_not_turn() {
        let clock = Clock::system();
        clock.turn(u64::MAX / 2);
        assert!(clock.now_secs() > 1_704_067_200 && clock.now_secs() < 10_000_000_000);
    }
}

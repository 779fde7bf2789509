//! When a backend that ended is started again: backoff, crash loop, budget. Decides; waits for nothing itself.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(250);
const CAP: Duration = Duration::from_secs(30);
/// Doublings from `FIRST` to `CAP`.
const AT_CAP: usize = 7;
/// Ready for so long, and the next end counts as the first.
const SETTLED: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(60);
/// An end so soon after ready is a crash; so many in a row are a loop.
const CRASH: Duration = Duration::from_secs(10);
const LOOP: u32 = 3;
/// Between the tries of a backend that was given up.
pub(super) const SLOW_TRY: Duration = Duration::from_secs(300);

/// What to do after an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Backoff(Duration),
    GiveUp,
}

#[derive(Debug)]
pub(super) struct Restarts {
    most: usize,
    recent: VecDeque<Instant>,
    attempt: usize,
    crashes: u32,
    /// Until it is ready again: slow tries only.
    given_up: bool,
}

impl Restarts {
    /// `most`: restarts within a minute.
    pub(super) fn new(most: u32) -> Self {
        Self {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            recent: VecDeque::new(),
            attempt: 0,
            crashes: 0,
            given_up: false,
        }
    }

    /// By the operator: all is forgiven.
    pub(super) fn clear(&mut self) {
        self.recent.clear();
        self.attempt = 0;
        self.crashes = 0;
        self.given_up = false;
    }

    /// It ended by itself; `ready_for`: how long it had been ready, none when it never was.
    pub(super) fn ended(&mut self, ready_for: Option<Duration>) -> Next {
        match ready_for {
            Some(long) if long >= SETTLED => {
                self.attempt = 0;
                self.crashes = 0;
            }
            Some(short) if short < CRASH => self.crashes = self.crashes.saturating_add(1),
            Some(_) => self.crashes = 0,
            None => {}
        }
        self.given_up &= ready_for.is_none();
        let now = Instant::now();
        while self.recent.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            self.recent.pop_front();
        }
        if self.given_up || self.recent.len() >= self.most {
            self.given_up = true;
            return Next::GiveUp;
        }
        self.recent.push_back(now);
        if self.crashes >= LOOP {
            self.attempt = self.attempt.max(AT_CAP);
        }
        let delay = within(ceiling(self.attempt));
        self.attempt = self.attempt.saturating_add(1);
        Next::Backoff(delay)
    }
}

/// The longest wait of the nth try: 0.25 s, doubled each time, up to 30 s.
fn ceiling(attempt: usize) -> Duration {
    let schedule =
        ExponentialBuilder::default().with_min_delay(FIRST).with_max_delay(CAP).with_factor(2.0).without_max_times();
    schedule.build().nth(attempt.min(AT_CAP)).unwrap_or(CAP)
}

/// Full jitter: anywhere from nothing to `most`, so that backends that fell together do not rise together.
fn within(most: Duration) -> Duration {
    let span = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(RandomState::new().build_hasher().finish() % span)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: Option<Duration> = Some(Duration::from_secs(30));

    #[test]
    fn the_ceiling_doubles_from_a_quarter_second_to_thirty() {
        let ceilings: Vec<_> = (0..9).map(|attempt| ceiling(attempt).as_millis()).collect();
        assert_eq!(ceilings, [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        assert!((0..100).all(|_| within(FIRST) < FIRST));
    }

    #[tokio::test(start_paused = true)]
    async fn a_spent_budget_gives_up_until_it_is_ready_or_the_operator_clears_it() {
        let mut restarts = Restarts::new(2);
        assert!(matches!(restarts.ended(None), Next::Backoff(_)));
        assert!(matches!(restarts.ended(ODD), Next::Backoff(_)));
        assert_eq!(restarts.ended(None), Next::GiveUp);
        tokio::time::advance(SLOW_TRY).await;
        assert_eq!(restarts.ended(None), Next::GiveUp, "a slow try that fails is followed by the next");
        assert!(matches!(restarts.ended(ODD), Next::Backoff(_)), "it was ready: a new account");
        assert!(matches!(restarts.ended(ODD), Next::Backoff(_)));
        assert_eq!(restarts.ended(None), Next::GiveUp);
        restarts.clear();
        assert!(matches!(restarts.ended(None), Next::Backoff(_)));
    }

    #[test]
    fn three_crashes_soon_after_ready_start_at_the_cap_and_a_minute_of_peace_forgives() {
        let mut restarts = Restarts::new(100);
        for _ in 0..3 {
            restarts.ended(Some(Duration::from_secs(1)));
        }
        assert!(restarts.attempt > AT_CAP);
        restarts.ended(Some(SETTLED));
        assert_eq!((restarts.attempt, restarts.crashes), (1, 0));
    }
}

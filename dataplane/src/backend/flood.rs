//! How many of something within a window of time: the rule by which a backend that only makes noise is given up.

use std::time::Duration;

use tokio::time::Instant;

/// Counts in windows one after the other; `note` says when one window holds too many.
#[derive(Debug)]
pub(super) struct Flood {
    most: u32,
    window: Duration,
    since: Option<Instant>,
    count: u32,
}

impl Flood {
    pub(super) const fn new(most: u32, window: Duration) -> Self {
        Self { most, window, since: None, count: 0 }
    }

    /// One more. True: this window is over its bound.
    pub(super) fn note(&mut self) -> bool {
        let now = Instant::now();
        if self.since.is_none_or(|since| now.duration_since(since) >= self.window) {
            self.since = Some(now);
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.count > self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_spread_over_time_is_no_flood() {
        let mut flood = Flood::new(2, Duration::from_secs(10));
        assert!(!flood.note() && !flood.note() && flood.note());
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!flood.note() && !flood.note());
    }
}

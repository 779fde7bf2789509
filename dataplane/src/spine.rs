//! Tasks that the plane can't live without: if one panics or ends before it was asked to, the process ends with 255
//! and its supervisor starts it anew.

use std::{future::Future, panic::AssertUnwindSafe};

use futures_util::FutureExt as _;
use sentinel_dataplane::metrics::Metrics;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[derive(Clone, Debug)]
pub(crate) struct Spines {
    tracker: TaskTracker,
    metrics: Metrics,
    /// Cancelled when one has broken.
    broken: CancellationToken,
}

impl Spines {
    pub(crate) fn new(tracker: TaskTracker, metrics: Metrics) -> Self {
        Self { tracker, metrics, broken: CancellationToken::new() }
    }

    /// The same, with tasks that another tracker owns.
    pub(crate) fn on(mut self, tracker: TaskTracker) -> Self {
        self.tracker = tracker;
        self
    }

    /// Ends when a spine has broken.
    pub(crate) fn broken(&self) -> &CancellationToken {
        &self.broken
    }

    /// Runs `task`, which may end once `stop` is cancelled and not before.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        stop: CancellationToken,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (metrics, broken) = (self.metrics.clone(), self.broken.clone());
        self.tracker.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if ended.is_err() {
                metrics.panics.inc();
            }
            if ended.is_err() || !stop.is_cancelled() {
                tracing::error!(name, "a part that the plane needs has ended; the process ends to be started anew");
                broken.cancel();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spines() -> Spines {
        Spines::new(TaskTracker::new(), Metrics::new().unwrap())
    }

    #[tokio::test]
    async fn a_panic_or_an_early_end_breaks_the_plane_and_an_asked_one_does_not() {
        for (panics, asked, breaks) in [(true, true, true), (false, false, true), (false, true, false)] {
            let spines = spines();
            let stop = CancellationToken::new();
            if asked {
                stop.cancel();
            }
            spines.spawn("test", stop, async move { assert!(!panics) });
            spines.tracker.close();
            tokio::time::timeout(Duration::from_secs(5), spines.tracker.wait()).await.unwrap();
            assert_eq!(spines.broken().is_cancelled(), breaks);
        }
    }
}

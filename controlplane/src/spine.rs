//! The tasks that the process can't do without: one tracker, one token that ends them all, and the rule that a panic
//! in one of them ends the process with 255, so that its supervisor starts it anew.
//!
//! It does not know what the tasks do.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Clones share the tracker and the token.
#[derive(Clone, Debug, Default)]
pub struct Spine {
    tracker: TaskTracker,
    stop: CancellationToken,
    broken: Arc<AtomicBool>,
}

impl Spine {
    /// Runs `task` as a part of the spine. Its panic stops everything.
    pub fn run(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let (stop, broken) = (self.stop.clone(), Arc::clone(&self.broken));
        self.tracker.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a part that nothing works without has panicked; ending");
                broken.store(true, Ordering::SeqCst);
                stop.cancel();
            }
        });
    }

    /// For tasks that belong to one connection or one command: their panic is theirs alone.
    pub const fn tracker(&self) -> &TaskTracker {
        &self.tracker
    }

    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Waits until all tasks have ended; `true` where one of the spine had panicked.
    pub async fn ended(&self) -> bool {
        self.tracker.close();
        self.tracker.wait().await;
        self.broken.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_in_the_spine_stops_all_and_is_told() {
        let spine = Spine::default();
        let stop = spine.stop().clone();
        spine.run("waits", async move { stop.cancelled().await });
        spine.run("panics", async { panic!("as a test asks") });
        assert!(spine.ended().await);
    }
}

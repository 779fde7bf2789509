//! The threads that calls run on: a single-threaded runtime a core (`hot-path.md` 4). A client's connection stays on the
//! worker it was given, and calls a backend on connections of that worker, so no call waits for another thread.
//!
//! It knows nothing of calls. What is not a call (feed, view, shipping, ticks) has the runtime of `main`.

use std::{cell::Cell, fmt, future::Future, io, sync::Arc, sync::atomic::AtomicUsize, sync::atomic::Ordering::Relaxed};
use std::{thread, time::Duration};

use tokio::{
    runtime::{Builder, EnterGuard, Handle},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a worker's last tasks may take once it is stopped.
const LAST: Duration = Duration::from_millis(500);

thread_local! {
    /// Which worker this thread is, from 1; 0: none.
    static WORKER: Cell<usize> = const { Cell::new(0) };
}

/// The number of this thread's worker, from 1; 0 on every other thread.
pub fn here() -> usize {
    WORKER.get()
}

/// Shared by whoever has something to run on them. `Workers::default()` has none: then all runs where it is begun.
#[derive(Clone, Default)]
pub struct Workers {
    handles: Arc<[Handle]>,
    next: Arc<AtomicUsize>,
}

/// Ends the workers. Their tasks were given their time before.
#[derive(Debug)]
pub struct Threads {
    stop: CancellationToken,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Workers {
    /// Errors: a thread or a runtime can't be had.
    pub fn start(count: usize) -> io::Result<(Self, Threads)> {
        let mut started = Threads { stop: CancellationToken::new(), threads: Vec::with_capacity(count) };
        let mut handles = Vec::with_capacity(count);
        for number in 1..=count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let stop = started.stop.clone();
            let work = move || {
                WORKER.set(number);
                runtime.block_on(stop.cancelled());
                runtime.shutdown_timeout(LAST);
            };
            started.threads.push(thread::Builder::new().name(format!("worker-{number}")).spawn(work)?);
        }
        Ok((Self { handles: handles.into(), next: Arc::default() }, started))
    }

    pub fn count(&self) -> usize {
        self.handles.len()
    }

    /// Runs `task` on the next worker, to its end there.
    pub fn spawn<T: Send + 'static>(
        &self,
        tracker: &TaskTracker,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match self.turn() {
            Some(worker) => tracker.spawn_on(task, worker),
            None => tracker.spawn(task),
        }
    }

    /// Until the guard is dropped, what this thread spawns runs on the next worker.
    pub fn enter(&self) -> Option<EnterGuard<'_>> {
        self.turn().map(Handle::enter)
    }

    fn turn(&self) -> Option<&Handle> {
        let next = self.next.fetch_add(1, Relaxed);
        next.checked_rem(self.handles.len()).and_then(|at| self.handles.get(at))
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workers").field("count", &self.count()).finish_non_exhaustive()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker thread panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[tokio::test]
    async fn work_is_dealt_to_the_workers_in_turn() {
        let (workers, _threads) = Workers::start(3).unwrap();
        let tracker = TaskTracker::new();
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(workers.spawn(&tracker, async { here() }).await.unwrap());
        }
        assert_eq!(seen.iter().copied().collect::<HashSet<_>>(), HashSet::from([1, 2, 3]));
        assert_eq!(seen.get(..3), seen.get(3..));
        let entered = workers.enter();
        let there = TaskTracker::new().spawn(async { here() });
        drop(entered);
        assert_ne!(there.await.unwrap(), 0);
        assert_eq!(here(), 0);
    }

    #[tokio::test]
    async fn without_workers_all_runs_where_it_is_begun() {
        let none = Workers::default();
        assert_eq!(none.spawn(&TaskTracker::new(), async { here() }).await.unwrap(), 0);
        assert!(none.enter().is_none());
    }

    #[test]
    fn threads_end_when_they_are_let_go_whatever_still_runs() {
        let (workers, threads) = Workers::start(2).unwrap();
        let never = workers.spawn(&TaskTracker::new(), std::future::pending::<()>());
        drop(threads);
        assert!(never.is_finished());
    }
}

//! Limits calls of one backend at once: a short wait for few, then a refusal, never a queue without end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Calls that may wait for a place; the next one is refused at once.
const WAITING: usize = 64;
const LONGEST_WAIT: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub struct Bulkhead {
    places: Arc<Semaphore>,
    size: usize,
    waiting: AtomicUsize,
}

impl Bulkhead {
    pub fn new(size: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(size)), size, waiting: AtomicUsize::new(0) }
    }

    pub fn occupied(&self) -> usize {
        self.size.saturating_sub(self.places.available_permits())
    }

    pub fn has_room(&self) -> bool {
        self.places.available_permits() > 0
    }

    /// `None`: full. Dropping the permit gives the place back.
    pub async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        let _waiting = Waiting::begin(&self.waiting)?;
        tokio::time::timeout(LONGEST_WAIT, Arc::clone(&self.places).acquire_owned()).await.ok()?.ok()
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Option<Self> {
        let waiting = Self(count);
        (count.fetch_add(1, Relaxed) < WAITING).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_it_full_waits_a_moment_and_is_refused() {
        let bulkhead = Bulkhead::new(1);
        let place = bulkhead.enter().await.expect("room");
        assert_eq!(bulkhead.occupied(), 1);
        assert!(bulkhead.enter().await.is_none());
        drop(place);
        assert!(bulkhead.enter().await.is_some());
        assert_eq!(bulkhead.waiting.load(Relaxed), 0);
    }
}

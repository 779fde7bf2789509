//! Limits calls of one backend at once: a short wait for few, then a refusal, never a queue without end.
//!
//! One client can't have it all: while others use the backend too, the last quarter of its places is kept for those who
//! hold less than three quarters, and nobody has more than half of the waiting room. A client that is alone has
//! everything, and pays for the sharing with one look at who came last.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::call::ClientHash;

/// Calls that may wait for a place; the next one is refused at once.
const WAITING: usize = 64;
/// Of them, those of one client.
const WAITING_OF_ONE: u32 = 32;
const LONGEST_WAIT: Duration = Duration::from_millis(50);
/// How long it counts as shared after the last call of another client.
const SHARED_FOR: Duration = Duration::from_secs(60);
/// Counts of clients: two that fall together share one, and so one's share. Any number is right; more make that rarer.
const SLOTS: usize = 256;

#[derive(Debug)]
pub struct Bulkhead {
    places: Arc<Semaphore>,
    size: usize,
    waiting: AtomicUsize,
    shares: Arc<Shares>,
}

#[derive(Debug)]
struct Shares {
    /// What one client may hold while it is not alone.
    most: u32,
    since: Instant,
    /// Whose call came last; 0: nobody's yet.
    last: AtomicU64,
    /// Until when it is shared, in milliseconds after `since`.
    shared_until: AtomicU64,
    held: [AtomicU32; SLOTS],
    waiting: [AtomicU32; SLOTS],
    /// A client that holds all that it may has given a place back. There can be but one such client.
    freed: Notify,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    client: ClientHash,
    shares: Arc<Shares>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Bulkhead {
    pub fn new(size: usize) -> Self {
        let most = u32::try_from(size - size / 4).unwrap_or(u32::MAX);
        let shares = Shares {
            most,
            since: Instant::now(),
            last: AtomicU64::new(0),
            shared_until: AtomicU64::new(0),
            held: [const { AtomicU32::new(0) }; SLOTS],
            waiting: [const { AtomicU32::new(0) }; SLOTS],
            freed: Notify::new(),
        };
        Self { places: Arc::new(Semaphore::new(size)), size, waiting: AtomicUsize::new(0), shares: Arc::new(shares) }
    }

    pub fn occupied(&self) -> usize {
        self.size.saturating_sub(self.places.available_permits())
    }

    /// Whether this client would find a place now.
    pub fn has_room(&self, client: ClientHash) -> bool {
        self.places.available_permits() > 0 && !self.shares.is_used_up(client)
    }

    /// `None`: full, or this client has its share of it. Dropping the place gives it back.
    pub async fn enter(&self, client: ClientHash) -> Option<Place> {
        self.shares.came(client);
        if !self.shares.is_used_up(client)
            && let Ok(permit) = Arc::clone(&self.places).try_acquire_owned()
        {
            return Some(self.shares.hold(client, permit));
        }
        let _waiting = Waiting::begin(self, client)?;
        let waits = async {
            loop {
                let freed = self.shares.freed.notified();
                if !self.shares.is_used_up(client) {
                    let permit = Arc::clone(&self.places).acquire_owned().await.ok()?;
                    return Some(self.shares.hold(client, permit));
                }
                freed.await;
            }
        };
        tokio::time::timeout(LONGEST_WAIT, waits).await.ok()?
    }
}

impl Shares {
    /// Two clients in turn make it shared.
    fn came(&self, client: ClientHash) {
        let before = self.last.load(Relaxed);
        if before != client.0 {
            self.last.store(client.0, Relaxed);
            if before != 0 {
                self.shared_until.store(self.now().saturating_add(millis(SHARED_FOR)), Relaxed);
            }
        }
    }

    fn now(&self) -> u64 {
        millis(self.since.elapsed())
    }

    /// It holds all that it may, and others are there.
    fn is_used_up(&self, client: ClientHash) -> bool {
        slot(&self.held, client).load(Relaxed) >= self.most && self.shared_until.load(Relaxed) > self.now()
    }

    fn hold(self: &Arc<Self>, client: ClientHash, permit: OwnedSemaphorePermit) -> Place {
        slot(&self.held, client).fetch_add(1, Relaxed);
        Place { client, shares: Arc::clone(self), permit: Some(permit) }
    }
}

fn slot(slots: &[AtomicU32; SLOTS], client: ClientHash) -> &AtomicU32 {
    let at = usize::try_from(client.0 % SLOTS as u64).unwrap_or(0);
    #[expect(clippy::indexing_slicing, reason = "`at` is below SLOTS, the array's length")]
    &slots[at]
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl Place {
    /// Never given back: a bug (`planted.rs`).
    pub fn leak(mut self) {
        if let Some(permit) = self.permit.take() {
            permit.forget();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let before = slot(&self.shares.held, self.client).fetch_sub(1, Relaxed);
        // First the permit: who is woken looks for one.
        drop(self.permit.take());
        if before >= self.shares.most {
            self.shares.freed.notify_one();
        }
    }
}

struct Waiting<'a> {
    all: &'a AtomicUsize,
    own: &'a AtomicU32,
}

impl<'a> Waiting<'a> {
    fn begin(bulkhead: &'a Bulkhead, client: ClientHash) -> Option<Self> {
        let waiting = Self { all: &bulkhead.waiting, own: slot(&bulkhead.shares.waiting, client) };
        // Both are counted before both are judged: what is dropped has counted both.
        let (own, all) = (waiting.own.fetch_add(1, Relaxed), waiting.all.fetch_add(1, Relaxed));
        (own < WAITING_OF_ONE && all < WAITING).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Relaxed);
        self.own.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOOD: ClientHash = ClientHash(7);
    const POLITE: ClientHash = ClientHash(8);

    #[tokio::test(start_paused = true)]
    async fn who_finds_it_full_waits_a_moment_and_is_refused() {
        let bulkhead = Bulkhead::new(1);
        let place = bulkhead.enter(FLOOD).await.expect("room");
        assert_eq!(bulkhead.occupied(), 1);
        assert!(bulkhead.enter(FLOOD).await.is_none());
        assert!(bulkhead.enter(POLITE).await.is_none());
        drop(place);
        assert!(bulkhead.enter(FLOOD).await.is_some());
        assert_eq!((bulkhead.waiting.load(Relaxed), bulkhead.occupied()), (0, 0));
    }

    async fn take(bulkhead: &Bulkhead, client: ClientHash, most: usize) -> Vec<Place> {
        let mut held = Vec::new();
        while held.len() < most
            && let Some(place) = bulkhead.enter(client).await
        {
            held.push(place);
        }
        held
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_alone_has_all_of_it() {
        let bulkhead = Bulkhead::new(8);
        assert_eq!(take(&bulkhead, FLOOD, 100).await.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn beside_another_a_flood_leaves_a_quarter_and_has_all_again_when_the_other_stays_away() {
        let bulkhead = Bulkhead::new(8);
        drop(bulkhead.enter(POLITE).await);
        let flood = take(&bulkhead, FLOOD, 100).await;
        assert_eq!(flood.len(), 6);
        assert!(!bulkhead.has_room(FLOOD) && bulkhead.has_room(POLITE));
        assert_eq!(take(&bulkhead, POLITE, 100).await.len(), 2, "without a wait");
        drop(flood);
        tokio::time::advance(SHARED_FOR + Duration::from_millis(1)).await;
        assert_eq!(take(&bulkhead, POLITE, 1).await.len(), 1);
        tokio::time::advance(SHARED_FOR + Duration::from_millis(1)).await;
        // The last to come was the polite one: that is one turn of another.
        assert_eq!(take(&bulkhead, FLOOD, 100).await.len(), 6);
        tokio::time::advance(SHARED_FOR + Duration::from_millis(1)).await;
        assert_eq!(take(&bulkhead, FLOOD, 100).await.len(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_its_share_gets_the_next_place_that_it_gives_back_itself() {
        let bulkhead = Bulkhead::new(4);
        drop(bulkhead.enter(POLITE).await);
        let mut flood = take(&bulkhead, FLOOD, 3).await;
        assert_eq!(flood.len(), 3);
        let (got, ()) = tokio::join!(bulkhead.enter(FLOOD), async { drop(flood.pop()) });
        assert!(got.is_some());
        assert_eq!(bulkhead.occupied(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_has_half_of_the_waiting_room() {
        let bulkhead = Bulkhead::new(1);
        let _held = bulkhead.enter(FLOOD).await.expect("room");
        let many = (0..100).map(|_| async {
            let begun = Instant::now();
            assert!(bulkhead.enter(FLOOD).await.is_none());
            begun.elapsed() > Duration::ZERO
        });
        let polite = async {
            let begun = Instant::now();
            assert!(bulkhead.enter(POLITE).await.is_none());
            begun.elapsed()
        };
        let (waited, polite) = tokio::join!(futures_util::future::join_all(many), polite);
        assert_eq!(waited.into_iter().filter(|waited| *waited).count(), 32);
        assert!(polite >= LONGEST_WAIT, "who comes last waits as long as others, and is not turned away");
    }
}

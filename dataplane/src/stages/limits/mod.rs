//! Limits: the client's own bucket and share of what is running, then the bucket of (client, target).
//!
//! Buckets are kept by their measure, so that a reload leaves them as they are; names are bounded.

pub mod client;
mod drawn;
pub mod target;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use foldhash::HashMap;
use governor::{
    RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use self::drawn::{Draw, Drawn, Key};
use crate::{
    call::{ClientHash, Principal},
    view::policy::Quota,
};

/// Keys of one measure; past it, new ones share a bucket per target.
const MOST_KEYS: usize = 100_000;
/// How often the number of keys is looked at, in checks.
const LOOK_EVERY: u32 = 256;
const SHARDS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Over {
    Client,
    ClientAndTarget,
}

/// One bucket: of which measure, whose, and whose it is when there are too many.
#[derive(Clone, Copy)]
struct Bucket {
    over: Over,
    quota: Quota,
    key: u64,
    shared: u64,
}

struct Measure {
    limiter: RateLimiter<Key, Drawn, DefaultClock>,
    checks: AtomicU32,
    is_full: AtomicBool,
}

/// All token buckets of a plane, and how much each client has running.
pub struct Buckets {
    measures: ArcSwap<HashMap<(Over, Quota), Arc<Measure>>>,
    shares: Vec<Mutex<HashMap<u64, usize>>>,
    hasher: RandomState,
    clock: DefaultClock,
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Buckets")
    }
}

impl Default for Buckets {
    fn default() -> Self {
        Self {
            measures: ArcSwap::default(),
            shares: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            clock: DefaultClock::default(),
        }
    }
}

impl Buckets {
    /// Forgets idle keys and measures that nobody uses; called each minute.
    pub fn sweep(&self) {
        let measures = self.measures.load_full();
        for measure in measures.values() {
            measure.limiter.retain_recent();
            measure.limiter.shrink_to_fit();
            measure.look();
        }
        if measures.values().any(|measure| measure.limiter.is_empty()) {
            self.measures.rcu(|held| {
                held.iter()
                    .filter(|(_, measure)| !measure.limiter.is_empty())
                    .map(|(key, measure)| (*key, Arc::clone(measure)))
                    .collect::<HashMap<_, _>>()
            });
        }
    }

    /// The same of a principal whose call is not made.
    pub fn client(&self, principal: &Principal) -> ClientHash {
        ClientHash(self.client_key(principal))
    }

    fn client_key(&self, principal: &Principal) -> u64 {
        self.hasher.hash_one((&principal.issuer, &principal.client))
    }

    /// Errors: how long until there is a token again.
    fn draw(&self, draw: Draw, bucket: Bucket) -> Result<(), Duration> {
        let Bucket { over, quota, .. } = bucket;
        let held = self.measures.load();
        if let Some(measure) = held.get(&(over, quota)) {
            return measure.draw(draw, bucket, &self.clock);
        }
        self.measures.rcu(|held| {
            let mut next = HashMap::clone(held);
            next.entry((over, quota)).or_insert_with(|| Arc::new(Measure::new(quota)));
            next
        });
        self.measures.load().get(&(over, quota)).map_or(Ok(()), |measure| measure.draw(draw, bucket, &self.clock))
    }

    /// One more running call of a client, if it has fewer than `most`.
    fn occupy(self: &Arc<Self>, client: u64, most: usize) -> Option<Slot> {
        let mut shares = self.share(client);
        let running = shares.entry(client).or_default();
        if *running >= most {
            return None;
        }
        *running += 1;
        Some(Slot { buckets: Arc::clone(self), client })
    }

    fn share(&self, client: u64) -> std::sync::MutexGuard<'_, HashMap<u64, usize>> {
        let at = usize::try_from(client % SHARDS as u64).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "`at` is below SHARDS, the vector's length")]
        self.shares[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Measure {
    fn new(quota: Quota) -> Self {
        let some = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let period = Duration::from_secs(quota.per_secs.into()) / some(quota.requests).get();
        let governed = governor::Quota::with_period(period.max(Duration::from_nanos(1)))
            .unwrap_or_else(|| governor::Quota::per_second(some(quota.requests)))
            .allow_burst(some(quota.burst));
        Self {
            limiter: RateLimiter::new(governed, Drawn::default(), DefaultClock::default()),
            checks: AtomicU32::new(0),
            is_full: AtomicBool::new(false),
        }
    }

    fn draw(&self, draw: Draw, bucket: Bucket, clock: &DefaultClock) -> Result<(), Duration> {
        if self.checks.fetch_add(1, Relaxed).is_multiple_of(LOOK_EVERY) {
            if self.limiter.len() >= MOST_KEYS {
                self.limiter.retain_recent();
            }
            self.look();
        }
        let of = if self.is_full.load(Relaxed) { bucket.shared } else { bucket.key };
        self.limiter.check_key(&Key { of, draw }).map_err(|refusal| refusal.wait_time_from(clock.now()))
    }

    fn look(&self) {
        self.is_full.store(self.limiter.len() >= MOST_KEYS, Relaxed);
    }
}

/// One running call of a client; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Slot {
    buckets: Arc<Buckets>,
    client: u64,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut shares = self.buckets.share(self.client);
        if let Some(running) = shares.get_mut(&self.client) {
            *running -= 1;
            if *running == 0 {
                shares.remove(&self.client);
            }
        }
    }
}

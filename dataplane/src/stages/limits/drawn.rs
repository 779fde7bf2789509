//! What has been drawn from the buckets of one measure. A look is decided as a draw is, and its new state is dropped:
//! so what would be refused can be told without taking anything.

use std::{
    convert::Infallible,
    hash::{Hash, Hasher},
};

use governor::{
    nanos::Nanos,
    state::{
        StateStore,
        keyed::{DashMapStateStore, ShrinkableKeyedStateStore},
    },
};

/// Whether a token goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draw {
    Looks,
    Takes,
}

/// Which bucket; how it is asked is no part of which one it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub(super) of: u64,
    pub(super) draw: Draw,
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.of == other.of
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.of.hash(state);
    }
}

#[derive(Debug, Default)]
pub(super) struct Drawn(DashMapStateStore<Key>);

impl StateStore for Drawn {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if key.draw == Draw::Takes {
            return self.0.measure_and_replace(key, decide);
        }
        // An error replaces nothing, so the decision comes back as one.
        let looked = |held| Err::<(Infallible, Nanos), _>(decide(held).map(|(told, _new)| told));
        match self.0.measure_and_replace(key, looked) {
            Ok(never) => match never {},
            Err(told) => told,
        }
    }
}

impl ShrinkableKeyedStateStore<Key> for Drawn {
    fn retain_recent(&self, drop_below: Nanos) {
        self.0.retain_recent(drop_below);
    }

    fn shrink_to_fit(&self) {
        ShrinkableKeyedStateStore::shrink_to_fit(&self.0);
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use governor::{Quota, RateLimiter, clock::DefaultClock};

    use super::*;

    #[test]
    fn a_look_says_what_a_draw_would_and_takes_nothing() {
        let quota = Quota::per_hour(NonZeroU32::new(2).expect("two"));
        let limiter: RateLimiter<Key, Drawn, DefaultClock> =
            RateLimiter::new(quota, Drawn::default(), DefaultClock::default());
        let asks = |of, draw| limiter.check_key(&Key { of, draw }).is_ok();
        for _ in 0..5 {
            assert!(asks(1, Draw::Looks));
        }
        assert!(asks(1, Draw::Takes) && asks(1, Draw::Looks) && asks(1, Draw::Takes));
        assert!(!asks(1, Draw::Looks) && !asks(1, Draw::Takes), "both are gone");
        assert!(asks(2, Draw::Looks), "another's bucket is full");
        assert!(!asks(1, Draw::Looks), "and a look gives nothing back");
    }
}

//! What is sent again, and how much at once: a share of what runs, after a short wait drawn by chance, so that repeats
//! never become the load that keeps a backend down (`reliability.md` 4.3). It sends nothing: that is `pipeline.rs`'s.

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use super::registry::Backends;
use crate::{
    call::Ask,
    in_flight::Flight,
    planted::{self, Bug},
    stages::rules::Ruled,
};

/// Repeats in progress: one in so many calls at the backend, and always so many.
const SHARE: usize = 5;
const ALWAYS: usize = 3;
const FIRST: Duration = Duration::from_millis(25);
const CAP: Duration = Duration::from_millis(250);

/// The budget of one backend.
#[derive(Debug, Default)]
pub struct Repeats(Arc<AtomicUsize>);

/// Leave for one repeat, until it is dropped.
#[derive(Debug)]
struct Repeat(Arc<AtomicUsize>);

impl Repeats {
    /// `calls`: at the backend now. `None`: too much is repeated already.
    fn begin(&self, calls: usize) -> Option<Repeat> {
        let repeat = Repeat(Arc::clone(&self.0));
        let running = self.0.fetch_add(1, Relaxed);
        (running < ALWAYS.max(calls / SHARE)).then_some(repeat)
    }
}

impl Drop for Repeat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The repeats of one call.
#[derive(Debug)]
pub struct Repeating<'call> {
    backends: &'call Backends,
    call: &'call Ruled,
    flight: &'call Flight,
    /// From the first repeat to the call's end.
    held: Option<Repeat>,
    may_have_run: bool,
}

impl<'call> Repeating<'call> {
    pub fn of(backends: &'call Backends, call: &'call Ruled, flight: &'call Flight) -> Self {
        Self { backends, call, flight, held: None, may_have_run: false }
    }

    /// A sending of it was lost.
    pub fn may_have_run(&self) -> bool {
        self.may_have_run
    }

    /// A sending was lost: once more only where its server says that running twice changes nothing. As `again`.
    pub async fn after_a_loss(&mut self, attempt: u32) -> bool {
        let may_repeat = match self.call.call().ask {
            Ask::AwaitTask | Ask::GetTask | Ask::CancelTask => true,
            Ask::UpdateTask => false,
            _ => self.call.target().may_repeat,
        };
        let is_safe = may_repeat || planted::has(Bug::DoubleSend);
        let is_first = !mem::replace(&mut self.may_have_run, true);
        is_safe && is_first && self.again(attempt).await
    }

    /// Waits for the time of another sending. False: there is none, because the call ended, its time is short, or too
    /// much is repeated at this backend already.
    pub async fn again(&mut self, attempt: u32) -> bool {
        if self.flight.why().is_some() {
            return false;
        }
        if self.held.is_none() {
            let backend = self.backends.find(self.call.target().backend);
            self.held = backend.and_then(|backend| backend.repeats.begin(backend.bulkhead.occupied()));
        }
        let wait = wait(attempt);
        if self.held.is_none() || wait >= self.flight.time_left() {
            return false;
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            _why = self.flight.ended() => false,
        }
    }
}

/// Before the sending after `attempt`, which counts from 1: full jitter, so that what failed together does not come back
/// together.
fn wait(attempt: u32) -> Duration {
    let most = FIRST.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(CAP);
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).ok();
    most.mul_f64(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_a_fifth_of_what_runs_and_three_at_least() {
        let repeats = Repeats::default();
        let mut held: Vec<Repeat> = (0..10).filter_map(|_| repeats.begin(4)).collect();
        assert_eq!(held.len(), 3);
        held.extend((0..100).filter_map(|_| repeats.begin(50)));
        assert_eq!(held.len(), 10);
        held.clear();
        assert!(repeats.begin(0).is_some(), "what ended makes room");
        assert_eq!(repeats.0.load(Relaxed), 0);
    }

    #[test]
    fn waits_grow_to_a_cap_and_are_not_alike() {
        assert!((0..100).all(|_| wait(1) <= FIRST && wait(20) <= CAP));
        let drawn: std::collections::HashSet<Duration> = (0..20).map(|_| wait(3)).collect();
        assert!(drawn.len() > 10, "{drawn:?}");
    }
}

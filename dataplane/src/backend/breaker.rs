//! Stops calls to what fails: closed → open → half-open (`reliability.md` 4.4). One a backend and plane, on the
//! monotonic clock, lock held for lines.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::spec;

/// The second way to open: this share of at least so many calls within the window failed.
const WINDOW: Duration = Duration::from_secs(10);
const LEAST_CALLS: u32 = 20;
const LONGEST_OPEN: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Closed,
    Open,
    HalfOpen,
}

impl Phase {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

#[derive(Debug)]
pub struct Breaker {
    settings: spec::Breaker,
    /// Closed and without a failure to remember: then a call asks no lock.
    is_calm: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    in_a_row: u32,
    window_since: Instant,
    calls: u32,
    failures: u32,
    open_until: Instant,
    open_for: Duration,
    trials_running: u32,
    trials_good: u32,
}

/// Leave to try; say how it went, or drop it for an outcome that says nothing about the backend.
#[derive(Debug)]
pub struct Permit {
    breaker: Arc<Breaker>,
    is_trial: bool,
    told: bool,
}

impl Breaker {
    pub fn new(settings: spec::Breaker) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            phase: Phase::Closed,
            in_a_row: 0,
            window_since: now,
            calls: 0,
            failures: 0,
            open_until: now,
            open_for: settings.open_for,
            trials_running: 0,
            trials_good: 0,
        };
        Arc::new(Self { settings, is_calm: AtomicBool::new(true), state: Mutex::new(state) })
    }

    pub fn phase(&self) -> Phase {
        self.state().phase
    }

    /// Errors: how long until a trial may pass.
    pub fn permit(self: &Arc<Self>) -> Result<Permit, Duration> {
        let permit = |is_trial| Permit { breaker: Arc::clone(self), is_trial, told: false };
        if self.is_calm.load(Relaxed) {
            return Ok(permit(false));
        }
        let mut state = self.state();
        let now = Instant::now();
        if state.phase == Phase::Open && now >= state.open_until {
            state.phase = Phase::HalfOpen;
            state.trials_running = 0;
            state.trials_good = 0;
        }
        let is_trial = self.may_try(&state, now)?;
        state.trials_running += u32::from(is_trial);
        Ok(permit(is_trial))
    }

    /// What `permit` would say now; no trial begins.
    pub fn look(&self) -> Result<(), Duration> {
        let state = self.state();
        let now = Instant::now();
        if state.phase == Phase::Open && now >= state.open_until {
            return Ok(());
        }
        self.may_try(&state, now).map(drop)
    }

    /// Whether it would be a trial.
    fn may_try(&self, state: &State, now: Instant) -> Result<bool, Duration> {
        match state.phase {
            Phase::Closed => Ok(false),
            Phase::Open => Err(state.open_until.saturating_duration_since(now)),
            Phase::HalfOpen if state.trials_running < self.settings.half_open_calls => Ok(true),
            Phase::HalfOpen => Err(Duration::from_millis(250)),
        }
    }

    /// Health checks failed too often, whatever calls say.
    pub fn trip(&self) {
        let mut state = self.state();
        if state.phase == Phase::Closed {
            self.open(&mut state);
        }
    }

    /// A health check came back: an open breaker may try at once.
    pub fn probe_succeeded(&self) {
        let mut state = self.state();
        if state.phase == Phase::Open {
            state.open_until = Instant::now();
        }
    }

    fn open(&self, state: &mut State) {
        // ± 10 %, so that a fleet does not try again in one moment.
        let share = f64::from(u16::from_be_bytes(random())) / f64::from(u16::MAX);
        state.open_until = Instant::now() + state.open_for.mul_f64(0.9 + 0.2 * share);
        state.phase = Phase::Open;
        self.is_calm.store(false, Relaxed);
    }

    fn close(&self, state: &mut State) {
        state.phase = Phase::Closed;
        state.in_a_row = 0;
        state.calls = 0;
        state.failures = 0;
        state.open_for = self.settings.open_for;
        self.is_calm.store(true, Relaxed);
    }

    fn succeeded(&self, is_trial: bool) {
        if self.is_calm.load(Relaxed) {
            return;
        }
        let mut state = self.state();
        match state.phase {
            Phase::HalfOpen if is_trial => {
                state.trials_good += 1;
                if state.trials_good >= self.settings.half_open_calls {
                    self.close(&mut state);
                }
            }
            Phase::Closed => {
                state.in_a_row = 0;
                state.calls += 1;
                if state.window_since.elapsed() > WINDOW {
                    self.close(&mut state);
                }
            }
            Phase::HalfOpen | Phase::Open => {}
        }
    }

    fn failed(&self, is_trial: bool) {
        let mut state = self.state();
        match state.phase {
            Phase::HalfOpen if is_trial => {
                state.open_for = (state.open_for * 2).min(LONGEST_OPEN.max(self.settings.open_for));
                self.open(&mut state);
            }
            Phase::Closed => {
                if state.window_since.elapsed() > WINDOW || self.is_calm.load(Relaxed) {
                    state.window_since = Instant::now();
                    state.calls = 0;
                    state.failures = 0;
                }
                self.is_calm.store(false, Relaxed);
                state.in_a_row += 1;
                state.calls += 1;
                state.failures += 1;
                let half_fail = state.calls >= LEAST_CALLS && state.failures * 2 >= state.calls;
                if state.in_a_row >= self.settings.failures || half_fail {
                    self.open(&mut state);
                }
            }
            Phase::HalfOpen | Phase::Open => {}
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random() -> [u8; 2] {
    let mut bytes = [0; 2];
    aws_lc_rs::rand::fill(&mut bytes).ok();
    bytes
}

impl Permit {
    pub fn succeeded(mut self) {
        self.told = true;
        self.breaker.succeeded(self.is_trial);
    }

    pub fn failed(mut self) {
        self.told = true;
        self.breaker.failed(self.is_trial);
    }
}

impl Drop for Permit {
    /// A trial that told nothing gives its place back.
    fn drop(&mut self) {
        if self.is_trial && !self.told {
            let mut state = self.breaker.state();
            state.trials_running = state.trials_running.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Arc<Breaker> {
        Breaker::new(spec::Breaker { failures: 3, open_for: Duration::from_secs(30), half_open_calls: 1 })
    }

    fn fail(breaker: &Arc<Breaker>) {
        breaker.permit().expect("closed").failed();
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_closes_after_a_good_trial() {
        let breaker = breaker();
        fail(&breaker);
        breaker.permit().expect("closed").succeeded();
        fail(&breaker);
        fail(&breaker);
        assert_eq!(breaker.phase(), Phase::Closed, "a success between starts the count anew");
        fail(&breaker);
        assert_eq!(breaker.phase(), Phase::Open);
        assert!(breaker.permit().is_err());
        tokio::time::advance(Duration::from_secs(34)).await;
        let trial = breaker.permit().expect("a trial");
        assert!(breaker.permit().is_err(), "one trial at a time");
        trial.succeeded();
        assert_eq!(breaker.phase(), Phase::Closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_says_whether_a_call_would_pass_and_begins_no_trial() {
        let breaker = breaker();
        assert!(breaker.look().is_ok());
        (0..3).for_each(|_| fail(&breaker));
        assert!(breaker.look().is_err());
        tokio::time::advance(Duration::from_secs(34)).await;
        assert!(breaker.look().is_ok() && breaker.look().is_ok(), "a trial may pass");
        assert_eq!(breaker.phase(), Phase::Open, "none has begun");
        let trial = breaker.permit().expect("a trial");
        assert!(breaker.look().is_err(), "one at a time");
        trial.succeeded();
        assert!(breaker.look().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_trial_doubles_the_wait() {
        let breaker = breaker();
        (0..3).for_each(|_| fail(&breaker));
        tokio::time::advance(Duration::from_secs(34)).await;
        breaker.permit().expect("a trial").failed();
        let wait = breaker.permit().expect_err("open again");
        assert!(wait > Duration::from_secs(50), "{wait:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trial_that_says_nothing_gives_its_place_back() {
        let breaker = breaker();
        (0..3).for_each(|_| fail(&breaker));
        tokio::time::advance(Duration::from_secs(34)).await;
        drop(breaker.permit().expect("a trial"));
        assert!(breaker.permit().is_ok());
    }
}

//! When the control plane was last in touch: what `max_staleness_secs` is measured by.
//!
//! An open stream is contact (keepalives end one that is dead within 15 s); a start begins without.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

#[derive(Debug)]
pub struct Contact {
    /// `None` while a stream is open.
    lost: Mutex<Option<Instant>>,
}

impl Contact {
    /// Not in touch since now.
    pub fn none_yet() -> Self {
        Self { lost: Mutex::new(Some(Instant::now())) }
    }

    /// Its kill set has come: this stream is contact.
    pub fn found(&self) {
        self.set(|_| None);
    }

    /// No stream any more. Where there was none before, it stays lost since then.
    pub fn lost(&self) {
        self.set(|held| held.or_else(|| Some(Instant::now())));
    }

    /// How long there has been none; `None` while there is.
    pub fn missed_for(&self) -> Option<Duration> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed())
    }

    fn set(&self, change: impl FnOnce(Option<Instant>) -> Option<Instant>) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        *lost = change(*lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_counts_from_the_first_loss_and_stops_when_found() {
        let contact = Contact::none_yet();
        tokio::time::advance(Duration::from_secs(3)).await;
        contact.lost();
        assert_eq!(contact.missed_for(), Some(Duration::from_secs(3)));
        contact.found();
        assert_eq!(contact.missed_for(), None);
        contact.lost();
        tokio::time::advance(Duration::from_secs(2)).await;
        contact.lost();
        assert_eq!(contact.missed_for(), Some(Duration::from_secs(2)));
    }
}

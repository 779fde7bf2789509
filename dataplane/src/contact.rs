//! When the control plane was last in touch, and why it is not: what `max_staleness_secs` is measured by.
//!
//! An open stream is contact (keepalives end one that is dead within 15 s); a start begins without.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

#[derive(Debug)]
pub struct Contact {
    /// `None` while a stream is open.
    lost: Mutex<Option<Lost>>,
}

#[derive(Debug)]
struct Lost {
    since: Instant,
    /// Empty until a first try failed.
    why: String,
}

impl Contact {
    /// Not in touch since now.
    pub fn none_yet() -> Self {
        Self { lost: Mutex::new(Some(Lost { since: Instant::now(), why: String::new() })) }
    }

    /// Its kill set has come: this stream is contact.
    pub fn found(&self) {
        *self.held() = None;
    }

    /// No stream any more, or again none. Where there was none before, it stays lost since then.
    pub fn lost(&self, why: &str) {
        let mut held = self.held();
        let since = held.as_ref().map_or_else(Instant::now, |lost| lost.since);
        *held = Some(Lost { since, why: why.to_owned() });
    }

    /// How long there has been none; `None` while there is.
    pub fn missed_for(&self) -> Option<Duration> {
        self.held().as_ref().map(|lost| lost.since.elapsed())
    }

    /// Why the last try gave no stream; `None` while there is one, and before the first try.
    pub fn trouble(&self) -> Option<String> {
        self.held().as_ref().map(|lost| lost.why.clone()).filter(|why| !why.is_empty())
    }

    fn held(&self) -> MutexGuard<'_, Option<Lost>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_counts_from_the_first_loss_and_stops_when_found() {
        let contact = Contact::none_yet();
        assert_eq!(contact.trouble(), None);
        tokio::time::advance(Duration::from_secs(3)).await;
        contact.lost("another token");
        assert_eq!(contact.missed_for(), Some(Duration::from_secs(3)));
        assert_eq!(contact.trouble().as_deref(), Some("another token"));
        contact.found();
        assert_eq!(contact.missed_for(), None);
        assert_eq!(contact.trouble(), None);
        contact.lost("a");
        tokio::time::advance(Duration::from_secs(2)).await;
        contact.lost("b");
        assert_eq!(contact.missed_for(), Some(Duration::from_secs(2)));
        assert_eq!(contact.trouble().as_deref(), Some("b"));
    }
}

//! What backends say wrong on a stream that all calls share, counted by kind.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a backend said wrong, since the plane's start.
#[derive(Debug, Default)]
pub struct Counts {
    pub garbage: AtomicU64,
    pub unknown_ids: AtomicU64,
    pub late_answers: AtomicU64,
    /// Requests of the server's that got no answer, because too many waited.
    pub unanswered_requests: AtomicU64,
    pub dropped_logs: AtomicU64,
}

impl Counts {
    /// By kind, as operators know them.
    pub fn by_kind(&self) -> [(&'static str, u64); 5] {
        [
            ("garbage", &self.garbage),
            ("unknown_id", &self.unknown_ids),
            ("late_answer", &self.late_answers),
            ("unanswered_request", &self.unanswered_requests),
            ("dropped_log", &self.dropped_logs),
        ]
        .map(|(kind, count)| (kind, count.load(Relaxed)))
    }
}

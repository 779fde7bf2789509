//! A second flight of one call: what its server works on outlives the request that began it, when its client is asked
//! within an answer. The first one stands back: it can still be ended by its client's id, and is counted no more.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{CallKey, Flight, LegKey, Running};
use crate::{answering::Events, call::RequestId};

impl Flight {
    /// Another for the same call, with a number of its own, heard by `events`; it ends when it is dropped, or swept.
    pub fn beside(&self, events: Events) -> Self {
        let of = &self.running;
        let running = Arc::new(Running {
            number: self.table.next.fetch_add(1, Relaxed),
            request: of.request,
            leg: of.leg,
            principal: Arc::clone(&of.principal),
            target: Arc::clone(&of.target),
            backend: of.backend,
            events,
            progress: of.progress.clone(),
            why: OnceLock::new(),
            ended: Notify::new(),
            over: OnceLock::new(),
            asking: AtomicU32::new(0),
            sent: AtomicBool::new(false),
            stands_back: AtomicBool::new(false),
            deadline: AtomicU64::new(of.deadline.load(Relaxed)),
            last_deadline: of.last_deadline,
            timeout: of.timeout,
            progress_renews: of.progress_renews,
            // Its client's stream is the first one's business.
            quiet_at: AtomicU64::new(u64::MAX),
        });
        let key = CallKey { leg: LegKey::alone(RequestId::fresh()), id: Bytes::new() };
        self.table.shard(&key).insert(key.clone(), Arc::clone(&running));
        self.table.count.fetch_add(1, Relaxed);
        self.stand_back();
        Self { table: Arc::clone(&self.table), key, running }
    }

    /// Another flight carries this call now: its server's questions are that one's.
    pub fn stand_back(&self) {
        if !self.running.stands_back.swap(true, Relaxed) {
            self.table.count.fetch_sub(1, Relaxed);
        }
    }

    /// Ends it for the reason for which the other one was ended.
    pub fn end_like(&self, other: &Self) {
        if let Some(why) = other.why() {
            self.running.end(why.clone());
        }
    }
}

//! A running call as something else sees it that belongs to it: a question of its server. Found by what is known of it,
//! never by an id alone; it holds the call no longer than the call lasts.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{CallKey, InFlight, Running, Why};
use crate::{
    answering::Event,
    call::{BackendId, Principal, RequestId},
    catalogue::Target,
    listen::ClientLeg,
    tasks::Task,
    upcall::Upcall,
};

#[derive(Debug)]
pub struct FlightRef {
    table: Arc<InFlight>,
    key: CallKey,
    running: Arc<Running>,
}

impl InFlight {
    /// The calls that run on this definition of a backend and that `is` picks.
    pub fn related(self: &Arc<Self>, backend: BackendId, is: impl Fn(&FlightRef) -> bool) -> Vec<FlightRef> {
        let mut found = Vec::new();
        for shard in 0..self.shards.len() {
            let Some(shard) = self.shards.get(shard) else { continue };
            let shard = shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let is_its_own = |running: &Running| running.backend == backend && !running.stands_back.load(Relaxed);
            for (key, running) in shard.iter().filter(|(_, running)| is_its_own(running)) {
                let (table, running) = (Arc::clone(self), Arc::clone(running));
                let flight = FlightRef { table, key: key.clone(), running };
                if is(&flight) {
                    found.push(flight);
                }
            }
        }
        found
    }
}

impl FlightRef {
    pub fn number(&self) -> u64 {
        self.running.number
    }

    pub fn leg(&self) -> ClientLeg {
        self.running.leg
    }

    pub fn principal(&self) -> &Arc<Principal> {
        &self.running.principal
    }

    pub fn target(&self) -> &Target {
        &self.running.target
    }

    /// The task that it is about.
    pub fn task(&self) -> Option<&Arc<Task>> {
        self.running.events.task()
    }

    /// The id of its row.
    pub fn request(&self) -> RequestId {
        self.running.request
    }

    /// Somebody still reads what it says.
    pub fn is_heard(&self) -> bool {
        !self.running.events.is_deserted()
    }

    /// Its client is asked something, and has not answered.
    pub fn is_asking(&self) -> bool {
        self.running.asking.load(Relaxed) > 0
    }

    /// Ends when nobody reads any more what it says: its client hung up, or the call is over.
    pub async fn unheard(&self) {
        self.running.events.deserted().await;
    }

    /// Puts a question among what the call says. Errors: nobody listens, or too much waits: it comes back.
    pub fn ask(&self, upcall: Upcall) -> Result<(), Upcall> {
        self.running.events.ask(upcall)
    }

    /// Nobody waits for this question any more.
    pub fn withdraw(&self, number: u64) {
        self.running.events.offer(Event::Withdrawn(number));
    }

    /// What its server logs; whether its client hears it, its leg decides.
    pub fn logged(&self, message: Bytes) {
        self.running.events.offer(Event::Log(message));
    }

    /// What a person did at a URL is done.
    pub fn elicited(&self, message: Bytes) {
        self.running.events.offer(Event::Elicited(message));
    }

    /// Why somebody ended it; none: nobody did.
    pub fn why(&self) -> Option<&Why> {
        self.running.why.get()
    }

    /// Ends when the call does. Cancel safe.
    pub async fn over(&self) {
        let over = self.running.over.get_or_init(CancellationToken::new);
        // An ended call left the table before it looked whether somebody waits for its end: one of the two is seen.
        let is_there = self.table.shard(&self.key).get(&self.key).is_some_and(|held| Arc::ptr_eq(held, &self.running));
        if is_there {
            over.cancelled().await;
        }
    }

    /// Its client has so long for an answer; its own time begins anew after it, up to the call's maximum.
    pub fn wait(&self, answer: Duration) {
        self.running.asking.fetch_add(1, Relaxed);
        self.until(answer.saturating_add(self.running.timeout));
    }

    /// That question is over: with the last of them, the server has the time again that a call has.
    pub fn go_on(&self) {
        if self.running.asking.fetch_sub(1, Relaxed) == 1 {
            self.until(self.running.timeout);
        }
    }

    fn until(&self, left: Duration) {
        let until = self.table.micros(Instant::now() + left).min(self.running.last_deadline);
        self.running.deadline.store(until, Relaxed);
    }
}

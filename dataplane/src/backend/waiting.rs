//! The table of the calls that wait for answers on one stream (a process's stdout, the one stream of an HTTP+SSE session),
//! by our numbers. Closed once, for good: whoever waits then wakes with an error, and nobody can enter after it. Dropped
//! with its stream, so that an old answer meets nobody.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    answering::Events,
    wire::{Places, Span},
};

/// Numbers of abandoned calls that are remembered, so that a late answer is no unknown one; the oldest goes.
const TOMBSTONES: usize = 1024;
const REMEMBERED: Duration = Duration::from_secs(60);

/// An answer as it came.
#[derive(Debug)]
pub struct Reply {
    pub message: Bytes,
    pub id: Span,
    pub failed: bool,
    pub tool_error: bool,
    pub result: Option<Span>,
    pub error: Option<Span>,
    pub places: Places,
}

/// Where progress of a call goes.
#[derive(Clone, Debug)]
pub struct Progress {
    /// The client's own token.
    pub token: Bytes,
    pub events: Events,
    /// Wakes the call, which renews its deadline.
    pub came: Arc<Notify>,
}

/// What came of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    Caller,
    /// The call was abandoned before.
    Late,
    Nobody,
}

/// The stream is over, or this number waits already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

#[derive(Debug, Default)]
pub struct Waiting(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    closed: bool,
    /// No call enters any more; who is in stays.
    retired: bool,
    /// Calls that ever entered.
    entered: u64,
    slots: HashMap<u64, Slot>,
    calls: usize,
    /// Oldest first; holds what `slots` holds as buried.
    graves: VecDeque<(u64, Instant)>,
}

#[derive(Debug)]
enum Slot {
    Call { reply: oneshot::Sender<Reply>, progress: Option<Progress>, counts: bool },
    Buried,
}

impl Waiting {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn enter(&self, number: u64, progress: Option<Progress>) -> Result<oneshot::Receiver<Reply>, Refused> {
        self.add(number, progress, true)
    }

    /// A question of ours: it is no call, and may wait for ever.
    pub fn enter_beside(&self, number: u64) -> Result<oneshot::Receiver<Reply>, Refused> {
        self.add(number, None, false)
    }

    fn add(&self, number: u64, progress: Option<Progress>, counts: bool) -> Result<oneshot::Receiver<Reply>, Refused> {
        let (reply, receiver) = oneshot::channel();
        let mut table = self.table();
        if table.closed || (counts && table.retired) {
            return Err(Refused);
        }
        match table.slots.get(&number) {
            None => {}
            Some(Slot::Call { .. }) => return Err(Refused),
            // A call that is sent once more: what answers its first sending answers it.
            Some(Slot::Buried) => table.graves.retain(|(buried, _)| *buried != number),
        }
        table.slots.insert(number, Slot::Call { reply, progress, counts });
        table.calls += usize::from(counts);
        table.entered = table.entered.wrapping_add(u64::from(counts));
        Ok(receiver)
    }

    /// Hands an answer to whom it is for.
    pub fn answer(&self, number: u64, answer: Reply) -> Met {
        let mut table = self.table();
        match table.slots.remove(&number) {
            Some(Slot::Call { reply, counts, .. }) => {
                table.calls -= usize::from(counts);
                drop(table);
                if reply.send(answer).is_ok() { Met::Caller } else { Met::Late }
            }
            Some(Slot::Buried) => {
                table.graves.retain(|(buried, _)| *buried != number);
                Met::Late
            }
            None => Met::Nobody,
        }
    }

    /// Where progress of this call goes; none: nobody asked for it.
    pub fn progress(&self, number: u64) -> Option<Progress> {
        match self.table().slots.get(&number) {
            Some(Slot::Call { progress, .. }) => progress.clone(),
            Some(Slot::Buried) | None => None,
        }
    }

    /// Nobody waits for it any more; an answer that still comes is expected. False: it was answered before, or all
    /// is over.
    pub fn bury(&self, number: u64) -> bool {
        let now = Instant::now();
        let mut table = self.table();
        let Some(Slot::Call { counts, .. }) = table.slots.get(&number) else { return false };
        table.calls -= usize::from(*counts);
        table.slots.insert(number, Slot::Buried);
        table.graves.push_back((number, now));
        while let Some(&(oldest, since)) = table.graves.front()
            && (table.graves.len() > TOMBSTONES || now.duration_since(since) >= REMEMBERED)
        {
            table.graves.pop_front();
            table.slots.remove(&oldest);
        }
        true
    }

    /// As if it had never been entered.
    pub fn leave(&self, number: u64) {
        let mut table = self.table();
        if let Some(Slot::Call { counts, .. }) = table.slots.remove(&number) {
            table.calls -= usize::from(counts);
        }
    }

    /// Calls that wait for an answer.
    pub fn calls(&self) -> usize {
        self.table().calls
    }

    /// Calls that ever entered, and those that wait now.
    pub fn traffic(&self) -> (u64, usize) {
        let table = self.table();
        (table.entered, table.calls)
    }

    /// From here on no call enters; who is in stays until its answer.
    pub fn retire(&self) {
        self.table().retired = true;
    }

    /// The same, where no call waits now. False: one does, and all goes on.
    pub fn retire_if_quiet(&self) -> bool {
        let mut table = self.table();
        table.retired |= table.calls == 0;
        table.retired
    }

    pub fn is_retired(&self) -> bool {
        self.table().retired
    }

    /// Everybody who waits wakes with an error; nobody enters any more.
    pub fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        table.calls = 0;
        let slots = std::mem::take(&mut table.slots);
        table.graves.clear();
        drop(table);
        drop(slots);
    }
}

/// A number of ours, as it comes back: JSON knows no sign `+` and no leading zeros, so equal values are equal tokens.
pub fn number(token: Span, message: &Bytes) -> Option<u64> {
    std::str::from_utf8(token.get(message)).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        let message = Bytes::from_static(b"1");
        let (id, places) = (Span { start: 0, end: 1 }, Places::default());
        Reply { message, id, failed: false, tool_error: false, result: None, error: None, places }
    }

    #[tokio::test]
    async fn each_answer_meets_its_caller_once() {
        let waiting = Waiting::default();
        let caller = waiting.enter(7, None).unwrap();
        assert_eq!(waiting.enter(7, None).err(), Some(Refused));
        assert_eq!((waiting.answer(8, reply()), waiting.answer(7, reply())), (Met::Nobody, Met::Caller));
        assert_eq!((waiting.answer(7, reply()), waiting.calls()), (Met::Nobody, 0));
        assert!(caller.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_is_swallowed_for_a_minute_and_a_thousand_calls() {
        let waiting = Waiting::default();
        for number in 0..=1024 {
            drop(waiting.enter(number, None).unwrap());
            assert!(waiting.bury(number) && !waiting.bury(number));
        }
        assert_eq!((waiting.answer(0, reply()), waiting.answer(1, reply())), (Met::Nobody, Met::Late));
        tokio::time::advance(REMEMBERED).await;
        drop(waiting.enter(2000, None).unwrap());
        waiting.bury(2000);
        assert_eq!((waiting.answer(2, reply()), waiting.answer(2000, reply())), (Met::Nobody, Met::Late));
    }

    #[tokio::test]
    async fn a_call_that_is_sent_once_more_takes_the_answer_to_either_sending() {
        let waiting = Waiting::default();
        drop(waiting.enter(7, None).unwrap());
        assert!(waiting.bury(7));
        let again = waiting.enter(7, None).unwrap();
        assert_eq!((waiting.answer(7, reply()), waiting.answer(7, reply())), (Met::Caller, Met::Nobody));
        assert!(again.await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_keeps_a_quiet_end_away_and_stays_through_another() {
        let waiting = Waiting::default();
        let caller = waiting.enter(1, None).unwrap();
        assert!(!waiting.retire_if_quiet() && waiting.enter(2, None).is_ok());
        assert_eq!(waiting.traffic(), (2, 2));
        waiting.retire();
        assert_eq!(waiting.enter(3, None).err(), Some(Refused));
        assert!(waiting.enter_beside(4).is_ok(), "questions of ours go on");
        assert_eq!((waiting.answer(1, reply()), waiting.traffic()), (Met::Caller, (2, 1)));
        assert!(caller.await.is_ok());
    }

    #[tokio::test]
    async fn closing_wakes_all_and_keeps_others_out() {
        let waiting = Waiting::default();
        let (first, second) = (waiting.enter(1, None).unwrap(), waiting.enter(2, None).unwrap());
        waiting.close();
        assert!(first.await.is_err() && second.await.is_err());
        assert_eq!(waiting.enter(3, None).err(), Some(Refused));
    }
}

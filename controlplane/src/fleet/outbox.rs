//! What waits to be sent to one plane: kills in a lane of their own that nothing can fill or hold up, then pins in
//! another, and the rest in a short queue behind them.
//!
//! It does not know what the messages mean, but that a later `Prepare` replaces one that has not left yet.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::Stream;
use sentinel_proto::v1::plane_hears::Hears;
use sentinel_proto::v1::{KillSet, PinSet, PlaneHears};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::kill_set::Kills;
use crate::pins::PinsHeld;

/// Messages other than kills that may wait for one plane; a plane that lets so many lie is taken for silent.
const WAITING: usize = 32;

/// The sending end; clones send to the same plane.
#[derive(Clone, Debug)]
pub struct Outbox(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    lanes: Mutex<Lanes>,
    ready: Notify,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Lanes {
    kills: Option<KillSet>,
    pins: Option<PinSet>,
    rest: VecDeque<Hears>,
    last: Option<Status>,
}

/// The plane takes nothing from its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Outbox {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Adds to the kills that wait. Never full: what waits is merged, and there is one entry a name.
    pub fn kill(&self, set: KillSet) {
        self.lanes(|lanes| {
            let merged = match lanes.kills.take() {
                None => set,
                Some(waiting) => {
                    let whole = waiting.whole || set.whole;
                    let mut both = Kills::default();
                    both.merge(&waiting);
                    both.merge(&set);
                    KillSet { whole, ..both.whole() }
                }
            };
            lanes.kills = Some(merged);
        });
        self.0.ready.notify_one();
    }

    /// Adds to the pins that wait; likewise.
    pub fn pins(&self, set: PinSet) {
        self.lanes(|lanes| {
            let merged = match lanes.pins.take() {
                None => set,
                Some(waiting) => {
                    let whole = waiting.whole || set.whole;
                    let mut both = PinsHeld::default();
                    both.merge(&waiting);
                    both.merge(&set);
                    PinSet { whole, ..both.whole() }
                }
            };
            lanes.pins = Some(merged);
        });
        self.0.ready.notify_one();
    }

    /// Adds to the queue. Errors: `Full`; nothing was added.
    pub fn send(&self, message: Hears) -> Result<(), Full> {
        self.lanes(|lanes| {
            if matches!(message, Hears::Prepare(_)) {
                lanes.rest.retain(|waiting| !matches!(waiting, Hears::Prepare(_)));
            }
            if lanes.rest.len() >= WAITING {
                return Err(Full);
            }
            lanes.rest.push_back(message);
            Ok(())
        })?;
        self.0.ready.notify_one();
        Ok(())
    }

    /// Ends the stream, with `why` as its status.
    pub fn close(&self, why: Status) {
        self.lanes(|lanes| {
            lanes.last.get_or_insert(why);
        });
        self.0.closed.cancel();
    }

    /// Ends the stream as one that came to its end.
    pub fn finish(&self) {
        self.0.closed.cancel();
    }

    /// Resolves when the stream is to end.
    pub async fn closed(&self) {
        self.0.closed.cancelled().await;
    }

    /// What the plane hears, kills first, then pins; ends after `close`.
    pub fn stream(&self) -> impl Stream<Item = Result<PlaneHears, Status>> + Send + use<> {
        futures_util::stream::unfold((self.clone(), false), |(outbox, ended)| async move {
            if ended {
                return None;
            }
            loop {
                if let Some(hears) = outbox.take() {
                    return Some((Ok(PlaneHears { hears: Some(hears) }), (outbox, false)));
                }
                tokio::select! {
                    () = outbox.0.ready.notified() => {}
                    () = outbox.0.closed.cancelled() => {
                        let last = outbox.lanes(|lanes| lanes.last.take());
                        return last.map(|why| (Err(why), (outbox, true)));
                    }
                }
            }
        })
    }

    fn take(&self) -> Option<Hears> {
        self.lanes(|lanes| {
            let first = lanes.kills.take().map(Hears::KillSet).or_else(|| lanes.pins.take().map(Hears::Pins));
            first.or_else(|| lanes.rest.pop_front())
        })
    }

    fn lanes<T>(&self, with: impl FnOnce(&mut Lanes) -> T) -> T {
        with(&mut self.0.lanes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use sentinel_proto::v1::{Commit, KillEntry, Prepare, Scope};

    use super::*;

    fn kill(name: &str, epoch: u64) -> KillSet {
        let entry = KillEntry { scope: Scope::Tool.into(), name: name.into(), epoch, on: true, ..KillEntry::default() };
        KillSet { epoch, entries: vec![entry], ..KillSet::default() }
    }

    async fn next(outbox: &Outbox) -> Hears {
        Box::pin(outbox.stream()).next().await.unwrap().unwrap().hears.unwrap()
    }

    #[tokio::test]
    async fn kills_overtake_what_waits_and_are_merged() {
        let outbox = Outbox::new();
        outbox.send(Hears::Prepare(Prepare::default())).unwrap();
        outbox.kill(kill("a", 1));
        outbox.kill(kill("b", 2));
        let Hears::KillSet(set) = next(&outbox).await else { panic!("kills come first") };
        assert_eq!((set.epoch, set.entries.len(), set.whole), (2, 2, false));
        assert!(matches!(next(&outbox).await, Hears::Prepare(_)));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_the_rest_and_still_takes_kills() {
        let outbox = Outbox::new();
        for _ in 0..WAITING {
            outbox.send(Hears::Commit(Commit::default())).unwrap();
        }
        assert_eq!(outbox.send(Hears::Commit(Commit::default())), Err(Full));
        outbox.kill(kill("a", 1));
        assert!(matches!(next(&outbox).await, Hears::KillSet(_)));
    }

    #[tokio::test]
    async fn closing_ends_the_stream_with_its_reason() {
        let outbox = Outbox::new();
        outbox.close(Status::unavailable("gone"));
        let all: Vec<_> = Box::pin(outbox.stream()).collect().await;
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].as_ref().unwrap_err().message(), "gone");
    }
}

//! Calls without a pause, by several clients at once, until told to stop; what each answer was is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::reply::Reply;
use super::until::until;

/// The value of an argument that no audit row may hold.
pub const CANARY: &str = "canary-8c1f";

const BACK_OFF: Duration = Duration::from_millis(50);

/// One answered call.
#[derive(Clone, Debug)]
pub struct Answered {
    pub request_id: String,
    /// Sent along, as `text` of `echo`.
    pub nonce: String,
    /// The response.
    pub message: Value,
}

impl Answered {
    /// It has a result, with the nonce that was sent.
    #[must_use]
    pub fn is_echo(&self) -> bool {
        self.message["result"]["content"][0]["text"] == self.nonce
    }
}

/// What a load has seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub answered: Vec<Answered>,
    /// Calls without an answer: the connection failed or was cut.
    pub failed: Vec<String>,
}

/// A running load of `example__echo`.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    answered: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<Seen>>,
}

impl Load {
    /// One worker for each client; each calls one after the other.
    #[must_use]
    pub fn start(clients: Vec<Client>) -> Self {
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let (answered, failed) = (Arc::default(), Arc::default());
        let workers = clients.into_iter().enumerate().map(|(number, client)| {
            tracker.spawn(work(number, client, stop.clone(), [Arc::clone(&answered), Arc::clone(&failed)]))
        });
        Self { workers: workers.collect(), stop, answered, failed }
    }

    /// How many calls were answered so far.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many have failed so far: without an answer.
    #[must_use]
    pub fn failed(&self) -> usize {
        self.failed.load(Ordering::Relaxed)
    }

    /// Until so many more are answered than are now.
    pub async fn goes_on_for(&self, more: usize) {
        let goal = self.answered() + more;
        until("the load goes on", async || {
            let now = self.answered();
            if now >= goal { Ok(()) } else { Err((now, goal)) }
        })
        .await;
    }

    /// Lets each worker finish its call.
    pub async fn stop(self) -> Seen {
        self.stop.cancel();
        let mut all = Seen::default();
        for worker in self.workers {
            let Seen { answered, failed } = worker.await.unwrap();
            all.answered.extend(answered);
            all.failed.extend(failed);
        }
        all
    }
}

async fn work(number: usize, client: Client, stop: CancellationToken, counts: [Arc<AtomicUsize>; 2]) -> Seen {
    let [answered, failed] = counts;
    let mut seen = Seen::default();
    let mut turn = 0_u64;
    while !stop.is_cancelled() {
        turn += 1;
        let nonce = format!("{number}-{turn}");
        let params = json!({ "name": "example__echo", "arguments": { "text": nonce, "password": CANARY } });
        let failure = match client.try_send(&client.message("tools/call", &params)).await {
            Ok(Reply { headers, message, .. }) if !message.is_null() => {
                let id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
                let one = Answered { request_id: id.to_owned(), nonce, message };
                let is_echo = one.is_echo();
                seen.answered.push(one);
                answered.fetch_add(1, Ordering::Relaxed);
                if is_echo {
                    continue;
                }
                None
            }
            Ok(cut) => Some(format!("{cut:?}")),
            Err(error) => Some(format!("{error:?}")),
        };
        if let Some(failure) = failure {
            failed.fetch_add(1, Ordering::Relaxed);
            seen.failed.push(failure);
        }
        // As clients do that were refused or cut off: nothing waits for this.
        tokio::time::sleep(BACK_OFF).await;
    }
    seen
}

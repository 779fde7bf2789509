//! When a process that does nothing wrong ends all the same: nobody calls it, or it was there long enough.
//!
//! Looked at from beside: a call pays nothing for it.

use std::{sync::OnceLock, time::Duration};

use tokio::time::Instant;

use super::{
    super::{waiting::Waiting, wanted::Wanted},
    converse::Conversation,
    generation::End,
    stdio_of,
    supervisor::Supervisor,
};

/// Between two looks for calls; a shorter `idle_stop_secs` is looked at more often.
const LOOK: Duration = Duration::from_secs(1);
/// So long a moment without calls is waited for when a lifetime is over; then new ones have to wait.
#[cfg(not(test))]
const QUIET_WITHIN: Duration = Duration::from_secs(60);
#[cfg(test)]
const QUIET_WITHIN: Duration = Duration::from_secs(2);
const QUIET_LOOK: Duration = Duration::from_millis(20);

/// Returns when the process is to end; from then on it takes no call. Never, where neither is configured.
pub(super) async fn over(supervisor: &Supervisor, conversation: &Conversation, ready: &OnceLock<Instant>) -> End {
    let life = stdio_of(&supervisor.spec).map(|stdio| stdio.life).unwrap_or_default();
    let begun = Instant::now();
    tokio::select! {
        () = idle(&conversation.waiting, &supervisor.parts.wanted, life.idle_stop, ready) => {
            supervisor.retiring("nobody called it for idle_stop_secs");
            End::Idled
        }
        () = aged(life.most, begun, ready) => {
            supervisor.aging();
            tokio::time::timeout(QUIET_WITHIN, quiet(&conversation.waiting)).await.ok();
            conversation.waiting.retire();
            supervisor.retiring("max_lifetime_secs are over: calls in flight end first");
            End::Aged
        }
    }
}

/// Returns when no call ran for so long, and none can enter any more. Who watches a resource needs the process too.
async fn idle(waiting: &Waiting, wanted: &Wanted, most: Option<Duration>, ready: &OnceLock<Instant>) {
    let Some(most) = most else { return std::future::pending().await };
    let (mut seen, mut since) = (waiting.traffic(), Instant::now());
    loop {
        tokio::time::sleep(LOOK.min(most / 4)).await;
        let traffic = waiting.traffic();
        if traffic != seen || traffic.1 > 0 || ready.get().is_none() || wanted.is_of_use() {
            (seen, since) = (traffic, Instant::now());
        } else if since.elapsed() >= most && waiting.retire_if_quiet() {
            return;
        }
    }
}

/// A process that is not ready has its own deadline.
async fn aged(most: Option<Duration>, begun: Instant, ready: &OnceLock<Instant>) {
    let Some(most) = most else { return std::future::pending().await };
    tokio::time::sleep_until(begun + most).await;
    while ready.get().is_none() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn quiet(waiting: &Waiting) {
    while !waiting.retire_if_quiet() {
        tokio::time::sleep(QUIET_LOOK).await;
    }
}

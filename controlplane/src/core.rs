//! The parts that the gRPC services share, built once in `serve.rs` and handed down.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::tail::Tails;
use crate::clock::Clock;
use crate::fleet::Fleet;
use crate::guard::printable;
use crate::keeper::Keeper;
use crate::killswitch::KillSwitch;
use crate::metrics::Metrics;
use crate::pins::Pins;
use crate::refusal::Refusal;
use crate::revisions::Revisions;
use crate::secrets::Tokens;
use crate::signing::SigningKey;
use crate::spine::Spine;
use crate::store::actions::NewAction;

/// What every service needs. Parts are handles: clones share.
#[derive(Clone, Debug)]
pub struct Core {
    pub clock: Clock,
    pub fleet: Fleet,
    pub keeper: Keeper,
    pub kills: KillSwitch,
    pub metrics: Metrics,
    pub pins: Pins,
    pub revisions: Revisions,
    pub signing: Arc<SigningKey>,
    pub spine: Spine,
    /// Cancelled once the kill set, the pins, the planes and a revision have been read from the store.
    pub begun: CancellationToken,
    pub started_ms: i64,
    pub tails: Tails,
    pub tokens: Tokens,
}

/// Who asked for a command.
#[derive(Clone, Debug, Default)]
pub struct By {
    pub user: String,
    pub host: String,
}

impl By {
    pub fn claimed(actor: Option<&sentinel_proto::v1::Actor>) -> Self {
        let text = |text: &str| printable(text, 128);
        actor.map_or_else(Self::default, |actor| Self { user: text(&actor.user), host: text(&actor.host) })
    }

    pub fn program(what: &str) -> Self {
        Self { user: what.to_owned(), host: String::new() }
    }

    /// As it stands in entries and the history.
    pub fn word(&self) -> String {
        match (self.user.as_str(), self.host.as_str()) {
            ("", "") => "unknown".to_owned(),
            (user, "") => user.to_owned(),
            (user, host) => format!("{user}@{host} (claimed)"),
        }
    }
}

impl Core {
    /// Runs a command of an operator to its end, also when the one who asked hangs up, and keeps it in
    /// `audit_actions`: before it begins, and how it ended.
    ///
    /// Errors: the command's own; the store's, where the action can't be noted, and then nothing was done.
    pub async fn act<T: Send + 'static>(
        &self,
        by: &By,
        verb: &str,
        target: String,
        reason: &str,
        deed: BoxFuture<'static, Result<T, Refusal>>,
        outcome: impl FnOnce(&T) -> String + Send + 'static,
    ) -> Result<T, Refusal> {
        let action = NewAction {
            at_unix_ms: self.clock.unix_ms(),
            user: by.user.clone(),
            host: by.host.clone(),
            verb: verb.to_owned(),
            target,
            reason: reason.to_owned(),
        };
        let keeper = self.keeper.clone();
        let task = run_to_end(self.spine.tracker(), async move {
            let id = keeper.store()?.begin_action(&action).await?;
            let done = deed.await;
            let word = match &done {
                Ok(done) => outcome(done),
                Err(why) => why.to_string(),
            };
            tracing::info!(verb = action.verb, target = action.target, by = action.user, outcome = word, "command");
            if let Err(why) = keeper.store()?.finish_action(id, &word).await {
                tracing::error!(id, %why, "the outcome of a command could not be noted");
            }
            done
        });
        task.await
    }
}

async fn run_to_end<T: Send + 'static>(
    tracker: &TaskTracker,
    task: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tracker.spawn(task).await.unwrap_or(Err(Refusal::Lost))
}

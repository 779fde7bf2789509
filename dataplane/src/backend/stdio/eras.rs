//! Which era a process speaks, found out at its start, and what the modern one wants kept up while it runs
//! (`protocol.md` 4). An answer to `server/discover` is asked for at each start; that a process says nothing to it, or
//! ends at it, is remembered.

use std::{sync::PoisonError, time::Duration};

use tokio::sync::Notify;

use super::{
    converse::{AskFault, Conversation},
    generation::Fault,
    supervisor::{Shared, Supervisor},
};
use crate::{
    backend::{
        era::{self, DISCOVER, Era, LISTEN, Probed},
        handshake::{self, Agreed},
        wanted::Wanted,
    },
    upcall::feature::Features,
};

/// A legacy server may answer nothing before `initialize`.
const PROBE: Duration = Duration::from_secs(5);
/// Before a subscription that ended is made anew.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of the era beside answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Memory {
    #[default]
    Nothing,
    /// The question is out, and not answered yet.
    Asking,
    /// It ended at the question, or said nothing to it: `initialize` is its first word.
    Legacy,
}

impl Shared {
    fn era(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.era.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn forget_era(&self) {
        *self.era() = Memory::Nothing;
    }

    /// Whether a process that just ended did so while it was asked; the next one is not.
    pub(super) fn startled(&self) -> bool {
        let mut memory = self.era();
        let is_startled = *memory == Memory::Asking;
        if is_startled {
            *memory = Memory::Legacy;
        }
        is_startled
    }
}

/// Handshake in the era that the configuration says, or that the process does. `within`: for each question.
pub(super) async fn agree(
    supervisor: &Supervisor,
    conversation: &Conversation,
    within: Duration,
) -> Result<Agreed, Fault> {
    let declares = supervisor.parts.declares;
    let agreed = match supervisor.spec.era {
        Some(Era::Legacy) => initialize(conversation, declares, within).await,
        Some(Era::Modern) => match probe(conversation).await? {
            Probed::Modern(agreed) => Ok(agreed),
            Probed::Neither(why) => Err(Fault::Era(why)),
            Probed::Legacy => Err(Fault::Era(
                "it does not answer server/discover as a modern server does, and its `era` says that it is one".into(),
            )),
        },
        None => found_out(supervisor, conversation, within).await,
    }?;
    conversation.speaks(agreed.era);
    if agreed.era == Era::Legacy {
        conversation.tell("notifications/initialized", None);
    }
    Ok(agreed)
}

async fn found_out(supervisor: &Supervisor, conversation: &Conversation, within: Duration) -> Result<Agreed, Fault> {
    let (shared, declares) = (&supervisor.shared, supervisor.parts.declares);
    let known = std::mem::take(&mut *shared.era());
    if known == Memory::Legacy {
        let agreed = initialize(conversation, declares, within).await;
        // Refused: it was wrong, and the next start asks again.
        if !matches!(agreed, Err(Fault::Ask(AskFault::Refused { .. }))) {
            *shared.era() = Memory::Legacy;
        }
        return agreed;
    }
    *shared.era() = Memory::Asking;
    let asked = probe(conversation);
    tokio::pin!(asked);
    let probed = tokio::select! {
        probed = &mut asked => Some(probed?),
        () = tokio::time::sleep(PROBE) => None,
    };
    if let Some(probed) = probed {
        *shared.era() = Memory::Nothing;
        return decided(probed, supervisor, conversation, within).await;
    }
    // It may be slow and not silent: a package that is being downloaded. What it answers first decides.
    *shared.era() = Memory::Legacy;
    tokio::select! {
        biased;
        probed = &mut asked => {
            *shared.era() = Memory::Nothing;
            decided(probed?, supervisor, conversation, within).await
        }
        agreed = initialize(conversation, declares, within) => agreed,
    }
}

async fn decided(
    probed: Probed,
    supervisor: &Supervisor,
    conversation: &Conversation,
    within: Duration,
) -> Result<Agreed, Fault> {
    let initialize = || initialize(conversation, supervisor.parts.declares, within);
    match probed {
        Probed::Modern(agreed) if supervisor.spec.prefers_legacy() => match initialize().await {
            Err(Fault::Ask(AskFault::Refused { .. })) => Ok(agreed),
            legacy => legacy,
        },
        Probed::Modern(agreed) => Ok(agreed),
        Probed::Legacy => initialize().await,
        Probed::Neither(why) => Err(Fault::Era(why)),
    }
}

async fn probe(conversation: &Conversation) -> Result<Probed, Fault> {
    let reply = conversation.question(DISCOVER, Some(&era::params(None))).await?;
    let part = |span: Option<crate::wire::Span>| span.map(|span| span.get(&reply.message));
    Ok(era::judge(part(reply.result), part(reply.error)))
}

async fn initialize(conversation: &Conversation, declares: Features, within: Duration) -> Result<Agreed, Fault> {
    let result = conversation.ask("initialize", Some(&handshake::initialize_params(declares)), within).await?;
    Ok(handshake::agree(&result)?)
}

/// Hears of changed lists, where the server tells of them; each time it is made anew, all may have changed. `granted`:
/// is told when the server hears each. Never ends.
pub(super) async fn keep_subscribed(
    conversation: &Conversation,
    params: Option<&str>,
    wanted: &Wanted,
    granted: &Notify,
) {
    if let Some(params) = params {
        loop {
            let number = conversation.number();
            let told = async {
                wanted.grant_of(number).await;
                granted.notify_one();
                std::future::pending().await
            };
            let ended = tokio::select! {
                ended = conversation.numbered(number, LISTEN, Some(params)) => ended,
                never = told => never,
            };
            if !ended.is_ok_and(|ended| !ended.failed) {
                break;
            }
            tokio::time::sleep(AGAIN).await;
            conversation.changed.notify_one();
        }
    }
    std::future::pending().await
}

/// Returns when a process that refused our revision does not offer it any more.
pub(super) async fn keep_doubting(conversation: &Conversation) {
    loop {
        conversation.doubted.notified().await;
        if !matches!(probe(conversation).await, Ok(Probed::Modern(_))) {
            return;
        }
    }
}

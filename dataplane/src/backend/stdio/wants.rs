//! What clients want of one process beside calls: a legacy one is asked for each resource, a modern one by a
//! `subscriptions/listen`, which is asked anew, before the old one is taken back, when other resources are wanted.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::converse::{AskFault, Conversation};
use crate::backend::{
    abilities::Abilities,
    era::{self, Era, LISTEN},
    wanted::{self, Asks, Said, Wanted},
};

/// For one question.
const WITHIN: Duration = Duration::from_secs(10);
/// Before a stream that ended is asked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// As long as the process runs. Never ends.
pub(super) async fn keep(conversation: &Arc<Conversation>, wanted: &Arc<Wanted>, can: Abilities) {
    match conversation.era() {
        Era::Legacy => wanted::keep(wanted, conversation, can).await,
        Era::Modern => listen(conversation, wanted).await,
    }
}

impl Asks for Arc<Conversation> {
    async fn ask(&self, method: &'static str, params: String) -> Said {
        match tokio::time::timeout(WITHIN, self.question(method, Some(&params))).await {
            Ok(Ok(reply)) => match reply.error {
                Some(error) => Said::No(reply.message.slice(error.range())),
                None => Said::Yes,
            },
            Ok(Err(_)) | Err(_) => Said::Silence,
        }
    }
}

async fn listen(conversation: &Conversation, wanted: &Arc<Wanted>) {
    let asked = |wants: &BTreeSet<Arc<str>>| {
        let (number, params) = (conversation.number(), era::resources_to_tell(wants));
        let stream = async move { conversation.numbered(number, LISTEN, Some(&params)).await.map(drop) };
        (number, Box::pin(stream))
    };
    let mut wants = wanted.resources();
    let mut open = None;
    loop {
        if wants.is_empty() {
            open = None;
            wanted.differs(&wants).await;
            wants = wanted.resources();
            continue;
        }
        let (number, mut stream) = asked(&wants);
        let granted = tokio::select! {
            ended = &mut stream => Err(ended),
            granted = tokio::time::timeout(WITHIN, wanted.grant_of(number)) => Ok(granted),
        };
        match granted {
            Ok(Ok(granted)) => {
                // The one before, if there is one, is taken back here: until now it told.
                let before = open.replace(stream);
                wanted.grant(&wants, &granted, before.is_some());
            }
            // It refuses, or says nothing.
            Ok(Err(_)) | Err(Ok(()) | Err(AskFault::Refused { .. } | AskFault::Silent { .. })) => {
                open = None;
                wanted.refuse_waiting();
                tokio::time::sleep(AGAIN).await;
                wants = wanted.resources();
                continue;
            }
            Err(Err(AskFault::Full | AskFault::Gone)) => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        }
        let Some(stream) = &mut open else { continue };
        tokio::select! {
            () = wanted.differs(&wants) => {}
            _ended = stream => {
                open = None;
                tokio::time::sleep(AGAIN).await;
            }
        }
        wants = wanted.resources();
    }
}

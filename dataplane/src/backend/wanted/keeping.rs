//! Keeps what is wanted up with one session of a legacy server: a question for each resource that comes or goes, and one
//! for each level of log notes. Both transports run it; neither is known here.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

use super::{Standing, Wanted};
use crate::{
    backend::abilities::{Abilities, Ability},
    listen::session::Level,
};

/// Before a question that had no answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// So long a level stays as low as a request that is over wanted it.
pub(super) const LOWERED: Duration = Duration::from_secs(5);

impl Wanted {
    /// What has to be asked next, of a server that was asked all this.
    fn step(&self, asked: &BTreeMap<Arc<str>, Standing>) -> Option<Step> {
        let held = self.lock();
        if let Some(gone) = asked.keys().find(|uri| !held.resources.contains_key(*uri)) {
            return Some(Step::Unsubscribe(Arc::clone(gone)));
        }
        for (uri, want) in &held.resources {
            match asked.get(uri) {
                None => return Some(Step::Subscribe(Arc::clone(uri))),
                // It was let go and is wanted again before anybody noticed.
                Some(standing) => {
                    want.standing.send_if_modified(|held| {
                        let is_new = *held == Standing::Waiting;
                        if is_new {
                            held.clone_from(standing);
                        }
                        is_new
                    });
                }
            }
        }
        None
    }
}

enum Step {
    Subscribe(Arc<str>),
    Unsubscribe(Arc<str>),
}

/// How a question of ours was answered.
#[derive(Debug)]
pub(in crate::backend) enum Said {
    Yes,
    /// Its JSON-RPC error.
    No(Bytes),
    /// Nothing, or nothing that tells.
    Silence,
}

/// Who can ask a legacy server.
pub(in crate::backend) trait Asks {
    fn ask(&self, method: &'static str, params: String) -> impl Future<Output = Said> + Send;
}

/// Has one session of a legacy server tell of what is wanted, as long as it is. Never ends.
pub(in crate::backend) async fn keep(wanted: &Arc<Wanted>, server: &impl Asks, can: Abilities) {
    let mut asked = BTreeMap::new();
    let mut level = Levels::of(wanted, can.can(Ability::Logging));
    loop {
        if let Some(wait) = level.keep(wanted, server).await {
            tokio::time::sleep(wait).await;
            continue;
        }
        let Some(step) = wanted.step(&asked) else {
            tokio::select! {
                () = wanted.changed.notified() => {}
                () = level.is_due() => {}
            }
            continue;
        };
        let of = |uri: &str| serde_json::json!({ "uri": uri }).to_string();
        match step {
            Step::Subscribe(uri) => {
                let standing = match server.ask("resources/subscribe", of(&uri)).await {
                    Said::Yes => Standing::Held,
                    Said::No(error) => Standing::Refused(Some(error)),
                    Said::Silence => {
                        tokio::time::sleep(AGAIN).await;
                        continue;
                    }
                };
                wanted.settle(&uri, standing.clone(), false);
                asked.insert(uri, standing);
            }
            Step::Unsubscribe(uri) => {
                if asked.remove(&uri) == Some(Standing::Held) {
                    // Whatever it says to that: it is not wanted any more.
                    server.ask("resources/unsubscribe", of(&uri)).await;
                }
            }
        }
    }
}

/// The level of one session of a legacy server.
struct Levels {
    can: bool,
    told: Option<Level>,
    /// When it may be raised again: requests come one after the other.
    raise_at: Option<Instant>,
}

impl Levels {
    fn of(wanted: &Wanted, can: bool) -> Self {
        wanted.takes_levels.store(can, Relaxed);
        wanted.level.send_replace(None);
        Self { can, told: None, raise_at: None }
    }

    /// Asks for another level where it is time. Gives how long to wait before it is tried again.
    async fn keep(&mut self, wanted: &Wanted, server: &impl Asks) -> Option<Duration> {
        let want = wanted.lock().level();
        let want = want.or_else(|| self.told.map(|_| Level::UNASKED)).filter(|_| self.can);
        let Some(level) = want.filter(|level| Some(*level) != self.told) else {
            self.raise_at = None;
            return None;
        };
        if self.told.is_some_and(|told| told < level) {
            let at = *self.raise_at.get_or_insert_with(|| Instant::now() + LOWERED);
            if at > Instant::now() {
                return None;
            }
        }
        let params = serde_json::json!({ "level": level.as_str() }).to_string();
        if matches!(server.ask("logging/setLevel", params).await, Said::Silence) {
            return Some(AGAIN);
        }
        (self.told, self.raise_at) = (Some(level), None);
        wanted.level.send_replace(self.told);
        None
    }

    async fn is_due(&self) {
        match self.raise_at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

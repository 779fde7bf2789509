//! The one owner of an HTTP backend's session: makes it, lists what it offers, makes it anew when it is lost.
//!
//! Calls never wait for a retry here: they are told the state at once. Only a lost session is waited for, because
//! the next one is made without delay.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    ask::WITHIN,
    core::Core,
    fault::Fault,
    session::{self, Session},
    sse::Channel,
    stream, wants,
};
use crate::backend::{Note, State, abilities::Ability, era::Era, listing::Listed};

pub(super) const FIRST: Duration = Duration::from_millis(250);
const CAP: Duration = Duration::from_secs(30);
/// Doublings from `FIRST` to `CAP`.
const AT_CAP: u32 = 7;
/// After a `list_changed`: servers send several at once, and the first right after the handshake.
const DEBOUNCE: Duration = Duration::from_millis(100);
/// Listings in a row that an answering server may fail before its session is made anew.
const MOST_REFUSED: u32 = 3;
/// For the session's DELETE.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// Full jitter, so that planes do not come back all at once.
pub(super) fn delay(attempt: u32) -> Duration {
    let bound = FIRST.saturating_mul(2_u32.saturating_pow(attempt.min(AT_CAP))).min(CAP);
    let bound = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).max(1);
    let random = RandomState::new().build_hasher().finish();
    Duration::from_micros(random % bound)
}

enum End {
    Halted,
    Restart,
    /// Whether it was ever listed.
    Lost {
        listed: bool,
    },
}

pub(super) async fn run(core: Arc<Core>) {
    let (mut generation, mut attempt) = (0, 0);
    loop {
        generation += 1;
        let opened = tokio::select! {
            () = core.halt.cancelled() => return,
            () = core.restart.notified() => {
                restarted(&core);
                attempt = 0;
                continue;
            }
            opened = session::open(&core, generation) => opened,
        };
        let why = match opened {
            Ok(session) => {
                publish(&core, &session);
                let end = serve(&core, &session).await;
                if let Some(instance) = core.instance {
                    core.note_surely(Note::Own { instance, offering: None }).await;
                }
                match end {
                    End::Halted => return,
                    End::Restart => {
                        farewell(&core, &session);
                        restarted(&core);
                        attempt = 0;
                        continue;
                    }
                    End::Lost { listed } => {
                        // Of streams that end soon, the first is made anew at once.
                        let is_brief = session.channel.as_ref().is_some_and(Channel::was_brief);
                        if listed && !(is_brief && attempt > 0) {
                            attempt = u32::from(is_brief);
                            continue;
                        }
                        session.channel.as_ref().map_or(Fault::Lost, Channel::end).to_string()
                    }
                }
            }
            Err(fault) => fault.to_string(),
        };
        let wait = delay(attempt);
        attempt += 1;
        core.down(&why, wait);
        tracing::warn!(backend = &*core.backend, reason = why, "no session with this server");
        tokio::select! {
            () = core.halt.cancelled() => return,
            () = core.restart.notified() => {
                restarted(&core);
                attempt = 0;
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

fn publish(core: &Arc<Core>, session: &Arc<Session>) {
    core.session.store(Some(Arc::clone(session)));
    // Wakes the calls that wait for a session in place of a lost one.
    core.condition.send_modify(|condition| {
        condition.server = (*session.agreed.server).into();
        condition.protocol_version = (*session.agreed.protocol_version).into();
    });
    let tells = match session.agreed.era {
        Era::Modern => session.agreed.changes.is_some(),
        Era::Legacy => session.channel.is_none() && !core.no_stream.load(Relaxed),
    };
    if tells {
        core.spawn(stream::listen(Arc::clone(core), Arc::clone(session)));
    }
    let can = |ability| session.agreed.abilities.can(ability);
    if can(Ability::Subscriptions) || can(Ability::Logging) && !session.is_modern() {
        core.spawn(wants::keep(Arc::clone(core), Arc::clone(session)));
    }
}

/// As long as the session is good: lists at once, after changes, and after the server was out of reach.
async fn serve(core: &Arc<Core>, session: &Arc<Session>) -> End {
    // Of a backend's several sessions one lists for all; another is ready as soon as it is there, and lists when it says
    // that a list of its own changed.
    let for_all = core.instance.is_none();
    let (mut listed, mut lists, mut attempt) = (!for_all, for_all, 0);
    if !for_all {
        core.ready();
    }
    let mut due = for_all.then(Instant::now);
    loop {
        tokio::select! {
            biased;
            () = core.halt.cancelled() => return End::Halted,
            () = core.restart.notified() => return End::Restart,
            () = session.over.cancelled() => return End::Lost { listed },
            () = core.changed.notified() => {
                // The sooner of the two: a server that says it all the time is listed all the same.
                let soon = Instant::now() + DEBOUNCE;
                lists = true;
                due = Some(due.map_or(soon, |due| due.min(soon)));
            }
            () = core.suspect.notified() => {
                let wait = delay(0);
                attempt = 1;
                due = Some(Instant::now() + wait);
            }
            () = at(due) => {
                let listing = tokio::select! {
                    biased;
                    () = core.halt.cancelled() => return End::Halted,
                    () = session.over.cancelled() => return End::Lost { listed },
                    listing = look(core, session, lists) => listing,
                };
                match listing {
                    Ok(listing) => {
                        let good_for = listing.as_ref().and_then(|listed| listed.good_for);
                        if let Some(listed) = listing {
                            core.note_surely(Note::offers(core.instance, listed.offering)).await;
                        }
                        core.ready();
                        let tells = !for_all || !session.is_modern() || session.agreed.changes.is_some();
                        (listed, lists, attempt) = (true, for_all, 0);
                        due = good_for.filter(|_| !tells).map(|good_for| Instant::now() + good_for);
                    }
                    Err(Fault::Lost) => {
                        session.lose();
                        return End::Lost { listed };
                    }
                    Err(Fault::Broken(why)) if !for_all && lists => {
                        tracing::warn!(backend = &*core.backend, %why, "its changed list can't be had; the old one stays");
                        (lists, due) = (false, None);
                    }
                    Err(fault) => {
                        let wait = delay(attempt);
                        attempt += 1;
                        core.down(&fault.to_string(), wait);
                        tracing::warn!(backend = &*core.backend, reason = %fault, "this server can't be asked what it offers");
                        if matches!(fault, Fault::Broken(_)) && attempt >= MOST_REFUSED {
                            // It may speak another era by now.
                            session.lose();
                            return End::Lost { listed: false };
                        }
                        due = Some(Instant::now() + wait);
                    }
                }
            }
        }
    }
}

/// Whether it answers; with all that it offers, where that is asked for.
async fn look(core: &Arc<Core>, session: &Arc<Session>, lists: bool) -> Result<Option<Listed>, Fault> {
    if lists {
        core.list(session).await.map(Some)
    } else {
        core.ask(Some(session), "ping", None, WITHIN).await.map(|_| None)
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn restarted(core: &Core) {
    core.no_stream.store(false, Relaxed);
    core.condition.send_modify(|condition| condition.restarts += 1);
    core.turn(State::Starting, "its session is being made anew", None);
}

/// Ends a session that was replaced, in the background.
fn farewell(core: &Arc<Core>, session: &Arc<Session>) {
    let (held, old) = (Arc::clone(core), Arc::clone(session));
    core.spawn(async move {
        if let Some(channel) = &old.channel {
            channel.quiet().await;
        }
        tokio::time::timeout(FAREWELL, session::delete(&held, &old)).await.ok();
        old.lose();
    });
}

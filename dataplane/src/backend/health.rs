//! Health pings of one backend, feeding the same breaker as its calls.

use std::sync::Weak;

use tokio::{sync::mpsc, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{BackendNote, Housekeeping, Note, State, breaker::Phase, registry::Backend};

/// Pings until the backend is gone. A backend that is down reports so by its own state and is not pinged.
pub async fn watch(backend: Weak<Backend>, stop: CancellationToken, notes: mpsc::Sender<BackendNote>) {
    let Some(health) = backend.upgrade().map(|backend| backend.spec.health) else { return };
    let mut ticks = tokio::time::interval(health.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let (mut failures, mut told) = (0_u32, Phase::Closed);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Some(backend) = backend.upgrade() else { return };
        if matches!(backend.link.status().state, State::Ready | State::Down) {
            let ping = backend.link.housekeep(Housekeeping::Ping, health.timeout);
            let answered = tokio::select! {
                () = stop.cancelled() => return,
                answered = ping => answered.is_ok(),
            };
            if answered {
                failures = 0;
                backend.breaker.probe_succeeded();
            } else {
                failures += 1;
                if failures >= health.unhealthy_after {
                    backend.breaker.trip();
                }
            }
        }
        let phase = backend.breaker.phase();
        if phase != told {
            told = phase;
            notes.try_send(BackendNote { backend: backend.id, note: Note::State }).ok();
        }
    }
}

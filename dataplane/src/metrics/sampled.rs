//! Families that say a state and not an event (backends, backlog): written when somebody looks.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{Fault, New};
use crate::ops::status::{PlaneStatus, is_usable};

/// Families that `sample` writes.
pub(super) struct Sampled {
    healthy: IntGaugeVec,
    gave_up: IntGaugeVec,
    quarantined: IntGaugeVec,
    inflight: IntGaugeVec,
    breaker: IntGaugeVec,
    restarts: IntCounterVec,
    instances: IntGaugeVec,
    over_limit: IntCounterVec,
    noise: IntCounterVec,
    revision: IntGauge,
    kill_epoch: IntGauge,
    kill_switches: IntGaugeVec,
    not_ready: IntGaugeVec,
    in_flight: IntGauge,
    parked: IntGauge,
    snapshot_age: IntGauge,
    backlog: IntGauge,
    written: IntCounter,
    dropped: IntCounter,
    stalls: IntCounter,
    seen: Mutex<HashSet<String>>,
}

impl Sampled {
    pub(super) fn new(new: &New<'_>) -> Result<Self, Fault> {
        Ok(Self {
            healthy: new.gauges(
                "sentinel_backend_healthy",
                "1: it is ready, or idles and is started by a call.",
                &["backend"],
            )?,
            gave_up: new.gauges("sentinel_backend_gave_up", "1: it died too often; one try in 5 min.", &["backend"])?,
            quarantined: new.gauges("sentinel_quarantined_tools", "Tools that are held.", &["backend"])?,
            inflight: new.gauges("sentinel_backend_inflight", "Calls at the backend.", &["backend"])?,
            breaker: new.gauges("sentinel_breaker_state", "1: it is in this state.", &["backend", "state"])?,
            restarts: new.counters("sentinel_backend_restarts_total", "Restarts of its process.", &["backend"])?,
            instances: new.gauges("sentinel_backend_instances", "Of a backend that is not shared.", &["backend"])?,
            over_limit: new.counters(
                "sentinel_backend_over_limit_total",
                "Ended at memory_max; processes that pids_max refused.",
                &["backend", "limit"],
            )?,
            noise: new.counters("sentinel_backend_noise_total", "What it said wrong.", &["backend", "kind"])?,
            revision: new.gauge("sentinel_snapshot_revision", "Revision in force; 0: none.")?,
            kill_epoch: new.gauge("sentinel_killswitch_epoch", "Highest epoch that is in force.")?,
            kill_switches: new.gauges("sentinel_kill_switches", "Kill switches in force.", &["scope"])?,
            not_ready: new.gauges("sentinel_not_ready", "1: why /ready says 503.", &["reason"])?,
            in_flight: new.gauge("sentinel_in_flight", "Calls that run now.")?,
            parked: new.gauge("sentinel_parked_calls", "Of those, calls that wait for their client to come again.")?,
            snapshot_age: new.gauge("sentinel_snapshot_age_seconds", "Since the revision was put in force.")?,
            backlog: new.gauge("sentinel_audit_backlog", "Records written and not yet acknowledged.")?,
            written: new.counter("sentinel_audit_written_total", "Records written since start.")?,
            dropped: new.counter("sentinel_audit_dropped_total", "Records that were lost.")?,
            stalls: new.counter("sentinel_audit_append_stall_total", "Records that waited over 10 ms for the disk.")?,
            seen: Mutex::default(),
        })
    }

    pub(super) fn take(&self, status: &PlaneStatus, now_ms: i64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> =
            seen.iter().filter(|name| status.backends.iter().all(|backend| backend.name != **name)).cloned().collect();
        for name in gone {
            // A series that a removal does not find was never made.
            self.healthy.remove_label_values(&[&name]).ok();
            self.gave_up.remove_label_values(&[&name]).ok();
            self.quarantined.remove_label_values(&[&name]).ok();
            self.inflight.remove_label_values(&[&name]).ok();
            self.restarts.remove_label_values(&[&name]).ok();
            self.instances.remove_label_values(&[&name]).ok();
            for kind in NOISES {
                self.noise.remove_label_values(&[&name, kind]).ok();
            }
            for limit in ["memory", "pids"] {
                self.over_limit.remove_label_values(&[&name, limit]).ok();
            }
            for state in BREAKER_STATES {
                self.breaker.remove_label_values(&[&name, state]).ok();
            }
            seen.remove(&name);
        }
        for backend in &status.backends {
            let name = backend.name.as_str();
            seen.insert(name.to_owned());
            self.healthy.with_label_values(&[name]).set(i64::from(is_usable(backend)));
            self.gave_up.with_label_values(&[name]).set(i64::from(backend.state == "gave_up"));
            self.inflight.with_label_values(&[name]).set(i64::from(backend.in_flight));
            for state in BREAKER_STATES {
                self.breaker.with_label_values(&[name, state]).set(i64::from(backend.breaker == state));
            }
            if backend.max_instances > 0 {
                let count = i64::try_from(backend.instances.len()).unwrap_or(i64::MAX);
                self.instances.with_label_values(&[name]).set(count);
            }
            raise(&self.restarts.with_label_values(&[name]), backend.restarts);
            // From the first look on: a counter that appears with its first event has no increase to show.
            if backend.kind == "stdio" {
                for kind in NOISES {
                    let count = backend.noise.iter().find(|noise| noise.kind == kind).map_or(0, |noise| noise.count);
                    raise(&self.noise.with_label_values(&[name, kind]), count);
                }
                for (limit, count) in [("memory", backend.over_memory), ("pids", backend.over_pids)] {
                    raise(&self.over_limit.with_label_values(&[name, limit]), count);
                }
            }
        }
        for (name, count) in &status.quarantined {
            self.quarantined.with_label_values(&[name]).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        self.revision.set(signed(status.revision));
        self.kill_epoch.set(signed(status.kill_epoch));
        for (scope, count) in &status.kills {
            self.kill_switches.with_label_values(&[scope]).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
        for reason in PlaneStatus::REASONS {
            self.not_ready.with_label_values(&[reason]).set(i64::from(status.unready() == Some(reason)));
        }
        self.in_flight.set(i64::from(status.in_flight));
        self.parked.set(i64::from(status.parked));
        let age = if status.revision == 0 { 0 } else { now_ms.saturating_sub(status.applied_ms).max(0) / 1000 };
        self.snapshot_age.set(age);
        self.backlog.set(signed(status.audit_backlog));
        raise(&self.written, status.audit_written);
        raise(&self.dropped, status.audit_dropped);
        raise(&self.stalls, status.audit_stalls);
    }
}

const NOISES: [&str; 5] = ["garbage", "unknown_id", "late_answer", "unanswered_request", "dropped_log"];
const BREAKER_STATES: [&str; 3] = ["closed", "open", "half_open"];

fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

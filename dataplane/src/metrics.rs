//! Every metric family of the data plane, in a registry of its own that is handed down: no globals.
//!
//! What a call counts is resolved before it comes: a tool has its handles (`tool`), closed sets have theirs. Label
//! values are ours or the catalogue's, never a client's. What is a state and not an event (backends, backlog) is
//! written by `sample` when somebody looks.

mod labels;
mod sampled;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, core::Collector,
};

pub use self::labels::{Connection, Shed, Stage};
use self::sampled::Sampled;
use crate::{catalogue::Target, denial::Denial, ops::status::PlaneStatus};

/// Seconds: 10 µs to a minute.
const BUCKETS: [f64; 20] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// Tools with series of their own; what comes later counts as `unknown`.
const MOST_TOOLS: usize = 20_000;

/// How a request can end, as the audit row says it.
const STATUSES: [&str; 8] =
    ["ok", "tool_error", "denied", "error", "timeout", "cancelled", "input_required", "abandoned"];

/// The handles of one tool, shared by its incarnations in all catalogues.
pub struct ToolMetrics {
    requests: Vec<(&'static str, IntCounter)>,
    pub duration: Histogram,
    pub rate_limit_hits: IntCounter,
    errors: IntCounterVec,
    name: Box<str>,
}

impl fmt::Debug for ToolMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ToolMetrics").field(&self.name).finish()
    }
}

impl ToolMetrics {
    /// Counts a request that ended: `status` as the audit row says it, `kind` (of `denial.rs`) where it failed.
    pub fn ended(&self, status: &str, kind: Option<&'static str>, took: Duration) {
        // A status outside the closed set would be a bug; it still has to be seen.
        let known = self.requests.iter().find(|(known, _)| *known == status);
        if let Some((_, counter)) = known.or_else(|| self.requests.iter().find(|(known, _)| *known == "error")) {
            counter.inc();
        }
        self.duration.observe(took.as_secs_f64());
        if let Some(kind) = kind {
            self.errors.with_label_values(&[&self.name, kind]).inc();
        }
    }
}

/// Cheap to clone; clones are the same families.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    duration: HistogramVec,
    errors: IntCounterVec,
    rate_limit_hits: IntCounterVec,
    tools: Arc<Mutex<HashMap<Box<str>, Arc<ToolMetrics>>>>,
    unknown: Arc<ToolMetrics>,
    stages: Vec<Histogram>,
    calls: Arc<AtomicU64>,
    shed: Vec<IntCounter>,
    upcalls: IntCounterVec,
    connections: Vec<IntGauge>,
    /// What Sentinel itself added to calls that were answered.
    pub overhead: Histogram,
    /// Tasks that ended by a panic.
    pub panics: IntCounter,
    sampled: Arc<Sampled>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Two families have one name, or a name is malformed: a mistake in this file.
pub type Fault = prometheus::Error;

impl Metrics {
    pub fn new() -> Result<Self, Fault> {
        let registry = Registry::new();
        let new = New(&registry);
        let requests = new.counters("sentinel_requests_total", "Requests that ended.", &["tool", "status"])?;
        let duration = new.histograms("sentinel_request_duration_seconds", "From arrival to answer.", &["tool"])?;
        let errors = new.counters("sentinel_errors_total", "Requests that failed.", &["tool", "error_type"])?;
        let hits = new.counters("sentinel_rate_limit_hits_total", "Calls that a limit refused.", &["tool"])?;
        let stages = new.histograms("sentinel_stage_duration_seconds", "Time in one stage.", &["stage"])?;
        let shed = new.counters("sentinel_shed_total", "Turned away to protect the rest.", &["reason"])?;
        let upcalls = new.counters(
            "sentinel_upcalls_total",
            "What servers asked of clients, by how it ended.",
            &["backend", "feature", "status"],
        )?;
        let connections = new.gauges("sentinel_connections", "Client connections.", &["state"])?;
        let info = new.gauges("sentinel_build_info", "Always 1.", &["version"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let panics = new.counter("sentinel_panics_total", "Tasks that ended by a panic.")?;
        let overhead = Histogram::with_opts(
            HistogramOpts::new("sentinel_overhead_seconds", "Time in Sentinel itself.").buckets(BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(overhead.clone()))?;
        let sampled = Sampled::new(&new)?;
        let unknown = Arc::new(tool_metrics("unknown", &requests, &duration, &errors, &hits));
        Ok(Self {
            stages: Stage::ALL.iter().map(|stage| stages.with_label_values(&[stage.as_str()])).collect(),
            calls: Arc::default(),
            shed: Shed::ALL.iter().map(|reason| shed.with_label_values(&[reason.as_str()])).collect(),
            connections: Connection::ALL.iter().map(|state| connections.with_label_values(&[state.as_str()])).collect(),
            upcalls,
            rate_limit_hits: hits,
            tools: Arc::default(),
            registry,
            requests,
            duration,
            errors,
            unknown,
            overhead,
            panics,
            sampled: Arc::new(sampled),
        })
    }

    /// Handles of one exposed tool. For a name of the catalogue, never for one that a client sent.
    pub fn tool(&self, exposed: &str) -> Arc<ToolMetrics> {
        let mut tools = self.tools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = tools.get(exposed) {
            return Arc::clone(held);
        }
        if tools.len() >= MOST_TOOLS {
            return Arc::clone(&self.unknown);
        }
        let made = Arc::new(tool_metrics(exposed, &self.requests, &self.duration, &self.errors, &self.rate_limit_hits));
        tools.insert(exposed.into(), Arc::clone(&made));
        made
    }

    /// For requests of no tool of the catalogue.
    pub fn unknown_tool(&self) -> &Arc<ToolMetrics> {
        &self.unknown
    }

    /// A request without a row of a tool that was refused: `kind` of `denial.rs`.
    pub fn refused(&self, kind: &'static str) {
        self.unknown.ended("denied", Some(kind), Duration::ZERO);
    }

    /// A routed request ended. `target`: of the catalogue and shown to the caller, else none; `kind`: empty for none;
    /// `at_backend`: from the first byte sent until now.
    pub fn called(
        &self,
        target: Option<&Target>,
        status: &str,
        kind: &'static str,
        took: Duration,
        at_backend: Option<Duration>,
    ) {
        let handles = target.map_or(&self.unknown, |target| &target.metrics);
        handles.ended(status, (!kind.is_empty()).then_some(kind), took);
        if let Some(at_backend) = at_backend {
            self.overhead.observe(took.saturating_sub(at_backend).as_secs_f64());
        }
    }

    /// A call's task panicked; it is answered `internal` and the others go on.
    pub fn panicked(&self) -> Denial {
        self.panics.inc();
        Denial::Internal
    }

    /// A question of a server ended; `status` as the audit row says it.
    pub fn upcall(&self, backend: &str, feature: &'static str, status: &'static str) {
        self.upcalls.with_label_values(&[backend, feature, status]).inc();
    }

    /// A client's response to nothing that was asked.
    pub fn unasked_response(&self) {
        self.shed(Shed::UnaskedResponse);
    }

    /// Whether this call is timed stage by stage: one in 64.
    pub fn times_stages(&self) -> bool {
        self.calls.fetch_add(1, Relaxed).is_multiple_of(64)
    }

    pub fn stage(&self, stage: Stage, took: Duration) {
        if let Some(histogram) = self.stages.get(stage as usize) {
            histogram.observe(took.as_secs_f64());
        }
    }

    pub fn shed(&self, reason: Shed) {
        if let Some(counter) = self.shed.get(reason as usize) {
            counter.inc();
        }
    }

    /// Counts a connection in this state until the guard is dropped.
    #[must_use]
    pub fn connection(&self, state: Connection) -> Counted {
        let gauge = self.connections.get(state as usize).cloned();
        if let Some(gauge) = &gauge {
            gauge.inc();
        }
        Counted(gauge)
    }

    /// Writes the states of this moment, then all families as Prometheus reads them.
    pub fn render(&self, status: &PlaneStatus, now_ms: i64) -> Result<Vec<u8>, Fault> {
        self.sampled.take(status, now_ms);
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// One more of something that is counted while it lasts.
#[derive(Debug)]
pub struct Counted(Option<IntGauge>);

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(gauge) = &self.0 {
            gauge.dec();
        }
    }
}

fn tool_metrics(
    name: &str,
    requests: &IntCounterVec,
    duration: &HistogramVec,
    errors: &IntCounterVec,
    hits: &IntCounterVec,
) -> ToolMetrics {
    ToolMetrics {
        requests: STATUSES.iter().map(|status| (*status, requests.with_label_values(&[name, status]))).collect(),
        duration: duration.with_label_values(&[name]),
        rate_limit_hits: hits.with_label_values(&[name]),
        errors: errors.clone(),
        name: name.into(),
    }
}

/// Makes families and registers them.
struct New<'a>(&'a Registry);

impl New<'_> {
    fn registered<T: Collector + Clone + 'static>(&self, made: Result<T, Fault>) -> Result<T, Fault> {
        let family = made?;
        self.0.register(Box::new(family.clone()))?;
        Ok(family)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Fault> {
        self.registered(IntCounter::new(name, help))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Fault> {
        self.registered(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Fault> {
        self.registered(IntGauge::new(name, help))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Fault> {
        self.registered(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str]) -> Result<HistogramVec, Fault> {
        self.registered(HistogramVec::new(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()), labels))
    }
}

#[cfg(test)]
mod tests;

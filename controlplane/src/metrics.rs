//! What Prometheus reads of the control plane: the names of interfaces.md 5.

use prometheus::{
    Encoder as _, Histogram, HistogramOpts, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use sentinel_proto::v1::Scope;

use crate::core::Core;
use crate::kill_set::{Kills, scope_word};
use crate::ops;

/// Clones share the counters.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    planes: IntGaugeVec,
    revision: IntGauge,
    epoch: IntGauge,
    kill_switches: IntGaugeVec,
    not_ready: IntGaugeVec,
    /// From commit to a plane's word, in seconds.
    pub publish_ack: Histogram,
    pub ingested: IntCounter,
    pub quarantined: IntCounter,
}

impl Metrics {
    /// Errors: two series of one name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let planes = IntGaugeVec::new(Opts::new("sentinel_planes", "Planes by state"), &["state"])?;
        let revision = IntGauge::new("sentinel_snapshot_revision", "Revision in force")?;
        let epoch = IntGauge::new("sentinel_killswitch_epoch", "Highest epoch of the kill switches")?;
        let kill_switches = IntGaugeVec::new(
            Opts::new("sentinel_kill_switches", "Kill switches in force, of all origins"),
            &["scope"],
        )?;
        let not_ready = IntGaugeVec::new(Opts::new("sentinel_not_ready", "1: why /ready says 503"), &["reason"])?;
        let buckets = vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];
        let publish_ack = Histogram::with_opts(
            HistogramOpts::new("sentinel_publish_ack_seconds", "From commit to a plane's acknowledgement")
                .buckets(buckets),
        )?;
        let ingested = IntCounter::new("sentinel_audit_ingested_total", "Audit records stored")?;
        let quarantined = IntCounter::new("sentinel_audit_quarantined_total", "Audit records put into quarantine")?;
        let build = IntGaugeVec::new(Opts::new("sentinel_build_info", "This build"), &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(planes.clone()))?;
        registry.register(Box::new(revision.clone()))?;
        registry.register(Box::new(epoch.clone()))?;
        registry.register(Box::new(kill_switches.clone()))?;
        registry.register(Box::new(not_ready.clone()))?;
        registry.register(Box::new(publish_ack.clone()))?;
        registry.register(Box::new(ingested.clone()))?;
        registry.register(Box::new(quarantined.clone()))?;
        registry.register(Box::new(build))?;
        Ok(Self { registry, planes, revision, epoch, kill_switches, not_ready, publish_ack, ingested, quarantined })
    }

    /// The text that a scrape gets. Errors: none that a correct registry makes.
    pub fn text(&self, core: &Core) -> Result<Vec<u8>, prometheus::Error> {
        for state in ["connected", "lost", "stopped"] {
            let count = core.fleet.see(|all| all.values().filter(|plane| plane.state_word() == state).count());
            self.planes.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let revision = core.revisions.current().map_or(0, |current| current.revision.number);
        self.revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
        self.epoch.set(i64::try_from(core.kills.see(Kills::epoch)).unwrap_or(i64::MAX));
        for scope in [Scope::All, Scope::Backend, Scope::Client, Scope::Role, Scope::Tool] {
            let count =
                core.kills.see(|kills| kills.in_force().filter(|entry| entry.scope == i32::from(scope)).count());
            self.kill_switches.with_label_values(&[scope_word(scope)]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let unready = ops::unready(core);
        for reason in ops::REASONS {
            self.not_ready.with_label_values(&[reason]).set(i64::from(unready == Some(reason)));
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

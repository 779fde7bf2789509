//! What a run plays in: a fleet of one plane, a good backend, a bad one on stdio, a bad one over HTTP, one over
//! HTTP+SSE, and a proxy before and behind the plane.

use std::path::Path;
use std::time::Duration;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::hostile::HttpFault;
use sentinel_tests::harness::process::{descendants, is_alive};
use sentinel_tests::harness::proxy::{Fault, Proxy};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;

/// Small, so that a call that meets a fault is over soon, and faults open no breaker for half of a run.
const MORE: &str = "timeout_secs = 2\nmax_response_bytes = \"256KiB\"\nmax_restarts = 1000";
const SETTINGS: &str =
    "[circuit_breaker]\nfailures = 20\nopen_secs = 1\n[health]\ninterval_secs = 1\ntimeout_secs = 1\n";

pub(crate) const BACKENDS: [&str; 4] = ["good", "rough", "wild", "worn"];

#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) fleet: Fleet,
    /// The bad server over HTTP.
    pub(crate) wild: HttpFault,
    /// The one over HTTP+SSE.
    pub(crate) worn: HttpFault,
    /// Between clients and the plane; some clients go around it.
    pub(crate) front: Proxy,
    /// Between the plane and `wild`, and `worn`.
    pub(crate) back: [Proxy; 2],
    /// Deaths of the plane so far.
    pub(crate) deaths: usize,
    /// Reloads so far.
    pub(crate) reloads: usize,
}

impl Scene {
    /// `planted`: the name of a bug, and the plane that has it.
    pub(crate) async fn set(planted: Option<(&str, &Path)>) -> Self {
        let (wild, worn) = (HttpFault::start(), HttpFault::start());
        wild.is_there().await;
        worn.is_there().await;
        let back = [Proxy::start(&wild.address()), Proxy::start(&worn.address())];
        let mut setup = Setup::one_plane().backend_with("good", MORE).fault_backend("rough", "", MORE);
        if let Some((bug, plane)) = planted {
            setup = setup.plane_program(plane).env("SENTINEL_PLANTED_BUG", bug);
        }
        let http = |name: &str, url: &str, more: &str| {
            let some = MORE.replace("max_restarts = 1000", more);
            format!("[[backends]]\nname = \"{name}\"\nurl = \"{url}\"\n{some}\n")
        };
        let old = back[1].url().replace("/mcp", "/sse");
        let http = http("wild", &back[0].url(), "") + &http("worn", &old, "transport = \"sse\"");
        let fleet = Fleet::start(setup.toml(&http).toml(SETTINGS)).await;
        let front = Proxy::start(&fleet.planes[0].address());
        Self { fleet, wild, worn, front, back, deaths: 0, reloads: 0 }
    }

    /// The newest process of a stdio backend; none: it is not there now, or its id is another's.
    pub(crate) fn child(&self, backend: &str) -> Option<u32> {
        let pid = *self.fleet.received(backend).pids().last()?;
        let ours = descendants(self.fleet.planes[0].process.pid()).contains(&pid);
        (ours && is_alive(pid)).then_some(pid)
    }

    /// Without any fault of ours; what was broken may still be coming back.
    pub(crate) fn heal(&self) {
        self.front.set(Fault::None);
        self.back.iter().for_each(|back| back.set(Fault::None));
        self.wild.manner("");
        self.worn.manner("");
        self.fleet.manner("rough", "");
    }

    /// As an operator does with a server that was given up because it only made noise.
    pub(crate) async fn revive(&self) {
        if self.fleet.planes[0].metric("sentinel_backend_gave_up{backend=\"rough\"}").await == Some(1.0) {
            let _ran = self.fleet.ctl("backend restart rough").await;
        }
    }

    /// Ends the plane with SIGKILL, and starts it again on its directory.
    pub(crate) async fn kill_plane(&mut self) {
        self.deaths += 1;
        let plane = &mut self.fleet.planes[0];
        plane.process.kill().await;
        plane.process.restart().await;
    }

    /// Another role in the file, which nobody has.
    pub(crate) async fn reload(&mut self) {
        self.reloads += 1;
        let role = format!("[roles.extra]\nallow = [\"good__tool_{}\"]", self.reloads);
        self.fleet.write(&self.fleet.setup().toml(&role));
        // Refused where a part is away just then: that is as good.
        let _ran = self.fleet.ctl("reload").await;
    }

    /// Until the metric has this value. Errors: what it had at last.
    pub(crate) async fn metric_is(&self, series: &str, value: f64, within: Duration) -> Result<(), f64> {
        let end = tokio::time::Instant::now() + within;
        let mut last = f64::NAN;
        until(series, async || {
            last = self.fleet.planes[0].metric(series).await.unwrap_or(f64::NAN);
            if (last - value).abs() < 0.5 || tokio::time::Instant::now() > end { Ok(()) } else { Err(last) }
        })
        .await;
        if (last - value).abs() < 0.5 { Ok(()) } else { Err(last) }
    }
}

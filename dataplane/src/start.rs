//! Builds the parts once, in the order of `architecture.md` 4, and hands them down: disk, ports, spawner, runtime,
//! plane, listeners, news. Ends them by `drain.rs`.

use std::{net::SocketAddr, num::NonZero, process::ExitCode, sync::Arc, thread, time::Duration};

use anyhow::Context as _;
use prost::Message as _;
use sentinel_dataplane::{
    audit::{
        spool::{Limits, Opened, Spool},
        trail::Trail,
    },
    backend::{registry::Backends, stdio::spawner::Spawner, wanted::UPDATES},
    clock::Clock,
    contact::Contact,
    feed::endpoint::{ControlPlane, TokenSource},
    identity::{Home, Identity},
    in_flight::InFlight,
    input::{
        parked::{self, Parked},
        state::States,
    },
    kill::Kills,
    listen::{
        attach::order::{self, Outcome},
        feeds::Feeds,
        session::Sessions,
        stdio::{StdioArgs, Token},
        watching,
    },
    metrics::Metrics,
    pins::Pins,
    plane::{Life, Plane},
    stages::authn::Tokens,
    tasks::{self, Tasks},
    upcall,
    view::{
        Views,
        last_known_good::{Found, Kept, LastKnownGood},
        resolve::Resolver,
        task::{InForce, ViewTask},
    },
    workers::Workers,
};
use sentinel_proto::v1;
use tokio::{
    runtime::Builder,
    sync::{mpsc, watch},
};
use tokio_util::task::TaskTracker;

use crate::{
    USAGE,
    alone::Client,
    cli,
    drain::{Signals, Stops},
    listeners::raise_file_limit,
    look::Eyes,
    ports::Ports,
    refuse,
    running::Running,
    spine::Spines,
};

/// Notes of backends that wait for the view.
const NOTES: usize = 256;
/// For all that is no call: news, views, shipping.
const CONTROL_THREADS: usize = 2;

/// `sentinel-dataplane stdio`.
pub(crate) fn stdio(flags: cli::Stdio) -> ExitCode {
    let token = match client_token() {
        Ok(token) => token,
        Err(why) => return refuse(why),
    };
    let socket = flags.attach.unwrap_or_else(|| flags.home.path().join("plane/plane.sock"));
    let server = flags.server;
    match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(sentinel_dataplane::listen::stdio::run(StdioArgs { socket, token, server }));
            // A read of stdin that waits can't be cancelled: dropping the runtime would wait for the client's next line.
            runtime.shutdown_background();
            code
        }
        Err(fault) => refuse(&format!("no runtime: {fault}")),
    }
}

/// Where a stdio client's JWT comes from. Errors: from two places.
pub(crate) fn client_token() -> Result<Token, &'static str> {
    let variable = |name: &str| std::env::var(name).ok();
    match (variable("SENTINEL_TOKEN"), variable("SENTINEL_TOKEN_FILE")) {
        (Some(_), Some(_)) => Err("SENTINEL_TOKEN and SENTINEL_TOKEN_FILE are both set; unset one of them"),
        (Some(token), None) => Ok(Token::Given(token.into())),
        (None, Some(path)) => Ok(Token::File(path.into())),
        (None, None) => Ok(Token::None),
    }
}

/// `sentinel-dataplane kill`: the order goes to the plane that runs here.
pub(crate) fn kill(flags: cli::Kill) -> ExitCode {
    let (order, common) = flags.order();
    let socket = common.attach.unwrap_or_else(|| common.home.path().join("plane/plane.sock"));
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return refuse(&format!("no runtime: {fault}")),
    };
    let patient = async { tokio::time::timeout(Duration::from_secs(10), order::send(&socket, &order)).await };
    match runtime.block_on(patient) {
        Ok(Ok(outcome)) => tell(&outcome, common.json),
        Ok(Err(fault)) => {
            refuse(&format!(
                "no order reached a data plane at {}: {fault}; name its socket with --attach",
                socket.display()
            ));
            ExitCode::FAILURE
        }
        Err(_) => {
            refuse(&format!("the data plane at {} did not answer in 10 s", socket.display()));
            ExitCode::FAILURE
        }
    }
}

/// 0 done, 4 refused.
fn tell(outcome: &Outcome, json: bool) -> ExitCode {
    use std::io::Write as _;
    let text = if json {
        serde_json::to_string(outcome).unwrap_or_default()
    } else if outcome.done {
        format!(
            "{}\nThe control plane hears of it as soon as it is there. From there: sentinelctl kill-switch … --lift --origin {}",
            outcome.message, outcome.origin
        )
    } else {
        outcome.message.clone()
    };
    let wrote = if json || outcome.done {
        writeln!(std::io::stdout(), "{text}")
    } else {
        writeln!(std::io::stderr(), "sentinel-dataplane: {text}")
    };
    match (outcome.done, wrote) {
        (true, Ok(())) => ExitCode::SUCCESS,
        (true, Err(_)) => ExitCode::FAILURE,
        (false, _) => ExitCode::from(4),
    }
}

/// `sentinel-dataplane serve`.
pub(crate) fn serve(flags: cli::Serve) -> ExitCode {
    let cli::Serve { plane, home, ports } = flags;
    match Ground::prepare(plane, home, Some(&ports)) {
        Ok(ground) => run(ground, None),
        Err(fault) => {
            tracing::error!("{fault:#}");
            ExitCode::from(USAGE)
        }
    }
}

/// The plane on this ground, until its end. `client`: the one that it is for.
pub(crate) fn run(ground: Ground, client: Option<Client>) -> ExitCode {
    let runtime = match Builder::new_multi_thread().worker_threads(CONTROL_THREADS).enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return refuse(&format!("no runtime: {fault}")),
    };
    let cores = if client.is_some() { 1 } else { thread::available_parallelism().map_or(1, NonZero::get) };
    let (workers, threads) = match Workers::start(cores) {
        Ok(started) => started,
        Err(fault) => return refuse(&format!("no threads for calls: {fault}")),
    };
    let code = runtime.block_on(async {
        Box::pin(ground.run(workers, client)).await.unwrap_or_else(|fault| {
            tracing::error!("{fault:#}");
            ExitCode::FAILURE
        })
    });
    // What still runs was given its time in the drain.
    drop(threads);
    runtime.shutdown_timeout(Duration::from_millis(500));
    code
}

/// What is there before any runtime: the directory, the ports, the spawner.
pub(crate) struct Ground {
    pub(crate) flags: cli::PlaneFlags,
    pub(crate) home: Arc<Home>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) disk: LastKnownGood,
    pub(crate) kept: Vec<Kept>,
    pub(crate) control_plane: ControlPlane,
    pub(crate) token: TokenSource,
    /// None: it is for one client alone, in this process.
    pub(crate) ports: Option<Ports>,
    pub(crate) spawner: Spawner,
    pub(crate) files: u64,
}

impl Ground {
    /// Errors: what a person has to mend before this can start.
    pub(crate) fn prepare(
        mut flags: cli::PlaneFlags,
        home: cli::DataDir,
        ports: Option<&cli::PortFlags>,
    ) -> anyhow::Result<Self> {
        // Before any child is there: same user, but no /proc/<pid> and no ptrace.
        nix::sys::prctl::set_dumpable(false).context("PR_SET_DUMPABLE")?;
        let files = raise_file_limit();
        let variable = |name: &str| std::env::var(name).ok();
        let data_dir = home.path();
        let control_plane = flags.control_plane.take();
        let control_plane =
            control_plane.unwrap_or_else(|| ControlPlane::Unix(data_dir.join("controlplane/grpc.sock")));
        control_plane.judge(flags.insecure_grpc)?;
        if matches!(control_plane, ControlPlane::Clear(_)) && control_plane.judge(false).is_err() {
            tracing::warn!(%control_plane, "the plane's token crosses the network in the clear (--insecure-grpc)");
        }
        let ops_token = cli::secret("SENTINEL_OPS_TOKEN", variable)?;
        let given = cli::secret("SENTINEL_PLANE_TOKEN", variable)?;
        let home = Home::open(&data_dir)?;
        let identity = home.identity()?;
        let disk = LastKnownGood::new(home.plane(), identity.id);
        let Found { kept, faults } = disk.read();
        for fault in faults {
            tracing::warn!("{fault}");
        }
        let known = kept.first().and_then(listen_of);
        let ports = ports.map(|flags| Ports::take(flags, ops_token, known)).transpose()?;
        let spawner = Spawner::start(identity.id, identity.boot)
            .context("the process that ends backends can't be started")?
            .with_state(&home.plane().join("backends"));
        Ok(Self {
            token: given.map_or_else(|| TokenSource::File(data_dir.join("plane.token")), TokenSource::Given),
            home: Arc::new(home),
            identity: Arc::new(identity),
            flags,
            disk,
            kept,
            control_plane,
            ports,
            spawner,
            files,
        })
    }

    fn spool(&self, limits: Limits, clock: &Clock) -> anyhow::Result<Opened> {
        let folder = self.home.plane().join("spool");
        let opened = Spool::open(&folder, self.identity.id, self.identity.boot, limits, clock)?;
        tell_of_earlier(&opened);
        Ok(opened)
    }

    fn sessions(&self, clock: &Clock) -> anyhow::Result<Sessions> {
        let ended = self.home.plane().join("sessions.ended");
        Ok(Sessions::open(&self.identity.seal_key, &ended, clock.clone())?)
    }

    /// Serves until a signal. Errors: a part can't be built.
    async fn run(self, workers: Workers, client: Option<Client>) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new().context("signals")?;
        let channel = self.control_plane.channel(std::env::var("SSL_CERT_FILE").ok().as_deref())?;
        let tracker = TaskTracker::new();
        let stops = Stops::default();
        let clock = Clock::system();
        let metrics = Metrics::new().context("metrics")?;
        let in_flight = InFlight::new();
        let (kills, memory) = Kills::open(self.home.plane(), Arc::clone(&in_flight), clock.clone());
        let kills = Arc::new(kills);
        let (notes, told) = mpsc::channel(NOTES);
        let (asks, asked) = mpsc::channel(upcall::ASKED);
        let (updates, updated) = mpsc::channel(UPDATES);
        let (parked, held) = Parked::new();
        let limits = Limits::default();
        let opened = self.spool(limits, &clock)?;
        let (views, publisher) = Views::channel();
        let plane = Arc::new(Plane {
            views,
            tokens: Tokens::new(kills.revoked()),
            gate: kills.gate(),
            revoked: kills.revoked(),
            buckets: Arc::default(),
            backends: Backends::new(
                tracker.clone(),
                stops.all.clone(),
                notes,
                self.spawner.clone(),
                (asks, updates),
                Arc::clone(&in_flight),
                workers.clone(),
            ),
            in_flight,
            audit: Trail::new(opened.spool, limits.records, clock.clone()),
            sessions: self.sessions(&clock)?,
            tasks: Tasks::new(&self.identity.seal_key).context("seal.key has not 32 bytes")?,
            states: States::new(&self.identity.seal_key, clock.clone()).context("seal.key has not 32 bytes")?,
            parked,
            feeds: Feeds::default(),
            questions: Arc::default(),
            metrics: metrics.clone(),
            clock: clock.clone(),
            tracker: tracker.clone(),
            workers,
            life: watch::Sender::new(Life::Starting),
            contact: Arc::new(Contact::none_yet()),
        });
        let (in_force, applied) = watch::channel(InForce::default());
        let look = Eyes {
            plane: Arc::clone(&plane),
            kills: Arc::clone(&kills),
            in_force: applied.clone(),
            warnings: self.ports.as_ref().map_or_else(Vec::new, Ports::warnings),
        }
        .look();
        let (inbox, messages) = mpsc::channel(1);
        let spines = Spines::new(tracker.clone(), metrics.clone());
        let task = ViewTask {
            publisher,
            views: plane.views.clone(),
            backends: plane.backends.clone(),
            kills: Arc::clone(&kills),
            plane: Arc::clone(&plane),
            metrics: metrics.clone(),
            resolver: Resolver::of_environment().with_spawner(self.spawner.clone()),
            disk: self.disk.clone(),
            pins: pins(&self.home),
            clock: clock.clone(),
            in_force,
            may_be_anonymous: self.flags.allow_anonymous
                && self.ports.as_ref().is_none_or(|ports| ports.mcp_at.ip().is_loopback()),
        };
        spines.spawn("view", stops.all.clone(), task.run(messages, told, stops.all.clone()));
        spines.spawn("watching", stops.all.clone(), watching::tell(Arc::clone(&plane), updated, stops.all.clone()));
        spines.spawn("upcalls", stops.all.clone(), upcall::listen(Arc::clone(&plane), asked, stops.all.clone()));
        spines.spawn("tasks", stops.all.clone(), tasks::running::keep(Arc::clone(&plane), stops.all.clone()));
        spines.spawn("parked", stops.all.clone(), parked::keep(Arc::clone(&plane), held, stops.all.clone()));
        let serve_ops = |ports: &Ports| ports.serve_ops(look.clone(), metrics, clock, stops.all.clone());
        let ops_thread = self.ports.as_ref().map(serve_ops).transpose()?;
        let running = Running {
            ground: self,
            plane,
            kills,
            inbox,
            look,
            applied,
            changed: Arc::default(),
            stops,
            spines,
            listeners: TaskTracker::new(),
            news: TaskTracker::new(),
            tracker,
        };
        let code = running.serve(channel, memory, client, &mut signals).await?;
        if ops_thread.is_some_and(|thread| thread.is_finished() && thread.join().is_err()) {
            tracing::error!("the ops thread panicked");
        }
        Ok(code)
    }
}

/// What was found of earlier runs.
fn tell_of_earlier(opened: &Opened) {
    if opened.recovered > 0 || opened.torn_bytes > 0 {
        tracing::info!(records = opened.recovered, torn_bytes = opened.torn_bytes, "audit records of earlier runs");
    }
    for path in &opened.set_aside {
        tracing::error!(path = %path.display(), "a damaged part of the audit spool was set aside for a person to look at");
    }
}

/// Where a snapshot on disk says that MCP is served.
fn listen_of(kept: &Kept) -> Option<SocketAddr> {
    v1::Snapshot::decode(kept.snapshot.clone()).ok()?.gateway?.listen.parse().ok()
}

/// What this plane's disk knows of them.
fn pins(home: &Home) -> Pins {
    let (pins, damage) = Pins::open(home.plane());
    if let Some(damage) = damage {
        tracing::error!(damage, "no definition is trusted at first sight before the control plane has sent its pins");
    }
    pins
}

//! The plane's ports: taken before anything is started, opened when the parts are there, and moved once where the first
//! snapshot of a new plane says so.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
};

use anyhow::Context as _;
use secrecy::SecretString;
use sentinel_dataplane::{
    clock::Clock,
    listen::http::server,
    metrics::Metrics,
    ops::{self, Ops, status::Look},
    plane::Plane,
    view::task::InForce,
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cli,
    listeners::{BindError, What, bind},
    spine::Spines,
};

const DEFAULT_LISTEN: &str = "127.0.0.1:9200";

/// Taken, and not open yet.
pub(crate) struct Ports {
    pub(crate) mcp_at: SocketAddr,
    ops: TcpListener,
    ops_token: Option<SecretString>,
    ops_at: SocketAddr,
    /// Taken by whoever accepts on it: while another holds it, a closed port would still take connections.
    mcp: Option<TcpListener>,
    allow_remote: bool,
    /// Neither a flag nor a snapshot has said where to listen: the first snapshot may move it, once.
    may_move: bool,
}

impl Ports {
    /// `known`: where the last snapshot says that MCP is served.
    pub(crate) fn take(
        flags: &cli::PortFlags,
        ops_token: Option<SecretString>,
        known: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        if !flags.ops_listen.ip().is_loopback() && ops_token.is_none() {
            return Err(BindError::OpsWithoutToken(flags.ops_listen).into());
        }
        let may_move = flags.listen.is_none() && known.is_none();
        let at = flags.listen.or(known).map_or_else(|| DEFAULT_LISTEN.parse().context("the default address"), Ok)?;
        let mcp = bind(What::Mcp, at, flags.allow_remote)?;
        let ops = bind(What::Ops, flags.ops_listen, flags.allow_remote)?;
        Ok(Self {
            mcp_at: mcp.local_addr()?,
            mcp: Some(mcp),
            ops,
            ops_token,
            ops_at: flags.ops_listen,
            allow_remote: flags.allow_remote,
            may_move,
        })
    }

    /// `/health`, `/ready` and `/metrics`, on a thread of their own until `stop`. Errors: no thread can be had.
    pub(crate) fn serve_ops(
        &self,
        look: Look,
        metrics: Metrics,
        clock: Clock,
        stop: CancellationToken,
    ) -> anyhow::Result<JoinHandle<()>> {
        let ops = Ops { look, metrics, clock, token: self.ops_token.clone() };
        ops::start(ops, self.ops.try_clone()?, stop).context("the ops thread")
    }

    /// What is said at the start and stands in `status`.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let remote = [self.mcp_at, self.ops_at].into_iter().filter(|at| !at.ip().is_loopback());
        remote.map(|at| format!("{at} is reachable from other machines (--allow-remote)")).collect()
    }
}

/// What accepts clients on the MCP port.
pub(crate) struct Door {
    pub(crate) plane: Arc<Plane>,
    /// Connections at once.
    pub(crate) most: usize,
    pub(crate) spines: Spines,
    pub(crate) stop: CancellationToken,
}

impl Door {
    /// Opens the port, which the first snapshot of a new plane may move once. Errors: it is open already.
    pub(crate) fn open(
        self,
        ports: &mut Ports,
        applied: watch::Receiver<InForce>,
        tracker: &TaskTracker,
    ) -> anyhow::Result<()> {
        let first = self.accept(ports.mcp.take().context("the MCP listener is taken")?)?;
        if ports.may_move {
            tracker.spawn(self.move_once(ports.mcp_at, ports.allow_remote, first, applied));
        }
        Ok(())
    }

    /// The token closes this port alone.
    fn accept(&self, listener: TcpListener) -> anyhow::Result<CancellationToken> {
        let listener = tokio::net::TcpListener::from_std(listener).context("the MCP listener")?;
        let close = self.stop.child_token();
        let task = server::serve(Arc::clone(&self.plane), listener, self.most, close.clone());
        self.spines.spawn("listen", close.clone(), task);
        Ok(close)
    }

    async fn move_once(
        self,
        at: SocketAddr,
        allow_remote: bool,
        first: CancellationToken,
        mut applied: watch::Receiver<InForce>,
    ) {
        tokio::select! {
            () = self.stop.cancelled() => return,
            change = applied.wait_for(|in_force| in_force.revision > 0) => if change.is_err() { return },
        }
        let Some(view) = self.plane.views.load_full() else { return };
        let wanted = &view.policy.gateway.listen;
        let Ok(to) = wanted.parse::<SocketAddr>() else {
            tracing::warn!(wanted = &**wanted, "gateway.listen is no address; MCP stays where it is");
            return;
        };
        if to == at {
            return;
        }
        if view.policy.auth.anonymous().is_some() && !to.ip().is_loopback() {
            tracing::error!(%to, "auth.mode \"none\" is for loopback alone; MCP stays on {at}");
            return;
        }
        match bind(What::Mcp, to, allow_remote).map_err(Into::into).and_then(|listener| self.accept(listener)) {
            Ok(_) => {
                tracing::info!(%to, "MCP moved to where the configuration says");
                first.cancel();
            }
            Err(fault) => tracing::error!("{fault:#}; MCP stays on {at}"),
        }
    }
}

//! The daemon from its start to its end: takes directory and sockets, builds the parts, runs the spine, stops.
//!
//! What each part does is said in its own file.

mod grpc;
#[cfg(test)]
mod scenarios;
mod tasks;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::audit::tail::Tails;
use crate::cli::Serve;
use crate::clock::Clock;
use crate::config::BuiltInKey;
use crate::core::Core;
use crate::fleet::Fleet;
use crate::home::{self, Home};
use crate::keeper::{self, Keeper};
use crate::killswitch::KillSwitch;
use crate::metrics::Metrics;
use crate::pins::Pins;
use crate::revisions::Revisions;
use crate::secrets::{self, Fingerprint, Tokens};
use crate::signing::{self, SigningKey};
use crate::spine::Spine;
use crate::store::error::StoreError;
use crate::store::{Place, Store};
use crate::{listen, ops};

/// How long the end waits for peers and commands under way (a publish takes 10 s at most).
const LAST: Duration = Duration::from_secs(12);

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Home(#[from] home::Error),
    #[error(transparent)]
    Listen(#[from] listen::Error),
    #[error(transparent)]
    Secrets(#[from] secrets::Error),
    #[error(transparent)]
    Signing(#[from] signing::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("metrics can't be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    #[error(
        "gRPC on {at} would carry tokens in the clear to other machines; give --grpc-tls-cert and --grpc-tls-key, or say --insecure-grpc"
    )]
    Clear { at: std::net::SocketAddr },
    #[error("{path} can't be read: {why}")]
    Tls { path: PathBuf, why: std::io::Error },
    #[error("the TLS certificate or key can't be used: {0}")]
    TlsContent(tonic::transport::Error),
    #[error("an ops listener that other machines reach needs SENTINEL_OPS_TOKEN (or SENTINEL_OPS_TOKEN_FILE)")]
    OpsToken,
    #[error("signals can't be received: {0}")]
    Signals(std::io::Error),
}

impl Error {
    /// 2 where the operator has to mend something before another try, else 1.
    pub fn exit(&self) -> u8 {
        match self {
            Self::Home(home::Error::Held { .. }) | Self::Listen(listen::Error::Taken { .. }) => 1,
            Self::Metrics(_) | Self::Signals(_) => 1,
            _ => 2,
        }
    }
}

/// Where the store is: SENTINEL_DATABASE_URL, else SQLite in the data directory. Errors: of the environment.
pub fn place(home: &Home) -> Result<Place, secrets::Error> {
    match secrets::from_environment("SENTINEL_DATABASE_URL")? {
        None => Ok(Place::Sqlite(home.database())),
        Some(url) => Ok(Place::Postgres(url)),
    }
}

/// Opens the store once; the plain way for `migrate`. Errors: the store's.
pub async fn open(place: &Place, clock: &Clock) -> Result<Store, StoreError> {
    Store::open(place, clock.unix_ms()).await
}

/// Runs until SIGTERM, SIGINT or a broken spine. Gives the exit code. Errors: it could not start.
pub async fn serve(flags: Serve, clock: Clock) -> Result<u8, Error> {
    let signals = tasks::Signals::take().map_err(Error::Signals)?;
    // Children of a plane run as the same user: they must not read our memory and environment.
    if let Err(why) = nix::sys::prctl::set_dumpable(false) {
        tracing::warn!(%why, "other processes of this user can read this one's memory");
    }
    let home = Home::open(&flags.data_dir.path())?;
    let lock = home.lock()?;
    let remote_grpc = flags.grpc_listen.is_some_and(|at| !at.ip().is_loopback());
    let tls = grpc::tls(&flags)?;
    if let Some(at) = flags.grpc_listen
        && remote_grpc
        && tls.is_none()
        && !flags.insecure_grpc
    {
        return Err(Error::Clear { at });
    }
    let ops_token = secrets::from_environment("SENTINEL_OPS_TOKEN")?;
    if ops_token.is_none() && !flags.ops_listen.ip().is_loopback() {
        return Err(Error::OpsToken);
    }
    let ops_token = ops_token.map(|token| Fingerprint::of(token.expose_secret().as_bytes()));
    let ops_at = listen::tcp("ops", "--ops-listen", flags.ops_listen, flags.allow_remote).await?;
    let tcp = match flags.grpc_listen {
        None => None,
        Some(at) => Some(listen::tcp("gRPC", "--grpc-listen", at, flags.allow_remote).await?),
    };
    let unix = listen::unix(&home.socket())?;
    let tokens = Tokens::load(&home, remote_grpc)?;
    let signing = SigningKey::load_or_make(&home)?;
    let core = build(&flags.config, &clock, tokens, signing)?;

    let place = place(&home)?;
    first_open(&core, &place).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %home.socket().display(),
        grpc = flags.grpc_listen.map(|at| at.to_string()),
        ops = %flags.ops_listen,
        store = core.keeper.word(),
        "control plane starts"
    );
    tasks::run(&core, &signals, place, !flags.no_watch);
    let outcome = tasks::Outcome::default();
    tasks::begin(&core, outcome.clone());
    grpc::run(&core, unix, tcp, tls)?;
    let (router, stop) = (ops::router(core.clone(), ops_token), core.spine.stop().clone());
    core.spine.run("ops", async move {
        let ended = axum::serve(ops_at, router).with_graceful_shutdown(stop.clone().cancelled_owned()).await;
        if let Err(why) = ended {
            tracing::error!(%why, "the ops listener has ended");
            stop.cancel();
        }
    });

    core.spine.stop().cancelled().await;
    let broken = match tokio::time::timeout(LAST, core.spine.ended()).await {
        Ok(broken) => broken,
        Err(_) => {
            tracing::warn!("peers did not let go in {} s; ending all the same", LAST.as_secs());
            false
        }
    };
    if let Ok(store) = core.keeper.store() {
        store.close().await;
    }
    std::fs::remove_file(home.socket()).ok();
    drop(lock);
    tracing::info!("control plane has stopped");
    Ok(if broken { 255 } else { outcome.code() })
}

fn build(config: &Path, clock: &Clock, tokens: Tokens, signing: SigningKey) -> Result<Core, Error> {
    let fleet = Fleet::new(clock.clone());
    let keeper = Keeper::new(clock.clone());
    let metrics = Metrics::new()?;
    let built_in = BuiltInKey { public: signing.public() };
    let acks = metrics.publish_ack.clone();
    let revisions = Revisions::new(config.to_owned(), built_in, fleet.clone(), keeper.clone(), clock.clone(), acks);
    Ok(Core {
        kills: KillSwitch::new(fleet.clone(), keeper.clone()),
        pins: Pins::new(fleet.clone(), keeper.clone()),
        revisions,
        metrics,
        signing: Arc::new(signing),
        spine: Spine::default(),
        begun: CancellationToken::new(),
        started_ms: clock.unix_ms(),
        tails: Tails::default(),
        clock: clock.clone(),
        fleet,
        keeper,
        tokens,
    })
}

/// Errors: an address that is none. Whatever else is wrong with a store (away, another's, damaged) is said by
/// `status` and may be mended while we wait: calls don't need us, and an end would only be followed by a restart.
async fn first_open(core: &Core, place: &Place) -> Result<(), Error> {
    match open(place, &core.clock).await {
        Ok(store) => core.keeper.opened(store),
        Err(why @ StoreError::Place { .. }) => return Err(why.into()),
        Err(why) => core.keeper.failed(&why.to_string()),
    }
    Ok(())
}

/// Opens the store until it is there, then watches over it.
async fn keep(core: Core, place: Place) {
    let (clock, stop) = (core.clock.clone(), core.spine.stop().clone());
    keeper::keep(core.keeper, || open(&place, &clock), stop).await;
}

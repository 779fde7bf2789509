//! `sentinel-dataplane stdio --alone`: a whole plane in this process, for the one client on stdin and stdout.
//!
//! It is a plane like any other (directory, lock, snapshot, kills, spool, stream to the control plane) without ports and
//! without a socket. Its client is an attached one, over a pair of sockets that nobody else can reach; when it leaves,
//! the plane drains and ends.

use std::{process::ExitCode, sync::Arc, time::Duration};

use sentinel_dataplane::{
    denial::{Denial, NotReady},
    identity::HomeError,
    listen::{
        attach::{self, Head, order::Orders},
        stdio::{self, Token},
    },
    ops::status::Look,
    plane::{Life, Plane},
    view::task::InForce,
};
use tokio::{net::UnixStream, sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    cli, refuse,
    start::{self, Ground},
};

/// For the snapshot, from the disk or from the control plane.
const SNAPSHOT: Duration = Duration::from_secs(5);
/// For the first lists of the backends: many clients ask for the tools once and never again.
const OFFERED: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(50);

/// `sentinel-dataplane stdio --alone`.
pub(crate) fn run(flags: cli::Stdio) -> ExitCode {
    let source = match start::client_token() {
        Ok(source) => source,
        Err(why) => return refuse(why),
    };
    // For what is said before there is a plane; it is gone before a thread of it could be in the way of the spawner.
    let brief = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(brief) => brief,
        Err(fault) => return refuse(&format!("no runtime: {fault}")),
    };
    let prepared = brief
        .block_on(source.first())
        .map(|token| Client { head: Head { token, server: flags.server }, source })
        .and_then(|client| {
            Ground::prepare(flags.plane, flags.home, None).map(|ground| (ground, client)).map_err(|fault| {
                let mut why = format!("{fault:#}");
                if let Some(HomeError::Held { .. }) = fault.downcast_ref() {
                    why.push_str("; or leave --alone out, to attach to it");
                }
                brief.block_on(stdio::refuse(&Denial::NotReady { reason: NotReady::NoPlane }, &why))
            })
        });
    // A read of stdin that waits can't be cancelled: dropping the runtime would wait for the client's next line.
    brief.shutdown_background();
    match prepared {
        Ok((ground, client)) => start::run(ground, Some(client)),
        Err(code) => code,
    }
}

/// The one client, whose token was readable and had not expired.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) head: Head,
    pub(crate) source: Token,
}

/// What its conversation needs of the plane.
pub(crate) struct Room {
    pub(crate) plane: Arc<Plane>,
    pub(crate) look: Look,
    pub(crate) applied: watch::Receiver<InForce>,
    pub(crate) orders: Orders,
    /// For messages: where a snapshot could have come from.
    pub(crate) places: String,
    pub(crate) stop: CancellationToken,
}

impl Client {
    /// Until it leaves, or the plane drains. 2: the plane has nothing to serve by, or does not take the token.
    pub(crate) async fn served(self, mut room: Room) -> ExitCode {
        if timeout(SNAPSHOT, room.serves()).await.is_err() {
            let (reason, why) = room.lacks();
            let denial = Denial::NotReady { reason };
            tokio::select! {
                () = room.stop.cancelled() => return ExitCode::SUCCESS,
                code = stdio::refuse(&denial, &why) => return code,
            }
        }
        tokio::select! {
            () = room.stop.cancelled() => return ExitCode::SUCCESS,
            _ = timeout(OFFERED, room.is_offered()) => {}
        }
        let (ours, theirs) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(fault) => {
                tracing::error!(%fault, "no pair of sockets");
                return ExitCode::FAILURE;
            }
        };
        let served = attach::one(&room.plane, theirs, &room.orders, &room.stop);
        let (code, ()) = tokio::join!(stdio::talk(ours, self.head, &self.source), served);
        code
    }
}

impl Room {
    async fn serves(&mut self) {
        let mut life = self.plane.life.subscribe();
        // Either channel ends with the plane, which nobody outlives.
        life.wait_for(|life| *life == Life::Serving).await.ok();
        self.applied.wait_for(|in_force| in_force.revision > 0).await.ok();
    }

    /// Until every backend has listed what it has, or has failed in a first try.
    async fn is_offered(&self) {
        while self.look.status().backends.iter().any(|backend| backend.state == "starting") {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn lacks(&self) -> (NotReady, String) {
        let seconds = SNAPSHOT.as_secs();
        if self.applied.borrow().revision == 0 {
            let why = format!(
                "no configuration is known: {}, and none came within {seconds} s; start `sentinelctl up` once with this \
                 data directory, or name the control plane with --control-plane",
                self.places
            );
            return (NotReady::NoSnapshot, why);
        }
        let why = format!(
            "what is stopped is not known here, and the control plane was not heard within {seconds} s; the log has the reason"
        );
        (NotReady::Starting, why)
    }
}

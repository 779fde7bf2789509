//! Where gRPC is answered: the Unix socket in the data directory, whose peers must be our own user, and TCP when it
//! was asked for.
//!
//! It takes sockets before anything else is started, so that a second copy harms nothing. It knows no service.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::Stream;
use tokio::net::{TcpListener, UnixListener, UnixStream};

/// A pause after a failed accept (out of descriptors): no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{what} can't listen on {at}: {why}; stop what holds it (`ss -ltnp`) or give another with {flag}")]
    Taken { what: &'static str, flag: &'static str, at: SocketAddr, why: io::Error },
    #[error("{what} would be reachable from other machines on {at}; add --allow-remote if that is meant")]
    Remote { what: &'static str, at: SocketAddr },
    #[error("gRPC can't listen on {at}: {why}; is the path shorter than 108 bytes, and the directory yours?")]
    Socket { at: PathBuf, why: io::Error },
}

/// Takes a TCP port. Errors: `Remote`, `Taken`.
pub async fn tcp(
    what: &'static str,
    flag: &'static str,
    at: SocketAddr,
    allow_remote: bool,
) -> Result<TcpListener, Error> {
    if !at.ip().is_loopback() {
        if !allow_remote {
            return Err(Error::Remote { what, at });
        }
        tracing::warn!(%at, "{what} can be reached from other machines");
    }
    TcpListener::bind(at).await.map_err(|why| Error::Taken { what, flag, at, why })
}

/// Makes the socket anew, mode 0600; the directory's lock is held, so nobody listens on an old one. Errors: `Socket`.
pub fn unix(at: &Path) -> Result<UnixListener, Error> {
    let fault = |why| Error::Socket { at: at.to_owned(), why };
    match std::fs::remove_file(at) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(fault(why)),
        _ => {}
    }
    let listener = UnixListener::bind(at).map_err(fault)?;
    std::fs::set_permissions(at, std::fs::Permissions::from_mode(0o600)).map_err(fault)?;
    Ok(listener)
}

/// Connections of our own user (and root); others are closed and counted in the log.
pub fn ours(listener: UnixListener) -> impl Stream<Item = io::Result<UnixStream>> + Send {
    let we = nix::unistd::geteuid().as_raw();
    futures_util::stream::unfold(listener, move |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if peer.uid() == we || peer.uid() == 0 => {
                        return Some((Ok(stream), listener));
                    }
                    Ok(peer) => tracing::warn!(uid = peer.uid(), "a process of another user was turned away"),
                    Err(why) => tracing::warn!(%why, "a peer without credentials was turned away"),
                },
                Err(why) => {
                    tracing::warn!(%why, "can't accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

/// Connections of a TCP port.
pub fn all(listener: TcpListener) -> impl Stream<Item = io::Result<tokio::net::TcpStream>> + Send {
    futures_util::stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    stream.set_nodelay(true).ok();
                    return Some((Ok(stream), listener));
                }
                Err(why) => {
                    tracing::warn!(%why, "can't accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

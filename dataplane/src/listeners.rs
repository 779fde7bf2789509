//! Ports: tried before a child is started, so that a second copy fails here and harms nothing; what is reachable from
//! other machines has to be meant, and is said.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum BindError {
    #[error("{what} can't listen on {at}: {why}; stop what holds it (`ss -ltnp`) or give another with {flag}")]
    Taken { what: &'static str, flag: &'static str, at: SocketAddr, why: io::Error },
    #[error("{what} would be reachable from other machines on {at}; add --allow-remote if that is meant")]
    Remote { what: &'static str, at: SocketAddr },
    #[error("the ops listener on {0} would tell everyone; set SENTINEL_OPS_TOKEN (or SENTINEL_OPS_TOKEN_FILE)")]
    OpsWithoutToken(SocketAddr),
}

/// What is listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Mcp,
    Ops,
}

impl What {
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Mcp => ("MCP", "--listen"),
            Self::Ops => ("ops", "--ops-listen"),
        }
    }
}

/// Takes the port, non-blocking. Beyond loopback: only where allowed, and the log says so.
pub(crate) fn bind(what: What, at: SocketAddr, allow_remote: bool) -> Result<TcpListener, BindError> {
    let (name, flag) = what.names();
    if !at.ip().is_loopback() && !allow_remote {
        return Err(BindError::Remote { what: name, at });
    }
    let taken = |why| BindError::Taken { what: name, flag, at, why };
    let listener = TcpListener::bind(at).map_err(taken)?;
    listener.set_nonblocking(true).map_err(taken)?;
    if !at.ip().is_loopback() {
        tracing::warn!(%at, "{name} is reachable from other machines (--allow-remote)");
        if what == What::Mcp {
            tracing::warn!(%at, "tokens cross the network in the clear; put TLS in front of this port");
        }
    }
    Ok(listener)
}

/// Every connection, child and segment is a descriptor: takes all that this process may have. How many that is.
pub(crate) fn raise_file_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 1024 };
    if soft < hard
        && let Err(fault) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    {
        tracing::warn!(%fault, soft, hard, "the limit of open files can't be raised");
        return soft;
    }
    hard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_said_with_the_flag_that_helps() {
        let held = bind(What::Ops, "127.0.0.1:0".parse().unwrap(), false).unwrap();
        let refused = bind(What::Ops, held.local_addr().unwrap(), false).unwrap_err().to_string();
        assert!(refused.contains("--ops-listen") && refused.contains("ss -ltnp"), "{refused}");
    }

    #[test]
    fn another_address_than_loopback_has_to_be_meant() {
        let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
        assert!(matches!(bind(What::Mcp, everywhere, false), Err(BindError::Remote { .. })));
        assert!(bind(What::Mcp, everywhere, true).is_ok());
    }

    #[test]
    fn the_file_limit_is_what_is_allowed_at_most() {
        let most = raise_file_limit();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0, most);
    }
}

//! A backend's definition as this plane runs it: every `${VAR}` resolved, every value parsed.
//!
//! What is here makes a new incarnation when it changes (`fingerprint`). What may change under a running process
//! (prefix, renames, hides, descriptions, timeouts) is the catalogue's.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use ::http::{HeaderMap, Uri};
use rustls::ClientConfig;
use secrecy::SecretString;

use super::{
    era::Era,
    http::addresses::Allowed,
    isolation::Isolation,
    stdio::{
        apart::{Sandbox, User},
        cgroup::Limits,
    },
};
use crate::upcall::feature::Features;

#[derive(Debug)]
pub struct BackendSpec {
    pub name: Arc<str>,
    pub kind: Kind,
    /// None: it is asked.
    pub era: Option<Era>,
    pub max_concurrency: usize,
    pub max_response_bytes: usize,
    /// Sendings of one call, the first included; only what was never written is sent again.
    pub attempts: u32,
    pub breaker: Breaker,
    pub health: Health,
    pub isolation: Isolation,
    /// Of a backend that is not shared.
    pub max_instances: usize,
    pub instance_idle: Duration,
    /// What it may ask of clients.
    pub may_ask: Features,
    /// Keyed hash over all of the above: equal means that the running link can be kept.
    pub fingerprint: [u8; 32],
}

impl BackendSpec {
    /// Of a server of both eras. Alone with a client it can ask it in either, and in the legacy era also by requests of
    /// its own, as most tools that ask do yet; shared, it is told there that nobody can be asked.
    pub fn prefers_legacy(&self) -> bool {
        self.isolation != Isolation::Shared
    }

    /// Its processes may read what the plane may read.
    pub fn is_as_we_are(&self) -> bool {
        matches!(&self.kind, Kind::Stdio(stdio) if stdio.user.is_none() && stdio.sandbox.is_none())
    }
}

#[derive(Debug)]
pub enum Kind {
    Http(HttpSpec),
    Stdio(StdioSpec),
}

/// How messages travel between an HTTP backend and us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP; HTTP+SSE where a server has no such thing.
    #[default]
    Auto,
    Streamable,
    /// HTTP+SSE, of revision 2024-11-05.
    Sse,
}

pub struct HttpSpec {
    pub url: Uri,
    pub transport: Transport,
    /// Sent with every request; values are marked sensitive.
    pub headers: HeaderMap,
    /// For https: what is trusted, and who we are.
    pub tls: Arc<ClientConfig>,
    pub allowed: Allowed,
}

impl fmt::Debug for HttpSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSpec").field("host", &self.url.host()).finish_non_exhaustive()
    }
}

/// An argv, never a shell line. The child gets PATH, HOME, LANG, `SENTINEL_CHILD` and `env`, nothing else.
pub struct StdioSpec {
    pub command: String,
    pub args: Vec<SecretString>,
    pub env: Vec<(String, SecretString)>,
    /// None: the plane's own state directory for this backend.
    pub cwd: Option<PathBuf>,
    pub restart_on_exit: bool,
    /// Within a minute; then a slow try every five minutes.
    pub max_restarts: u32,
    pub start_timeout: Duration,
    pub life: Life,
    pub limits: Limits,
    /// None: the plane's.
    pub user: Option<User>,
    /// None: it sees what its user sees.
    pub sandbox: Option<Sandbox>,
}

/// How long a process may be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Without a call for so long it is stopped, until the next call. None: it stays.
    pub idle_stop: Option<Duration>,
    /// After so long it is replaced. None: it stays.
    pub most: Option<Duration>,
}

impl fmt::Debug for StdioSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioSpec").field("command", &self.command).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row that open it.
    pub failures: u32,
    pub open_for: Duration,
    pub half_open_calls: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    pub interval: Duration,
    pub timeout: Duration,
    pub unhealthy_after: u32,
}

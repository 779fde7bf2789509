//! Flags, their environment twins, and the secrets that come by environment or file alone (`interfaces.md` 1).
//!
//! It parses and judges what stands on one line; what a value means for the plane is `start.rs`.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, builder::BoolishValueParser};
use secrecy::SecretString;
use sentinel_dataplane::{
    feed::endpoint::ControlPlane,
    listen::attach::order::{Order, Target},
};
use thiserror::Error;

use crate::logging::Format;

/// The governed point that every MCP call passes.
#[derive(Debug, Parser)]
#[command(name = "sentinel-dataplane", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) logs: Logs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args, Debug)]
pub(crate) struct Logs {
    /// What is logged: a level, or tracing filter syntax.
    #[arg(long, global = true, env = "SENTINEL_LOG", hide_env_values = true, default_value = "info")]
    pub(crate) log: String,
    /// human or json; without it human on a terminal, json otherwise.
    #[arg(long, global = true, env = "SENTINEL_LOG_FORMAT", hide_env_values = true)]
    pub(crate) log_format: Option<Format>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves MCP until SIGTERM.
    Serve(Serve),
    /// Connects one client's stdin and stdout to the running plane, or is a plane for it (--alone).
    Stdio(Stdio),
    /// Says by its exit code whether the plane on this machine is well: 0 it is, 1 it is not.
    Health(Health),
    /// Break-glass: stops a tool, a backend or everything on the plane that runs here, without a control plane.
    #[command(subcommand)]
    Kill(Kill),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Kill {
    /// One tool, by the name under which it is listed
    Tool(Named),
    /// A backend with all its tools
    Backend(Named),
    /// Every call of everybody
    All(KillCommon),
}

#[derive(Args, Debug)]
pub(crate) struct Named {
    name: String,
    /// Also a name that this plane does not know
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    common: KillCommon,
}

#[derive(Args, Debug)]
pub(crate) struct KillCommon {
    /// End it: what was stopped here goes on
    #[arg(long)]
    lift: bool,
    /// Told to callers, and kept
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    pub(crate) home: DataDir,
    /// The plane's socket [default: plane/plane.sock in the data directory]
    #[arg(long, value_name = "SOCKET", env = "SENTINEL_ATTACH", hide_env_values = true)]
    pub(crate) attach: Option<PathBuf>,
    /// The outcome as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Kill {
    /// What the plane is told, and where it is.
    pub(crate) fn order(self) -> (Order, KillCommon) {
        let (scope, name, force, common) = match self {
            Self::Tool(named) => (Target::Tool, named.name, named.force, named.common),
            Self::Backend(named) => (Target::Backend, named.name, named.force, named.common),
            Self::All(common) => (Target::All, String::new(), false, common),
        };
        (Order { scope, name, reason: common.reason.clone(), lift: common.lift, force }, common)
    }
}

/// What belongs to a plane, however its clients come in.
#[derive(Args, Debug)]
pub(crate) struct PlaneFlags {
    /// unix:PATH or http(s)://HOST:PORT [default: the socket in the data directory]
    #[arg(long, value_name = "URL", env = "SENTINEL_CONTROL_PLANE", hide_env_values = true)]
    pub(crate) control_plane: Option<ControlPlane>,
    /// A configuration with mode = "none" is taken: every caller on this machine is let in.
    #[arg(long, env = "SENTINEL_ALLOW_ANONYMOUS", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub(crate) allow_anonymous: bool,
    /// The control plane may be reached in the clear beyond this machine.
    #[arg(long, env = "SENTINEL_INSECURE_GRPC", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub(crate) insecure_grpc: bool,
    /// How people call this plane [default: the host's name]
    #[arg(long, value_name = "NAME", env = "SENTINEL_PLANE_NAME", hide_env_values = true)]
    pub(crate) plane_name: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) plane: PlaneFlags,
    #[command(flatten)]
    pub(crate) home: DataDir,
    #[command(flatten)]
    pub(crate) ports: PortFlags,
}

#[derive(Args, Debug)]
pub(crate) struct PortFlags {
    /// Where MCP is served [default: what the configuration says, else 127.0.0.1:9200]
    #[arg(long, value_name = "ADDR", env = "SENTINEL_LISTEN", hide_env_values = true)]
    pub(crate) listen: Option<SocketAddr>,
    /// Where /health, /ready and /metrics are served.
    #[arg(
        long,
        value_name = "ADDR",
        env = "SENTINEL_OPS_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:9201"
    )]
    pub(crate) ops_listen: SocketAddr,
    /// Listeners may be reachable from other machines.
    #[arg(long, env = "SENTINEL_ALLOW_REMOTE", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub(crate) allow_remote: bool,
}

#[derive(Args, Debug)]
pub(crate) struct Stdio {
    #[command(flatten)]
    pub(crate) home: DataDir,
    /// The plane's socket [default: plane/plane.sock in the data directory]
    #[arg(long, value_name = "SOCKET", env = "SENTINEL_ATTACH", hide_env_values = true, conflicts_with = "alone")]
    pub(crate) attach: Option<PathBuf>,
    /// Runs a whole plane for this client, in this process: it needs no plane beside it, and opens no port.
    #[arg(long, env = "SENTINEL_ALONE", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub(crate) alone: bool,
    /// A virtual server of the configuration: what is offered at its endpoint [default: all, as at /mcp]
    #[arg(long, value_name = "NAME", env = "SENTINEL_SERVER", hide_env_values = true)]
    pub(crate) server: Option<String>,
    #[command(flatten, next_help_heading = "As a plane of its own")]
    pub(crate) plane: PlaneFlags,
}

#[derive(Args, Debug)]
pub(crate) struct Health {
    /// The plane's ops address [default: what SENTINEL_OPS_LISTEN says, else http://127.0.0.1:9201]
    #[arg(long, value_name = "URL", env = "SENTINEL_OPS", hide_env_values = true)]
    pub(crate) ops: Option<String>,
    /// Not only that it runs: that it takes calls. Shows SENTINEL_OPS_TOKEN, where it is set.
    #[arg(long, env = "SENTINEL_READY", hide_env_values = true, value_parser = BoolishValueParser::new())]
    pub(crate) ready: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DataDir {
    /// Where state lives [default: $XDG_STATE_HOME/sentinel, as root /var/lib/sentinel]
    #[arg(long, value_name = "DIR", env = "SENTINEL_DATA_DIR", hide_env_values = true)]
    pub(crate) data_dir: Option<PathBuf>,
}

impl DataDir {
    pub(crate) fn path(self) -> PathBuf {
        self.data_dir.unwrap_or_else(|| sentinel_dataplane::identity::default_data_dir(|name| std::env::var(name).ok()))
    }
}

#[derive(Debug, Error)]
pub(crate) enum SecretError {
    #[error("{0} and {0}_FILE are both set; unset one of them")]
    Both(&'static str),
    #[error("{name}_FILE names {path}, which can't be read: {source}")]
    Unreadable { name: &'static str, path: String, source: std::io::Error },
    #[error("{0} is empty; unset it or give it a value")]
    Empty(&'static str),
}

/// The secret `name`, from the environment or from the file that `<name>_FILE` names.
pub(crate) fn secret(
    name: &'static str,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<SecretString>, SecretError> {
    let text = match (variable(name), variable(&format!("{name}_FILE"))) {
        (Some(_), Some(_)) => return Err(SecretError::Both(name)),
        (Some(text), None) => text,
        (None, Some(path)) => {
            std::fs::read_to_string(&path).map_err(|source| SecretError::Unreadable { name, path, source })?
        }
        (None, None) => return Ok(None),
    };
    match text.trim() {
        "" => Err(SecretError::Empty(name)),
        text => Ok(Some(text.into())),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn the_flags_are_consistent_and_each_names_its_variable() {
        let command = Cli::command();
        command.clone().debug_assert();
        for name in ["serve", "stdio", "health"] {
            let found = command.find_subcommand(name).unwrap();
            for flag in found.get_arguments().filter(|flag| flag.get_long().is_some() && !flag.is_hide_set()) {
                let expected = format!("SENTINEL_{}", flag.get_long().unwrap().replace('-', "_").to_uppercase());
                assert_eq!(flag.get_env().unwrap().to_str().unwrap(), expected);
            }
        }
    }

    #[test]
    fn a_secret_comes_from_the_environment_or_a_file_and_not_from_both() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "from file\n").unwrap();
        let path = path.to_str().unwrap().to_owned();
        let ask = |set: &[(&str, &str)]| {
            let held: Vec<_> = set.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            secret("T", move |name| held.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
        };
        assert!(ask(&[]).unwrap().is_none());
        assert_eq!(ask(&[("T", "direct")]).unwrap().unwrap().expose_secret(), "direct");
        assert_eq!(ask(&[("T_FILE", &path)]).unwrap().unwrap().expose_secret(), "from file");
        assert!(matches!(ask(&[("T", "a"), ("T_FILE", &path)]), Err(SecretError::Both("T"))));
        assert!(matches!(ask(&[("T", " ")]), Err(SecretError::Empty("T"))));
        assert!(matches!(ask(&[("T_FILE", "/nowhere/at/all")]), Err(SecretError::Unreadable { .. })));
    }
}

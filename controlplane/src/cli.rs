//! The command line and its environment variables. Secrets never come by flag: `secrets.rs` reads them.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::home;
use crate::logs::Format;

/// Sentinel's control plane: owns the configuration and the store, and pushes both to the planes.
///
/// Secrets come by environment or file alone: SENTINEL_ADMIN_TOKEN, SENTINEL_PLANE_TOKEN, SENTINEL_DATABASE_URL,
/// SENTINEL_OPS_TOKEN, each with a _FILE twin. Exit codes: 0 done, 1 failed, 2 usage or configuration, 255 bug.
#[derive(Debug, Parser)]
#[command(name = "sentinel-controlplane", version)]
pub struct Cli {
    /// Level or filter of the log (`info`, `debug`, `info,sqlx=warn`)
    #[arg(long, env = "SENTINEL_LOG", default_value = "info", global = true)]
    pub log: String,
    /// Form of the log lines: text on a terminal, else JSON
    #[arg(long, env = "SENTINEL_LOG_FORMAT", value_enum, default_value_t, global = true)]
    pub log_format: Format,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the control plane
    Serve(Box<Serve>),
    /// Say everything that is wrong with a configuration file
    Check {
        /// The file, usually sentinel.toml
        file: PathBuf,
    },
    /// Print the snapshot that a configuration file makes, as JSON
    Compile {
        file: PathBuf,
        #[command(flatten)]
        data_dir: DataDir,
    },
    /// Say by the exit code whether the control plane on this machine is well: 0 it is, 1 it is not
    Health(Health),
    /// Bring the store to this version's schema, and end
    Migrate {
        #[command(flatten)]
        data_dir: DataDir,
    },
}

#[derive(Args, Clone, Debug)]
pub struct Health {
    /// Its ops address [default: what SENTINEL_OPS_LISTEN says, else http://127.0.0.1:9301]
    #[arg(long, env = "SENTINEL_OPS", value_name = "URL")]
    pub ops: Option<String>,
    /// Not only that it runs: that its store and its configuration are good. Shows SENTINEL_OPS_TOKEN, where it is set
    #[arg(long, env = "SENTINEL_READY")]
    pub ready: bool,
}

#[derive(Args, Clone, Debug)]
pub struct DataDir {
    /// Where state lives [default: $XDG_STATE_HOME/sentinel, as root /var/lib/sentinel]
    #[arg(long, env = "SENTINEL_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl DataDir {
    pub fn path(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(home::default_root)
    }
}

#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// The configuration file
    #[arg(long, env = "SENTINEL_CONFIG", value_name = "FILE")]
    pub config: PathBuf,
    #[command(flatten)]
    pub data_dir: DataDir,
    /// Leave changes of the file to `sentinelctl reload` and SIGHUP
    #[arg(long, env = "SENTINEL_NO_WATCH", value_parser = clap::builder::BoolishValueParser::new())]
    pub no_watch: bool,
    /// Answer gRPC on TCP too, for other machines (usually port 9300)
    #[arg(long, env = "SENTINEL_GRPC_LISTEN", value_name = "ADDR")]
    pub grpc_listen: Option<SocketAddr>,
    /// Where /health, /ready and /metrics are answered
    #[arg(long, env = "SENTINEL_OPS_LISTEN", value_name = "ADDR", default_value = "127.0.0.1:9301")]
    pub ops_listen: SocketAddr,
    /// Allow listeners that other machines can reach
    #[arg(long, env = "SENTINEL_ALLOW_REMOTE")]
    pub allow_remote: bool,
    /// Allow gRPC beyond loopback without TLS
    #[arg(long, env = "SENTINEL_INSECURE_GRPC")]
    pub insecure_grpc: bool,
    /// Certificate chain (PEM) of the TCP gRPC listener
    #[arg(long, env = "SENTINEL_GRPC_TLS_CERT", value_name = "FILE", requires = "grpc_tls_key")]
    pub grpc_tls_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, env = "SENTINEL_GRPC_TLS_KEY", value_name = "FILE", requires = "grpc_tls_cert")]
    pub grpc_tls_key: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_flag_has_its_environment_variable() {
        Cli::command().debug_assert();
        let command = Cli::command();
        let of = |name| command.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
        for flag in of("serve").chain(of("health")).chain(command.get_arguments()) {
            let Some(long) = flag.get_long().filter(|long| !["help", "version"].contains(long)) else {
                continue;
            };
            let twin = format!("SENTINEL_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(flag.get_env().and_then(|env| env.to_str()), Some(twin.as_str()), "--{long}");
        }
    }
}

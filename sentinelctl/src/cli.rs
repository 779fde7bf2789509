//! The command line as a whole: what every command takes, and which commands there are. A family's own verbs stand in
//! its file. What belongs to a later issue is known here, so that it is refused by name and not taken for a typo.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sentinel_proto::v1::ToolListRequest;

use crate::fault::Fault;
use crate::output::Format;
use crate::{
    audit, backend, completion, config, connect, explain, kill, plane, reload, status, token, tool, tool_trust, up,
};

/// The operator's command line of the Sentinel gateway.
#[derive(Debug, Parser)]
#[command(
    name = "sentinelctl",
    version,
    subcommand_required = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage or configuration error, 3 cannot reach the control plane,\n\
                  4 refused (not permitted, not acknowledged by every plane in time), 255 bug."
)]
pub struct Cli {
    #[command(flatten)]
    pub connection: Connection,
    /// What results look like on stdout; JSON is stable
    #[arg(
        long,
        global = true,
        help_heading = "Everywhere",
        value_enum,
        default_value = "table",
        env = "SENTINEL_OUTPUT"
    )]
    pub output: Format,
    /// Only results and problems, no notes
    #[arg(long, global = true, help_heading = "Everywhere", env = "SENTINEL_QUIET", value_parser = clap::builder::BoolishValueParser::new())]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// How the control plane is found.
#[derive(Clone, Debug, Default, Args)]
pub struct Connection {
    /// Control plane: unix:PATH, http://HOST:PORT or https://HOST:PORT; found by itself when not given
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "URL", env = "SENTINEL_ENDPOINT")]
    pub endpoint: Option<String>,
    /// Where state lives; default: $XDG_STATE_HOME/sentinel, as root /var/lib/sentinel
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "DIR", env = "SENTINEL_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// PEM file of the authority of an https:// endpoint
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "FILE", env = "SENTINEL_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// Send the admin token in the clear to an http:// endpoint beyond this machine
    #[arg(long, global = true, help_heading = "Everywhere", env = "SENTINEL_INSECURE_GRPC", value_parser = clap::builder::BoolishValueParser::new())]
    pub insecure_grpc: bool,
}

/// One a command family.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start both daemons on this machine and say what to do next
    Up(Box<up::Args>),
    /// Planes, revision, kill switches, backends, audit lag
    Status(status::Args),
    /// Validate the configuration file, publish it, wait for every plane
    Reload(reload::Args),
    /// Stop a tool, a backend, a client, a role or everything at once, or lift that
    #[command(subcommand)]
    KillSwitch(kill::Verb),
    /// The configuration: check a file, show and compare revisions, roll back
    #[command(subcommand)]
    Config(config::Verb),
    /// Tokens for clients: mint with the built-in key, revoke
    #[command(subcommand)]
    Token(token::Verb),
    /// What was called, by whom, and how it ended
    #[command(subcommand)]
    Audit(audit::Verb),
    /// The MCP servers behind the gateway
    #[command(subcommand)]
    Backend(backend::Verb),
    /// The merged catalogue, and calls through the gateway
    #[command(subcommand)]
    Tool(tool::Verb),
    /// The data planes
    #[command(subcommand)]
    Plane(plane::Verb),
    /// Why a call went as it went; or what would become of one
    ///
    /// Of a call that was made: where it ended, by which line of the configuration that was in force, how long its backend
    /// took, what the client was told. Of one that is not made (--client, --tool): every connected plane says what it would
    /// decide now, by the code that decides about calls; nothing is sent, counted or recorded. A client's roles stand in
    /// its token, not in the configuration: without --role they are taken from its last call in the audit.
    Explain(explain::Args),
    /// A client's configuration for this gateway, with a token: printed, or put into the client's file
    Connect(Box<connect::Args>),
    /// What is wrong with this installation, one hint under each failure
    Doctor,
    /// A script that completes command lines of this program in a shell
    Completion(completion::Args),
}

/// Whatever follows a command of a later issue.
#[derive(Debug, Args)]
pub struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub rest: Vec<String>,
}

/// A command whose arguments are understood; what is left is to ask the control plane.
#[derive(Debug)]
pub enum Prepared {
    Status(status::Args),
    Reload(reload::Args),
    Kill(kill::Ask),
    Config(config::Ask),
    Token(token::Ask),
    Audit(audit::Ask),
    Backend(backend::Ask),
    Explain(explain::Ask),
    ToolList(ToolListRequest),
    ToolShow { name: String },
    ToolTrust(tool_trust::Ask),
    Plane(plane::Ask),
}

impl Command {
    /// Errors: `Usage` for what is wrong already here (a moment, a file that cannot be read).
    pub fn prepared(self) -> Result<Prepared, Fault> {
        Ok(match self {
            Self::Status(args) => Prepared::Status(args),
            Self::Reload(args) => Prepared::Reload(args),
            Self::KillSwitch(verb) => Prepared::Kill(verb.prepared()),
            Self::Config(verb) => Prepared::Config(verb.prepared()?),
            Self::Token(verb) => Prepared::Token(verb.prepared()?),
            Self::Audit(verb) => Prepared::Audit(verb.prepared()?),
            Self::Backend(verb) => Prepared::Backend(verb.prepared()),
            Self::Explain(args) => Prepared::Explain(args.prepared()?),
            Self::Tool(tool::Verb::List { role, server }) => Prepared::ToolList(ToolListRequest {
                role: role.unwrap_or_default(),
                server: server.unwrap_or_default(),
            }),
            Self::Tool(tool::Verb::Show { name }) => Prepared::ToolShow { name },
            Self::Tool(tool::Verb::Approve(args)) => Prepared::ToolTrust(tool_trust::Ask::Approve(args)),
            Self::Tool(tool::Verb::Quarantine(args)) => Prepared::ToolTrust(tool_trust::Ask::Quarantine(args)),
            Self::Plane(verb) => Prepared::Plane(verb.prepared()),
            // Answered before: `up` and `tool call` find their own way, `completion` needs none, the rest was refused.
            Self::Up(_) | Self::Tool(_) | Self::Connect(_) | Self::Doctor | Self::Completion(_) => {
                return Err(Fault::Usage("this command does not ask the control plane".to_owned()));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        let cli =
            Cli::try_parse_from(["sentinelctl", "plane", "list", "--output", "json", "--data-dir", "/d"]).unwrap();
        assert_eq!(cli.output, Format::Json);
        assert_eq!(cli.connection.data_dir, Some(PathBuf::from("/d")));
    }
}

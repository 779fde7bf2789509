//! `sentinelctl up`: both daemons as children of one process, for a laptop or one server, and what to do next.
//!
//! It starts, restarts and ends them, and hands on signals. It takes part in no call and keeps nothing but `up.json`:
//! what it prints it asked of the control plane and the gateway, like anybody else.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::cli::Connection;
use crate::fault::Fault;
use crate::locate::{self, World};
use crate::output::Output;
use crate::{clock, env_file, import};

pub mod child;
pub mod file;
pub mod next_steps;
pub mod place;
pub mod sample;
mod supervise;

use child::Daemon;
use next_steps::Running;

/// What belongs to one daemon, or to `up` itself, and would mislead the other: both read the same names.
const NOT_PASSED_ON: &[&str] = &[
    "SENTINEL_LISTEN",
    "SENTINEL_OPS_LISTEN",
    "SENTINEL_CONTROLPLANE_OPS_LISTEN",
    "SENTINEL_GRPC_LISTEN",
    "SENTINEL_DATA_DIR",
    "SENTINEL_CONFIG",
    "SENTINEL_CONTROL_PLANE",
    "SENTINEL_TOKEN",
    "SENTINEL_TOKEN_FILE",
];
/// The plane has no business with the store or with the admin's power.
const NOT_FOR_THE_PLANE: &[&str] = &[
    "SENTINEL_LISTEN",
    "SENTINEL_OPS_LISTEN",
    "SENTINEL_CONTROLPLANE_OPS_LISTEN",
    "SENTINEL_GRPC_LISTEN",
    "SENTINEL_DATA_DIR",
    "SENTINEL_CONFIG",
    "SENTINEL_CONTROL_PLANE",
    "SENTINEL_TOKEN",
    "SENTINEL_TOKEN_FILE",
    "SENTINEL_ADMIN_TOKEN",
    "SENTINEL_ADMIN_TOKEN_FILE",
    "SENTINEL_DATABASE_URL",
    "SENTINEL_DATABASE_URL_FILE",
];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration; default: ./sentinel.toml, $XDG_CONFIG_HOME/sentinel/sentinel.toml, /etc/sentinel/sentinel.toml
    #[arg(long, value_name = "FILE", env = "SENTINEL_CONFIG")]
    config: Option<PathBuf>,
    /// Where MCP is spoken; default: the file's, else 127.0.0.1:9200
    #[arg(long, value_name = "ADDR", env = "SENTINEL_LISTEN")]
    listen: Option<String>,
    /// The data plane's /health, /ready and /metrics
    #[arg(long, value_name = "ADDR", env = "SENTINEL_OPS_LISTEN", default_value = "127.0.0.1:9201")]
    ops_listen: String,
    /// The control plane's
    #[arg(long, value_name = "ADDR", env = "SENTINEL_CONTROLPLANE_OPS_LISTEN", default_value = "127.0.0.1:9301")]
    controlplane_ops_listen: String,
    /// Also speak gRPC on TCP, for planes on other machines (9300 is usual)
    #[arg(long, value_name = "ADDR", env = "SENTINEL_GRPC_LISTEN")]
    grpc_listen: Option<String>,
    /// Listen on other addresses than this machine's own
    #[arg(long, env = "SENTINEL_ALLOW_REMOTE", value_parser = clap::builder::BoolishValueParser::new())]
    allow_remote: bool,
    /// Callers without tokens, where the file says [auth] mode = "none"
    #[arg(long, env = "SENTINEL_ALLOW_ANONYMOUS", value_parser = clap::builder::BoolishValueParser::new())]
    allow_anonymous: bool,
    /// What people call the plane; default: the host's name
    #[arg(long, value_name = "NAME", env = "SENTINEL_PLANE_NAME")]
    plane_name: Option<String>,
    /// Level or filter of both daemons' logs
    #[arg(long, value_name = "FILTER", env = "SENTINEL_LOG")]
    log: Option<String>,
    /// Form of their lines: human or json
    #[arg(long, value_name = "FORM", env = "SENTINEL_LOG_FORMAT")]
    log_format: Option<String>,
    /// The role of the token that is printed; default: the file's first that allows everything, else its first
    #[arg(long)]
    role: Option<String>,
    /// On a first run: make the configuration out of a client's mcpServers JSON, then start
    #[arg(long, value_name = "FILE")]
    import: Option<PathBuf>,
}

/// Runs until a signal or until a daemon cannot be kept alive. Errors: one sentence for each thing in the way.
pub async fn run(args: Args, connection: &Connection, world: &World, output: &mut Output) -> Result<(), Fault> {
    if let Some(file) = &args.import {
        imported(file, args.config.as_deref(), world, output)?;
    }
    let config = file::find(args.config.as_deref(), world)?;
    let variables = variables(&config, world, output)?;
    let text = std::fs::read_to_string(&config).unwrap_or_default(); // unreadable: the control plane says it best
    let glimpse = file::glimpse(&text);
    let data_dir = connection.data_dir.clone().or_else(|| world.default_data_dir()).ok_or_else(|| {
        Fault::Usage(
            "no place for the state: neither HOME nor XDG_STATE_HOME is set; name one with --data-dir".to_owned(),
        )
    })?;
    let programs = (program("sentinel-controlplane", world)?, program("sentinel-dataplane", world)?);
    let place = place::take(&data_dir, world, clock::rfc3339_ms(clock::now_ms()))?;
    let listen = args.listen.clone().or_else(|| glimpse.listen.clone()).unwrap_or_else(|| "127.0.0.1:9200".to_owned());
    place::try_port(&listen, "MCP", "--listen")?;
    place::try_port(&args.ops_listen, "the data plane's ops port", "--ops-listen")?;
    place::try_port(&args.controlplane_ops_listen, "the control plane's ops port", "--controlplane-ops-listen")?;
    if let Some(grpc) = &args.grpc_listen {
        place::try_port(grpc, "gRPC", "--grpc-listen")?;
    }
    let setpriv = setpriv(world).await;
    if setpriv.is_none() {
        output.note("no usable `setpriv` here: if this process is killed with SIGKILL, the daemons go on without it");
    }
    let (control, mut plane) = daemons(&args, connection, world, &place, &config, programs, setpriv);
    plane.envs.extend(variables);
    let running = Running {
        connection: connection.clone(),
        world: world.clone(),
        data_dir: place.data_dir.clone(),
        endpoint: place.endpoint.clone(),
        found_by_itself: place.found_by_itself,
        listen,
        ops_listen: args.ops_listen.clone(),
        controlplane_ops_listen: args.controlplane_ops_listen.clone(),
        role: args.role.clone().or(glimpse.first_role),
        anonymous: glimpse.anonymous,
        plane_program: plane.program.clone(),
    };
    output.note(&format!("starting with {} on {}", config.display(), place.data_dir.display()));
    let outcome = Box::pin(supervise::supervise(control, plane, running, output)).await;
    drop(place);
    outcome
}

/// Makes the configuration that is to be started, unless there is one.
fn imported(file: &Path, config: Option<&Path>, world: &World, output: &mut Output) -> Result<(), Fault> {
    let there = match config {
        Some(config) => config.exists().then(|| config.to_owned()),
        None => file::find(None, world).ok(),
    };
    let Some(there) = there else {
        return import::first_run(file, config.unwrap_or_else(|| Path::new("sentinel.toml")), world, output);
    };
    output.note(&format!(
        "{0} is there already, so {1} is not read again; `sentinelctl config import {1} --config {0} --append` adds to it",
        there.display(),
        file.display()
    ));
    Ok(())
}

/// The file of variables beside the configuration, without what is set in our environment already.
fn variables(config: &Path, world: &World, output: &mut Output) -> Result<Vec<(String, String)>, Fault> {
    let path = env_file::beside(config);
    let held = env_file::read(&path).map_err(Fault::Usage)?;
    let open_to_others = std::fs::metadata(&path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    if open_to_others {
        output.note(&format!("others can read the secrets in {0}; `chmod 600 {0}`", path.display()));
    }
    // Ours are chosen by flags; a variable of theirs must not choose otherwise.
    let ours = |name: &str| name.starts_with("SENTINEL_") || matches!(name, "PATH" | "HOME");
    Ok(held.into_iter().filter(|(name, _)| !ours(name) && world.var(name).is_none()).collect())
}

fn daemons(
    args: &Args,
    connection: &Connection,
    world: &World,
    place: &place::Place,
    config: &Path,
    programs: (PathBuf, PathBuf),
    setpriv: Option<PathBuf>,
) -> (Daemon, Daemon) {
    let mut envs = Vec::new();
    for (name, on) in [
        ("SENTINEL_ALLOW_REMOTE", args.allow_remote),
        ("SENTINEL_ALLOW_ANONYMOUS", args.allow_anonymous),
        ("SENTINEL_INSECURE_GRPC", connection.insecure_grpc),
    ] {
        if on {
            envs.push((name.to_owned(), "true".to_owned()));
        }
    }
    // Their stderr is a pipe to us: what they would choose on our terminal has to be said.
    let form = args.log_format.clone().or_else(|| world.stderr_is_terminal().then(|| "human".to_owned()));
    for (name, value) in [
        ("SENTINEL_LOG", args.log.clone()),
        ("SENTINEL_LOG_FORMAT", form),
        ("SENTINEL_PLANE_NAME", args.plane_name.clone()),
    ] {
        envs.extend(value.map(|value| (name.to_owned(), value)));
    }
    let dir: OsString = place.data_dir.clone().into();
    let mut control: Vec<OsString> =
        vec!["serve".into(), "--config".into(), config.into(), "--data-dir".into(), dir.clone()];
    control.extend(["--ops-listen".into(), args.controlplane_ops_listen.clone().into()]);
    if let Some(grpc) = &args.grpc_listen {
        control.extend(["--grpc-listen".into(), grpc.into()]);
    }
    let mut plane: Vec<OsString> =
        vec!["serve".into(), "--control-plane".into(), place.endpoint.clone().into(), "--data-dir".into(), dir];
    plane.extend(["--ops-listen".into(), args.ops_listen.clone().into()]);
    // Not said, it follows the file: so a first start moves once to the address that the file names.
    if let Some(listen) = &args.listen {
        plane.extend(["--listen".into(), listen.into()]);
    }
    let spool = Some(place.data_dir.join("plane/spool"));
    let (control_program, plane_program) = programs;
    (
        Daemon {
            name: "control plane",
            program: control_program,
            args: control,
            envs: envs.clone(),
            unset: NOT_PASSED_ON,
            spool: None,
            setpriv: setpriv.clone(),
        },
        Daemon {
            name: "data plane",
            program: plane_program,
            args: plane,
            envs,
            unset: NOT_FOR_THE_PLANE,
            spool,
            setpriv,
        },
    )
}

/// From our own folder, else from PATH. Errors: in neither.
pub(crate) fn program(name: &str, world: &World) -> Result<PathBuf, Fault> {
    let own = std::env::current_exe().ok().and_then(|exe| exe.parent().map(|dir| dir.join(name)));
    own.filter(|path| path.is_file()).or_else(|| on_path(name, world)).ok_or_else(|| {
        Fault::Failed(format!(
            "{name} is neither beside this program nor on the PATH; build or install it (cargo build --workspace)"
        ))
    })
}

fn on_path(name: &str, world: &World) -> Option<PathBuf> {
    std::env::split_paths(world.var("PATH")?).map(|dir| dir.join(name)).find(|path| path.is_file())
}

/// `setpriv` of util-linux: the one way, without unsafe code here, to have the children told when we are killed.
async fn setpriv(world: &World) -> Option<PathBuf> {
    let path = on_path("setpriv", world)?;
    let mut tried = tokio::process::Command::new(&path);
    tried.args(["--pdeathsig", "TERM", "--", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    tried.status().await.is_ok_and(|status| status.success()).then_some(path)
}

/// Where `sentinelctl` finds this control plane again.
fn place_of(running: &Running) -> locate::Place {
    locate::Place {
        from: "up".to_owned(),
        endpoint: Ok(running.endpoint.clone()),
        data_dir: Some(running.data_dir.clone()),
    }
}

//! The operator's command line: one file a command family, all of them thin over `AdminService`.
//!
//! What it does not do: decide. Names, limits and permissions are judged by the control plane and the planes; here
//! a question is asked, the answer printed, and an exit code chosen (`fault.rs`). Printing is `output.rs` alone.

use std::process::ExitCode;

use clap::Parser as _;

pub mod audit;
pub mod backend;
mod backup;
pub mod cli;
pub mod client;
mod clock;
pub mod completion;
pub mod config;
pub mod connect;
mod diff;
pub mod doctor;
pub mod env_file;
pub mod explain;
pub mod fault;
pub mod import;
pub mod jsonc;
pub mod kill;
mod layout;
pub mod locate;
pub mod mcp;
pub mod output;
mod plan;
pub mod plane;
pub mod printable;
pub mod reload;
pub mod status;
pub mod token;
pub mod tool;
pub mod tool_show;
pub mod tool_trust;
pub mod up;
mod wrap;

use cli::{Cli, Command};
use fault::Fault;
use locate::World;
use output::Output;

/// Parses the process's arguments, runs the command, and gives the exit code of interfaces.md 1.
///
/// One thread: the parent-death signal of `up`'s children hangs on the thread that started them.
#[must_use]
pub fn main() -> ExitCode {
    let ran = std::panic::catch_unwind(|| {
        let cli = match Cli::try_parse() {
            Ok(cli) => cli,
            Err(error) => {
                // `print` can only fail where nothing can be told any more.
                let _unprinted = error.print().is_err();
                return u8::try_from(error.exit_code()).unwrap_or(2);
            }
        };
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(_) => return 1,
        };
        let world = World::of_process();
        let mut output = Output::of_process(cli.output, cli.quiet, &world);
        runtime.block_on(run(cli, &world, &mut output))
    });
    ExitCode::from(ran.unwrap_or(255))
}

/// Runs one command; every word goes to `output`. Gives the exit code: 0, 1, 2, 3 or 4.
pub async fn run(cli: Cli, world: &World, output: &mut Output) -> u8 {
    let outcome = Box::pin(dispatch(cli, world, output)).await;
    if let Err(fault) = &outcome {
        output.problem(&fault.to_string());
    }
    match (outcome, output.finish()) {
        (Err(fault), _) => fault.exit_code(),
        (Ok(()), Err(_)) => 1,
        (Ok(()), Ok(())) => 0,
    }
}

async fn dispatch(cli: Cli, world: &World, output: &mut Output) -> Result<(), Fault> {
    let Cli { connection, output: _, quiet: _, command } = cli;
    match command {
        Command::Up(args) => return Box::pin(up::run(*args, &connection, world, output)).await,
        Command::Config(config::Verb::Import(args)) => return Box::pin(import::run(args, world, output)).await,
        Command::Doctor => return Box::pin(doctor::run(&connection, world, output)).await,
        Command::Connect(args) => return Box::pin(connect::run(*args, &connection, world, output)).await,
        Command::Completion(args) => return completion::run(&args, output),
        Command::Tool(tool::Verb::Call(args)) => {
            return Box::pin(tool::call(args, &connection, world, output)).await;
        }
        _ => {}
    }
    // What can be said without the control plane is said before it is looked for.
    let prepared = command.prepared()?;
    let mut client = client::connect(&connection, world).await?;
    match prepared {
        cli::Prepared::Status(args) => status::run(&mut client, &args, output).await,
        cli::Prepared::Reload(request) => reload::run(&mut client, world, request, output).await,
        cli::Prepared::Kill(ask) => kill::run(&mut client, world, ask, output).await,
        cli::Prepared::Config(ask) => config::run(&mut client, world, ask, output).await,
        cli::Prepared::Token(ask) => token::run(&mut client, world, ask, output).await,
        cli::Prepared::Audit(ask) => audit::run(&mut client, ask, output).await,
        cli::Prepared::Explain(ask) => explain::run(&mut client, ask, output).await,
        cli::Prepared::Backend(ask) => backend::run(&mut client, world, ask, output).await,
        cli::Prepared::ToolList(request) => tool::list(&mut client, request, output).await,
        cli::Prepared::ToolTrust(ask) => tool_trust::run(&mut client, world, ask, output).await,
        cli::Prepared::ToolShow { name } => tool_show::run(&mut client, name, output).await,
        cli::Prepared::Plane(ask) => plane::run(&mut client, world, ask, output).await,
    }
}

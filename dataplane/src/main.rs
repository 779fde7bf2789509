//! `sentinel-dataplane`: parses, starts logs, and hands over to one command. It builds nothing itself.
//!
//! `reap` must run before any thread is there, and knows no flags: it is what the plane starts for its children.

mod alone;
mod cli;
#[cfg(feature = "count-allocations")]
mod counting;
mod drain;
mod health;
mod listeners;
mod logging;
mod look;
mod ports;
mod running;
mod spine;
mod start;

use std::process::ExitCode;

use clap::Parser as _;

use self::cli::{Cli, Command};

/// Usage or configuration.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // Before anything else is looked at: every page that is touched stays in memory as long as the plane lives.
    if std::env::args_os().nth(1).is_some_and(|word| word == "reap") {
        return sentinel_dataplane::backend::stdio::reaper::run(std::io::stdin());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(fault) => {
            // Help and versions are results, the rest is advice; clap knows which goes where.
            let code = if fault.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            return if fault.print().is_ok() { code } else { ExitCode::FAILURE };
        }
    };
    #[cfg(feature = "count-allocations")]
    if let Some(socket) = std::env::var_os("SENTINEL_BENCH_ALLOCATIONS")
        && let Err(fault) = counting::tell(std::path::Path::new(&socket))
    {
        return refuse(&format!("SENTINEL_BENCH_ALLOCATIONS: {fault}"));
    }
    if let Err(fault) = logging::start(&cli.logs.log, cli.logs.log_format) {
        return refuse(&fault);
    }
    match cli.command {
        Command::Serve(flags) => start::serve(flags),
        Command::Stdio(flags) if flags.alone => alone::run(flags),
        Command::Stdio(flags) => start::stdio(flags),
        Command::Kill(flags) => start::kill(flags),
        Command::Health(flags) => well(&flags),
    }
}

/// `sentinel-dataplane health`.
fn well(flags: &cli::Health) -> ExitCode {
    let variable = |name: &str| std::env::var(name).ok();
    let token = match cli::secret("SENTINEL_OPS_TOKEN", variable) {
        Ok(token) => token,
        Err(fault) => return refuse(&fault.to_string()),
    };
    let at = match health::at(flags.ops.as_deref(), variable("SENTINEL_OPS_LISTEN").as_deref()) {
        Ok(at) => at,
        Err(fault) => return refuse(&fault.to_string()),
    };
    match health::ask(&at, flags.ready, token.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(unwell) => tell(&unwell.to_string(), 1),
    }
}

/// One plain line on stderr, exit code 2.
fn refuse(why: &str) -> ExitCode {
    tell(why, USAGE)
}

fn tell(why: &str, code: u8) -> ExitCode {
    use std::io::Write as _;
    // Where stderr is gone the exit code has to do.
    writeln!(std::io::stderr(), "sentinel-dataplane: {why}").ok();
    ExitCode::from(code)
}

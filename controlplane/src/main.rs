//! The program `sentinel-controlplane`: reads the command line, does what it says, and turns the end into an exit code.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use sentinel_controlplane::cli::{Cli, Command, Health};
use sentinel_controlplane::clock::Clock;
use sentinel_controlplane::config::BuiltInKey;
use sentinel_controlplane::home::Home;
use sentinel_controlplane::revisions::{read_file, sentence};
use sentinel_controlplane::signing::SigningKey;
use sentinel_controlplane::{health, logs, secrets, serve, snapshot_json};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::Health(flags) = &cli.command {
        return well(flags);
    }
    if let Err(why) = logs::start(&cli.log, cli.log_format) {
        return fail(2, &why);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return fail(1, &format!("can't start: {why}")),
    };
    runtime.block_on(run(cli.command))
}

async fn run(command: Command) -> ExitCode {
    let clock = Clock::system();
    match command {
        Command::Serve(flags) => match Box::pin(serve::serve(*flags, clock)).await {
            Ok(code) => ExitCode::from(code),
            Err(why) => fail(why.exit(), &why.to_string()),
        },
        Command::Check { file } => check(&file).await,
        Command::Compile { file, data_dir } => compile(&file, &data_dir.path()).await,
        Command::Migrate { data_dir } => migrate(&data_dir.path(), &clock).await,
        Command::Health(flags) => well(&flags),
    }
}

/// `sentinel-controlplane health`: no runtime, no log.
fn well(flags: &Health) -> ExitCode {
    let token = match secrets::from_environment("SENTINEL_OPS_TOKEN") {
        Ok(token) => token,
        Err(why) => return fail(2, &why.to_string()),
    };
    let listens = std::env::var("SENTINEL_OPS_LISTEN").ok();
    let at = match health::at(flags.ops.as_deref(), listens.as_deref()) {
        Ok(at) => at,
        Err(why) => return fail(2, &why.to_string()),
    };
    match health::ask(&at, flags.ready, token.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(unwell) => fail(1, &unwell.to_string()),
    }
}

async fn check(file: &Path) -> ExitCode {
    // Any key will do: what is checked is the text.
    match read_file(file, &BuiltInKey { public: [0; 32] }).await {
        Ok((_, loaded)) => {
            for warning in &loaded.warnings {
                say(&format!("warning: {warning}"));
            }
            say(&format!("{}: good", file.display()));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            for problem in &problems {
                say(&sentence(problem));
            }
            ExitCode::from(2)
        }
    }
}

async fn compile(file: &Path, data_dir: &Path) -> ExitCode {
    let public = match SigningKey::load(&Home::at(data_dir)) {
        Ok(Some(key)) => key.public(),
        Ok(None) => {
            tracing::warn!("there is no signing.key yet: the built-in key's public half is shown as zeros");
            [0; 32]
        }
        Err(why) => return fail(2, &why.to_string()),
    };
    match read_file(file, &BuiltInKey { public }).await {
        Ok((_, loaded)) => {
            say(&snapshot_json::text(&loaded.snapshot, &loaded.digest));
            ExitCode::SUCCESS
        }
        Err(problems) => {
            for problem in &problems {
                tell(&sentence(problem));
            }
            ExitCode::from(2)
        }
    }
}

async fn migrate(data_dir: &Path, clock: &Clock) -> ExitCode {
    let home = match Home::open(data_dir) {
        Ok(home) => home,
        Err(why) => return fail(2, &why.to_string()),
    };
    let place = match serve::place(&home) {
        Ok(place) => place,
        Err(why) => return fail(2, &why.to_string()),
    };
    match serve::open(&place, clock).await {
        Ok(store) => {
            say(&format!("the {} store has this version's schema", store.kind()));
            store.close().await;
            ExitCode::SUCCESS
        }
        Err(why) => fail(1, &why.to_string()),
    }
}

/// A line of the result. A reader that went away is no fault of ours.
fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").ok();
}

fn tell(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}

fn fail(code: u8, why: &str) -> ExitCode {
    tell(&format!("sentinel-controlplane: {why}"));
    ExitCode::from(code)
}

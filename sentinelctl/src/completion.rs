//! `sentinelctl completion`: a script for a shell, made from the command line as it is.

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::Shell;
use serde_json::json;

use crate::cli::Cli;
use crate::fault::Fault;
use crate::output::Output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose script it is
    #[arg(value_enum)]
    shell: For,
}

/// The shells that are tried.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum For {
    Bash,
    Zsh,
    Fish,
}

/// Prints the script. Errors: `Failed` where it is no text, which would be a bug of the generator.
pub fn run(args: &Args, output: &mut Output) -> Result<(), Fault> {
    let (name, shell) = match args.shell {
        For::Bash => ("bash", Shell::Bash),
        For::Zsh => ("zsh", Shell::Zsh),
        For::Fish => ("fish", Shell::Fish),
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "sentinelctl", &mut script);
    let script =
        String::from_utf8(script).map_err(|why| Fault::Failed(format!("the script for {name} is no text: {why}")))?;
    output.json(&json!({ "shell": name, "script": script }));
    output.verbatim(script.trim_end());
    Ok(())
}

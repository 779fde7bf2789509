//! `sentinelctl config import FILE`: a client's list of MCP servers becomes a configuration of this gateway.
//!
//! `servers.rs` reads the client's file, `secrets.rs` takes secrets out of it, `write.rs` makes the TOML, the file of
//! variables and puts both in place. What is not carried over is named, each with its line; nothing is started here.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::fault::Fault;
use crate::jsonc::Mistake;
use crate::locate::World;
use crate::output::{Output, Rows, Tone, plain};
use crate::{jsonc, up};

mod secrets;
mod servers;
mod template;
mod write;

use servers::Imported;
use write::Put;

/// A list of servers is some kilobytes; Claude Code's own file may hold years of history.
const LARGEST: u64 = 64 * 1024 * 1024;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The client's file: .mcp.json, ~/.claude.json, claude_desktop_config.json, mcp.json of Cursor or VS Code
    file: PathBuf,
    /// The configuration to make; its secrets go into the file beside it that ends in .env
    #[arg(long, value_name = "FILE", default_value = "sentinel.toml")]
    config: PathBuf,
    /// Add the servers to a configuration that is there
    #[arg(long)]
    append: bool,
    /// Show what would be written, and write nothing
    #[arg(long)]
    dry_run: bool,
}

/// Reads, writes, and says what became of each server. Errors: `Usage` with every place that is wrong in the client's
/// file (nothing is written then); `Failed` where the result cannot be written, or the control plane's program refuses it.
pub async fn run(args: Args, world: &World, output: &mut Output) -> Result<(), Fault> {
    let put = import(&args.file, &args.config, args.append, args.dry_run, world)?;
    let problems = if args.dry_run { Vec::new() } else { check(&args.config, world, output).await };
    output.json(&to_json(&args, &put, &problems));
    if args.dry_run {
        output.verbatim(put.toml.trim_end());
    }
    say(&args.file, &put, output);
    if args.dry_run {
        return Ok(());
    }
    if problems.is_empty() {
        let config = args.config.display();
        output.verbatim(&format!("start:  sentinelctl up --config {config}"));
        output.line("        (or `sentinelctl reload` where it runs already)");
        return Ok(());
    }
    for problem in &problems {
        output.problem(problem);
    }
    Err(Fault::Failed(format!("{} is written, and not good yet: mend what is named above", args.config.display())))
}

/// For `up --import`, on a first run: makes `config` out of `file` and says what became of each server.
pub(crate) fn first_run(file: &Path, config: &Path, world: &World, output: &mut Output) -> Result<(), Fault> {
    let put = import(file, config, false, false, world)?;
    say(file, &put, output);
    Ok(())
}

fn import(file: &Path, config: &Path, append: bool, dry_run: bool, world: &World) -> Result<Put, Fault> {
    let text = read(file)?;
    let located = |mistakes: &[Mistake]| {
        let lines: Vec<String> = mistakes.iter().map(|mistake| format!("{}:{mistake}", file.display())).collect();
        Fault::Usage(format!("{}\nnothing was written", lines.join("\n")))
    };
    let root = jsonc::parse(&text).map_err(|mistake| located(&[mistake]))?;
    let held = write::held(config, append)?;
    let folder = std::path::absolute(file).ok().and_then(|file| Some(file.parent()?.to_owned()));
    let imported = servers::read(&text, &root, &held, &folder.unwrap_or_default(), world)
        .map_err(|mistakes| located(&mistakes))?;
    write::put(imported, file, config, &held, dry_run)
}

fn read(file: &Path) -> Result<String, Fault> {
    let told = |why: String| Fault::Usage(format!("{}: {why}", file.display()));
    let length = std::fs::metadata(file).map_err(|why| told(why.to_string()))?.len();
    if length > LARGEST {
        return Err(told("is larger than 64 MiB; that is no list of servers".to_owned()));
    }
    let bytes = std::fs::read(file).map_err(|why| told(why.to_string()))?;
    String::from_utf8(bytes).map_err(|_| told("is not UTF-8 text".to_owned()))
}

/// What the control plane's own program says of the result; nothing where it is not there.
async fn check(config: &Path, world: &World, output: &mut Output) -> Vec<String> {
    let Ok(program) = up::program("sentinel-controlplane", world) else {
        output
            .note("sentinel-controlplane is not here, so the result is not checked yet: `sentinel-controlplane check`");
        return Vec::new();
    };
    let ran = tokio::process::Command::new(program).arg("check").arg(config).output().await;
    match ran {
        Ok(ran) if ran.status.success() => Vec::new(),
        Ok(ran) => String::from_utf8_lossy(&ran.stderr).lines().map(str::to_owned).collect(),
        Err(why) => vec![format!("the result could not be checked: {why}")],
    }
}

fn say(file: &Path, put: &Put, output: &mut Output) {
    let mut rows = Rows::new(&["SERVER", "BACKEND", "TYPE", "STATE"]);
    for backend in &put.imported.backends {
        let state = match &backend.off {
            Some(why) => (format!("written as a comment: {why}"), Tone::Doubtful),
            None => ("taken over".to_owned(), Tone::Good),
        };
        rows.push([plain(&backend.from), plain(&backend.name), plain(backend.kind()), state]);
    }
    output.table(rows, "No server stands in it.");
    for note in &put.imported.notes {
        output.note(&format!("{}:{note}", file.display()));
    }
    let vars = &put.imported.vars;
    if !vars.is_empty() {
        output.line(&format!(
            "secrets: {} {} in {} (0600), named in the configuration as ${{…}}",
            vars.len(),
            if vars.len() == 1 { "value" } else { "values" },
            put.env_file.display()
        ));
    }
    for (name, why) in &put.imported.needed {
        output.note(&format!("to be set before the start: {name} ({why}); write it into {}", put.env_file.display()));
    }
    for undo in &put.undo {
        output.verbatim(&format!("undo:   {undo}"));
    }
}

fn to_json(args: &Args, put: &Put, problems: &[String]) -> Value {
    let Imported { backends, vars, needed, notes } = &put.imported;
    json!({
        "file": args.file, "config": args.config, "env_file": put.env_file, "appended": args.append,
        "written": !args.dry_run, "backup": put.backup,
        "backends": backends.iter().map(|backend| json!({
            "server": backend.from, "name": backend.name, "type": backend.kind(), "off": backend.off,
        })).collect::<Vec<_>>(),
        "variables": vars.iter().map(|(name, _)| name).collect::<Vec<_>>(),
        "needed": needed.keys().collect::<Vec<_>>(),
        "notes": notes.iter().map(|note| json!({
            "line": note.line, "col": note.col, "message": note.message,
        })).collect::<Vec<_>>(),
        "problems": problems, "undo": put.undo,
        "toml": if args.dry_run { Value::from(put.toml.as_str()) } else { Value::Null },
    })
}

//! The configuration and its file of variables, made of what was imported, and put in place whole or not at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::servers::{Backend, Imported, Kind};
use crate::fault::Fault;
use crate::up::next_steps::quoted;
use crate::{backup, env_file};

/// What lies there before.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// The configuration's text; none: it is made.
    pub(super) toml: Option<String>,
    /// Names and prefixes of its backends.
    pub(super) names: Vec<String>,
    pub(super) vars: Vec<(String, String)>,
    env: Option<String>,
}

/// What was done, or would be.
#[derive(Debug)]
pub(super) struct Put {
    pub(super) imported: Imported,
    pub(super) toml: String,
    pub(super) env_file: PathBuf,
    pub(super) backup: Option<PathBuf>,
    /// Commands that take it back.
    pub(super) undo: Vec<String>,
}

/// Errors: `Usage` where the configuration is there and is not to be added to, or does not parse.
pub(super) fn held(config: &Path, append: bool) -> Result<Held, Fault> {
    let toml = match fs::read_to_string(config) {
        Ok(_) if !append => {
            return Err(Fault::Usage(format!(
                "{0} is there already; --append adds the servers to it (a backup is kept), --config names another",
                config.display()
            )));
        }
        Ok(text) => Some(text),
        Err(why) if why.kind() == io::ErrorKind::NotFound => None,
        Err(why) => return Err(Fault::Usage(format!("{}: {why}", config.display()))),
    };
    let env_path = env_file::beside(config);
    let vars = env_file::read(&env_path).map_err(Fault::Usage)?;
    let env = fs::read_to_string(&env_path).ok();
    let names = match &toml {
        Some(text) => names(text).map_err(|why| Fault::Usage(format!("{}: {why}", config.display())))?,
        None => Vec::new(),
    };
    Ok(Held { toml, names, vars, env })
}

fn names(text: &str) -> Result<Vec<String>, String> {
    let table = DeTable::parse(text).map_err(|why| format!("is no TOML: {}", why.message()))?;
    let backends = table.get_ref().get("backends").and_then(|backends| backends.get_ref().as_array());
    let mut names = Vec::new();
    for backend in backends.into_iter().flatten() {
        let texts = ["name", "prefix"].into_iter().filter_map(|key| backend.get_ref().as_table()?.get(key));
        names.extend(texts.filter_map(|value| value.get_ref().as_str()).map(str::to_owned));
    }
    Ok(names)
}

/// Errors: `Usage` where the servers cannot simply follow what is there; `Failed` where nothing can be written.
pub(super) fn put(imported: Imported, from: &Path, config: &Path, held: &Held, dry_run: bool) -> Result<Put, Fault> {
    let toml = rendered(&imported, from, held.toml.as_deref());
    if let Err(why) = DeTable::parse(&toml) {
        let why = format!(
            "{}: the servers can't be added at its end ({}); write [[backends]] there",
            config.display(),
            why.message()
        );
        return Err(Fault::Usage(why));
    }
    let env_path = env_file::beside(config);
    let mut done = Put { imported, toml, env_file: env_path.clone(), backup: None, undo: Vec::new() };
    if dry_run {
        return Ok(done);
    }
    let failed = |path: &Path, why: &io::Error| Fault::Failed(format!("{}: {why}", path.display()));
    if let Some(folder) = config.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|why| failed(folder, &why))?;
    }
    if let Some(text) = &held.toml {
        let backup = backup::beside(config, text, "before-import", 0o644).map_err(|why| failed(config, &why))?;
        done.undo.push(format!("cp {} {}", shell(&backup), shell(config)));
        done.backup = Some(backup);
    } else {
        done.undo.push(format!("rm {}", shell(config)));
    }
    if !done.imported.vars.is_empty() || !done.imported.needed.is_empty() {
        let text = variables(&done.imported, from, held.env.as_deref());
        if let Some(env) = &held.env {
            let backup =
                backup::beside(&env_path, env, "before-import", 0o600).map_err(|why| failed(&env_path, &why))?;
            done.undo.push(format!("cp {} {}", shell(&backup), shell(&env_path)));
        } else {
            done.undo.push(format!("rm {}", shell(&env_path)));
        }
        // The secrets first: a configuration that names what is not there does not start.
        replaced(&env_path, &text, 0o600).map_err(|why| failed(&env_path, &why))?;
    }
    replaced(config, &done.toml, 0o644).map_err(|why| failed(config, &why))?;
    Ok(done)
}

fn shell(path: &Path) -> String {
    quoted(&path.display().to_string())
}

/// Written aside and renamed, with this mode.
fn replaced(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".new-{}", std::process::id()));
    let aside = PathBuf::from(aside);
    let _left_by_a_crash = fs::remove_file(&aside).is_ok();
    backup::written(&aside, text, mode)?;
    fs::rename(&aside, path)
}

fn variables(imported: &Imported, from: &Path, held: Option<&str>) -> String {
    let mut text = match held {
        Some(held) if held.ends_with('\n') || held.is_empty() => held.to_owned(),
        Some(held) => format!("{held}\n"),
        None => "# Secrets of the backends: read by `sentinelctl up` for the data plane; with systemd as EnvironmentFile=.\n".to_owned(),
    };
    text.push_str(&format!("\n# from {}\n", one_line(&from.display().to_string())));
    for (name, value) in &imported.vars {
        text.push_str(&env_file::line(name, value));
    }
    for (name, why) in &imported.needed {
        text.push_str(&format!("# {} ({}):\n#{name}=\n", "to be filled in", one_line(why)));
    }
    text
}

fn rendered(imported: &Imported, from: &Path, held: Option<&str>) -> String {
    let from = one_line(&from.display().to_string());
    let mut text = match held {
        Some(held) => format!("{}\n\n# From {from}, by `sentinelctl config import`.\n", held.trim_end()),
        None => format!(
            "# Made of {from} by `sentinelctl config import`. Keys: docs/configuration.md\n\n[auth]\n\n[roles.operator]\nallow = [\"*\"]\n"
        ),
    };
    for backend in &imported.backends {
        let table = table(backend);
        text.push('\n');
        match &backend.off {
            None => text.push_str(&table),
            Some(why) => {
                text.push_str(&format!("# {}:\n", one_line(why)));
                for line in table.lines() {
                    text.push_str(&format!("# {line}\n"));
                }
            }
        }
    }
    text
}

fn table(backend: &Backend) -> String {
    let mut text = format!("[[backends]]\nname = {}\n", basic(&backend.name));
    match &backend.kind {
        Kind::Http { url, is_sse, headers } => {
            text.push_str(&format!("type = \"http\"\nurl = {}\n", basic(url)));
            if *is_sse {
                text.push_str("transport = \"sse\"\n");
            }
            text.push_str(&pairs("headers", headers));
        }
        Kind::Stdio { command, args, env, cwd } => {
            text.push_str(&format!("type = \"stdio\"\ncommand = {}\n", basic(command)));
            if !args.is_empty() {
                let args: Vec<String> = args.iter().map(|arg| basic(arg)).collect();
                text.push_str(&format!("args = [{}]\n", args.join(", ")));
            }
            text.push_str(&pairs("env", env));
            if !cwd.is_empty() {
                text.push_str(&format!("cwd = {}\n", basic(cwd)));
            }
        }
    }
    text
}

fn pairs(key: &str, pairs: &[(String, String)]) -> String {
    if pairs.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{} = {}", word(name), basic(value))).collect();
    format!("{key} = {{ {} }}\n", pairs.join(", "))
}

/// A key: bare where it may be.
fn word(key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare { key.to_owned() } else { basic(key) }
}

/// A basic string of TOML: JSON's escapes, and DEL.
fn basic(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

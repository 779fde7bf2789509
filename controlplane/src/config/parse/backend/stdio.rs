//! What a stdio backend has beside what all have: its program, and how long its process may be there.

use sentinel_proto::v1;
use toml::de::DeValue;

use super::super::super::{
    problems::Notes,
    reader::{Placed, Section},
    values::{bytes, flag, number, template, text, word},
};
use super::{GIB, MIB, MOST_SECS, pairs, path_text, plain, secrets::env_value};

/// Keys that mean something for it alone.
pub(super) const KEYS: [&str; 17] = [
    "command",
    "args",
    "env",
    "cwd",
    "restart_on_exit",
    "max_restarts",
    "start_timeout_secs",
    "idle_stop_secs",
    "max_lifetime_secs",
    "memory_max",
    "pids_max",
    "limits_required",
    "user",
    "sandbox",
    "sandbox_network",
    "sandbox_read",
    "sandbox_write",
];
/// 30 days.
const MOST_LIFETIME: u32 = 2_592_000;

/// All but what every backend has.
pub(super) fn read(section: &mut Section<'_>, notes: &mut Notes<'_>) -> Option<v1::StdioBackend> {
    let command = section.need(notes, "command", "write the program, as in \"npx\"", command);
    let args = section.list(notes, "args", |value| template(value).map(|(text, _)| text));
    let env = section.pairs(notes, "env", env_value);
    let cwd = section.or(notes, "cwd", String::new(), path_text);
    let restart_on_exit = section.or(notes, "restart_on_exit", true, flag);
    let max_restarts = section.or(notes, "max_restarts", 5, number(0..=1000));
    let start_timeout_secs = section.or(notes, "start_timeout_secs", 30, number(1..=3600));
    let idle_stop_secs = section.or(notes, "idle_stop_secs", 0, number(0..=MOST_SECS));
    let max_lifetime_secs = section.or(notes, "max_lifetime_secs", 0, number(0..=MOST_LIFETIME));
    let (memory_max, pids_max, limits_required) = limits(section, notes);
    let user = section.or(notes, "user", String::new(), user);
    let sandbox = sandbox(section, notes);
    Some(v1::StdioBackend {
        command: command?.value,
        args: args.map(plain).unwrap_or_default(),
        env: pairs(env),
        cwd,
        restart_on_exit,
        max_restarts,
        start_timeout_secs,
        idle_stop_secs,
        max_lifetime_secs,
        memory_max,
        pids_max,
        limits_required,
        user,
        sandbox,
    })
}

/// A name or a number, as the plane's machine knows it.
fn user(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if written.is_empty() || written.len() > 32 || !written.chars().all(is_name) {
        return Err("a user is 1 to 32 of the characters A-Z a-z 0-9 _ - .; take it out to run as the plane".to_owned());
    }
    if written == "root" || written == "0" {
        return Err("root may read Sentinel's keys; name a user of its own".to_owned());
    }
    Ok(written)
}

/// What stands beside `sandbox` means nothing without it.
fn sandbox(section: &mut Section<'_>, notes: &mut Notes<'_>) -> Option<v1::Sandbox> {
    let is_on = section.or(notes, "sandbox", false, word(&[("none", false), ("bwrap", true)], &[]));
    let network = section.placed(notes, "sandbox_network", flag);
    let read = section.list(notes, "sandbox_read", absolute);
    let write = section.list(notes, "sandbox_write", absolute);
    if is_on {
        let paths = |paths: Option<Vec<_>>| paths.map(plain).unwrap_or_default();
        let network = network.is_none_or(|network| network.value);
        return Some(v1::Sandbox { network, read: paths(read), write: paths(write) });
    }
    let first = |paths: Option<Vec<Placed<String>>>| paths.and_then(|paths| Some(paths.first()?.at));
    for (key, at) in [
        ("sandbox_network", network.map(|network| network.at)),
        ("sandbox_read", first(read)),
        ("sandbox_write", first(write)),
    ] {
        if let Some(at) = at {
            let why = "there is no sandbox; write sandbox = \"bwrap\", or take it out";
            notes.error(at, format!("{}: {why}", section.name(key)));
        }
    }
    None
}

fn absolute(value: &DeValue<'_>) -> Result<String, String> {
    let written = path_text(value)?;
    if !written.starts_with('/') || written.split('/').any(|part| part == "..") {
        return Err(format!("{written:?} is no path from the root; write it like \"/srv/files\""));
    }
    Ok(written)
}

/// What its process tree may take, 0 for no limit; and whether it is refused where that can't be held.
fn limits(section: &mut Section<'_>, notes: &mut Notes<'_>) -> (u64, u32, bool) {
    let memory = section.maybe(notes, "memory_max", bytes(MIB..=1024 * GIB));
    let pids = section.maybe(notes, "pids_max", number(1..=1_000_000));
    let required = section.placed(notes, "limits_required", flag);
    if let Some(required) = required.as_ref().filter(|required| required.value)
        && memory.is_none()
        && pids.is_none()
    {
        let why = "there is no limit beside it; write memory_max or pids_max, or take it out";
        notes.error(required.at, format!("{}: {why}", section.name("limits_required")));
    }
    (memory.unwrap_or(0), pids.unwrap_or(0), required.is_some_and(|required| required.value))
}

fn command(value: &DeValue<'_>) -> Result<String, String> {
    let written = path_text(value)?;
    if written.trim().is_empty() {
        return Err("cannot be empty; write the program, as in \"npx\"".to_owned());
    }
    if written.contains(' ') && !written.contains('/') {
        return Err("is one program, no shell line; put what follows it into args = [\"…\"]".to_owned());
    }
    Ok(written)
}

//! What a stdio backend has beside what all have: its program, and how long its process may be there.

use sentinel_proto::v1;
use toml::de::DeValue;

use super::super::super::{
    problems::Notes,
    reader::Section,
    values::{flag, number, template},
};
use super::{MOST_SECS, pairs, path_text, plain, secrets::env_value};

/// Keys that mean something for it alone.
pub(super) const KEYS: [&str; 9] = [
    "command",
    "args",
    "env",
    "cwd",
    "restart_on_exit",
    "max_restarts",
    "start_timeout_secs",
    "idle_stop_secs",
    "max_lifetime_secs",
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
    })
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

//! The definition of a stdio backend, as this machine runs it: its program found, its limits judged.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;
use sentinel_proto::v1;

use super::{Resolver, Unresolved};
use crate::backend::{
    spec::{Kind, Life, StdioSpec},
    stdio::{
        apart::{Sandbox, User},
        cgroup::Limits,
        spawner::Spawner,
    },
};

pub(super) fn spec(
    stdio: &v1::StdioBackend,
    resolver: &Resolver,
    faults: &mut Vec<Unresolved>,
) -> (Option<Kind>, Vec<SecretString>) {
    let mut fill = |key: String, text: &str| match resolver.fill(text) {
        Ok(value) => Some(value),
        Err(message) => {
            faults.push(Unresolved { key, message });
            None
        }
    };
    let args: Vec<_> = stdio.args.iter().enumerate().filter_map(|(at, arg)| fill(format!("args[{at}]"), arg)).collect();
    let env: Vec<_> = stdio
        .env
        .iter()
        .filter_map(|pair| fill(format!("env.{}", pair.key), &pair.value).map(|value| (pair.key.clone(), value)))
        .collect();
    let command = match find_command(&stdio.command) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(message) => {
            faults.push(Unresolved { key: "command".into(), message });
            String::new()
        }
    };
    let limits = limits(stdio, resolver, faults);
    let (user, sandbox) = apart(stdio, Path::new(&command), resolver, faults);
    let resolved = args.iter().cloned().chain(env.iter().map(|(_, value)| value.clone())).collect();
    let spec = StdioSpec {
        command,
        args,
        env,
        cwd: (!stdio.cwd.is_empty()).then(|| PathBuf::from(&stdio.cwd)),
        restart_on_exit: stdio.restart_on_exit,
        max_restarts: stdio.max_restarts,
        start_timeout: Duration::from_secs(stdio.start_timeout_secs.max(1).into()),
        life: Life { idle_stop: unless_zero(stdio.idle_stop_secs), most: unless_zero(stdio.max_lifetime_secs) },
        limits,
        user,
        sandbox,
    };
    (Some(Kind::Stdio(spec)), resolved)
}

/// Errors: what must be held and can't be.
fn limits(stdio: &v1::StdioBackend, resolver: &Resolver, faults: &mut Vec<Unresolved>) -> Limits {
    let limits = Limits {
        memory: (stdio.memory_max > 0).then_some(stdio.memory_max),
        pids: (stdio.pids_max > 0).then_some(stdio.pids_max),
        required: stdio.limits_required,
    };
    if let Some(spawner) = resolver.spawner.as_ref().filter(|_| limits.required) {
        faults.extend(spawner.groups().lacking(limits).into_iter().map(|(limit, why)| Unresolved {
            key: limit.key().into(),
            message: format!("limits_required, and this plane can't hold it: {why}"),
        }));
    }
    limits
}

/// Whom it runs as, and what it sees. Errors: what can't be had here.
fn apart(
    stdio: &v1::StdioBackend,
    command: &Path,
    resolver: &Resolver,
    faults: &mut Vec<Unresolved>,
) -> (Option<User>, Option<Sandbox>) {
    // Where nobody is asked, nobody is started.
    if resolver.spawner.is_none() {
        return (None, None);
    }
    let mut fault = |key: &str, message| faults.push(Unresolved { key: key.into(), message });
    let user = match stdio.user.as_str() {
        "" => None,
        user => User::find(user).map_err(|message| fault("user", message)).ok(),
    };
    let sandbox = stdio.sandbox.as_ref().and_then(|sandbox| {
        let made = sandboxed(sandbox, command, user.as_ref(), resolver);
        made.map_err(|(key, message)| fault(key, message)).ok()
    });
    (user, sandbox)
}

/// Errors: the key, and why it can't be had here.
fn sandboxed(
    wanted: &v1::Sandbox,
    command: &Path,
    user: Option<&User>,
    resolver: &Resolver,
) -> Result<Sandbox, (&'static str, String)> {
    let paths = |paths: &[String]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
    let bwrap = find_command("bwrap").map_err(|_| {
        ("sandbox", "bwrap is not on this data plane; install it (Debian: apt-get install bubblewrap)".to_owned())
    })?;
    let sandbox = Sandbox { bwrap, network: wanted.network, read: paths(&wanted.read), write: paths(&wanted.write) };
    for (key, paths) in [("sandbox_read", &sandbox.read), ("sandbox_write", &sandbox.write)] {
        if let Some(absent) = paths.iter().find(|path| !path.exists()) {
            return Err((key, format!("there is no {} on this data plane", absent.display())));
        }
    }
    let data = resolver.spawner.as_ref().and_then(Spawner::data_dir);
    if let Some((path, data)) = data.and_then(|data| Some((sandbox.opens(data)?, data))) {
        let (path, data) = (path.display(), data.display());
        let why = format!("{path} would show Sentinel's keys, which are in {data}; name folders beside it");
        return Err(("sandbox", why));
    }
    if !command.as_os_str().is_empty() && !sandbox.shows(command) {
        let why = format!("{} is not in sight inside the sandbox; add its folder to sandbox_read", command.display());
        return Err(("command", why));
    }
    sandbox.try_out(user).map_err(|message| ("sandbox", message))?;
    Ok(sandbox)
}

/// 0 is never.
fn unless_zero(secs: u32) -> Option<Duration> {
    (secs > 0).then(|| Duration::from_secs(secs.into()))
}

/// Where a command is: beside our own program, else on PATH, as the child will look for it.
fn find_command(command: &str) -> Result<PathBuf, String> {
    if command.contains('/') {
        let path = PathBuf::from(command);
        return if path.is_file() { Ok(path) } else { Err(format!("there is no file {command} on this data plane")) };
    }
    let own = std::env::current_exe().ok().and_then(|path| path.parent().map(PathBuf::from));
    let path = std::env::var_os("PATH").unwrap_or_default();
    own.into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join(command))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{command} is not found on this data plane's PATH; install it, or name its whole path"))
}

//! What lies on this machine: tokens and keys, disk, listeners, commands. It reads no secret but a token's end.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use nix::sys::statvfs::statvfs;
use serde_json::Value;

use super::Check;
use crate::locate::World;
use crate::{clock, env_file, up};

const MIB: u64 = 1 << 20;
/// Less is worth a look; records and snapshots need room.
const ROOM: u64 = 1024 * MIB;
/// Less, and a plane holds calls back (it keeps 16 MiB for itself).
const NO_ROOM: u64 = 64 * MIB;
const OLD_DAYS: i64 = 365;
const DAY_MS: i64 = 86_400_000;
/// The ops ports, where nobody chose others.
const OPS: [(u16, &str); 2] = [(9201, "the data plane's ops port"), (9301, "the control plane's ops port")];

/// What the control plane said of this machine, where it answered.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) config_file: Option<PathBuf>,
    pub(super) listens: Vec<String>,
    pub(super) commands: BTreeSet<String>,
    pub(super) data_dirs: Vec<PathBuf>,
}

pub(super) fn checks(facts: &Facts, world: &World, now_ms: i64) -> Vec<Check> {
    let mut checks = Vec::new();
    let dirs: Vec<&PathBuf> = facts.data_dirs.iter().filter(|dir| dir.is_dir()).collect();
    match dirs.first() {
        Some(dir) => {
            checks.extend(files(dir, now_ms));
            checks.extend(disk(dir));
        }
        None => {
            let tried: Vec<String> = facts.data_dirs.iter().map(|dir| dir.display().to_string()).collect();
            let text = format!("no data directory is on this machine (looked at {})", tried.join(", "));
            checks.push(Check::doubtful("files", text, "name it with --data-dir, or run doctor where the daemons run"));
        }
    }
    checks.extend(facts.config_file.as_deref().and_then(variables));
    let table = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let listening = listening(&table("/proc/net/tcp"), &table("/proc/net/tcp6"));
    checks.extend(ports(&facts.listens, &listening));
    // Commands are looked up where the plane runs; that is here where its socket is.
    if dirs.iter().any(|dir| dir.join("plane/plane.sock").exists()) {
        checks.extend(facts.commands.iter().map(|command| found(command, world)));
    }
    checks.extend(world.secret("SENTINEL_TOKEN").ok().flatten().map(|token| token_check(&token, now_ms)));
    checks
}

/// Tokens and keys in the data directory: who may read them, and how old they are.
fn files(dir: &Path, now_ms: i64) -> Vec<Check> {
    const NAME: &str = "files";
    let mut checks = Vec::new();
    let me = nix::unistd::geteuid().as_raw();
    let mut judged = |path: &Path, wanted: u32| -> Option<i64> {
        let held = std::fs::metadata(path).ok()?;
        let mode = held.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let text = format!("{} can be read by others ({mode:04o})", path.display());
            checks.push(Check::bad(NAME, text, format!("chmod {wanted:04o} {}", path.display())));
        } else if held.uid() != me && me != 0 {
            let text = format!("{} belongs to another user", path.display());
            checks.push(Check::doubtful(NAME, text, "run doctor as the user of the daemons"));
        }
        let changed = held.mtime().saturating_mul(1000);
        Some(now_ms.saturating_sub(changed) / DAY_MS)
    };
    judged(dir, 0o700);
    judged(&dir.join("controlplane/signing.key"), 0o600);
    judged(&dir.join("plane/secret"), 0o600);
    let ages: Vec<(&str, Option<i64>)> =
        ["admin.token", "plane.token"].map(|name| (name, judged(&dir.join(name), 0o600))).into();
    if checks.is_empty() {
        checks.push(Check::good(NAME, format!("{} is private", dir.display())));
    }
    for (name, days) in ages.into_iter().filter_map(|(name, days)| Some((name, days?))) {
        checks.push(if days > OLD_DAYS {
            let hint = format!("remove {} and restart the daemons: another is made", dir.join(name).display());
            Check::doubtful("tokens", format!("{name} is {days} days old"), hint)
        } else {
            Check::good("tokens", format!("{name} is {days} days old"))
        });
    }
    checks
}

fn disk(dir: &Path) -> Vec<Check> {
    const NAME: &str = "disk";
    let Ok(held) = statvfs(dir) else { return Vec::new() };
    let free = held.blocks_available().saturating_mul(held.fragment_size());
    let text = format!("{} MiB are free for {}", free / MIB, dir.display());
    let hint = "make room: without it records cannot be written, and calls are refused";
    let mut checks = vec![match free {
        _ if free < NO_ROOM => Check::bad(NAME, text, hint),
        _ if free < ROOM => Check::doubtful(NAME, text, hint),
        _ => Check::good(NAME, text),
    }];
    if held.files() > 0 && held.files_available() < 1000 {
        let text = format!("{} files can still be made there", held.files_available());
        checks.push(Check::bad(NAME, text, "remove small files: every inode is taken"));
    }
    checks
}

fn variables(config: &Path) -> Option<Check> {
    let path = env_file::beside(config);
    let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
    let shown = path.display();
    Some(match env_file::read(&path) {
        Err(why) => Check::bad("files", why, "write NAME=value, one a line"),
        Ok(_) if mode & 0o077 != 0 => Check::bad(
            "files",
            format!("{shown} holds secrets and others can read it ({mode:04o})"),
            format!("chmod 600 {shown}"),
        ),
        Ok(vars) => Check::good("files", format!("{shown} is private, {} variables", vars.len())),
    })
}

/// Listening sockets of `/proc/net/tcp` and `tcp6`.
fn listening(tcp: &str, tcp6: &str) -> Vec<SocketAddr> {
    const LISTEN: &str = "0A";
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (address, state) = (words.next()?, words.nth(1)?);
        let (address, port) = address.split_once(':').filter(|_| state == LISTEN)?;
        let port = u16::from_str_radix(port, 16).ok()?;
        // Words of four bytes, each in this machine's order.
        let mut bytes = Vec::new();
        for at in (0..address.len()).step_by(8) {
            let word = u32::from_str_radix(address.get(at..at.saturating_add(8))?, 16).ok()?;
            bytes.extend(word.to_ne_bytes());
        }
        let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
            Ok(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
            Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
        };
        Some(SocketAddr::new(ip, port))
    };
    tcp.lines().chain(tcp6.lines()).filter_map(line).collect()
}

/// Reachable only where meant: what a plane says it listens on is meant, ops ports beyond loopback want a token.
fn ports(listens: &[String], listening: &[SocketAddr]) -> Vec<Check> {
    const NAME: &str = "ports";
    let mut checks = Vec::new();
    for listen in listens {
        let Ok(meant) = listen.parse::<SocketAddr>() else { continue };
        let here = listening.iter().find(|held| held.port() == meant.port());
        checks.push(match (here, meant.ip().is_loopback()) {
            (None, _) => continue, // a plane of another machine
            (Some(_), true) => Check::good(NAME, format!("MCP at {listen}, from this machine alone")),
            (Some(_), false) => {
                let text = format!("MCP at {listen}, from other machines too, in the clear");
                Check::doubtful(NAME, text, "put TLS before it, or set gateway.listen = \"127.0.0.1:…\"")
            }
        });
    }
    for (port, what) in OPS {
        for held in listening.iter().filter(|held| held.port() == port) {
            checks.push(if held.ip().is_loopback() {
                Check::good(NAME, format!("{what} at {held}, from this machine alone"))
            } else {
                let hint = "set SENTINEL_OPS_TOKEN, or leave --allow-remote out";
                Check::doubtful(NAME, format!("{what} at {held}, from other machines too"), hint)
            });
        }
    }
    checks
}

fn found(command: &str, world: &World) -> Check {
    const NAME: &str = "commands";
    let there = if command.contains('/') {
        Some(PathBuf::from(command)).filter(|path| path.is_file())
    } else {
        up::program(command, world).ok()
    };
    match there {
        Some(path) => Check::good(NAME, format!("{command} is {}", path.display())),
        None => {
            let hint = match command {
                "npx" | "node" | "npm" => "install Node.js; its folder must be on the data plane's PATH",
                "uvx" | "uv" => "install uv; its folder must be on the data plane's PATH",
                "docker" => "install Docker, or run the server elsewhere and name its url",
                _ => "install it, or name its whole path in `command`",
            };
            Check::bad(NAME, format!("{command} is not found from here"), hint)
        }
    }
}

/// A client's token in `SENTINEL_TOKEN`: its end, unverified.
fn token_check(token: &str, now_ms: i64) -> Check {
    const NAME: &str = "tokens";
    let claims =
        token.split('.').nth(1).and_then(|part| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).ok());
    let claims = claims.and_then(|claims| serde_json::from_slice::<Value>(&claims).ok());
    let renew = "sentinelctl token mint --client NAME --role ROLE";
    let Some(end) = claims.as_ref().and_then(|claims| claims.get("exp")).and_then(Value::as_i64) else {
        return Check::bad(NAME, "SENTINEL_TOKEN is no token with an end", renew);
    };
    let left = end.saturating_mul(1000).saturating_sub(now_ms);
    let at = clock::rfc3339_ms(end.saturating_mul(1000));
    match left {
        ..0 => Check::bad(NAME, format!("SENTINEL_TOKEN ended at {at}"), renew),
        _ if left < 7 * DAY_MS => Check::doubtful(NAME, format!("SENTINEL_TOKEN ends soon, at {at}"), renew),
        _ => Check::good(NAME, format!("SENTINEL_TOKEN holds until {at}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::State;

    #[test]
    fn listeners_are_read_from_the_kernels_tables() {
        let tcp = "  sl  local_address rem_address   st\n   0: 0100007F:23F0 00000000:0000 0A 0 0\n   1: 00000000:23F1 00000000:0000 0A 0 0\n   2: 0100007F:1F90 00000000:0000 01 0 0\n";
        let tcp6 = "   0: 00000000000000000000000001000000:2455 00000000000000000000000000000000:0000 0A 0 0\n";
        let found: Vec<String> = listening(tcp, tcp6).iter().map(SocketAddr::to_string).collect();
        assert_eq!(found, ["127.0.0.1:9200", "0.0.0.0:9201", "[::1]:9301"]);
        let checks = ports(&["127.0.0.1:9200".to_owned(), "10.0.0.9:1".to_owned()], &listening(tcp, tcp6));
        let states: Vec<State> = checks.iter().map(|check| check.state).collect();
        assert_eq!(states, [State::Good, State::Doubtful, State::Good], "{checks:?}");
    }

    #[test]
    fn a_token_that_others_can_read_is_bad_and_says_how_to_mend_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let token = dir.path().join("admin.token");
        std::fs::write(&token, "x").unwrap();
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
        let checks = files(dir.path(), clock::now_ms());
        assert_eq!(checks[0].state, State::Bad, "{checks:?}");
        assert!(checks[0].hint.starts_with("chmod 0600"), "{checks:?}");
        std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(files(dir.path(), clock::now_ms()).iter().all(|check| check.state == State::Good));
    }

    #[test]
    fn a_tokens_end_is_seen() {
        let token = |exp: i64| {
            let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}"));
            format!("e30.{claims}.x")
        };
        assert_eq!(token_check(&token(10), 20_000).state, State::Bad);
        assert_eq!(token_check(&token(30), 20_000).state, State::Doubtful);
        assert_eq!(token_check(&token(10_000_000), 20_000).state, State::Good);
        assert_eq!(token_check("nonsense", 0).state, State::Bad);
    }

    #[test]
    fn a_missing_command_is_named_with_its_remedy() {
        let world = World::made_of(&[("PATH", "/nowhere")]);
        let check = found("npx", &world);
        assert_eq!(check.state, State::Bad);
        assert!(check.hint.contains("Node.js"), "{check:?}");
        assert_eq!(found("/bin/sh", &world).state, State::Good);
    }
}

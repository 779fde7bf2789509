//! From text to a `Config` whose every value is sane by itself. What only the whole file can tell (duplicates,
//! names that must exist) is asked by `validate`.

mod auth;
mod backend;
mod roles;
mod settings;
mod virtual_servers;

use sentinel_proto::v1;
use toml::de::DeTable;

use super::keys;
use super::problems::{Lines, Notes};
use super::reader::{Placed, Section};
use super::{FileKill, MAX_FILE_BYTES};

pub(super) use auth::Auth;
pub(super) use virtual_servers::VirtualServer;

/// A file as it was meant, with the places that later questions need.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) gateway: v1::Gateway,
    pub(super) public_url: Option<Placed<String>>,
    pub(super) auth: Auth,
    pub(super) roles: Vec<Placed<v1::Role>>,
    pub(super) rate_limit: v1::RateLimit,
    pub(super) kills: Vec<Kill>,
    pub(super) catalog: v1::Catalog,
    pub(super) arguments: v1::ArgumentMode,
    pub(super) pinning: v1::Pinning,
    pub(super) backends: Vec<Placed<v1::Backend>>,
    pub(super) virtual_servers: Vec<Placed<VirtualServer>>,
    pub(super) health: v1::Health,
    pub(super) circuit_breaker: v1::CircuitBreaker,
    pub(super) audit: v1::AuditPolicy,
    pub(super) retention_days: u32,
}

/// One entry of `[kill_switch]`.
#[derive(Debug)]
pub(super) struct Kill {
    pub(super) scope: v1::Scope,
    pub(super) name: Placed<String>,
}

impl Kill {
    pub(super) fn at_line(&self, lines: &Lines<'_>) -> FileKill {
        FileKill { scope: self.scope, name: self.name.value.clone(), line: lines.place(self.name.at).0 }
    }
}

/// Reads the whole text; `None` (and notes) where there is nothing to go on with.
pub(super) fn config(text: &str, notes: &mut Notes<'_>) -> Option<Config> {
    if text.len() > MAX_FILE_BYTES {
        notes.error(0, format!("the file has {} bytes; at most {MAX_FILE_BYTES} are read", text.len()));
        return None;
    }
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        notes.syntax(at, format!("not TOML: {}; mend this line first", error.message()));
    }
    let mut file = Section::new(document.into_inner(), &keys::FILE, String::new(), 0);

    let (gateway, public_url) = settings::gateway(file.section(notes, "gateway", &keys::GATEWAY), notes);
    let auth = auth::auth(&mut file, notes);
    let roles = roles::roles(&mut file, notes);
    let rate_limit = roles::rate_limit(file.section(notes, "rate_limit", &keys::RATE_LIMIT), notes);
    let kills = roles::kills(file.section(notes, "kill_switch", &keys::KILL_SWITCH), notes);
    let catalog = settings::catalog(file.section(notes, "catalog", &keys::CATALOG), notes);
    let arguments = settings::schema(file.section(notes, "schema", &keys::SCHEMA), notes);
    let pinning = settings::pinning(file.section(notes, "pinning", &keys::PINNING), notes);
    let backends = backend::backends(&mut file, notes);
    let virtual_servers = virtual_servers::virtual_servers(&mut file, notes);
    let health = settings::health(file.section(notes, "health", &keys::HEALTH), notes);
    let breaker = file.section(notes, "circuit_breaker", &keys::CIRCUIT_BREAKER);
    let circuit_breaker = settings::circuit_breaker(breaker, notes);
    let (audit, retention_days) = settings::audit(file.section(notes, "audit", &keys::AUDIT), notes);
    file.finish(notes);

    Some(Config {
        gateway,
        public_url,
        auth,
        roles,
        rate_limit,
        kills,
        catalog,
        arguments,
        pinning,
        backends,
        virtual_servers,
        health,
        circuit_breaker,
        audit,
        retention_days,
    })
}

/// The values without their places.
fn values<T>(list: Vec<Placed<T>>) -> Vec<T> {
    list.into_iter().map(|placed| placed.value).collect()
}

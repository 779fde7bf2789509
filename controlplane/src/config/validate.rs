//! What only the whole file can tell: names that stand twice, names that must exist, settings that do not fit each
//! other. It changes nothing.

use std::collections::BTreeMap;

use sentinel_proto::v1::{self, Scope};

use super::names::{MAX_EXPOSED, WARN_EXPOSED, nearest};
use super::parse::Config;
use super::problems::Notes;
use super::reader::Placed;

pub(super) fn whole(config: &Config, notes: &mut Notes<'_>) {
    keys(config, notes);
    roles(config, notes);
    backends(config, notes);
    kills(config, notes);
    virtual_servers(config, notes);
}

fn keys(config: &Config, notes: &mut Notes<'_>) {
    let mut seen = BTreeMap::new();
    for key in &config.auth.keys {
        // Without an id a key is found by its algorithm, so that must be its own.
        let id = if key.value.kid.is_empty() {
            (None, key.value.algorithm.as_str())
        } else {
            (Some(key.value.kid.as_str()), "")
        };
        if seen.insert(id, key.at).is_some() {
            let message = match id {
                (Some(kid), _) => {
                    format!("auth.keys: kid {kid:?} stands twice; each key has its own")
                }
                (None, algorithm) => {
                    format!("auth.keys: two {algorithm} keys without `kid`; give each the id that its tokens carry")
                }
            };
            notes.error(key.at, message);
        }
    }
}

fn roles(config: &Config, notes: &mut Notes<'_>) {
    let known = || config.roles.iter().map(|role| role.value.name.as_str());
    match &config.auth.default_role {
        Some(role) if !known().any(|known| known == role.value) => {
            notes.error(
                role.at,
                format!(
                    "auth.default_role: there is no role {:?}; {}",
                    role.value,
                    meant(&role.value, known(), "write [roles.NAME]")
                ),
            );
        }
        None if config.auth.anonymous => {
            notes.warn(
                config.auth.at,
                "auth: mode = \"none\" without default_role: everyone comes in and sees nothing; set default_role",
            );
        }
        Some(_) | None => {}
    }
    for Placed { at, value: (scope, role) } in &config.auth.scopes {
        if !known().any(|known| known == role) {
            let advice = meant(role, known(), "write [roles.NAME]");
            notes.error(*at, format!("auth.scopes.{scope:?}: there is no role {role:?}; {advice}"));
        }
    }
    if let (Some(first), None) = (config.auth.authorization_servers.first(), &config.public_url) {
        let why = "clients get tokens for the URL that they call";
        let advice = "write [gateway] public_url = \"https://mcp.example.com\"";
        notes.error(first.at, format!("auth.authorization_servers: {why}; {advice}"));
    }
    if config.roles.is_empty() {
        notes.warn(0, "there is no role, so nobody sees a tool; write [roles.operator] with allow = [\"*\"]");
    }
}

fn backends(config: &Config, notes: &mut Notes<'_>) {
    let mut names = BTreeMap::new();
    let mut prefixes = BTreeMap::new();
    for (index, placed) in config.backends.iter().enumerate() {
        let backend = &placed.value;
        let path = format!("backends[{index}]");
        if let Some(first) = names.insert(backend.name.as_str(), index) {
            notes.error(
                placed.at,
                format!("{path}: the name {:?} is already that of backends[{first}]; choose another", backend.name),
            );
        } else if !backend.prefix.is_empty()
            && let Some(first) = prefixes.insert(backend.prefix.as_str(), index)
        {
            notes.error(
                placed.at,
                format!(
                    "{path}: the prefix {:?} is already that of backends[{first}]; set prefix = \"…\"",
                    backend.prefix
                ),
            );
        }
        lengths(backend, &path, &config.catalog.separator, placed.at, notes);
    }
}

/// Exposed names are `<prefix><separator><tool>`; what the backend will offer is not known here, renames are.
fn lengths(backend: &v1::Backend, path: &str, separator: &str, at: usize, notes: &mut Notes<'_>) {
    let before = if backend.prefix.is_empty() { 0 } else { backend.prefix.len() + separator.len() };
    if before >= MAX_EXPOSED {
        notes.error(at, format!("{path}: prefix and separator have {before} characters, so no tool name fits into {MAX_EXPOSED}; set a shorter prefix"));
    } else if before >= WARN_EXPOSED {
        notes.warn(at, format!("{path}: prefix and separator alone have {before} characters; clients that put their own before it want at most {WARN_EXPOSED} for the whole name, so set a shorter prefix"));
    }
    for v1::Pair { key, value } in &backend.rename {
        let length = before + value.len();
        if length > MAX_EXPOSED {
            notes.error(at, format!("{path}: {key:?} would be exposed with {length} characters; at most {MAX_EXPOSED} are taken, so rename it shorter"));
        } else if length > WARN_EXPOSED {
            notes.warn(at, format!("{path}: {key:?} is exposed with {length} characters; above {WARN_EXPOSED} some clients refuse it, so rename it shorter"));
        }
    }
}

/// An entry for what does not exist is kept (it may be about to come), and said.
fn kills(config: &Config, notes: &mut Notes<'_>) {
    let backends: Vec<&str> = config.backends.iter().map(|backend| backend.value.name.as_str()).collect();
    let roles: Vec<&str> = config.roles.iter().map(|role| role.value.name.as_str()).collect();
    for kill in &config.kills {
        let (what, known) = match kill.scope {
            Scope::Backend => ("backend", &backends),
            Scope::Role => ("role", &roles),
            Scope::Tool | Scope::Client | Scope::All | Scope::Unspecified => continue,
        };
        let name = kill.name.value.as_str();
        if !known.contains(&name) {
            let advice = meant(name, known.iter().copied(), "take it out if it is not to come");
            notes.warn(kill.name.at, format!("kill_switch: there is no {what} {name:?}; {advice}"));
        }
    }
}

/// What names something that no backend has is an error here: such an endpoint would be there and lack what was meant.
fn virtual_servers(config: &Config, notes: &mut Notes<'_>) {
    let backends = || config.backends.iter().map(|backend| &backend.value);
    let separator = config.catalog.separator.as_str();
    let mut names = BTreeMap::new();
    for (index, placed) in config.virtual_servers.iter().enumerate() {
        let server = &placed.value;
        let path = format!("virtual_servers[{index}]");
        if let Some(first) = names.insert(server.name.as_str(), index) {
            let name = &server.name;
            notes.error(
                placed.at,
                format!("{path}: the name {name:?} is already that of virtual_servers[{first}]; choose another"),
            );
        }
        for named in &server.backends {
            let known = || backends().map(|backend| backend.name.as_str());
            if !known().any(|known| known == named.value) {
                let advice = meant(&named.value, known(), "write [[backends]] for it, or take it out");
                notes.error(named.at, format!("{path}.backends: there is no backend {:?}; {advice}", named.value));
            }
        }
        for pattern in &server.include {
            let written = pattern.value.as_str();
            let exposed = written.strip_prefix("prompt:").unwrap_or(written);
            // What a URI begins with is a backend's own.
            let is_uri = written.starts_with("resource:");
            if is_uri || config.backends.is_empty() || backends().any(|backend| may_fit(exposed, backend, separator)) {
                continue;
            }
            let begun = exposed.split(separator).next().unwrap_or_default();
            let advice = nearest(begun, backends().map(|backend| backend.prefix.as_str())).map_or_else(
                || format!("names are PREFIX{separator}NAME, as `sentinelctl tool list` shows them"),
                |near| format!("did you mean \"{near}{separator}…\"?"),
            );
            notes.error(pattern.at, format!("{path}.include: {written:?} fits no backend's prefix; {advice}"));
        }
    }
}

/// Whether a name that this backend could give fits the pattern, as far as the prefix tells.
fn may_fit(pattern: &str, backend: &v1::Backend, separator: &str) -> bool {
    let literal = pattern.split(['*', '?']).next().unwrap_or_default();
    let start = if backend.prefix.is_empty() { String::new() } else { format!("{}{separator}", backend.prefix) };
    // A pattern without wildcards that ends in the prefix would be a name of nothing behind it.
    let is_longer = literal.len() > start.len() || literal.len() < pattern.len();
    literal.starts_with(&start) && is_longer || literal.len() < pattern.len() && start.starts_with(literal)
}

fn meant<'c>(written: &str, known: impl Iterator<Item = &'c str>, otherwise: &str) -> String {
    nearest(written, known).map_or_else(|| otherwise.to_owned(), |near| format!("did you mean {near:?}?"))
}

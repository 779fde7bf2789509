//! What `up` reads of the configuration file by itself: where it lies, which address it names, which role to show first.
//!
//! It judges nothing: a file that is wrong in any way is the control plane's to refuse, with every problem and place.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::fault::Fault;
use crate::locate::World;

/// The little that `up` wants to know; empty where the file does not parse.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Glimpse {
    /// `[gateway] listen`
    pub listen: Option<String>,
    /// Names of roles, in the file's order.
    pub roles: Vec<String>,
    /// The first role that allows everything, else the first.
    pub first_role: Option<String>,
    /// `[auth] mode = "none"`
    pub anonymous: bool,
}

/// `--config`, else the first of the usual places that exists; absolute. Errors: `Usage`, naming each place.
pub fn find(named: Option<&Path>, world: &World) -> Result<PathBuf, Fault> {
    let absolute =
        |path: &Path| std::path::absolute(path).map_err(|error| Fault::Usage(format!("{}: {error}", path.display())));
    if let Some(path) = named {
        let path = absolute(path)?;
        return match std::fs::File::open(&path) {
            Ok(_) => Ok(path),
            Err(error) => Err(Fault::Usage(format!("--config {}: {error}", path.display()))),
        };
    }
    let config_home = world.var("XDG_CONFIG_HOME").map(PathBuf::from);
    let config_home = config_home.or_else(|| world.var("HOME").map(|home| Path::new(home).join(".config")));
    let mut places = vec![PathBuf::from("sentinel.toml")];
    places.extend(config_home.map(|dir| dir.join("sentinel/sentinel.toml")));
    places.push(PathBuf::from("/etc/sentinel/sentinel.toml"));
    if let Some(found) = places.iter().find(|path| path.is_file()) {
        return absolute(found);
    }
    let tried: Vec<String> = places.iter().map(|path| path.display().to_string()).collect();
    Err(Fault::Usage(format!("no configuration file: looked for {}; name one with --config", tried.join(", "))))
}

/// Reads what can be read of it.
#[must_use]
pub fn glimpse(text: &str) -> Glimpse {
    let Ok(table) = DeTable::parse(text) else {
        return Glimpse::default();
    };
    let table = table.get_ref();
    let text_of = |section: &str, key: &str| {
        let value = table.get(section)?.get_ref().as_table()?.get(key)?;
        value.get_ref().as_str().map(str::to_owned)
    };
    let mut roles: Vec<(usize, String, bool)> = Vec::new();
    if let Some(named) = table.get("roles").and_then(|roles| roles.get_ref().as_table()) {
        for (name, role) in named {
            roles.push((name.span().start, name.get_ref().to_string(), allows_everything(role.get_ref())));
        }
    }
    roles.sort_unstable();
    let first = roles.iter().find(|(_, _, all)| *all).or_else(|| roles.first());
    Glimpse {
        listen: text_of("gateway", "listen"),
        first_role: first.map(|(_, name, _)| name.clone()),
        roles: roles.into_iter().map(|(_, name, _)| name).collect(),
        anonymous: text_of("auth", "mode").as_deref() == Some("none"),
    }
}

fn allows_everything(role: &DeValue<'_>) -> bool {
    let Some(role) = role.as_table() else {
        return false;
    };
    let list = |key: &str| role.get(key).and_then(|value| value.get_ref().as_array());
    let all = list("allow").is_some_and(|allow| allow.iter().any(|glob| glob.get_ref().as_str() == Some("*")));
    all && list("deny").is_none_or(|deny| deny.is_empty()) && !role.contains_key("rules")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_role_that_allows_everything_is_shown() {
        let seen = glimpse(
            "[gateway]\nlisten = \"127.0.0.1:7\"\n[roles.zoo]\nallow = [\"x__*\"]\n[roles.boss]\nallow = [\"*\"]\n[roles.all]\nallow = [\"*\"]\n",
        );
        assert_eq!(seen.first_role.as_deref(), Some("boss"));
        assert_eq!(seen.roles, ["zoo", "boss", "all"]);
        assert_eq!(seen.listen.as_deref(), Some("127.0.0.1:7"));
    }

    #[test]
    fn without_such_a_role_it_is_the_files_first() {
        assert_eq!(glimpse("[roles.b]\nallow = [\"b*\"]\n[roles.a]\nallow = []\n").first_role.as_deref(), Some("b"));
        assert_eq!(glimpse("[roles.b\n"), Glimpse::default());
    }

    #[test]
    fn no_file_anywhere_names_the_places() {
        let world = World::made_of(&[("XDG_CONFIG_HOME", "/nowhere")]);
        let fault = find(None, &world).unwrap_err();
        assert_eq!(fault.exit_code(), 2);
        assert!(fault.to_string().contains("/nowhere/sentinel/sentinel.toml"), "{fault}");
    }
}

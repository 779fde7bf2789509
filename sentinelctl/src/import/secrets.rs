//! What is a secret in a client's file, and the variable that it becomes. In doubt it is one: a harmless value in the
//! private file costs nothing, a secret in the configuration does.

use std::collections::BTreeMap;

/// How well-known services begin their keys.
const PREFIXES: [&str; 24] = [
    "sk-",
    "sk_",
    "pk_",
    "rk_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xapp-",
    "AKIA",
    "ASIA",
    "eyJ",
    "fc-",
    "pplx-",
    "AIza",
    "hf_",
    "npm_",
    "ntn_",
    "secret_",
    "lin_api_",
];

/// Whether a value under this name is a secret, whatever it looks like.
pub(super) fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace(['-', '.'], "_");
    let ends = ["key", "pat", "auth", "pass", "pwd", "dsn", "apikey", "cookie", "cookies", "jwt", "bearer", "creds"];
    let holds = ["token", "secret", "password", "passwd", "credential", "authorization", "api_key", "private"];
    let ended = |end: &str| key == end || key.ends_with(&format!("_{end}")) || (end == "apikey" && key.ends_with(end));
    ends.into_iter().any(ended) || holds.iter().any(|word| key.contains(word))
}

/// Whether a value looks like one, whatever its name.
pub(super) fn looks_like_one(value: &str) -> bool {
    let known = PREFIXES.iter().any(|prefix| value.strip_prefix(prefix).is_some_and(|rest| rest.len() >= 8));
    known || has_userinfo(value) || is_dense(value)
}

/// `scheme://user:password@host`
pub(super) fn has_userinfo(value: &str) -> bool {
    let authority = value.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    authority.is_some_and(|authority| authority.contains('@'))
}

/// One long word of letters and digits without a pattern: what nobody types.
pub(super) fn is_dense(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '=' | '.' | '~');
    let digits = value.chars().filter(char::is_ascii_digit).count();
    let letters = value.chars().filter(char::is_ascii_alphabetic).count();
    if value.len() < 20 || !value.chars().all(plain) || digits < 3 || letters < 3 {
        return false;
    }
    let mut counts: BTreeMap<char, f64> = BTreeMap::new();
    for c in value.chars() {
        *counts.entry(c).or_default() += 1.0;
    }
    let length: f64 = counts.values().sum();
    let entropy: f64 = counts.values().map(|count| -(count / length) * (count / length).log2()).sum();
    entropy > 3.2
}

/// Whether a value of `env` or `headers` may stand in the configuration for all to read.
pub(super) fn is_harmless(name: &str, value: &str) -> bool {
    if names_a_secret(name) || looks_like_one(value) {
        return false;
    }
    let word = value.len() <= 24
        && value
            .chars()
            .all(|c| c.is_ascii_alphabetic() || matches!(c, '-' | '_' | ',' | '.' | '/' | '*' | '+' | ';' | '='));
    let number = value.len() <= 6 && value.chars().all(|c| c.is_ascii_digit() || c == '.');
    let path = value.starts_with(['/', '~']) || value.starts_with("./");
    let url = (value.starts_with("http://") || value.starts_with("https://")) && !value.contains('?');
    word || number || path || url
}

/// `N8N_API_KEY` of whatever names it: letters, digits and `_`.
pub(super) fn variable_of(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        if c != '_' || !name.ends_with('_') {
            name.push(c);
        }
    }
    let name = name.trim_matches('_');
    match name.chars().next() {
        None => "VALUE".to_owned(),
        Some(first) if first.is_ascii_digit() => format!("_{name}"),
        Some(_) => name.chars().take(100).collect(),
    }
}

/// The variables that secrets become; none is taken twice for two values.
#[derive(Clone, Debug, Default)]
pub(super) struct Vault {
    vars: Vec<(String, String)>,
    taken: BTreeMap<String, String>,
}

impl Vault {
    /// `held`: what the private file has already.
    pub(super) fn new(held: &[(String, String)]) -> Self {
        Self { vars: Vec::new(), taken: held.iter().cloned().collect() }
    }

    /// Takes a value in and gives the name of its variable: the server's name, then `what`.
    pub(super) fn take(&mut self, server: &str, what: &str, value: &str) -> String {
        let (server, what) = (variable_of(server), variable_of(what));
        let base = if what.starts_with(&format!("{server}_")) { what } else { format!("{server}_{what}") };
        let base = match base.as_str() {
            // These mean something to the plane's process or its loader.
            "PATH" | "HOME" => format!("MCP_{base}"),
            _ if base.starts_with("LD_") || base.starts_with("SENTINEL_") => format!("MCP_{base}"),
            _ => base,
        };
        let mut name = base.clone();
        let mut more = 2_usize;
        while self.taken.get(&name).is_some_and(|held| held != value) {
            name = format!("{base}_{more}");
            more = more.saturating_add(1);
        }
        if self.taken.insert(name.clone(), value.to_owned()).is_none() {
            self.vars.push((name.clone(), value.to_owned()));
        }
        name
    }

    /// What is new, in the order of its taking.
    pub(super) fn into_vars(self) -> Vec<(String, String)> {
        self.vars
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_or_by_look() {
        for name in ["GITHUB_TOKEN", "X-Api-Key", "apiKey", "exaApiKey", "DB_PASSWORD", "authorization", "BOT_PAT"] {
            assert!(names_a_secret(name), "{name}");
        }
        for value in ["ghp_abcdefghijkl", "sk-12345678", "postgres://u:p@h/db", "3f2a9c4e7b1d4c6f8e0a5b9d2c7f1e3a"] {
            assert!(looks_like_one(value), "{value}");
        }
        for value in [
            "@modelcontextprotocol/server-filesystem",
            "/home/me/some-long-folder-2024",
            "mcp-server-sqlite",
            "-y",
            "2025.8.21",
            "http://127.0.0.1:3001/mcp",
        ] {
            assert!(!looks_like_one(value), "{value}");
        }
        assert!(!names_a_secret("MONKEY_MODE") && !names_a_secret("COMPASS"));
    }

    #[test]
    fn in_doubt_a_value_is_moved() {
        assert!(is_harmless("MCP_MODE", "stdio") && is_harmless("LOG_LEVEL", "error") && is_harmless("PORT", "3000"));
        assert!(is_harmless("N8N_API_URL", "http://127.0.0.1:5678") && is_harmless("DB", "/srv/x.db"));
        assert!(
            !is_harmless("LOGIN", "hunter2") && !is_harmless("X_TOKEN", "a") && !is_harmless("U", "https://h/?k=1")
        );
    }

    #[test]
    fn one_name_never_holds_two_values() {
        let mut vault = Vault::new(&[("A_TOKEN".to_owned(), "old".to_owned())]);
        assert_eq!(vault.take("a", "TOKEN", "old"), "A_TOKEN");
        assert_eq!(vault.take("a", "TOKEN", "new"), "A_TOKEN_2");
        assert_eq!(vault.take("context7", "CONTEXT7_API_KEY", "k"), "CONTEXT7_API_KEY");
        assert_eq!(vault.take("ld", "LD_PRELOAD", "x"), "MCP_LD_PRELOAD");
        let names: Vec<String> = vault.into_vars().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["A_TOKEN_2", "CONTEXT7_API_KEY", "MCP_LD_PRELOAD"]);
    }
}

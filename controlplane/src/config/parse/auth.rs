//! `[auth]`: who may come in. Secrets are named here (a variable, a file), never written.

use sentinel_proto::v1::{self, auth_key};
use toml::de::DeValue;

use super::super::BUILT_IN_KID;
use super::super::keys;
use super::super::names::{name, printable};
use super::super::problems::Notes;
use super::super::reader::{Placed, Section};
use super::super::values::{flag, http_url, number, text, variable, word};

/// `[auth]`, with the places of names that must exist.
#[derive(Debug)]
pub(in super::super) struct Auth {
    pub(in super::super) at: usize,
    pub(in super::super) anonymous: bool,
    pub(in super::super) default_role: Option<Placed<String>>,
    pub(in super::super) built_in_key: bool,
    pub(in super::super) keys: Vec<Placed<v1::AuthKey>>,
    pub(in super::super) client_claim: String,
    pub(in super::super) roles_claim: String,
    pub(in super::super) leeway_secs: u32,
    pub(in super::super) authorization_servers: Vec<Placed<String>>,
    /// Scope and role, by scope.
    pub(in super::super) scopes: Vec<Placed<(String, String)>>,
}

const ALGORITHMS: &[(&str, &str)] = &[
    ("HS256", "HS256"),
    ("HS384", "HS384"),
    ("HS512", "HS512"),
    ("RS256", "RS256"),
    ("RS384", "RS384"),
    ("RS512", "RS512"),
    ("PS256", "PS256"),
    ("PS384", "PS384"),
    ("PS512", "PS512"),
    ("ES256", "ES256"),
    ("ES384", "ES384"),
    ("EdDSA", "EdDSA"),
];

pub(super) fn auth(file: &mut Section<'_>, notes: &mut Notes<'_>) -> Auth {
    if !file.has("auth") {
        notes.absent(
            0,
            "[auth] is missing; write [auth] alone for tokens of the built-in key, \
             or mode = \"none\" in it to let everyone in on loopback",
        );
    }
    let mut section = file.section(notes, "auth", &keys::AUTH);
    let at = section.at();
    let anonymous = section.or(notes, "mode", false, word(&[("jwt", false), ("none", true)], &[]));
    let default_role = section.placed(notes, "default_role", |value| text(value).and_then(|written| name(&written)));
    let built_in = section.placed(notes, "built_in_key", flag);
    let issuer = section.maybe(notes, "issuer", claim_value);
    let audience = section.or(notes, "audience", "sentinel".to_owned(), claim_value);
    let client_claim = section.or(notes, "client_claim", "sub".to_owned(), claim_path);
    let roles_claim = section.or(notes, "roles_claim", "roles".to_owned(), claim_path);
    let leeway_secs = section.or(notes, "leeway_secs", 30, number(0..=120));
    let authorization_servers = section.list(notes, "authorization_servers", issuer_url).unwrap_or_default();
    let mut scopes = section.pairs(notes, "scopes", |scope, role| {
        scope_token(scope)?;
        text(role).and_then(|written| name(&written))
    });
    scopes.sort_by(|a, b| a.value.0.cmp(&b.value.0));
    let tables = section.sections(notes, "keys", &keys::AUTH_KEYS);
    section.finish(notes);

    let written = tables.len();
    let keys: Vec<_> = tables.into_iter().filter_map(|table| key(table, issuer.as_deref(), &audience, notes)).collect();
    let built_in_key = !anonymous && built_in.as_ref().map_or(written == 0, |placed| placed.value);
    if anonymous && (written > 0 || built_in.is_some_and(|placed| placed.value)) {
        notes.error(
            at,
            "auth: mode = \"none\" lets everyone in, so its keys mean nothing; take out the keys or the mode",
        );
    }
    if !anonymous && !built_in_key && written == 0 {
        notes.error(at, "auth: no key, so nobody could come in; set built_in_key = true or write [[auth.keys]]");
    }
    if anonymous && !(authorization_servers.is_empty() && scopes.is_empty()) {
        notes.error(
            at,
            "auth: mode = \"none\" asks for no token; take out authorization_servers and scopes, or the mode",
        );
    }
    Auth {
        at,
        anonymous,
        default_role,
        built_in_key,
        keys,
        client_claim,
        roles_claim,
        leeway_secs,
        authorization_servers,
        scopes,
    }
}

/// RFC 8414 2: https, without query and fragment. In the clear only on this machine.
fn issuer_url(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    if http_url(&written) && !written.contains(['?', '#']) {
        return Ok(written);
    }
    Err(format!(
        "{written:?} is no issuer; write its https URL as its tokens' `iss` has it, as in \"https://id.example.com\""
    ))
}

/// RFC 6749 3.3; what asks for a refresh token is the client's business (SEP-2207).
fn scope_token(written: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\');
    if written.is_empty() || written.len() > 128 || !written.chars().all(fits) {
        return Err(
            "a scope is 1 to 128 visible ASCII characters without quotes and spaces; one entry for each".to_owned()
        );
    }
    if written == "offline_access" {
        return Err("offline_access is no scope of a resource; leave it out".to_owned());
    }
    Ok(())
}

fn key(
    mut section: Section<'_>,
    issuer: Option<&str>,
    audience: &str,
    notes: &mut Notes<'_>,
) -> Option<Placed<v1::AuthKey>> {
    let at = section.at();
    let path = section.path().to_owned();
    let kid = section.or(notes, "kid", String::new(), kid);
    let algorithm =
        section.need(notes, "algorithm", "write the algorithm of this key, as in \"ES256\"", word(ALGORITHMS, &[]));
    let own_issuer = section.maybe(notes, "issuer", claim_value);
    let written = ["secret_env", "secret_file", "public_key_file"].map(|key| section.has(key));
    let secret_env = section.maybe(notes, "secret_env", env_name).map(auth_key::Source::SecretEnv);
    let secret_file = section.maybe(notes, "secret_file", file_name).map(auth_key::Source::SecretFile);
    let public_key = section.maybe(notes, "public_key_file", file_name).map(auth_key::Source::PublicKeyFile);
    section.finish(notes);

    let issuer = own_issuer.or_else(|| issuer.map(str::to_owned));
    if issuer.is_none() {
        notes.absent(at, format!("{path}: no issuer; write `issuer` in [auth], or in this key"));
    }
    let algorithm = algorithm?;
    let symmetric = algorithm.value.starts_with("HS");
    match written {
        [false, false, false] if symmetric => {
            notes.absent(at, format!("{path}: no secret; name it with `secret_env` or `secret_file`"));
        }
        [false, false, false] => notes.absent(at, format!("{path}: no key; name it with `public_key_file`")),
        [.., true] if symmetric => {
            let why = "is a shared secret, and a public key is none; use `secret_env` or `secret_file`";
            notes.error(algorithm.at, format!("{path}: {} {why}", algorithm.value));
        }
        [true, ..] | [_, true, _] if !symmetric => {
            let why = "is checked with a public key; use `public_key_file`";
            notes.error(algorithm.at, format!("{path}: {} {why}", algorithm.value));
        }
        [true, true, _] => notes.error(at, format!("{path}: two secrets; keep `secret_env` or `secret_file`")),
        _ => {}
    }
    let source = secret_env.or(secret_file).or(public_key)?;
    let key = v1::AuthKey {
        kid,
        algorithm: algorithm.value.to_owned(),
        issuer: issuer?,
        audience: audience.to_owned(),
        source: Some(source),
    };
    Some(Placed { at, value: key })
}

fn kid(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    if written.is_empty() || written.len() > 128 || !printable(&written) {
        return Err("a key id is 1 to 128 printable bytes; leave it out if the tokens carry none".to_owned());
    }
    if written == BUILT_IN_KID {
        return Err(format!("\"{BUILT_IN_KID}\" is the id of the built-in key; choose another"));
    }
    Ok(written)
}

fn claim_value(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    if written.is_empty() || written.len() > 1024 || !printable(&written) {
        return Err(
            "is compared with the token's claim; write it as the token has it, 1 to 1024 printable bytes".to_owned()
        );
    }
    Ok(written)
}

fn claim_path(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    if written.len() > 256 || !printable(&written) || written.split('.').any(str::is_empty) {
        return Err("is the name of a claim, nested ones with dots, as in \"realm_access.roles\"".to_owned());
    }
    Ok(written)
}

fn env_name(value: &DeValue<'_>) -> Result<String, String> {
    let written = super::super::values::any_text(value)?;
    if variable(written) {
        return Ok(written.to_owned());
    }
    Err("is the name of an environment variable, without ${ }; the secret itself does not stand in the file".to_owned())
}

fn file_name(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    if written.is_empty() || written.contains('\0') || written.contains("-----BEGIN") {
        return Err(
            "is the path of a file on the machine of the data plane; the key itself does not stand here".to_owned()
        );
    }
    Ok(written)
}

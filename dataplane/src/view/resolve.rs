//! `${VAR}` and files, read on this machine when a Policy is built; the values never leave the plane.
//!
//! `${NAME}`, `${NAME:-default}`, and `$${` for a literal `${`. Rotated values are noticed by a keyed hash.

mod stdio;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use ::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use aws_lc_rs::{hmac, rand};
use rustls::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use sentinel_proto::v1;

use crate::{
    backend::{
        era::Era,
        http::{addresses::Allowed, tls},
        isolation::Isolation,
        spec::{BackendSpec, Breaker, Health, HttpSpec, Kind, Transport},
        stdio::spawner::Spawner,
    },
    upcall::feature::{Feature, Features},
};

/// What a definition refers to and this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    pub key: String,
    pub message: String,
}

type Read = dyn Fn(&str) -> Option<String> + Send + Sync;

/// Where variables come from: the process's environment, or a test's.
#[derive(Clone)]
pub struct Resolver {
    read: Arc<Read>,
    /// Of this process alone: fingerprints are compared, never kept.
    key: hmac::Key,
    /// TLS towards backends with public certificates: built once, the authorities are many.
    public_tls: Arc<OnceLock<Arc<ClientConfig>>>,
    /// Who starts stdio backends, for what has to be judged by its machine; none: nothing is judged.
    spawner: Option<Spawner>,
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolver")
    }
}

impl Resolver {
    /// Of this process's environment.
    pub fn of_environment() -> Self {
        Self::new(|name| std::env::var(name).ok())
    }

    pub fn new(read: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let mut secret = [0; 32];
        // A process without randomness compares by a fixed key: fingerprints never leave it.
        rand::fill(&mut secret).ok();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Self { read: Arc::new(read), key, public_tls: Arc::default(), spawner: None }
    }

    /// Limits that are required, users and sandboxes are judged by what can be had here.
    #[must_use]
    pub fn with_spawner(mut self, spawner: Spawner) -> Self {
        self.spawner = Some(spawner);
        self
    }

    /// Fills in the variables of one value. Errors: the first one that is missing, by name.
    pub fn fill(&self, text: &str) -> Result<SecretString, String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                filled.push_str(before);
                filled.push_str("${");
                rest = after;
                continue;
            }
            filled.push_str(before);
            let Some((inside, behind)) = after.split_once('}') else {
                return Err("a `${` is not closed".to_owned());
            };
            let (name, default) =
                inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
            match ((self.read)(name).filter(|value| !value.is_empty()), default) {
                (Some(value), _) => filled.push_str(&value),
                (None, Some(default)) => filled.push_str(default),
                (None, None) => {
                    return Err(format!(
                        "${{{name}}} is not set for this data plane; set it in its environment and restart it, or write ${{{name}:-default}}"
                    ));
                }
            }
            rest = behind;
        }
        filled.push_str(rest);
        Ok(filled.into())
    }

    /// The variable `name`, or what stands in the file that `name_FILE` names.
    pub fn secret(&self, name: &str) -> Result<SecretString, String> {
        if let Some(value) = (self.read)(name).filter(|value| !value.is_empty()) {
            return Ok(value.into());
        }
        let file = format!("{name}_FILE");
        match (self.read)(&file) {
            Some(path) => self.file(&path),
            None => Err(format!("neither {name} nor {file} is set for this data plane; set one and restart it")),
        }
    }

    /// A secret's file, without its last line break.
    pub fn file(&self, path: &str) -> Result<SecretString, String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned().into()),
            Err(fault) => Err(format!("can't read {path}: {fault}")),
        }
    }

    fn public_tls(&self) -> Result<Arc<ClientConfig>, (&'static str, String)> {
        if let Some(known) = self.public_tls.get() {
            return Ok(Arc::clone(known));
        }
        let built = tls::settings(None, None)?;
        Ok(Arc::clone(self.public_tls.get_or_init(|| built)))
    }

    fn fingerprint(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let mut print = [0; 32];
        print.copy_from_slice(context.sign().as_ref());
        print
    }
}

/// Builds the definition that a link runs by. Errors: everything that is missing here, by key.
pub fn backend_spec(
    definition: &v1::Backend,
    breaker: &v1::CircuitBreaker,
    health: &v1::Health,
    resolver: &Resolver,
) -> Result<BackendSpec, Vec<Unresolved>> {
    let mut faults = Vec::new();
    let (kind, resolved) = match &definition.kind {
        Some(v1::backend::Kind::Http(http)) => http_spec(http, resolver, &mut faults),
        Some(v1::backend::Kind::Stdio(stdio)) => stdio::spec(stdio, resolver, &mut faults),
        None => {
            faults.push(Unresolved {
                key: "type".into(),
                message: "this plane knows neither http nor stdio in it".into(),
            });
            (None, Vec::new())
        }
    };
    let Some(kind) = kind.filter(|_| faults.is_empty()) else { return Err(faults) };
    let secs = |secs: u32| Duration::from_secs(secs.max(1).into());
    // Everything but what the catalogue applies: a change of that leaves the process alone.
    let running = v1::Backend {
        prefix: String::new(),
        timeout_secs: 0,
        timeouts: Vec::new(),
        progress_renews_timeout: false,
        max_timeout_secs: 0,
        rename: Vec::new(),
        hide: Vec::new(),
        describe: Vec::new(),
        ..definition.clone()
    };
    let plain = [
        prost::Message::encode_to_vec(&running),
        prost::Message::encode_to_vec(breaker),
        prost::Message::encode_to_vec(health),
    ];
    let mut parts: Vec<&[u8]> = plain.iter().map(Vec::as_slice).collect();
    parts.extend(resolved.iter().map(|value| value.expose_secret().as_bytes()));
    Ok(BackendSpec {
        name: definition.name.as_str().into(),
        kind,
        era: match definition.era() {
            v1::Era::Unspecified | v1::Era::Auto => None,
            v1::Era::Legacy => Some(Era::Legacy),
            v1::Era::Modern => Some(Era::Modern),
        },
        max_concurrency: definition.max_concurrency.max(1) as usize,
        max_response_bytes: usize::try_from(definition.max_response_bytes).unwrap_or(usize::MAX),
        attempts: definition.attempts.max(1),
        breaker: Breaker {
            failures: breaker.failures.max(1),
            open_for: secs(breaker.open_secs),
            half_open_calls: breaker.half_open_calls.max(1),
        },
        health: Health {
            interval: secs(health.interval_secs),
            timeout: secs(health.timeout_secs),
            unhealthy_after: health.unhealthy_after.max(1),
        },
        isolation: match definition.isolation() {
            v1::Isolation::Unspecified => Isolation::Shared,
            v1::Isolation::PerSession => Isolation::PerSession,
            v1::Isolation::PerClient => Isolation::PerClient,
        },
        max_instances: definition.max_instances.max(1) as usize,
        instance_idle: secs(definition.instance_idle_secs),
        may_ask: may_ask(definition),
        fingerprint: resolver.fingerprint(&parts),
    })
}

/// A plane that finds no list has a file of a control plane that knew none: all may be asked.
fn may_ask(definition: &v1::Backend) -> Features {
    Features::all_of(
        Feature::ALL.into_iter().filter(|feature| !definition.may_not_ask.iter().any(|name| name == feature.name())),
    )
}

fn http_spec(
    http: &v1::HttpBackend,
    resolver: &Resolver,
    faults: &mut Vec<Unresolved>,
) -> (Option<Kind>, Vec<SecretString>) {
    let mut resolved = Vec::new();
    let mut take = |key: String, text: &str, faults: &mut Vec<Unresolved>| match resolver.fill(text) {
        Ok(value) => {
            resolved.push(value.clone());
            Some((key, value))
        }
        Err(message) => {
            faults.push(Unresolved { key, message });
            None
        }
    };
    let url = take("url".to_owned(), &http.url, faults);
    let headers: Vec<_> = http
        .headers
        .iter()
        .filter_map(|pair| {
            take(format!("headers.{}", pair.key), &pair.value, faults).map(|(key, value)| (key, &pair.key, value))
        })
        .collect();
    let mut map = HeaderMap::new();
    for (key, name, value) in headers {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value.expose_secret())) {
            (Ok(name), Ok(mut value)) => {
                value.set_sensitive(true);
                map.append(name, value);
            }
            _ => faults.push(Unresolved { key, message: "its name or value can't be an HTTP header here".into() }),
        }
    }
    let url = url.and_then(|(key, url)| match url.expose_secret().parse::<Uri>() {
        Ok(url) if url.host().is_some() && matches!(url.scheme_str(), Some("http" | "https")) => Some(url),
        _ => {
            faults.push(Unresolved { key, message: "what it resolves to here is no http or https URL".into() });
            None
        }
    });
    let allowed = allowed(http, faults);
    if let Some(Err(message)) = url.as_ref().map(|url| allowed.judge_host(url.host().unwrap_or_default())) {
        faults.push(Unresolved { key: "url".into(), message });
    }
    let tls = tls_of(http, resolver, &mut resolved, faults);
    let transport = match http.transport() {
        v1::Transport::Unspecified => Transport::Auto,
        v1::Transport::StreamableHttp => Transport::Streamable,
        v1::Transport::Sse => Transport::Sse,
    };
    let spec = url.zip(tls).map(|(url, tls)| HttpSpec { url, transport, headers: map, tls, allowed });
    (spec.map(Kind::Http), resolved)
}

fn allowed(http: &v1::HttpBackend, faults: &mut Vec<Unresolved>) -> Allowed {
    let networks = http.allowed_addresses.iter().filter_map(|text| match text.parse() {
        Ok(network) => Some(network),
        Err(fault) => {
            faults.push(Unresolved { key: "allowed_addresses".into(), message: format!("{text}: {fault}") });
            None
        }
    });
    Allowed::new(networks.collect::<Vec<_>>())
}

/// The files are read each time, so that a reload notices rotated ones.
fn tls_of(
    http: &v1::HttpBackend,
    resolver: &Resolver,
    resolved: &mut Vec<SecretString>,
    faults: &mut Vec<Unresolved>,
) -> Option<Arc<ClientConfig>> {
    let mut read = |key: &str, path: &str| {
        let file = (!path.is_empty()).then(|| resolver.file(path))?;
        file.map_err(|message| faults.push(Unresolved { key: key.into(), message })).ok()
    };
    let files = [
        read("ca_file", &http.ca_file),
        read("client_cert_file", &http.client_cert_file),
        read("client_key_file", &http.client_key_file),
    ];
    resolved.extend(files.iter().flatten().cloned());
    let [ca, chain, key] = files.each_ref().map(|file| file.as_ref().map(|text| text.expose_secret()));
    let built = match (ca, chain.zip(key)) {
        (None, None) => resolver.public_tls(),
        (ca, identity) => tls::settings(ca, identity),
    };
    built.map_err(|(key, message)| faults.push(Unresolved { key: key.into(), message })).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolver() -> Resolver {
        Resolver::new(|name| (name == "SET").then(|| "value".to_owned()))
    }

    fn filled(text: &str) -> Result<String, String> {
        resolver().fill(text).map(|value| value.expose_secret().to_owned())
    }

    #[test]
    fn variables_defaults_and_literals_are_filled_in() {
        assert_eq!(filled("Bearer ${SET}!"), Ok("Bearer value!".into()));
        assert_eq!(filled("${UNSET:-else}"), Ok("else".into()));
        assert_eq!(filled("$${SET}"), Ok("${SET}".into()));
        assert!(filled("${UNSET}").expect_err("missing").contains("${UNSET}"));
        assert!(filled("${SET").is_err());
    }
}

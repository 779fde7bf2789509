//! A snapshot as JSON, for `compile`: for people and their diffs. Planes never read this form.
//!
//! Every field of the contract is named in a pattern without `..`, so that a new one does not compile unnoticed.

use sentinel_proto::v1::{
    ArgumentMode, ArgumentRecord, Auth, AuthKey, Backend, Era, Isolation, Pair, Quota, RateLimit, Role, Snapshot,
    Transport, auth_key, backend,
};
use serde_json::{Value, json};

use crate::secrets::hex;

/// The snapshot and its digest, indented.
pub fn text(snapshot: &Snapshot, digest: &[u8]) -> String {
    let whole = json!({ "digest": hex(digest), "snapshot": value(snapshot) });
    serde_json::to_string_pretty(&whole).unwrap_or_default()
}

/// Every field of the snapshot.
pub fn value(snapshot: &Snapshot) -> Value {
    let Snapshot {
        format,
        gateway,
        auth,
        roles,
        rate_limit,
        kill_switch,
        catalog,
        arguments,
        backends,
        health,
        circuit_breaker,
        audit,
        pinning,
        virtual_servers,
    } = snapshot;
    json!({
        "format": format,
        "gateway": gateway.as_ref().map(|g| json!({
            "listen": g.listen,
            "allowed_origins": g.allowed_origins,
            "allowed_hosts": g.allowed_hosts,
            "max_request_bytes": g.max_request_bytes,
            "max_in_flight": g.max_in_flight,
            "drain_secs": g.drain_secs,
            "keepalive_secs": g.keepalive_secs,
            "max_staleness_secs": g.max_staleness_secs,
            "parked_secs": g.parked_secs,
            "max_parked": g.max_parked,
            "max_parked_per_client": g.max_parked_per_client,
        })),
        "auth": auth.as_ref().map(auth_value),
        "roles": roles.iter().map(role).collect::<Vec<_>>(),
        "rate_limit": rate_limit.as_ref().map(limits),
        "kill_switch": kill_switch.as_ref().map(|k| json!({
            "tools": k.tools, "backends": k.backends, "clients": k.clients, "roles": k.roles,
        })),
        "catalog": catalog.as_ref().map(|c| json!({ "separator": c.separator, "keep_listed_secs": c.keep_listed_secs })),
        "arguments": match ArgumentMode::try_from(*arguments) {
            Ok(ArgumentMode::Enforce) => "enforce",
            Ok(ArgumentMode::Warn) => "warn",
            Ok(ArgumentMode::Off) => "off",
            Ok(ArgumentMode::Unspecified) | Err(_) => "unspecified",
        },
        "pinning": pinning.as_ref().map(|p| json!({
            "first_use": if p.hold_first { "hold" } else { "trust" },
            "on_change": if p.warn_changed { "warn" } else { "hold" },
        })),
        "backends": backends.iter().map(backend_value).collect::<Vec<_>>(),
        "virtual_servers": virtual_servers.iter().map(|v| json!({
            "name": v.name, "include": v.include, "backends": v.backends,
        })).collect::<Vec<_>>(),
        "health": health.as_ref().map(|h| json!({
            "interval_secs": h.interval_secs, "timeout_secs": h.timeout_secs, "unhealthy_after": h.unhealthy_after,
        })),
        "circuit_breaker": circuit_breaker.as_ref().map(|b| json!({
            "failures": b.failures, "open_secs": b.open_secs, "half_open_calls": b.half_open_calls,
        })),
        "audit": audit.as_ref().map(|a| json!({
            "arguments": match a.arguments() {
                ArgumentRecord::Full => "full",
                ArgumentRecord::Redacted => "redacted",
                ArgumentRecord::Hash => "hash",
                ArgumentRecord::None => "none",
                ArgumentRecord::Unspecified => "unspecified",
            },
            "redact_keys": a.redact_keys,
        })),
    })
}

fn auth_value(auth: &Auth) -> Value {
    let Auth {
        anonymous,
        default_role,
        keys,
        client_claim,
        roles_claim,
        leeway_secs,
        authorization_servers,
        public_url,
        scopes,
    } = auth;
    json!({
        "authorization_servers": authorization_servers,
        "public_url": public_url,
        "scopes": pairs(scopes),
        "anonymous": anonymous,
        "default_role": default_role,
        "keys": keys.iter().map(key).collect::<Vec<_>>(),
        "client_claim": client_claim,
        "roles_claim": roles_claim,
        "leeway_secs": leeway_secs,
    })
}

fn key(key: &AuthKey) -> Value {
    let AuthKey { kid, algorithm, issuer, audience, source } = key;
    json!({
        "kid": kid,
        "algorithm": algorithm,
        "issuer": issuer,
        "audience": audience,
        "source": source.as_ref().map(|source| match source {
            auth_key::Source::SecretEnv(name) => json!({ "secret_env": name }),
            auth_key::Source::SecretFile(path) => json!({ "secret_file": path }),
            auth_key::Source::PublicKeyFile(path) => json!({ "public_key_file": path }),
            auth_key::Source::PublicKey(raw) => json!({ "public_key": hex(raw) }),
        }),
    })
}

fn role(role: &Role) -> Value {
    let Role { name, allow, deny, rules } = role;
    let rules = rules.iter().map(|rule| {
        let schema: Value = serde_json::from_str(&rule.schema).unwrap_or(Value::Null);
        json!({ "name": rule.name, "tool": rule.tool, "schema": schema })
    });
    json!({ "name": name, "allow": allow, "deny": deny, "rules": rules.collect::<Vec<_>>() })
}

fn limits(limits: &RateLimit) -> Value {
    let RateLimit { default, per_client, tools } = limits;
    json!({
        "default": default.as_ref().map(quota),
        "per_client": per_client.as_ref().map(quota),
        "tools": tools.iter().map(|t| json!({ "tool": t.tool, "quota": t.quota.as_ref().map(quota) })).collect::<Vec<_>>(),
    })
}

fn quota(quota: &Quota) -> Value {
    let Quota { requests, per_secs, burst } = quota;
    json!({ "requests": requests, "per_secs": per_secs, "burst": burst })
}

fn pairs(pairs: &[Pair]) -> Value {
    pairs
        .iter()
        .map(|pair| (pair.key.clone(), Value::from(pair.value.clone())))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn backend_value(backend: &Backend) -> Value {
    let Backend {
        name,
        prefix,
        timeout_secs,
        timeouts,
        progress_renews_timeout,
        max_timeout_secs,
        rename,
        hide,
        describe,
        max_concurrency,
        max_response_bytes,
        attempts,
        isolation,
        max_instances,
        instance_idle_secs,
        may_not_ask,
        kind,
        era: _,
    } = backend;
    let named = |timeout: &sentinel_proto::v1::NamedTimeout| (timeout.tool.clone(), Value::from(timeout.secs));
    json!({
        "name": name,
        "prefix": prefix,
        "timeout_secs": timeout_secs,
        "timeouts": timeouts.iter().map(named).collect::<serde_json::Map<_, _>>(),
        "progress_renews_timeout": progress_renews_timeout,
        "max_timeout_secs": max_timeout_secs,
        "rename": pairs(rename),
        "hide": hide,
        "describe": pairs(describe),
        "max_concurrency": max_concurrency,
        "max_response_bytes": max_response_bytes,
        "attempts": attempts,
        "isolation": match Isolation::try_from(*isolation) {
            Ok(Isolation::PerSession) => "per-session",
            Ok(Isolation::PerClient) => "per-client",
            Ok(Isolation::Unspecified) | Err(_) => "shared",
        },
        "max_instances": max_instances,
        "instance_idle_secs": instance_idle_secs,
        "may_not_ask": may_not_ask,
        "era": match backend.era() {
            Era::Unspecified | Era::Auto => "auto",
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        },
        "kind": kind.as_ref().map(|kind| match kind {
            backend::Kind::Http(http) => json!({ "http": {
                "url": http.url,
                "headers": pairs(&http.headers),
                "transport": match http.transport() {
                    Transport::Unspecified => "auto",
                    Transport::StreamableHttp => "streamable_http",
                    Transport::Sse => "sse",
                },
            } }),
            backend::Kind::Stdio(stdio) => json!({ "stdio": {
                "command": stdio.command,
                "args": stdio.args,
                "env": pairs(&stdio.env),
                "cwd": stdio.cwd,
                "restart_on_exit": stdio.restart_on_exit,
                "max_restarts": stdio.max_restarts,
                "start_timeout_secs": stdio.start_timeout_secs,
                "idle_stop_secs": stdio.idle_stop_secs,
                "max_lifetime_secs": stdio.max_lifetime_secs,
                "memory_max": stdio.memory_max,
                "pids_max": stdio.pids_max,
                "limits_required": stdio.limits_required,
                "user": stdio.user,
                "sandbox": stdio.sandbox.as_ref().map(|sandbox| json!({
                    "network": sandbox.network, "read": sandbox.read, "write": sandbox.write,
                })),
            } }),
        }),
    })
}

//! Every key that a file may hold, table by table: what is here, what comes with a later issue, and what the
//! same thing is called elsewhere. It says which keys there are, not what they mean.
//!
//! The reader refuses to take a key that does not stand here, and a test looks each one up in
//! `docs/configuration.md`.

/// One key of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// The issue that brings it, where it is not here yet.
    pub(super) later: Option<&'static str>,
}

/// A table of the file and its keys.
#[derive(Debug)]
pub(super) struct Table {
    /// As in the documentation: `gateway`, `auth.keys`, `backends`; empty for the file itself.
    pub(super) path: &'static str,
    pub(super) keys: &'static [Key],
    /// A misspelling from elsewhere, and what to write here.
    pub(super) habits: &'static [(&'static str, &'static str)],
}

const fn here(name: &'static str) -> Key {
    Key { name, later: None }
}

const fn later(name: &'static str, issue: &'static str) -> Key {
    Key { name, later: Some(issue) }
}

pub(super) static FILE: Table = Table {
    path: "",
    keys: &[
        here("gateway"),
        here("auth"),
        here("roles"),
        here("rate_limit"),
        here("kill_switch"),
        here("catalog"),
        here("schema"),
        here("pinning"),
        here("backends"),
        here("health"),
        here("circuit_breaker"),
        here("audit"),
        here("virtual_servers"),
    ],
    habits: &[
        ("servers", "is called [[backends]] here, one table for each server"),
        ("server", "is called [[backends]] here, one table for each server"),
        ("mcpServers", "is called [[backends]] here: the name of each server becomes its key `name`"),
        ("mcp_servers", "is called [[backends]] here: the name of each server becomes its key `name`"),
        ("backend", "is called [[backends]] here, one table for each server"),
        ("rbac", "is [roles.NAME] here, with `allow` and `deny`"),
        ("role", "is [roles.NAME] here"),
        ("rate_limits", "is called [rate_limit] here"),
        ("rate_limiting", "is called [rate_limit] here"),
        ("killswitch", "is called [kill_switch] here"),
        ("catalogue", "is called [catalog] here"),
        ("health_check", "is called [health] here"),
        ("jwt", "is called [auth] here"),
        ("virtual_server", "is called [[virtual_servers]] here, one table for each"),
        ("listen", "stands in [gateway] here"),
        ("port", "is [gateway] listen = \"127.0.0.1:9200\" here"),
    ],
};

pub(super) static GATEWAY: Table = Table {
    path: "gateway",
    keys: &[
        here("listen"),
        here("allowed_origins"),
        here("allowed_hosts"),
        here("max_request_bytes"),
        here("max_in_flight"),
        here("drain_secs"),
        here("keepalive_secs"),
        here("max_staleness_secs"),
        here("public_url"),
        here("parked_secs"),
        here("max_parked"),
        here("max_parked_per_client"),
    ],
    habits: &[
        ("host", "is part of `listen` here, as in listen = \"127.0.0.1:9200\""),
        ("port", "is part of `listen` here, as in listen = \"127.0.0.1:9200\""),
        ("address", "is called `listen` here"),
        ("bind", "is called `listen` here"),
    ],
};

pub(super) static AUTH: Table = Table {
    path: "auth",
    keys: &[
        here("mode"),
        here("default_role"),
        here("built_in_key"),
        here("issuer"),
        here("audience"),
        here("client_claim"),
        here("roles_claim"),
        here("leeway_secs"),
        here("authorization_servers"),
        here("scopes"),
        here("keys"),
        later("jwks", "later"),
    ],
    habits: &[
        ("secret", "is a literal secret in the file; write [[auth.keys]] with `secret_env` or `secret_file`"),
        ("jwt_secret", "is a literal secret in the file; write [[auth.keys]] with `secret_env` or `secret_file`"),
        ("secret_env", "stands in [[auth.keys]] here, beside `algorithm`"),
        ("algorithm", "stands in [[auth.keys]] here, beside its key"),
        ("role_claim", "is called `roles_claim` here"),
        ("authorization_server", "is a list here: authorization_servers = [\"https://id.example.com\"]"),
        ("scope", "is called `scopes` here, scope = role: scopes = { \"mcp:read\" = \"analyst\" }"),
        ("resource", "follows from [gateway] public_url here"),
        ("jwks_url", "is [[auth.jwks]] url here; it comes later"),
        ("jwks_uri", "is [[auth.jwks]] url here; it comes later"),
    ],
};

pub(super) static AUTH_KEYS: Table = Table {
    path: "auth.keys",
    keys: &[
        here("kid"),
        here("algorithm"),
        here("issuer"),
        here("secret_env"),
        here("secret_file"),
        here("public_key_file"),
    ],
    habits: &[
        ("secret", "is a literal secret in the file; name it with `secret_env` or `secret_file`"),
        ("alg", "is called `algorithm` here"),
        ("public_key", "is read from a file here: `public_key_file`"),
        ("audience", "is one for all keys here: `audience` in [auth]"),
    ],
};

pub(super) static ROLE: Table = Table {
    path: "roles.NAME",
    keys: &[here("allow"), here("deny"), here("rules")],
    habits: &[
        ("tools", "is called `allow` here"),
        ("allowed_tools", "is called `allow` here"),
        ("denied_tools", "is called `deny` here"),
    ],
};

pub(super) static RULE: Table = Table {
    path: "roles.NAME.rules",
    keys: &[here("tool"), here("arguments")],
    habits: &[("schema", "is called `arguments` here")],
};

pub(super) static RATE_LIMIT: Table = Table {
    path: "rate_limit",
    keys: &[here("default"), here("per_client"), here("tools")],
    habits: &[("requests", "stands in `default` here: default = { requests = 100, per_secs = 60 }")],
};

pub(super) static QUOTA: Table = Table {
    path: "rate_limit.default",
    keys: &[here("requests"), here("per_secs"), here("burst")],
    habits: &[
        ("per_sec", "is called `per_secs` here"),
        ("window_secs", "is called `per_secs` here"),
        ("requests_per_minute", "is `requests` with per_secs = 60 here"),
    ],
};

pub(super) static KILL_SWITCH: Table = Table {
    path: "kill_switch",
    keys: &[here("tools"), here("backends"), here("clients"), here("roles")],
    habits: &[
        ("disabled_tools", "is called `tools` here"),
        ("disabled_backends", "is called `backends` here"),
        ("all", "is not kept in a file; use `sentinelctl kill-switch all`"),
    ],
};

pub(super) static CATALOG: Table =
    Table { path: "catalog", keys: &[here("separator"), here("keep_listed_secs")], habits: &[] };

pub(super) static SCHEMA: Table = Table { path: "schema", keys: &[here("arguments"), here("report_as")], habits: &[] };

pub(super) static PINNING: Table =
    Table { path: "pinning", keys: &[here("first_use"), here("on_change")], habits: &[] };

pub(super) static BACKEND: Table = Table {
    path: "backends",
    keys: &[
        here("name"),
        here("type"),
        here("url"),
        here("headers"),
        here("transport"),
        here("ca_file"),
        here("client_cert_file"),
        here("client_key_file"),
        here("allowed_addresses"),
        here("command"),
        here("args"),
        here("env"),
        here("cwd"),
        here("restart_on_exit"),
        here("max_restarts"),
        here("start_timeout_secs"),
        here("idle_stop_secs"),
        here("max_lifetime_secs"),
        here("memory_max"),
        here("pids_max"),
        here("limits_required"),
        here("user"),
        here("sandbox"),
        here("sandbox_network"),
        here("sandbox_read"),
        here("sandbox_write"),
        here("timeout_secs"),
        here("timeouts"),
        here("progress_renews_timeout"),
        here("max_timeout_secs"),
        here("tools"),
        here("prefix"),
        here("max_concurrency"),
        here("max_response_bytes"),
        here("retry"),
        here("isolation"),
        here("max_instances"),
        here("instance_idle_secs"),
        here("may_ask"),
        here("era"),
        later("forward_headers", "later"),
    ],
    habits: &[
        (
            "headers_env",
            "is called `headers` here, with the variable in the value: headers = { Authorization = \"Bearer ${TOKEN}\" }",
        ),
        ("header", "is called `headers` here"),
        ("environment", "is called `env` here"),
        ("serverUrl", "is called `url` here"),
        ("httpUrl", "is called `url` here"),
        ("endpoint", "is called `url` here"),
        ("timeout", "is called `timeout_secs` here, in seconds"),
        ("timeout_ms", "is called `timeout_secs` here, in seconds"),
        ("restart", "is called `restart_on_exit` here"),
        ("retries", "is retry = { attempts = 2 } here"),
        ("disabled", "is an entry of [kill_switch] backends here"),
        ("enabled", "is an entry of [kill_switch] backends here"),
        ("description", "has no place here; write a comment"),
        ("max_memory", "is called `memory_max` here"),
        ("tasks_max", "is called `pids_max` here"),
        ("arguments", "is called `args` here"),
    ],
};

pub(super) static BACKEND_TOOLS: Table = Table {
    path: "backends.tools",
    keys: &[here("rename"), here("hide"), here("describe")],
    habits: &[
        ("allow", "is said by role here: [roles.NAME] allow"),
        ("deny", "is `hide` here, or by role: [roles.NAME] deny"),
    ],
};

pub(super) static RETRY: Table = Table {
    path: "backends.retry",
    keys: &[here("attempts")],
    habits: &[("max_attempts", "is called `attempts` here")],
};

pub(super) static VIRTUAL_SERVER: Table = Table {
    path: "virtual_servers",
    keys: &[here("name"), here("include"), here("backends")],
    habits: &[
        ("tools", "is called `include` here, with patterns"),
        ("allow", "is called `include` here; who may use it is said by role: [roles.NAME] allow"),
        ("servers", "is called `backends` here"),
        ("path", "follows from `name` here: /servers/NAME/mcp"),
    ],
};

pub(super) static HEALTH: Table = Table {
    path: "health",
    keys: &[here("interval_secs"), here("timeout_secs"), here("unhealthy_after")],
    habits: &[],
};

pub(super) static CIRCUIT_BREAKER: Table = Table {
    path: "circuit_breaker",
    keys: &[here("failures"), here("open_secs"), here("half_open_calls")],
    habits: &[("failure_threshold", "is called `failures` here"), ("reset_timeout_secs", "is called `open_secs` here")],
};

pub(super) static AUDIT: Table = Table {
    path: "audit",
    keys: &[here("durability"), here("when_full"), here("arguments"), here("redact_keys"), here("retention_days")],
    habits: &[
        ("database_url", "is the environment variable SENTINEL_DATABASE_URL of the control plane here"),
        ("redact", "is called `redact_keys` here"),
    ],
};

/// All tables, for the test of the documentation.
#[cfg(test)]
pub(super) static ALL: [&Table; 19] = [
    &FILE,
    &GATEWAY,
    &AUTH,
    &AUTH_KEYS,
    &ROLE,
    &RULE,
    &RATE_LIMIT,
    &QUOTA,
    &KILL_SWITCH,
    &CATALOG,
    &SCHEMA,
    &BACKEND,
    &BACKEND_TOOLS,
    &RETRY,
    &HEALTH,
    &CIRCUIT_BREAKER,
    &AUDIT,
    &PINNING,
    &VIRTUAL_SERVER,
];

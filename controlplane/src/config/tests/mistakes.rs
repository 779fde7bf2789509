//! One mistake at a time: each is refused in one sentence that says what to write instead.

use super::{problems, with};

/// An addition to a complete file, and the words of the one problem that it makes.
type Case = (String, &'static [&'static str]);

fn refused(cases: Vec<Case>) {
    for (more, words) in cases {
        let said = problems(&with(&more));
        assert_eq!(said.len(), 1, "{more}\n{said:#?}");
        for word in words {
            assert!(said[0].contains(word), "{more}\n{}\n  wanted: {word}", said[0]);
        }
        assert!(!said[0].contains("abc"), "a message repeats a secret: {}", said[0]);
    }
}

/// A stdio backend with `more`.
fn backend(more: &str) -> String {
    format!("[[backends]]\nname = 'a'\ncommand = 'b'\n{more}\n")
}

/// An HTTP backend with `more`.
fn web(more: &str) -> String {
    format!("[[backends]]\nname = 'a'\nurl = 'http://127.0.0.1:1/mcp'\n{more}\n")
}

fn rule(arguments: &str) -> String {
    format!("[[roles.operator.rules]]\ntool = '*'\narguments = {arguments}\n")
}

/// A schema that doubles with each level.
fn doubling(levels: usize) -> String {
    let defs: Vec<String> = (0..levels)
        .map(|level| {
            let next = format!("{{ '$ref' = '#/$defs/d{}' }}", level + 1);
            format!("d{level} = {{ allOf = [{next}, {next}] }}")
        })
        .chain([format!("d{levels} = {{ type = 'integer' }}")])
        .collect();
    format!("{{ '$ref' = '#/$defs/d0', '$defs' = {{ {} }} }}", defs.join(", "))
}

#[test]
fn habits_from_elsewhere_get_what_it_is_called_here() {
    refused(vec![
        ("[[servers]]\nname = 'a'\n".to_owned(), &["servers is called [[backends]] here"]),
        ("[mcpServers.a]\ncommand = 'b'\n".to_owned(), &["[[backends]]", "`name`"]),
        (web("headers_env = { A = 'B' }"), &["headers_env is called `headers` here", "${TOKEN}"]),
    ]);
}

#[test]
fn what_a_later_issue_brings_is_refused_as_that() {
    refused(vec![
        ("[pinning]\nfirst_use = 'ask'\n".to_owned(), &["first_use"]),
        ("[gateway]\nmax_staleness_secs = 604801\n".to_owned(), &["out of range; it must be 0 to 604800"]),
        (web("idle_stop_secs = 3"), &["idle_stop_secs belongs to a stdio backend"]),
        (backend("max_lifetime_secs = 2592001"), &["out of range; it must be 0 to 2592000"]),
        (backend("memory_max = '1KiB'"), &["memory_max", "1KiB is out of range"]),
        (backend("pids_max = 0"), &["pids_max", "must be 1 to 1000000"]),
        (backend("limits_required = true"), &["there is no limit beside it"]),
        (backend("sandbox = 'docker'"), &["\"docker\" is not known", "\"bwrap\""]),
        (backend("sandbox_read = ['/srv']"), &["there is no sandbox"]),
        (backend("sandbox = 'bwrap'\nsandbox_read = ['srv']"), &["no path from the root"]),
        (backend("sandbox = 'bwrap'\nsandbox_write = ['/srv/../etc']"), &["no path from the root"]),
        (backend("user = 'root'"), &["root may read Sentinel's keys"]),
        (backend("user = 'a b'"), &["a user is 1 to 32"]),
        (web("user = 'mcp'"), &["user belongs to a stdio backend"]),
        (web("memory_max = '1GiB'"), &["memory_max belongs to a stdio backend"]),
        ("[gateway]\nparked_secs = 601\n".to_owned(), &["out of range; it must be 1 to 600"]),
        (backend("isolation = 'per-call'"), &["isolation", "\"per-session\""]),
        (backend("max_instances = 3"), &["max_instances: a shared backend has one process"]),
        (backend("isolation = 'per-client'\ninstance_idle_secs = 0"), &["instance_idle_secs"]),
        (web("transport = 'sse'\nera = 'modern'"), &["backends[0].era", "of the legacy era alone"]),
        (web("transport = 'ws'"), &["transport", "\"streamable_http\" or \"sse\""]),
        (web("forward_headers = { A = 'B' }"), &["forward_headers comes later"]),
        ("[schema]\narguments = 'coerce'\n".to_owned(), &["\"coerce\" comes later"]),
        ("[schema]\nreport_as = 'tool_result'\n".to_owned(), &["\"tool_result\" comes later"]),
        ("[audit]\ndurability = 'required'\n".to_owned(), &["\"required\" comes later"]),
        ("[audit]\nwhen_full = 'drop'\n".to_owned(), &["\"drop\" comes later"]),
    ]);
}

#[test]
fn who_gives_tokens_is_named_so_that_clients_can_follow() {
    let auth = |more: &str| format!("[auth]\n{more}\n[roles.operator]\nallow = ['*']\n");
    let url = "[gateway]\npublic_url = 'https://a.example'\n";
    for (text, words) in [
        (auth("authorization_servers = ['https://id.example']"), "clients get tokens for the URL that they call"),
        (auth(&format!("authorization_servers = ['http://id.example']\n{url}")), "is no issuer"),
        (auth(&format!("authorization_servers = ['https://id.example?x']\n{url}")), "is no issuer"),
        (auth("scopes = { 'a b' = 'operator' }"), "one entry for each"),
        (auth("scopes = { offline_access = 'operator' }"), "no scope of a resource"),
        (auth("scopes = { read = 'operatro' }"), "there is no role \"operatro\"; did you mean \"operator\"?"),
        (
            auth(&format!("mode = 'none'\nscopes = {{ a = 'operator' }}\ndefault_role = 'operator'\n{url}")),
            "asks for no token",
        ),
        (auth("[gateway]\npublic_url = 'https://a.example/mcp'"), "write scheme and host alone"),
        (auth("[gateway]\npublic_url = 'http://a.example'"), "https unless it is this machine"),
    ] {
        let said = problems(&text);
        assert!(said.len() == 1 && said[0].contains(words), "{text}\n{said:#?}");
    }
}

#[test]
fn a_virtual_server_is_made_of_what_is_there() {
    let server = |more: &str| format!("{}[[virtual_servers]]\nname = 'r'\n{more}\n", backend("prefix = 'git'"));
    refused(vec![
        (server(""), &["virtual_servers[0]: has nothing in it", "include = [\"git__*\"]"]),
        (
            server("backends = ['b']"),
            &["virtual_servers[0].backends: there is no backend \"b\"", "did you mean \"a\"?"],
        ),
        (server("include = ['gut__*']"), &["\"gut__*\" fits no backend's prefix", "did you mean \"git__…\"?"]),
        (server("include = ['prompt:x__*']"), &["\"prompt:x__*\" fits no backend's prefix", "PREFIX__NAME"]),
        (server("include = ['git__']"), &["fits no backend's prefix"]),
        (server("include = ['resource:']"), &["nothing stands behind the prefix"]),
        (server("include = ['*']\npath = '/x'"), &["path follows from `name` here"]),
        (
            server("include = ['*']\n[[virtual_servers]]\nname = 'r'\nbackends = ['a']"),
            &["is already that of virtual_servers[0]"],
        ),
        (
            "[[virtual_servers]]\nname = 'a/b'\ninclude = ['resource:x']\n".to_owned(),
            &["virtual_servers[0].name", "stands in a URL"],
        ),
        (
            "[[virtual_servers]]\ninclude = ['resource:x']\n".to_owned(),
            &["name is missing; it is reached at /servers/NAME/mcp"],
        ),
    ]);
}

#[test]
fn a_pattern_with_a_prefix_needs_something_behind_it_and_a_place_where_it_can_be_meant() {
    refused(vec![
        ("[roles.b]\nallow = ['resource:']\n".to_owned(), &["nothing stands behind the prefix", "resource:*"]),
        ("[roles.b]\ndeny = ['prompt:']\n".to_owned(), &["nothing stands behind the prefix", "prompt:*"]),
        (
            "[roles.b]\nallow = ['*']\n[[roles.b.rules]]\ntool = 'resource:a'\narguments = { required = ['x'] }\n"
                .to_owned(),
            &["only tools can be meant here", "`resource:`"],
        ),
        (backend("tools = { hide = ['prompt:a'] }"), &["only tools can be meant here"]),
    ]);
}

#[test]
fn a_literal_secret_is_refused_with_advice() {
    refused(vec![
        (web("headers = { authorization = 'Bearer abc' }"), &["literal secret", "Bearer ${MY_TOKEN}"]),
        (web("headers = { X-Api-Key = 'abc' }"), &["literal secret", "${MY_TOKEN}"]),
        (backend("env = { MY_API_KEY = 'abc' }"), &["literal secret", "\"${MY_API_KEY}\""]),
        (backend("env = { DB_PASSWORD = '${P:-abc}' }"), &["literal secret"]),
        ("[[backends]]\nname='a'\nurl='http://u:p@127.0.0.1/mcp'\n".to_owned(), &["user or a password"]),
    ]);
}

#[test]
fn a_broken_or_misplaced_reference_is_refused() {
    refused(vec![
        (backend("env = { A = '${B' }"), &["has no `}`"]),
        (backend("args = ['${}']"), &["${NAME:-default}"]),
        (backend("cwd = '${HOME}'"), &["not resolved here"]),
    ]);
}

#[test]
fn a_backend_that_cannot_be_is_refused() {
    refused(vec![
        (backend("prefix = 'a b'"), &["prefix"]),
        (backend("timeout_secs = 0"), &["must be 1 to 86400"]),
        (web("ca_file = '/ca.pem'"), &["is for https"]),
        (
            "[[backends]]\nname='a'\nurl='https://a.example/mcp'\nclient_cert_file='/c.pem'\n".to_owned(),
            &["client_key_file is missing"],
        ),
        (web("allowed_addresses = ['169.254.0.0/99', '10.0.0.1']"), &["no network"]),
        (backend("url = 'http://127.0.0.1/'\ntype = 'stdio'"), &["belongs to an http backend"]),
        (backend("may_ask = ['sampling', 'prompts']"), &["may_ask", "\"elicitation\""]),
        (backend("max_response_bytes = '4 megs'"), &["write it like \"4MiB\""]),
        (backend("max_timeout_secs = 5"), &["less than the longest timeout", "(60)"]),
        (backend("tools = { rename = { x = 'a', y = 'a' } }"), &["two tools are renamed to \"a\""]),
        (web("headers = { Host = 'x' }"), &["written by the gateway itself"]),
        ("[[backends]]\nname = 'a'\n".to_owned(), &["type is missing", "`url`", "`command`"]),
        ("[[backends]]\nname = 'a'\ntype = 'sse'\nurl = 'http://127.0.0.1/'\n".to_owned(), &["transport = \"sse\""]),
        ("[[backends]]\ncommand = 'x'\n".to_owned(), &["backends[0].name is missing"]),
        ("[[backends]]\nname = \"a\\u202eb\"\ncommand = 'x'\n".to_owned(), &["printable"]),
        (format!("[[backends]]\nname = '{}'\ncommand = 'x'\n", "n".repeat(65)), &["at most 64"]),
        (format!("{}{}", backend(""), backend("prefix = 'b'")), &["the name \"a\" is already that of backends[0]"]),
        (
            format!("{}[[backends]]\nname = 'b'\nprefix = 'a'\ncommand = 'x'\n", backend("")),
            &["the prefix \"a\" is already that of backends[0]"],
        ),
        ("[[backends]]\nname = 'a'\ncommand = 'npx -y thing'\n".to_owned(), &["no shell line", "args"]),
    ]);
}

#[test]
fn a_rule_that_does_not_compile_or_would_cost_too_much_is_refused() {
    refused(vec![
        (rule("{ type = 'strin' }"), &["does not compile"]),
        (rule("{ '$ref' = 'https://example.com/s.json' }"), &["nothing is fetched"]),
        (rule("{ '$schema' = 'http://json-schema.org/draft-07/schema#' }"), &["draft 2020-12"]),
        (rule("'x'"), &["a JSON Schema is wanted"]),
        (rule("{ const = 2026-01-01 }"), &["a date is no JSON"]),
        (rule("{ pattern = '(' }"), &["does not compile"]),
        (rule(&doubling(24)), &["grows past 50000 nodes"]),
    ]);
}

#[test]
fn limits_kills_and_settings_out_of_sense_are_refused() {
    refused(vec![
        ("[rate_limit]\ndefault = { requests = 0, per_secs = 60 }\n".to_owned(), &["must be 1 to"]),
        ("[rate_limit]\ndefault = { requests = 5 }\n".to_owned(), &["rate_limit.default.per_secs is missing"]),
        ("[rate_limit.tools]\n'x*' = 5\n".to_owned(), &["a table is wanted"]),
        ("[kill_switch]\ntools = ['a__*']\n".to_owned(), &["no pattern here"]),
        ("[catalog]\nseparator = ''\n".to_owned(), &["1 to 8"]),
        ("[gateway]\nallowed_origins = ['*']\n".to_owned(), &["is no origin"]),
        ("[gateway]\nallowed_hosts = ['a:80']\n".to_owned(), &["without scheme and port"]),
        ("[gatway]\nlisten = 'x'\n".to_owned(), &["unknown key gatway; did you mean `gateway`?"]),
        ("[roles.'']\nallow = []\n".to_owned(), &["cannot be empty"]),
        ("[roles.b]\nallow = 'x'\n".to_owned(), &["a list is wanted"]),
    ]);
}

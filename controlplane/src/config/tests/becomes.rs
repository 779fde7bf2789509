//! What a good file becomes.

use sentinel_proto::v1::{self, auth_key::Source, backend::Kind};

use super::super::{ControlSettings, FileKill};
use super::{BASE, FULL, good, with};

#[test]
fn a_file_with_auth_one_role_and_one_backend_is_complete() {
    let loaded = good(&with("[[backends]]\nname = 'a'\ncommand = 'b'\n"));
    assert_eq!(loaded.warnings, []);
    let auth = loaded.snapshot.auth.expect("always there");
    assert_eq!(auth.keys.len(), 1, "the built-in key alone");
    assert_eq!(auth.keys[0].issuer, "sentinel");
    assert_eq!(auth.keys[0].audience, "sentinel");
    assert_eq!(auth.keys[0].source, Some(Source::PublicKey(vec![7; 32])));
    let limits = loaded.snapshot.rate_limit.expect("always there");
    assert_eq!(limits.default, Some(v1::Quota { requests: 100, per_secs: 60, burst: 20 }));
    assert_eq!(limits.per_client, Some(v1::Quota { requests: 1000, per_secs: 60, burst: 1000 }));
    let gateway = loaded.snapshot.gateway.expect("always there");
    assert_eq!(gateway.listen, "127.0.0.1:9200");
    assert_eq!(gateway.max_request_bytes, 4 << 20);
    assert_eq!(gateway.allowed_hosts, ["localhost", "127.0.0.1", "[::1]"]);
    assert_eq!(loaded.snapshot.backends[0].prefix, "a");
    assert_eq!(loaded.ops, ControlSettings { audit_retention_days: 30 });
}

#[test]
fn the_seeds_spelling_of_backends_works_unchanged() {
    let loaded = good(&with(
        "[[backends]]\nname = 'mcp-n8n'\ntype = 'http'\nurl = 'http://127.0.0.1:3001/mcp'\ntimeout_secs = 60\n\
         [[backends]]\nname = 'context7'\ntype = 'stdio'\ncommand = 'npx'\nargs = ['-y', '@upstash/context7-mcp']\n\
         restart_on_exit = true\nmax_restarts = 5\n",
    ));
    assert_eq!(loaded.snapshot.backends.len(), 2);
}

#[test]
fn every_key_reaches_the_snapshot() {
    let loaded = good(FULL);
    let snapshot = &loaded.snapshot;
    let auth = snapshot.auth.as_ref().expect("always there");
    let issuers: Vec<&str> = auth.keys.iter().map(|key| key.issuer.as_str()).collect();
    assert_eq!(issuers, ["sentinel", "https://id.example.com", "https://other.example.com", "https://id.example.com"]);
    let audiences: Vec<&str> = auth.keys.iter().map(|key| key.audience.as_str()).collect();
    assert_eq!(audiences, ["sentinel", "gateway", "gateway", "gateway"]);
    assert_eq!((auth.default_role.as_str(), auth.leeway_secs), ("analyst", 5));
    assert_eq!(
        (&auth.authorization_servers[..], auth.public_url.as_str()),
        (&["https://id.example.com".to_owned()][..], "https://mcp.example.com")
    );
    let scopes: Vec<_> = auth.scopes.iter().map(|scope| (scope.key.as_str(), scope.value.as_str())).collect();
    assert_eq!(scopes, [("mcp:admin", "operator"), ("mcp:read", "analyst")]);
    let analyst = &snapshot.roles[0];
    assert_eq!(analyst.rules[0].schema, r#"{"properties":{"db":{"enum":["sales.db"]}},"required":["db"]}"#);
    assert_eq!(analyst.rules[0].name, "roles.analyst.rules[0]");
    let limits = snapshot.rate_limit.as_ref().expect("always there");
    let tools: Vec<&str> = limits.tools.iter().map(|tool| tool.tool.as_str()).collect();
    assert_eq!(tools, ["n8n__*", "context7__*"], "the file's order decides which pattern counts");
    assert_eq!(limits.tools[0].quota, Some(v1::Quota { requests: 3, per_secs: 30, burst: 3 }));
    let n8n = &snapshot.backends[0];
    assert_eq!((n8n.timeout_secs, n8n.max_timeout_secs, n8n.attempts), (30, 900, 3));
    assert_eq!((n8n.era(), snapshot.backends[1].era()), (v1::Era::Legacy, v1::Era::Auto));
    assert_eq!((n8n.prefix.as_str(), n8n.max_concurrency, n8n.max_response_bytes), ("n8n", 3, 2 << 20));
    assert_eq!(n8n.may_not_ask, ["sampling"]);
    assert_eq!((n8n.isolation(), n8n.max_instances, n8n.instance_idle_secs), (v1::Isolation::PerSession, 4, 60));
    assert_eq!((snapshot.backends[1].isolation(), snapshot.backends[1].max_instances), (v1::Isolation::Unspecified, 0));
    assert_eq!(snapshot.backends[1].may_not_ask, [""; 0], "without a list all may be asked");
    assert_eq!(n8n.rename, [v1::Pair { key: "n8n_list_workflows".to_owned(), value: "list".to_owned() }]);
    let Some(Kind::Http(http)) = &n8n.kind else { panic!("type = http") };
    assert_eq!(http.transport(), v1::Transport::Sse);
    assert_eq!(http.headers[0].value, "Bearer ${N8N_MCP_TOKEN}", "named, never resolved");
    let Some(Kind::Stdio(stdio)) = &snapshot.backends[1].kind else { panic!("type = stdio") };
    assert_eq!(stdio.args[2], "--zone=${ZONE:-eu}");
    assert_eq!((stdio.cwd.as_str(), stdio.restart_on_exit, stdio.max_restarts), ("/srv", false, 2));
    assert_eq!((stdio.idle_stop_secs, stdio.max_lifetime_secs), (300, 86_400));
    let sandbox = v1::Sandbox { network: false, read: vec!["/srv/data".into()], write: vec!["/srv/cache".into()] };
    assert_eq!((stdio.user.as_str(), stdio.sandbox.as_ref()), ("mcp", Some(&sandbox)));
    assert_eq!((stdio.memory_max, stdio.pids_max, stdio.limits_required), (512 << 20, 256, true));
    assert_eq!(snapshot.arguments(), v1::ArgumentMode::Warn);
    assert_eq!(snapshot.audit.as_ref().expect("always there").arguments(), v1::ArgumentRecord::Hash);
    assert_eq!(loaded.ops.audit_retention_days, 7);
    let [research, flows] = &snapshot.virtual_servers[..] else { panic!("{:?}", snapshot.virtual_servers) };
    assert_eq!((research.name.as_str(), research.include.len(), research.backends.len()), ("research", 3, 0));
    assert_eq!(
        (flows.name.as_str(), flows.include.len(), &flows.backends[..]),
        ("flows", 0, &["mcp-n8n".to_owned()][..])
    );
}

#[test]
fn patterns_of_resources_and_prompts_reach_the_snapshot_as_they_are_written() {
    let loaded = good(&with(
        "[roles.reader]\nallow = ['*__get_*', 'resource:docs://*', 'prompt:*']\ndeny = ['resource:docs://secret/*']\n\
         [rate_limit.tools]\n'resource:*' = { requests = 1, per_secs = 60 }\n",
    ));
    let reader = loaded.snapshot.roles.iter().find(|role| role.name == "reader").expect("it is there");
    assert_eq!(reader.allow, ["*__get_*", "resource:docs://*", "prompt:*"]);
    assert_eq!(reader.deny, ["resource:docs://secret/*"]);
    assert_eq!(loaded.snapshot.rate_limit.expect("always there").tools[0].tool, "resource:*");
}

#[test]
fn kills_of_the_file_carry_their_lines() {
    let kills = good(&with("[kill_switch]\ntools = ['a__x',\n  'a__y']\nclients = ['mallory']\n")).kills;
    let entry = |scope, name: &str, line| FileKill { scope, name: name.to_owned(), line };
    assert_eq!(
        kills,
        [entry(v1::Scope::Tool, "a__x", 5), entry(v1::Scope::Tool, "a__y", 6), entry(v1::Scope::Client, "mallory", 7),]
    );
}

#[test]
fn the_same_text_gives_the_same_bytes_and_the_digest_is_theirs() {
    let (one, two) = (good(FULL), good(FULL));
    assert_eq!(one.bytes, two.bytes);
    assert_eq!(one.digest, two.digest);
    assert_eq!(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &one.bytes).as_ref(), one.digest);
}

#[test]
fn layout_comments_and_the_order_of_roles_do_not_change_the_digest() {
    let one = good("[auth]\nleeway_secs = 30\n[roles.a]\nallow = ['x']\n[roles.b]\nallow = ['y']\n");
    let two = good("# a comment\n[roles]\nb.allow = [\n  \"y\", # why\n]\na = { allow = ['x'] }\n\n[auth]\n");
    assert_eq!(one.digest, two.digest);
}

#[test]
fn what_a_plane_must_know_changes_the_digest_and_retention_does_not() {
    let base = good(BASE).digest;
    assert_ne!(base, good(&with("[catalog]\nseparator = '-'\n")).digest);
    assert_eq!(base, good(&with("[audit]\nretention_days = 5\n")).digest);
}

#[test]
fn everyone_may_come_in_only_when_it_is_written_out() {
    let loaded = good("[auth]\nmode = 'none'\ndefault_role = 'a'\n[roles.a]\nallow = ['*']\n");
    let auth = loaded.snapshot.auth.expect("always there");
    assert!(auth.anonymous && auth.keys.is_empty());
}

#[test]
fn a_key_of_the_file_replaces_the_built_in_one_unless_both_are_asked_for() {
    let text = "[auth]\nissuer = 'https://id'\n[[auth.keys]]\nalgorithm = 'ES256'\npublic_key_file = 'a.pem'\n[roles.a]\nallow=['*']\n";
    let keys = good(text).snapshot.auth.expect("always there").keys;
    assert_eq!(keys.len(), 1);
    assert_eq!(keys[0].issuer, "https://id");
    let both = text.replace("[auth]", "[auth]\nbuilt_in_key = true");
    assert_eq!(good(&both).snapshot.auth.expect("always there").keys.len(), 2);
}

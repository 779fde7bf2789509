//! The gateway as an OAuth resource server: where a client learns who gives tokens, for what a token is good, and that it
//! stays here.

use reqwest::StatusCode;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::setup::{Setup, http_example, modern_http_example};
use sentinel_tests::harness::token::{AUTH, SECRET, claims, signed};
use serde_json::{Value, json};

const BASE: &str = "https://mcp.test";

/// Two endpoints, a server that gives tokens, two scopes.
fn setup() -> Setup {
    let auth = AUTH.replace(
        "[[auth.keys]]",
        "authorization_servers = [\"https://id.test\"]\n\
         scopes = { \"mcp:read\" = \"analyst\", \"mcp:admin\" = \"operator\" }\n[[auth.keys]]",
    );
    let gateway = format!("[gateway]\npublic_url = \"{BASE}\"\n");
    let servers = "[[virtual_servers]]\nname = \"research\"\nbackends = [\"example\"]\n";
    Setup::example().auth(&auth).toml(&gateway).toml(servers).env("SENTINEL_TEST_JWT", SECRET)
}

/// Claims without roles, for these audiences and scopes.
fn scoped(audience: Value, scope: &str) -> String {
    let mut claims = claims("claude", "");
    claims["roles"] = json!([]);
    claims["aud"] = audience;
    claims["scope"] = json!(scope);
    signed(&claims)
}

async fn document(fleet: &Fleet, path: &str) -> (StatusCode, Value) {
    let url = format!("http://{}/.well-known/oauth-protected-resource{path}", fleet.planes[0].address());
    let response = reqwest::get(url).await.unwrap();
    (response.status(), serde_json::from_str(&response.text().await.unwrap()).unwrap_or_default())
}

#[tokio::test]
async fn each_endpoint_has_its_document_for_everyone() {
    let fleet = Fleet::start(setup()).await;

    for (path, resource) in [("", "/mcp"), ("/mcp", "/mcp"), ("/servers/research/mcp", "/servers/research/mcp")] {
        let (status, told) = document(&fleet, path).await;
        assert_eq!(status, 200);
        let wanted = json!({
            "resource": format!("{BASE}{resource}"), "authorization_servers": ["https://id.test"],
            "scopes_supported": ["mcp:admin", "mcp:read"], "bearer_methods_supported": ["header"],
            "resource_name": "Sentinel MCP gateway",
        });
        assert_eq!(told, wanted, "{path}");
    }
    for path in ["/servers/nobody/mcp", "/x", "x"] {
        assert_eq!(document(&fleet, path).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn without_a_server_that_gives_tokens_there_is_no_document_and_the_challenge_is_plain() {
    let fleet = Fleet::start(Setup::example()).await;

    assert_eq!(document(&fleet, "").await.0, 404);
    assert_eq!(document(&fleet, "/mcp").await.0, 404);
    let reply = Client::new(&fleet.planes[0].url(), "").request("tools/list", json!({})).await;
    assert_eq!((reply.status, reply.header("www-authenticate")), (401, "Bearer realm=\"sentinel\""));
}

#[tokio::test]
async fn a_refused_token_is_told_where_to_get_a_better_one() {
    let fleet = Fleet::start(setup()).await;
    let (main, research) = (fleet.planes[0].url(), fleet.planes[0].server_url("research"));
    let rest = |path: &str| {
        format!("resource_metadata=\"{BASE}/.well-known/oauth-protected-resource{path}\", scope=\"mcp:admin mcp:read\"")
    };
    let stranger = scoped(json!("sentinel"), "openid email");
    let wrong = scoped(json!("https://other.test/mcp"), "mcp:read");
    let missing = Client::new(&main, "").request("tools/list", json!({})).await;
    let wanted = format!("Bearer realm=\"sentinel\", {}", rest("/mcp"));
    assert_eq!((missing.status, missing.header("www-authenticate")), (401, wanted.as_str()));
    let cases = [
        (&main, "x", 401, ", error=\"invalid_token\"", "/mcp"),
        (&research, &wrong, 401, ", error=\"invalid_token\"", "/servers/research/mcp"),
        (&research, &stranger, 403, ", error=\"insufficient_scope\"", "/servers/research/mcp"),
    ];
    for (url, token, status, fault, path) in cases {
        for reply in [
            Client::new(url, token).request("tools/list", json!({})).await,
            ModernClient::new(url, token).request("tools/list", json!({})).await,
        ] {
            assert_eq!(reply.status, status, "{reply:?}");
            let wanted = format!("Bearer realm=\"sentinel\"{fault}, {}", rest(path));
            assert_eq!(reply.header("www-authenticate"), wanted);
        }
    }
    let refused = ModernClient::new(&main, &stranger).request("tools/list", json!({})).await;
    let id = refused.is_refused("insufficient_scope", -31405);
    assert_eq!(fleet.audit_rows(&id).await[0]["kind"], "insufficient_scope");
}

#[tokio::test]
async fn scopes_bring_their_roles_and_nothing_else_does() {
    let fleet = Fleet::start(setup()).await;
    let tools =
        async |scope: &str| ModernClient::new(&fleet.planes[0].url(), &scoped(json!("sentinel"), scope)).tools().await;

    assert_eq!(tools("openid mcp:read").await, ["example__echo", "example__add"]);
    assert!(tools("mcp:admin").await.len() > 5);
    let refused = ModernClient::new(&fleet.planes[0].url(), &scoped(json!("sentinel"), "mcp:reader mcp"));
    assert_eq!(refused.request("tools/list", json!({})).await.status, 403);
}

#[tokio::test]
async fn a_token_for_one_endpoint_is_good_at_no_other() {
    let fleet = Fleet::start(setup()).await;
    let (main, research) = (fleet.planes[0].url(), fleet.planes[0].server_url("research"));
    let (for_main, for_research) = (json!(format!("{BASE}/mcp")), json!([format!("{BASE}/servers/research/mcp"), "x"]));
    let ask = async |url: &str, audience: &Value| {
        ModernClient::new(url, &scoped(audience.clone(), "mcp:read")).request("tools/list", json!({})).await
    };

    // Each once before the other: what was learned of a token at one endpoint decides nothing at the other.
    for _ in 0..2 {
        assert_eq!((ask(&main, &for_main).await.status, ask(&research, &for_research).await.status), (200, 200));
        for refused in [ask(&research, &for_main).await, ask(&main, &for_research).await] {
            assert_eq!((refused.status, refused.data()["reason"].as_str()), (401, Some("audience")), "{refused:?}");
        }
    }
    for near in
        [format!("{BASE}/mcpx"), format!("{BASE}.evil/mcp"), format!("{BASE}/servers/other/mcp"), BASE.to_owned()]
    {
        assert_eq!(ask(&main, &json!(near)).await.status, 401, "{near}");
    }
}

#[tokio::test]
async fn a_clients_token_never_reaches_a_backend_over_any_transport() {
    let (legacy, modern) = (http_example(false), modern_http_example(true));
    let backends = format!(
        "[[backends]]\nname = \"legacy\"\nurl = \"{}\"\n\
         [[backends]]\nname = \"modern\"\nurl = \"{}\"\nheaders = {{ Authorization = \"Bearer ${{OWN}}\" }}\n",
        legacy.url, modern.url
    );
    let fleet = Fleet::start(setup().toml(&backends).env("OWN", "of-the-gateway")).await;
    let token = scoped(json!(format!("{BASE}/mcp")), "mcp:admin");
    let client = Client::connected(&fleet.planes[0].url(), &token).await;
    let stateless = ModernClient::new(&fleet.planes[0].url(), &token);

    for backend in ["example", "legacy", "modern"] {
        for reply in [
            client.call(&format!("{backend}__echo"), json!({ "text": "x" })).await,
            stateless.call(&format!("{backend}__echo"), json!({ "text": "x" })).await,
        ] {
            assert_eq!(reply.content(), "x");
        }
    }
    let read = client.request("resources/read", json!({ "uri": "example://greeting" })).await;
    assert!(read.message.get("result").is_some(), "{read:?}");

    for received in [fleet.received("example"), legacy.received(), modern.received()] {
        assert_eq!(received.count("call"), 2);
        let all = serde_json::to_string(&received.events()).unwrap();
        assert!(!all.contains(&token), "the token went on");
    }
    // The log sees such headers: the gateway's own is there, and there is no other.
    assert_eq!(legacy.received().count("authorization"), 0);
    let sent = modern.received().events();
    let sent: Vec<&Value> = sent.iter().filter(|event| event["event"] == "authorization").collect();
    assert!(!sent.is_empty() && sent.iter().all(|event| event["arguments"] == "Bearer of-the-gateway"), "{sent:?}");
}

//! Who may come in: every broken kind of token is a 401 with its reason, and nothing reaches a backend.

use jsonwebtoken::Algorithm;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::token::{AUTH, SECRET, claims, now, signed, signed_as};
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

fn setup() -> Setup {
    Setup::example().auth(AUTH).env("SENTINEL_TEST_JWT", SECRET)
}

fn with(changes: &[(&str, Value)]) -> Value {
    let mut claims = claims("claude", "operator");
    for (name, value) in changes {
        claims[*name] = value.clone();
    }
    claims
}

#[tokio::test]
async fn a_token_of_a_configured_key_is_good() {
    let fleet = Fleet::start(setup()).await;

    let client = Client::connected(&fleet.planes[0].url(), &signed(&with(&[]))).await;

    assert_eq!(client.call("example__echo", json!({ "text": "hi" })).await.content(), "hi");
}

#[tokio::test]
async fn every_broken_kind_of_token_is_401_with_its_reason() {
    let fleet = Fleet::start(setup()).await;
    let good = signed(&with(&[]));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let flipped = format!("{head}.{}{}", if signature.starts_with('A') { 'B' } else { 'A' }, &signature[1..]);
    let unsigned =
        format!("{}.", head.replacen(head.split('.').next().unwrap(), "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0", 1));
    let other_secret =
        signed_as(&with(&[]), Algorithm::HS256, Some("tests"), "another secret, just as long as the first one is");
    let other_algorithm = signed_as(&with(&[]), Algorithm::HS512, Some("tests"), SECRET);
    let other_kid = signed_as(&with(&[]), Algorithm::HS256, Some("nobody"), SECRET);
    let cases = [
        ("", &["missing"][..]),
        ("x", &["malformed"]),
        ("a.b.c", &["malformed"]),
        ("....", &["malformed"]),
        (&flipped, &["signature"]),
        (&unsigned, &["signature", "malformed", "unknown_key"]),
        (&other_secret, &["signature"]),
        (&other_algorithm, &["signature", "malformed", "unknown_key"]),
        (&other_kid, &["unknown_key"]),
        (&signed(&with(&[("exp", json!(now() - 3600))])), &["expired"]),
        (&signed(&with(&[("nbf", json!(now() + 3600))])), &["not_yet_valid"]),
        (&signed(&with(&[("iss", json!("https://else.test"))])), &["issuer", "unknown_key"]),
        (&signed(&with(&[("aud", json!("another"))])), &["audience"]),
        (&signed(&with(&[("exp", Value::Null)])), &["malformed", "expired"]),
        (&signed(&with(&[("sub", json!(7))])), &["malformed"]),
    ];
    for (token, reasons) in cases {
        let client = Client::new(&fleet.planes[0].url(), token);

        let reply = client.request("tools/call", json!({ "name": "example__echo", "arguments": {} })).await;

        assert_eq!(reply.status, 401, "{reply:?}");
        let _id = reply.is_refused("unauthenticated", -31401);
        let reason = reply.data()["reason"].as_str().unwrap();
        assert!(reasons.contains(&reason), "{reason} is none of {reasons:?} for {token:.60}");
        assert!(reply.header("www-authenticate").starts_with("Bearer"), "{reply:?}");
    }
    assert_eq!(fleet.received("example").count("call"), 0);
}

#[tokio::test]
async fn two_authorization_headers_are_no_token() {
    let fleet = Fleet::start(setup()).await;
    let client = fleet.client("claude", "operator").await;
    let body = client.message("tools/list", &json!({}));

    let twice = client.post(body.into_bytes()).header("authorization", "Bearer second").send().await.unwrap();

    assert_eq!(twice.status(), 401);
}

#[tokio::test]
async fn a_revoked_token_is_refused_on_every_plane_also_where_it_was_used_before() {
    let fleet = Fleet::start(Setup::example().planes(2)).await;
    let minted = fleet.ctl("token mint --client claude --role operator --output json").await.json();
    let (token, jti) = (minted["token"].as_str().unwrap(), minted["jti"].as_str().unwrap());
    let mut clients = Vec::new();
    for plane in &fleet.planes {
        clients.push(Client::connected(&plane.url(), token).await);
    }

    let _ran = fleet.ctl(&format!("token revoke {jti}")).await.exits(0);

    for client in &clients {
        let reply = client.call("example__echo", json!({ "text": "x" })).await;
        let _id = reply.is_refused("unauthenticated", -31401);
        assert_eq!(reply.data()["reason"], "revoked");
    }
    let listed = fleet.ctl("token list-revoked --output json").await.json();
    assert_eq!(listed[0]["jti"], jti);
}

#[tokio::test]
async fn a_caller_whose_roles_nobody_knows_sees_nothing() {
    let fleet = Fleet::start(setup()).await;
    let token = signed(&claims("claude", "stranger"));
    let client = Client::connected(&fleet.planes[0].url(), &token).await;

    assert!(client.tools().await.is_empty());
    let _id = client.call("example__echo", json!({ "text": "x" })).await.is_refused("unknown_tool", -32602);
}

#[tokio::test]
async fn a_key_that_is_taken_out_of_the_file_opens_nothing_any_more() {
    let fleet = Fleet::start(setup()).await;
    let client = Client::connected(&fleet.planes[0].url(), &signed(&with(&[]))).await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");

    fleet.write(&fleet.setup().auth("[auth]\n"));
    let _ran = fleet.ctl("reload").await.exits(0);

    let refused = until("the token is refused", async || {
        let reply = client.call("example__echo", json!({ "text": "x" })).await;
        if reply.status == 401 { Ok(reply) } else { Err(reply) }
    })
    .await;
    let _id = refused.is_refused("unauthenticated", -31401);
}

//! A process for each session, or for each client: whose calls reach it, what it is told, when it ends.

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::is_alive;
use sentinel_tests::harness::setup::{Setup, http_example, old_http_example};
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

use crate::{able, all, answered, question, rows, said};

const PER_SESSION: &str = "isolation = \"per-session\"";
const PER_CLIENT: &str = "isolation = \"per-client\"";

async fn fleet(more: &str) -> Fleet {
    Fleet::start(Setup::one_plane().backend_with("own", more)).await
}

/// The instances of the backend `own`, as the operator sees them.
async fn instances(fleet: &Fleet) -> Vec<Value> {
    let listed = fleet.ctl("backend list --output json").await.json();
    listed[0]["instances"].as_array().unwrap_or_else(|| panic!("no instances: {listed}")).clone()
}

async fn until_instances(fleet: &Fleet, count: usize) -> Vec<Value> {
    until(&format!("{count} instances"), async || {
        let all = instances(fleet).await;
        if all.len() == count { Ok(all) } else { Err(all) }
    })
    .await
}

async fn until_dead(pid: &Value) {
    let pid = u32::try_from(pid.as_u64().unwrap()).unwrap();
    until("its process is gone", async || if is_alive(pid) { Err(pid) } else { Ok(()) }).await;
}

#[tokio::test]
async fn each_session_has_a_process_of_its_own_and_it_ends_with_the_session() {
    let fleet = fleet(PER_SESSION).await;
    let (first, second) = (fleet.client("one", "operator").await, fleet.client("one", "operator").await);
    assert_eq!(instances(&fleet).await, [Value::Null; 0], "none is started before it is needed");

    for expected in ["1", "2"] {
        assert_eq!(first.call("own__counter", json!({})).await.content(), expected);
    }
    assert_eq!(second.call("own__counter", json!({})).await.content(), "1", "another session, another process");
    let both = until_instances(&fleet, 2).await;
    assert_ne!(both[0]["pid"], both[1]["pid"]);
    assert!(
        both.iter().all(|one| one["client"] == "one" && one["state"] == "ready" && one["session"].is_string()),
        "{both:?}"
    );
    assert_eq!(fleet.planes[0].metric("sentinel_backend_instances{backend=\"own\"}").await, Some(2.0));

    assert_eq!(first.end().await.status, 204);
    until_dead(&both[0]["pid"]).await;
    assert_eq!(until_instances(&fleet, 1).await[0]["pid"], both[1]["pid"]);
    assert_eq!(second.call("own__counter", json!({})).await.content(), "2", "the other's goes on");
}

#[tokio::test]
async fn a_process_of_a_client_serves_all_its_sessions_and_no_other_client() {
    let fleet = fleet(PER_CLIENT).await;
    let (first, again) = (fleet.client("one", "operator").await, fleet.client("one", "operator").await);
    let other = fleet.client("two", "operator").await;
    assert_eq!(first.call("own__counter", json!({})).await.content(), "1");
    assert_eq!(again.call("own__counter", json!({})).await.content(), "2");
    assert_eq!(other.call("own__counter", json!({})).await.content(), "1");
    assert_eq!(first.end().await.status, 204);
    assert_eq!(again.call("own__counter", json!({})).await.content(), "3", "a session's end is not its client's");
    until_instances(&fleet, 2).await;
}

#[tokio::test]
async fn an_http_backend_has_a_session_for_each_session() {
    let server = http_example(false);
    let backend = format!("[[backends]]\nname = \"own\"\nurl = \"{}\"\n{PER_SESSION}\n", server.url);
    let fleet = Fleet::start(Setup::one_plane().toml(&backend)).await;
    let (first, second) = (able(&fleet, "one", all()).await, able(&fleet, "two", json!({})).await);
    let declared = said(&first.call("own__declared", json!({})).await.message);
    assert_eq!(declared, all());
    assert_eq!(said(&second.call("own__declared", json!({})).await.message), json!({}));
    until_instances(&fleet, 2).await;

    // A question beside the calls comes on the session's own stream.
    let mut notes = first.listen().await;
    let _later = first.call("own__roots_later", json!({})).await;
    let asked = question(&mut notes).await;
    assert_eq!(asked["method"], "roots/list");
    first.respond(&asked["id"], json!({ "roots": [] })).await;
    until("the server has its answer", async || {
        if server.received().count("answer") > 0 { Ok(()) } else { Err(server.received().events()) }
    })
    .await;
    // The server told all its sessions' streams; each question is its own session's.
    let rows = rows(&fleet, "roots/list", 2).await;
    let of = |client: &str| rows.iter().find(|row| row["client"] == client).map(|row| (&row["status"], &row["kind"]));
    assert_eq!(of("one"), Some((&json!("ok"), &json!(""))), "{rows:?}");
    assert_eq!(of("two"), Some((&json!("denied"), &json!("not_declared"))), "{rows:?}");

    first.notify("notifications/roots/list_changed", json!({})).await;
    until("the server hears of other roots", async || {
        if server.received().count("roots_changed") == 1 { Ok(()) } else { Err(server.received().events()) }
    })
    .await;
}

#[tokio::test]
async fn a_process_of_a_session_asks_its_client_over_http() {
    asks_its_client(&fleet(PER_SESSION).await).await;
}

#[tokio::test]
async fn a_session_over_http_sse_asks_its_client_over_http() {
    let server = old_http_example();
    let backend = format!("[[backends]]\nname = \"own\"\nurl = \"{}\"\n{PER_SESSION}\n", server.url);
    asks_its_client(&Fleet::start(Setup::one_plane().toml(&backend)).await).await;
}

async fn asks_its_client(fleet: &Fleet) {
    let client = able(fleet, "one", all()).await;
    assert_eq!(said(&client.call("own__declared", json!({})).await.message), all());
    for (tool, method, result) in [
        (
            "sample",
            "sampling/createMessage",
            json!({ "role": "assistant", "content": { "type": "text", "text": "hi" } }),
        ),
        ("elicit", "elicitation/create", json!({ "action": "accept", "content": { "sure": true } })),
        ("roots", "roots/list", json!({ "roots": [{ "uri": "file:///work" }] })),
    ] {
        let mut messages = client.calling(&format!("own__{tool}"), json!({})).await;
        let asked = question(&mut messages).await;
        assert_eq!(asked["method"], method);
        client.respond(&asked["id"], result.clone()).await;
        assert_eq!(answered(&mut messages).await, json!({ "result": result }), "{tool}");
    }
}

#[tokio::test]
async fn an_attached_client_is_asked_over_its_pipe_and_its_process_goes_with_it() {
    let fleet = fleet(PER_SESSION).await;
    let token = fleet.token("one", "operator").await;
    let mut client =
        sentinel_tests::harness::stdio_client::StdioClient::attached(&fleet.planes[0], fleet.folder(), &token);
    client.begin(all()).await;
    client.write(&json!({ "jsonrpc": "2.0", "id": "c", "method": "tools/call", "params": { "name": "own__elicit", "arguments": {} } }).to_string()).await;
    let asked: Value = serde_json::from_str(&client.read().await.unwrap()).unwrap();
    assert_eq!((&asked["method"], &asked["params"]["message"]), (&json!("elicitation/create"), &json!("[own] Sure?")));
    client.write(&json!({ "jsonrpc": "2.0", "id": asked["id"], "result": { "action": "decline" } }).to_string()).await;
    let answer = client.answer_to(&json!("c")).await;
    assert_eq!(said(&answer.message), json!({ "result": { "action": "decline" } }));

    // Beside all calls, on the same pipe.
    let _later = client.call("own__roots_later", json!({})).await;
    let asked: Value = serde_json::from_str(&client.read().await.unwrap()).unwrap();
    assert_eq!(asked["method"], "roots/list");
    let pid = until_instances(&fleet, 1).await[0]["pid"].clone();
    let _ended = client.end().await;
    until_dead(&pid).await;
    until_instances(&fleet, 0).await;
}

#[tokio::test]
async fn one_that_idles_ends_and_is_started_anew_by_the_next_call() {
    let fleet = fleet("isolation = \"per-session\"\ninstance_idle_secs = 1").await;
    let client = fleet.client("one", "operator").await;
    assert_eq!(client.call("own__counter", json!({})).await.content(), "1");
    let last = *fleet.received("own").pids().last().unwrap();
    until_dead(&json!(last)).await;
    assert_eq!(client.call("own__counter", json!({})).await.content(), "1");
}

#[tokio::test]
async fn at_the_maximum_a_client_gets_room_by_what_it_left_idle_and_takes_none_of_others() {
    let fleet = fleet("isolation = \"per-session\"\nmax_instances = 2").await;
    let (first, second) = (fleet.client("one", "operator").await, fleet.client("one", "operator").await);
    let third = fleet.client("one", "operator").await;
    let other = fleet.client("two", "operator").await;
    assert_eq!(first.call("own__counter", json!({})).await.content(), "1");
    assert_eq!(other.call("own__counter", json!({})).await.content(), "1");
    assert_eq!(second.call("own__counter", json!({})).await.content(), "1", "in place of its client's idle one");
    assert_eq!(other.call("own__counter", json!({})).await.content(), "2", "which the other client's is not");
    let mut busy = second.calling("own__slow", json!({ "ms": 600_000 })).await;
    let refused = third.call("own__counter", json!({})).await;
    assert_eq!(
        (&refused.data()["kind"], &refused.data()["state"]),
        (&json!("backend_unavailable"), &json!("full")),
        "{refused:?}"
    );
    assert_eq!(second.end().await.status, 204);
    assert!(
        busy.next_json().await.is_some_and(|message| message.get("error").is_some()),
        "its call ended with its process"
    );
}

#[tokio::test]
async fn a_process_that_dies_is_started_again_and_the_others_do_not_notice() {
    let fleet = fleet(PER_SESSION).await;
    let (first, second) = (fleet.client("one", "operator").await, fleet.client("two", "operator").await);
    assert_eq!(second.call("own__counter", json!({})).await.content(), "1");
    let died = first.call("own__crash", json!({})).await;
    assert_eq!(died.data()["kind"], "backend_error");
    until("it serves again", async || {
        let reply = first.call("own__counter", json!({})).await;
        if reply.message.get("result").is_some() { Ok(()) } else { Err(reply) }
    })
    .await;
    assert_eq!(second.call("own__counter", json!({})).await.content(), "2");
    let all = until("the operator sees whose process began anew", async || {
        let all = instances(&fleet).await;
        let restarts = |client: &str| all.iter().find(|one| one["client"] == client).map(|one| one["restarts"].clone());
        let seen = (restarts("one"), restarts("two"));
        if seen == (Some(json!(1)), Some(json!(0))) { Ok(all) } else { Err(seen) }
    })
    .await;
    let restarted = fleet.ctl("backend restart own").await;
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    until("all are new processes", async || {
        let now = instances(&fleet).await;
        let is_new = |one: &Value| one["state"] == "ready" && all.iter().all(|old| old["pid"] != one["pid"]);
        if now.len() == 2 && now.iter().all(is_new) { Ok(()) } else { Err(now) }
    })
    .await;
}

#[tokio::test]
async fn the_process_of_a_killed_client_ends_and_so_does_that_of_a_revoked_token() {
    let fleet = fleet(PER_SESSION).await;
    let bad = fleet.client("bad", "operator").await;
    let minted = fleet.ctl("token mint --client good --role operator --output json").await.json();
    let (token, jti) = (minted["token"].as_str().unwrap(), minted["jti"].as_str().unwrap());
    let good = Client::connected(&fleet.planes[0].url(), token).await;
    assert_eq!(bad.call("own__counter", json!({})).await.content(), "1");
    assert_eq!(good.call("own__counter", json!({})).await.content(), "1");
    let _killed = fleet.ctl("kill-switch client bad --reason test").await.exits(0);
    assert_eq!(until_instances(&fleet, 1).await[0]["client"], "good");
    let _revoked = fleet.ctl(&format!("token revoke {jti}")).await.exits(0);
    until_instances(&fleet, 0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_midst_of_a_question_holds_nothing() {
    let fleet = fleet(PER_SESSION).await;
    let client = able(&fleet, "one", all()).await;
    let mut messages = client.calling("own__sample", json!({})).await;
    let _asked = question(&mut messages).await;
    drop(messages);
    until("the call has its answer all the same", async || {
        let in_flight = fleet.planes[0].metric("sentinel_in_flight").await;
        if in_flight == Some(0.0) { Ok(()) } else { Err(in_flight) }
    })
    .await;
    let row = &rows(&fleet, "sampling/createMessage", 1).await[0];
    assert_eq!((&row["status"], &row["kind"]), (&json!("error"), &json!("unreachable")), "{row}");
}

#[tokio::test]
async fn a_drain_ends_all_of_them() {
    let mut fleet = fleet(PER_SESSION).await;
    let client = fleet.client("one", "operator").await;
    assert_eq!(client.call("own__counter", json!({})).await.content(), "1");
    let pid = until_instances(&fleet, 1).await[0]["pid"].clone();
    fleet.planes[0].process.signal(nix::sys::signal::Signal::SIGTERM);
    until_dead(&pid).await;
}

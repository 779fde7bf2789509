//! The same law as for tools: hidden is absent, kills stop, limits hold, before anything reaches a backend.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::{Value, json};

const ROLES: &str = "[roles.operator]\nallow = [\"*\"]\n\
    [roles.reader]\nallow = [\"resource:example://notes/*\", \"prompt:*\"]\ndeny = [\"resource:*/beta\", \"prompt:*greet\"]\n";

fn ask(method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": 9, "method": method, "params": params }).to_string()
}

/// A request about something hidden and its twin about something that is not there, of one length.
fn twins() -> Vec<(&'static str, Value, Value, &'static str, i64)> {
    let reference = |kind: &str, key: &str, value: &str| json!({ "ref": { "type": kind, key: value }, "argument": { "name": "style", "value": "" } });
    vec![
        (
            "resources/read",
            json!({ "uri": "example://greeting" }),
            json!({ "uri": "example://greetinx" }),
            "resource",
            -32002,
        ),
        // A template of a backend would make it, and a role hides it; the other no template makes.
        (
            "resources/read",
            json!({ "uri": "example://notes/beta" }),
            json!({ "uri": "example://nope_/beta" }),
            "resource",
            -32002,
        ),
        ("prompts/get", json!({ "name": "example__greet" }), json!({ "name": "example__greex" }), "prompt", -32602),
        (
            "completion/complete",
            reference("ref/prompt", "name", "example__greet"),
            reference("ref/prompt", "name", "example__greex"),
            "prompt",
            -32602,
        ),
        (
            "completion/complete",
            reference("ref/resource", "uri", "example://slow/{ms}"),
            reference("ref/resource", "uri", "example://slox/{ms}"),
            "resource",
            -32002,
        ),
    ]
}

#[tokio::test]
async fn what_is_hidden_and_what_is_not_there_answer_the_same_bytes() {
    let fleet = Fleet::start(Setup::example().roles(ROLES)).await;
    let client = fleet.client("reader", "reader").await;

    for (method, hidden, unknown, what, code) in twins() {
        let (asked_hidden, asked_unknown) = (ask(method, &hidden), ask(method, &unknown));
        let (hidden, unknown) = (client.send(&asked_hidden).await, client.send(&asked_unknown).await);
        let kind = format!("unknown_{what}");
        let (first, second) = (hidden.is_refused(&kind, code), unknown.is_refused(&kind, code));
        let uri = |reply: &Reply| reply.data()["uri"].as_str().unwrap_or("-").to_owned();
        let plain = |reply: &Reply, id: &str| reply.text.replace(id, "ID").replace(&uri(reply), "URI");
        assert_eq!(plain(&hidden, &first), plain(&unknown, &second), "{method}");
        assert_eq!((hidden.status, hidden.headers.len()), (unknown.status, unknown.headers.len()));
        let rows = (fleet.audit_rows(&first).await, fleet.audit_rows(&second).await);
        assert_eq!(rows.0[0]["kind"], format!("hidden_{what}"), "{rows:?}");
        assert_eq!(rows.1[0]["kind"], kind, "{rows:?}");
        assert_eq!((&rows.0[0]["method"], &rows.0[0]["status"]), (&json!(method), &json!("denied")));
    }
    for event in ["read", "get", "complete"] {
        assert_eq!(fleet.received("example").count(event), 0, "{event} reached the backend");
    }
}

#[tokio::test]
async fn what_a_role_shows_can_be_read_also_by_a_template() {
    let fleet = Fleet::start(Setup::example().roles(ROLES)).await;
    let client = fleet.client("reader", "reader").await;

    let listed = client.request("resources/read", json!({ "uri": "example://notes/alpha" })).await;
    let unlisted = client.request("resources/read", json!({ "uri": "example://notes/gamma" })).await;

    assert_eq!(listed.result()["contents"][0]["text"], "note alpha");
    assert_eq!(unlisted.result()["contents"][0]["text"], "note gamma");
}

fn each(prompt: &str) -> [(&'static str, Value); 3] {
    [
        ("resources/read", json!({ "uri": "example://greeting" })),
        ("prompts/get", json!({ "name": prompt, "arguments": { "name": "Ada" } })),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": prompt }, "argument": { "name": "style", "value": "f" } }),
        ),
    ]
}

#[tokio::test]
async fn a_kill_of_the_backend_the_client_or_all_stops_reads_prompts_and_completions() {
    for (scope, line) in [
        ("backend", "kill-switch backend example --reason stop"),
        ("client", "kill-switch client claude --reason stop"),
        ("role", "kill-switch role operator --reason stop"),
        ("all", "kill-switch all --reason stop"),
    ] {
        let fleet = Fleet::start(Setup::example()).await;
        let client = fleet.client("claude", "operator").await;
        let killed = fleet.ctl(line).await;
        assert_eq!(killed.code, Some(0), "{killed:?}");

        for (method, params) in each("example__greet") {
            let reply = client.request(method, params).await;
            let id = reply.is_refused("disabled", -31423);
            assert_eq!((&reply.data()["scope"], &reply.data()["sent"]), (&json!(scope), &json!(false)), "{reply:?}");
            assert_eq!(fleet.audit_rows(&id).await[0]["kind"], "disabled");
        }
        assert_eq!(
            client.request("resources/list", json!({})).await.result()["resources"].as_array().unwrap().len(),
            3
        );
        assert_eq!(fleet.received("example").count("read"), 0);
    }
}

#[tokio::test]
async fn a_read_that_runs_is_cut_by_a_kill_of_its_backend() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let read = async { client.request("resources/read", json!({ "uri": "example://slow/600000" })).await };
    let kill = async {
        until("the read is at the backend", async || {
            let reads = fleet.received("example").count("read");
            if reads == 1 { Ok(()) } else { Err(reads) }
        })
        .await;
        fleet.ctl("kill-switch backend example --reason stop --output json").await.json()
    };

    let (reply, killed) = tokio::join!(read, kill);

    let id = reply.is_refused("disabled", -31423);
    assert_eq!((&reply.data()["sent"], &killed["acks"][0]["cut"]), (&json!(true), &json!(1)), "{killed}");
    assert_eq!(fleet.audit_rows(&id).await[0]["status"], "cancelled");
}

#[tokio::test]
async fn a_kill_of_a_tool_is_none_of_a_prompt_that_has_its_name() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;
    let killed = fleet.ctl("kill-switch tool example__greet --force --reason stop").await;
    assert_eq!(killed.code, Some(0), "{killed:?}");

    let [_, (method, params), _] = each("example__greet");

    assert!(client.request(method, params).await.message.get("result").is_some());
}

#[tokio::test]
async fn each_resource_and_prompt_has_a_bucket_of_its_own_by_the_pattern_that_fits() {
    let limits = "[rate_limit]\ndefault = { requests = 100000, per_secs = 1, burst = 100000 }\n\
        per_client = { requests = 100000, per_secs = 1, burst = 100000 }\n[rate_limit.tools]\n\
        \"resource:example://greeting\" = { requests = 2, per_secs = 3600, burst = 2 }\n\
        \"prompt:*greet\" = { requests = 1, per_secs = 3600, burst = 1 }\n";
    let fleet = Fleet::start(Setup::example().limits(limits)).await;
    let client = fleet.client("claude", "operator").await;
    let read = async |uri: &str| client.request("resources/read", json!({ "uri": uri })).await;
    let [_, (get, greet), (complete, style)] = each("example__greet");

    for _ in 0..2 {
        assert!(read("example://greeting").await.message.get("result").is_some());
    }
    let _past_it = read("example://greeting").await.is_refused("rate_limited", -31429);
    assert!(read("example://dot").await.message.get("result").is_some(), "another resource has its own bucket");
    assert!(client.request(get, greet).await.message.get("result").is_some());
    let _past_it = client.request(complete, style).await.is_refused("rate_limited", -31429);
    assert_eq!(fleet.received("example").count("read"), 3);
    let hits = fleet.planes[0].metric(r#"sentinel_rate_limit_hits_total{tool="prompt:example__greet"}"#).await;
    assert_eq!(hits, Some(1.0));
}

#[tokio::test]
async fn a_clients_words_make_no_series() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    for name in ["alpha", "beta", "nobody"] {
        let _any = client.request("resources/read", json!({ "uri": format!("example://notes/{name}") })).await;
    }
    let _unknown = client.request("resources/read", json!({ "uri": "foreign://x" })).await;

    let (_, text) = fleet.planes[0].ops("/metrics").await.unwrap();
    assert!(!text.contains("nobody") && !text.contains("notes/") && !text.contains("foreign"), "{text}");
    let ended = r#"sentinel_requests_total{status="ok",tool="resource:example"}"#;
    assert_eq!(fleet.planes[0].metric(ended).await, Some(2.0));
}

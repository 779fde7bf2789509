//! A backend that answers rubbish, too much, too late, twice, with a wrong id, or dies: an error for that call alone.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::until;
use serde_json::json;

#[tokio::test]
async fn a_backend_that_dies_under_a_call_fails_that_call_and_comes_back() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    let died = client.call("example__crash", json!({})).await;

    let id = died.is_refused("backend_error", -31502);
    assert_eq!(died.data()["backend"], "example");
    let rows = fleet.audit_rows(&id).await;
    assert_eq!((&rows[0]["status"], rows.len()), (&json!("error"), 1));
    until("the backend is back", async || {
        let reply = client.call("example__echo", json!({ "text": "x" })).await;
        if reply.message["result"].is_object() { Ok(()) } else { Err(reply) }
    })
    .await;
    assert_eq!(fleet.received("example").calls("crash").len(), 1, "a call that left is never repeated");
}

#[tokio::test]
async fn a_late_answer_is_a_timeout_and_the_backend_is_told() {
    let setup = Setup::one_plane().backend_with("example", "timeouts = { slow = 1 }");
    let fleet = Fleet::start(setup).await;
    let client = fleet.client("claude", "operator").await;

    let late = client.call("example__slow", json!({ "ms": 600_000 })).await;

    let id = late.is_refused("timeout", -31504);
    assert_eq!(late.data()["backend"], "example");
    assert!(late.data()["timeoutMs"].as_u64().is_some_and(|ms| (1000..60_000).contains(&ms)), "{late:?}");
    until("the backend is told", async || {
        sentinel_tests::harness::until::holds(fleet.received("example").count("cancel") == 1)
    })
    .await;
    assert_eq!(fleet.audit_rows(&id).await[0]["status"], "timeout");
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn progress_renews_a_timeout() {
    let setup = Setup::one_plane().backend_with("example", "timeouts = { slow = 1 }");
    let fleet = Fleet::start(setup).await;
    let client = fleet.client("claude", "operator").await;
    let meta = json!({ "progressToken": 1 });
    let params = json!({ "name": "example__slow", "arguments": { "ms": 2400, "steps": 8 }, "_meta": meta });

    let reply = client.request("tools/call", params).await;

    assert_eq!(reply.content(), "done after 8 steps");
}

#[tokio::test]
async fn rubbish_wrong_ids_and_second_answers_harm_no_other_call() {
    let setup = Setup::one_plane().backend_with("example", "timeouts = { misbehave = 1 }");
    let fleet = Fleet::start(setup).await;
    let client = fleet.client("claude", "operator").await;
    let cases = [
        ("rubbish", &["timeout", "backend_error"][..]),
        ("wrong_id", &["timeout", "backend_error"]),
        ("silent", &["timeout"]),
        ("no_result", &["timeout", "backend_error"]),
    ];
    for (how, kinds) in cases {
        let reply = client.call("example__misbehave", json!({ "how": how })).await;

        let kind = reply.data()["kind"].as_str().unwrap_or("none").to_owned();
        assert!(kinds.contains(&kind.as_str()), "{how}: {reply:?}");
        until("the next call is good", async || {
            let next = client.call("example__echo", json!({ "text": how })).await;
            if next.message["result"]["content"][0]["text"] == how { Ok(()) } else { Err(next) }
        })
        .await;
    }
    assert_eq!(client.call("example__misbehave", json!({ "how": "twice" })).await.content(), "as asked");
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn a_backends_own_error_passes_unchanged() {
    let fleet = Fleet::start(Setup::example()).await;
    let client = fleet.client("claude", "operator").await;

    let reply = client.call("example__misbehave", json!({ "how": "error" })).await;

    assert_eq!(reply.message["error"], json!({ "code": -32000, "message": "the backend's own error" }));
}

#[tokio::test]
async fn an_answer_above_the_limit_is_a_backend_error_for_that_call_alone() {
    let setup = Setup::one_plane().backend_with("example", "max_response_bytes = \"64KiB\"");
    let fleet = Fleet::start(setup).await;
    let client = fleet.client("claude", "operator").await;

    let big = client.call("example__big", json!({ "bytes": 200_000 })).await;
    let small = until("the next call is good", async || {
        let reply = client.call("example__big", json!({ "bytes": 20_000 })).await;
        if reply.message["result"].is_object() { Ok(reply) } else { Err(reply) }
    })
    .await;

    let _id = big.is_refused("backend_error", -31502);
    assert_eq!(small.content().len(), 20_000);
}

#[tokio::test]
async fn a_backend_that_cannot_start_is_unavailable_and_the_others_work() {
    let nowhere = "[[backends]]\nname = \"nowhere\"\nurl = \"http://127.0.0.1:1/mcp\"\n";
    let setup = Setup::example().toml(nowhere).not_waiting_for_backends();
    let fleet = Fleet::start(setup).await;
    let client = fleet.client("claude", "operator").await;

    let listed = fleet.ctl("backend list --output json").await.json();

    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|one| (&one["name"], &one["state"])).collect();
    assert!(states.iter().any(|(name, state)| *name == "nowhere" && *state != "ready"), "{states:?}");
    let _id = client.call("nowhere__x", json!({})).await.is_refused("unknown_tool", -32602);
}

#[tokio::test]
async fn a_child_sees_path_home_lang_a_mark_and_its_own_variables_and_nothing_else() {
    let setup = Setup::one_plane()
        .backend_with("example", "env = { MINE = \"${SENTINEL_TEST_VALUE}\" }")
        .env("SENTINEL_TEST_VALUE", "for the child")
        .env("LEAKED", "not for the child");
    let fleet = Fleet::start(setup).await;
    let client = fleet.client("claude", "operator").await;

    let reply = client.call("example__env", json!({})).await;

    let names: Vec<&str> = reply.content().lines().collect();
    assert!(names.contains(&"MINE") && names.contains(&"PATH"), "{names:?}");
    assert!(names.iter().all(|name| ["HOME", "LANG", "MINE", "PATH", "SENTINEL_CHILD"].contains(name)), "{names:?}");
}

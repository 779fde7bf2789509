//! F59 and F60: processes that talk nonsense, and processes that do not listen.

use sentinel_tests::harness::until::{holds, until};
use serde_json::json;

use crate::stdio::beside_rough;
use crate::{all_is_given_back, serves};

#[tokio::test]
async fn f59_noise_around_an_answer_changes_no_answer() {
    let (fleet, client) = beside_rough("").await;
    let before = fleet.received("rough").pids();
    for how in ["banner", "twice", "flood", "ask", "stderr", "unknown", "fork"] {
        let reply = client.call("rough__bad", json!({ "how": how, "nonce": how })).await;
        assert_eq!(reply.content(), how);
        assert_eq!(client.call("rough__echo", json!({ "nonce": "x" })).await.content(), "x", "after {how}");
    }
    assert_eq!(fleet.received("rough").pids(), before, "nothing of this is a reason to end it");
    let stderr = fleet.ctl("backend list --stderr rough").await;
    assert!(stderr.stdout.contains("eeee") && !stderr.stdout.contains('\u{1b}'), "what it says is shown escaped");
    all_is_given_back(&fleet, "rough").await;
}

#[tokio::test]
async fn f59_a_line_without_an_end_ends_the_process_and_its_call_and_no_other() {
    let (fleet, client) = beside_rough("max_response_bytes = \"1MiB\"").await;
    let before = fleet.received("rough").pids();

    let reply = client.call("rough__bad", json!({ "how": "endless_line", "nonce": "n" })).await;

    let _id = reply.is_refused("backend_error", -31502);
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    serves(&client, "rough").await;
    let after = fleet.received("rough").pids();
    assert_eq!((after.len(), after[0]), (2, before[0]), "it was replaced once");
    assert_eq!(fleet.received("rough").calls("bad").len(), 1);
    all_is_given_back(&fleet, "rough").await;
}

#[tokio::test]
async fn f59_wrong_ids_and_half_messages_cost_their_own_call_alone() {
    let (fleet, client) = beside_rough("timeout_secs = 2").await;
    for how in ["wrong_id", "rubbish", "no_result"] {
        let reply = client.call("rough__bad", json!({ "how": how, "nonce": how })).await;
        let kind = reply.data()["kind"].as_str().unwrap_or("none").to_owned();
        assert!(["timeout", "backend_error"].contains(&kind.as_str()), "{how}: {reply:?}");
        assert_eq!(client.call("rough__echo", json!({ "nonce": how })).await.content(), how);
    }
    all_is_given_back(&fleet, "rough").await;
}

#[tokio::test]
async fn f60_who_does_not_read_is_full_then_stalled_and_replaced() {
    let (fleet, client) = beside_rough("timeout_secs = 20").await;
    let first = fleet.received("rough").pids();
    let big = "x".repeat(1 << 20);

    // The first makes it deaf; the others fill the pipe, then what waits for the pipe.
    let deaf = client.call("rough__bad", json!({ "how": "deaf", "nonce": "d" }));
    let filling = async {
        until("it is deaf", async || holds(fleet.received("rough").calls("bad").len() == 1)).await;
        let calls = (0..16).map(|_| client.call("rough__once", json!({ "nonce": "n", "big": big })));
        futures_util::future::join_all(calls).await
    };
    let (deaf, filled) = tokio::join!(deaf, filling);

    let kinds: Vec<(String, String)> = filled
        .iter()
        .map(|reply| {
            let word = |name: &str| reply.data()[name].as_str().unwrap_or_default().to_owned();
            (word("kind"), word("state"))
        })
        .collect();
    assert!(kinds.iter().any(|(kind, state)| kind == "backend_unavailable" && state == "full"), "{kinds:?}");
    assert!(kinds.iter().all(|(kind, _)| !kind.is_empty()), "{kinds:?}");
    let _id = deaf.is_refused("backend_error", -31502);
    serves(&client, "rough").await;
    let pids = fleet.received("rough").pids();
    assert_eq!((pids.len(), &pids[..1]), (2, &first[..]), "it was replaced, by {pids:?}");
    assert!(fleet.received("rough").calls("once").is_empty(), "what it did not read was not sent to the next");
    until("the restart is counted", async || {
        holds(fleet.planes[0].metric("sentinel_backend_restarts_total{backend=\"rough\"}").await == Some(1.0))
    })
    .await;
    all_is_given_back(&fleet, "rough").await;
}

//! F53: answers that are none, too many, too large, or without an end, over HTTP.

use serde_json::json;

use crate::{PATIENT, all_is_given_back, beside_wild, row_of, serves};

/// How, and what the caller is told that it was.
const WRONG: [(&str, &str); 16] = [
    ("rubbish", "broken"),
    ("wrong_id", "another id"),
    ("no_result", "broken"),
    ("two", "broken"),
    ("html", "text/html"),
    ("gzip", "compressed"),
    ("nothing", "neither JSON"),
    ("nonsense", "broke"),
    ("huge", "larger than"),
    ("events_endless", "larger than"),
    ("events_empty", "ended without an answer"),
    ("events_cut", "ended without an answer"),
    ("cut_head", "broke"),
    ("cut_body", "broke"),
    ("longer", "broke"),
    ("reset_body", "broke"),
];

#[tokio::test]
async fn f53_each_wrong_answer_is_named_for_its_call_alone_and_the_next_call_is_good() {
    let (fleet, wild, client) = beside_wild("timeout_secs = 20\nmax_response_bytes = \"1MiB\"", PATIENT).await;

    for (how, says) in WRONG {
        let reply = client.call("wild__bad", json!({ "how": how, "nonce": how })).await;

        let _id = reply.is_refused("backend_error", -31502);
        let what = reply.data()["what"].as_str().unwrap_or_default().to_owned();
        assert!(what.contains(says), "{how}: {what}");
        assert!(!what.contains("Sign in"), "a body is never told on: {what}");
        let row = row_of(&fleet, &reply).await;
        assert_eq!((&row["status"], &row["detail"]["attempts"]), (&json!("error"), &json!(1)), "{how}: {row}");
        // Two, so that on a quick machine less than half of the calls within ten seconds fail: that would open the breaker.
        for _ in 0..2 {
            let next = client.call("wild__echo", json!({ "nonce": how })).await;
            assert_eq!(next.content(), how, "after {how}");
        }
    }

    assert_eq!(wild.received().calls("bad").len(), WRONG.len(), "none of them was sent twice");
    all_is_given_back(&fleet, "wild").await;
}

#[tokio::test]
async fn f53_a_large_answer_that_breaks_off_after_its_beginning_reaches_its_client_as_broken_and_never_as_whole() {
    let (fleet, _wild, client) = beside_wild("timeout_secs = 20", PATIENT).await;
    let arguments = json!({ "name": "wild__bad", "arguments": { "how": "cut_large", "nonce": "n" } });

    let response = client.post(client.message("tools/call", &arguments).into_bytes()).send().await.unwrap();

    let (status, request_id) = (response.status(), response.headers()["x-request-id"].to_str().unwrap().to_owned());
    let body = response.bytes().await;
    assert!(status.is_success() && body.is_err(), "{status} and a body of {:?}", body.map(|body| body.len()));
    let rows = fleet.audit_rows(&request_id).await;
    assert_eq!((rows.len(), &rows[0]["status"]), (1, &json!("error")), "{rows:?}");
    serves(&client, "wild").await;
    all_is_given_back(&fleet, "wild").await;
}

#[tokio::test]
async fn f53_a_second_answer_in_the_stream_is_dropped_and_meets_nobody() {
    let (_fleet, wild, client) = beside_wild("", PATIENT).await;
    for number in 0..5 {
        let nonce = number.to_string();
        assert_eq!(client.call("wild__bad", json!({ "how": "twice", "nonce": nonce })).await.content(), nonce);
        assert_eq!(client.call("wild__echo", json!({ "nonce": "e" })).await.content(), "e");
    }
    assert_eq!(wild.received().calls("bad").len(), 5);
}

#[tokio::test]
async fn f53_a_server_that_never_stops_talking_on_its_own_stream_slows_no_other() {
    let (fleet, wild, client) = beside_wild("", PATIENT).await;
    wild.manner("flood");

    for _ in 0..50 {
        assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
    }

    serves(&client, "wild").await;
    wild.manner("");
    all_is_given_back(&fleet, "wild").await;
}

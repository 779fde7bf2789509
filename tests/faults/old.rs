//! F52 to F55 over HTTP+SSE, the transport of 2024-11-05: all answers come on one stream, so that what one call does to it
//! could cost another.

use std::time::Duration;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::hostile::HttpFault;
use sentinel_tests::harness::until::{holds, until};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{PATIENT, all_is_given_back, beside, forgets, row_of, serves, state_of};

async fn beside_old(more: &str) -> (Fleet, HttpFault, Client) {
    let wild = HttpFault::start();
    let table = format!("url = \"{}\"\ntransport = \"sse\"\n{more}", wild.old_url());
    let (fleet, client) = beside(&wild, &table, PATIENT).await;
    (fleet, wild, client)
}

/// Its next session begins as `manner` says.
async fn begins_anew(fleet: &Fleet, wild: &HttpFault, manner: &str) {
    wild.manner(manner);
    let _restarted = fleet.ctl("backend restart wild").await.exits(0);
}

/// Until it is down, for this reason.
async fn is_down(fleet: &Fleet, why: &str) {
    until(&format!("it is down: {why}"), async || {
        let state = state_of(fleet, "wild").await;
        let says = state["reason"].as_str().is_some_and(|reason| reason.contains(why));
        if state["state"] == "down" && says { Ok(()) } else { Err(state) }
    })
    .await;
}

#[tokio::test]
async fn f52_over_one_stream_an_answer_that_never_comes_is_a_timeout_of_its_call_alone() {
    let (fleet, wild, client) = beside_old("timeout_secs = 2").await;
    let sessions = wild.received().count("initialize");
    let ways = ["hang", "post_silent", "event_other", "wrong_id", "rubbish", "no_result"];

    let late = ways.map(|how| {
        let client = &client;
        async move { (how, client.call("wild__bad", json!({ "how": how, "nonce": how })).await) }
    });
    let beside = async {
        until("all of them wait", async || holds(wild.received().calls("bad").len() == ways.len())).await;
        for number in 0..10 {
            let nonce = number.to_string();
            assert_eq!(client.call("wild__echo", json!({ "nonce": nonce })).await.content(), nonce);
        }
    };
    let (late, ()) = tokio::join!(futures_util::future::join_all(late), beside);

    for (how, reply) in late {
        let _id = reply.is_refused("timeout", -31504);
        let row = row_of(&fleet, &reply).await;
        assert_eq!((&row["status"], &row["detail"]["sent"]), (&json!("timeout"), &json!(true)), "{how}: {row}");
    }
    assert_eq!(wild.received().count("initialize"), sessions, "its session goes on");
    all_is_given_back(&fleet, "wild").await;
    serves(&client, "wild").await;
}

#[tokio::test]
async fn f52_a_stream_on_which_nothing_is_said_any_more_is_replaced() {
    let (fleet, wild, client) = beside_old("timeout_secs = 1").await;
    let sessions = wild.received().count("initialize");
    wild.manner("mute");
    for number in 0..3 {
        let reply = client.call("wild__once", json!({ "nonce": number.to_string() })).await;
        let _id = reply.is_refused("timeout", -31504);
    }
    until("another session is asked for", async || holds(wild.received().count("initialize") > sessions)).await;
    wild.manner("");
    serves(&client, "wild").await;
    assert_eq!(wild.received().calls("once").len(), 3, "none was sent again");
    all_is_given_back(&fleet, "wild").await;
}

#[tokio::test]
async fn f52_a_server_that_names_no_endpoint_is_down_and_says_so() {
    let (fleet, wild, client) = beside_old("").await;
    begins_anew(&fleet, &wild, "endpoint never").await;
    is_down(&fleet, "named no endpoint").await;
    let refused = client.call("wild__once", json!({ "nonce": "n" })).await;
    let _id = refused.is_refused("backend_unavailable", -31503);
    assert!(wild.received().calls("once").is_empty());
    wild.manner("");
    serves(&client, "wild").await;
}

/// How, and what the caller is told that it was.
const ENDS: [(&str, &str); 6] = [
    ("stream_end", "event stream ended"),
    ("stream_cut", "event stream ended"),
    ("stream_reset", "broke"),
    ("huge", "max_response_bytes"),
    ("garbage", "no message of MCP"),
    ("unasked", "nobody asked for"),
];

#[tokio::test]
async fn f53_whatever_ends_the_one_stream_is_named_for_its_calls_and_the_next_call_has_another() {
    let (fleet, wild, client) = beside_old("timeout_secs = 20\nmax_response_bytes = \"1MiB\"").await;
    for (how, says) in ENDS {
        let sessions = wild.received().count("initialize");

        let reply = client.call("wild__bad", json!({ "how": how, "nonce": how })).await;

        let _id = reply.is_refused("backend_error", -31502);
        let what = reply.data()["what"].as_str().unwrap_or_default().to_owned();
        assert!(what.contains(says), "{how}: {what}");
        let row = row_of(&fleet, &reply).await;
        assert_eq!((&row["status"], &row["detail"]["attempts"]), (&json!("error"), &json!(1)), "{how}: {row}");
        serves(&client, "wild").await;
        assert!(wild.received().count("initialize") > sessions, "{how}: a session is its stream");
    }
    assert_eq!(wild.received().calls("bad").len(), ENDS.len(), "none of them was sent twice");
    all_is_given_back(&fleet, "wild").await;
}

#[tokio::test]
async fn f53_noise_on_the_one_stream_changes_no_answer() {
    let (fleet, wild, client) = beside_old("").await;
    let sessions = wild.received().count("initialize");
    for how in ["noise", "twice", "ask", "flood", "post_hang"] {
        assert_eq!(client.call("wild__bad", json!({ "how": how, "nonce": how })).await.content(), how);
        assert_eq!(client.call("wild__echo", json!({ "nonce": "e" })).await.content(), "e", "after {how}");
    }
    assert_eq!((wild.received().count("initialize"), wild.received().calls("bad").len()), (sessions, 5));
    all_is_given_back(&fleet, "wild").await;
}

#[tokio::test]
async fn f54_a_post_that_is_refused_is_its_calls_own_and_what_only_reads_is_sent_once_more() {
    let (fleet, wild, client) = beside_old("").await;
    let sessions = wild.received().count("initialize");
    for how in ["status 500 Oops", "status 429 Slow Down", "status 503 Later", "status 400 No", "post_reset"] {
        let failed = client.call("wild__bad", json!({ "how": how, "nonce": how })).await;
        let _id = failed.is_refused("backend_error", -31502);
        let row = row_of(&fleet, &failed).await;
        assert_eq!((&row["status"], &row["detail"]["attempts"]), (&json!("error"), &json!(1)), "{how}: {row}");
    }
    let again = json!({ "nonce": "again", "fails_first": "status 503 Later" });
    let read = client.call("wild__look", again).await;
    assert_eq!((read.content(), &row_of(&fleet, &read).await["detail"]["attempts"]), ("again", &json!(2)));
    assert_eq!(wild.received().calls("bad").len(), 5, "none of these was sent twice");
    assert_eq!(wild.received().count("initialize"), sessions, "and none harmed the session");
    all_is_given_back(&fleet, "wild").await;
}

#[tokio::test]
async fn f55_a_session_that_is_not_known_any_more_is_made_anew_and_costs_no_call() {
    let (_fleet, wild, client) = beside_old("").await;
    forgets(&wild, &client).await;
}

#[tokio::test]
async fn f55_an_endpoint_elsewhere_is_refused_and_nothing_goes_there() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (fleet, wild, client) = beside_old("").await;
    begins_anew(&fleet, &wild, &format!("endpoint http://{}/messages?0", elsewhere.local_addr().unwrap())).await;
    is_down(&fleet, "another origin").await;
    begins_anew(&fleet, &wild, "endpoint late").await;
    is_down(&fleet, "does not begin with an endpoint").await;
    let nobody = tokio::time::timeout(Duration::from_millis(500), elsewhere.accept()).await;
    assert!(nobody.is_err(), "somebody went where the endpoint points");

    begins_anew(&fleet, &wild, "endpoint twice").await;
    serves(&client, "wild").await;
    assert_eq!(
        client.call("wild__once", json!({ "nonce": "n" })).await.content(),
        "n",
        "the first that it names counts"
    );
}

//! F51, F52, F54, F55: servers over HTTP that can't be reached, hang, fail, or send us elsewhere.

use std::time::Duration;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::hostile::HttpFault;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until, until_within};
use serde_json::json;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::{PATIENT, all_is_given_back, beside_wild, forgets, row_of, serves, state_of};

#[tokio::test]
async fn f51_a_closed_port_is_told_at_once_was_tried_twice_and_never_got_the_call() {
    let (fleet, mut wild, client) = beside_wild("", PATIENT).await;
    wild.process.kill().await;

    let begun = Instant::now();
    let refused = client.call("wild__once", json!({ "nonce": "n" })).await;

    let _id = refused.is_refused("backend_unavailable", -31503);
    assert_eq!(refused.data()["state"], "down");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let row = row_of(&fleet, &refused).await;
    assert_eq!(
        (&row["status"], &row["detail"]["sent"], &row["detail"]["attempts"]),
        (&json!("error"), &json!(false), &json!(2))
    );
    until("the metric says it", async || {
        holds(fleet.planes[0].metric("sentinel_backend_healthy{backend=\"wild\"}").await == Some(0.0))
    })
    .await;
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");

    wild.process.restart().await;
    serves(&client, "wild").await;
    assert!(wild.received().calls("once").is_empty());
}

#[tokio::test]
async fn f51_what_leads_nowhere_is_named_in_the_state_within_seconds() {
    let plain = HttpFault::start();
    plain.is_there().await;
    // Takes connections and says nothing: TLS never begins.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Takes none: what is beyond its backlog waits for an answer to its first packet.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let mut held = Vec::new();
    while let Ok(stream) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(full.local_addr().unwrap())).await
    {
        held.push(stream.unwrap());
    }
    let backend = |name: &str, url: String| format!("[[backends]]\nname = \"{name}\"\nurl = \"{url}\"\n");
    let toml = [
        backend("nameless", "http://nobody.invalid/mcp".into()),
        backend("plain", plain.url().replace("http:", "https:")),
        backend("silent", format!("https://{}/mcp", silent.local_addr().unwrap())),
        backend("full", format!("http://{}/mcp", full.local_addr().unwrap())),
    ];
    let fleet = Fleet::start(Setup::example().toml(&toml.concat()).not_waiting_for_backends()).await;
    let client = fleet.client("claude", "operator").await;

    for name in ["nameless", "plain", "silent", "full"] {
        until_within(Duration::from_secs(20), &format!("{name} is down, with a reason"), async || {
            let state = state_of(&fleet, name).await;
            let has_reason = state["reason"].as_str().is_some_and(|reason| reason.contains("can't be reached"));
            if state["state"] == "down" && has_reason { Ok(()) } else { Err(state) }
        })
        .await;
    }
    serves(&client, "example").await;
    drop(held);
}

#[tokio::test]
async fn f52_whatever_hangs_or_drips_is_a_timeout_counted_from_arrival_and_slows_nobody() {
    let (fleet, wild, client) = beside_wild("timeout_secs = 2", PATIENT).await;
    let ways =
        ["hang", "hang_head", "hang_body", "drip_head", "drip_body", "events_silent", "events_drip", "half_close"];

    let hanging = ways.map(|how| {
        let (client, begun) = (&client, Instant::now());
        async move {
            let reply = client.call("wild__bad", json!({ "how": how, "nonce": how })).await;
            (how, begun.elapsed(), reply)
        }
    });
    let beside = async {
        until("all of them hang", async || holds(wild.received().calls("bad").len() == ways.len())).await;
        let begun = Instant::now();
        for _ in 0..10 {
            assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
        }
        begun.elapsed()
    };
    let (late, beside) = tokio::join!(futures_util::future::join_all(hanging), beside);

    for (how, took, reply) in late {
        if how == "half_close" {
            // It said that nothing will come: that is known at once.
            let _id = reply.is_refused("backend_error", -31502);
            continue;
        }
        let _id = reply.is_refused("timeout", -31504);
        assert!((2000..2000 + 3000).contains(&took.as_millis()), "{how}: {took:?}");
        let row = row_of(&fleet, &reply).await;
        assert_eq!((&row["status"], &row["detail"]["sent"]), (&json!("timeout"), &json!(true)), "{how}: {row}");
    }
    assert!(beside < Duration::from_secs(2), "ten calls of a good backend took {beside:?}");
    all_is_given_back(&fleet, "wild").await;
    serves(&client, "wild").await;
}

#[tokio::test]
async fn f54_a_failing_server_opens_the_breaker_which_lets_one_try_at_a_time_and_closes() {
    let (fleet, wild, client) = beside_wild("", "[circuit_breaker]\nfailures = 3\nopen_secs = 2\n").await;
    for status in ["500 Oops", "429 Slow Down", "503 Later"] {
        let failed = client.call("wild__bad", json!({ "how": format!("status {status}"), "nonce": status })).await;
        let _id = failed.is_refused("backend_error", -31502);
        assert!(failed.data()["what"].as_str().unwrap().contains(&status[..3]), "{failed:?}");
        let row = row_of(&fleet, &failed).await;
        assert_eq!((&row["status"], &row["detail"]["attempts"]), (&json!("error"), &json!(1)), "{row}");
    }

    let refused = client.call("wild__once", json!({ "nonce": "n" })).await;
    let _id = refused.is_refused("backend_unavailable", -31503);
    assert_eq!(refused.data()["state"], "open");
    assert!(refused.data()["retryAfterMs"].as_u64().is_some_and(|ms| ms <= 2200), "{refused:?}");
    assert!(wild.received().calls("once").is_empty(), "an open breaker lets nothing through");

    // Still failing: each try opens it again, for longer. Of calls without a pause hardly any gets through.
    wild.manner("status 503 Later");
    let begun = Instant::now();
    let mut tries = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        let reply = client.call("wild__once", json!({ "nonce": "n" })).await;
        tries += usize::from(reply.data()["kind"] == "backend_error");
    }
    assert!((1..=3).contains(&tries), "{tries} tries in 5 s of a breaker that opens for 2 s");

    wild.manner("");
    serves(&client, "wild").await;
    assert_eq!(fleet.planes[0].metric("sentinel_breaker_state{backend=\"wild\",state=\"closed\"}").await, Some(1.0));
    assert_eq!(client.call("example__echo", json!({ "text": "x" })).await.content(), "x");
}

#[tokio::test]
async fn f55_a_forgotten_session_is_made_once_for_all_calls_and_none_fails() {
    let (_fleet, wild, client) = beside_wild("", PATIENT).await;
    forgets(&wild, &client).await;
}

#[tokio::test]
async fn f55_a_redirect_is_a_backend_error_and_nothing_goes_where_it_points() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (fleet, wild, client) = beside_wild("", PATIENT).await;
    let to = format!("http://{}/mcp", elsewhere.local_addr().unwrap());

    for how in [format!("redirect {to}"), format!("redirect {}", wild.url())] {
        let reply = client.call("wild__bad", json!({ "how": how, "nonce": how })).await;
        let _id = reply.is_refused("backend_error", -31502);
        assert!(reply.data()["what"].as_str().unwrap().contains("307"), "{reply:?}");
        assert!(!reply.text.contains(&to), "what a backend says of other places is not told on: {reply:?}");
    }

    let nobody = tokio::time::timeout(Duration::from_millis(500), elsewhere.accept()).await;
    assert!(nobody.is_err(), "somebody followed the redirect");
    assert_eq!(wild.received().calls("bad").len(), 2);
    all_is_given_back(&fleet, "wild").await;
}

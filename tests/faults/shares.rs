//! What one client or one backend can take from the others: shares of a backend's places, of what runs at all, and a
//! breaker that no reload resets.

use futures_util::future::join_all;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::until::{holds, until};
use serde_json::json;
use tokio::time::Instant;

use crate::{PATIENT, all_is_given_back, beside_wild, state_of};

fn of_kind<'a>(replies: &'a [Reply], kind: &str) -> Vec<&'a Reply> {
    replies.iter().filter(|reply| reply.data()["kind"] == kind).collect()
}

#[tokio::test]
async fn p16_a_client_that_floods_a_slow_tool_leaves_places_for_others() {
    const PLACES: usize = 16;
    let more = format!("max_concurrency = {PLACES}\ntimeout_secs = 60");
    let fleet = Fleet::start(Setup::one_plane().backend_with("example", &more).toml(PATIENT)).await;
    let (flood, polite) = (fleet.client("flood", "operator").await, fleet.client("polite", "operator").await);
    assert_eq!(polite.call("example__echo", json!({ "text": "first" })).await.content(), "first");

    let flooding = join_all((0..64).map(|_| flood.call("example__slow", json!({ "ms": 4000 }))));
    let meanwhile = async {
        until("the flood has its share", async || {
            let calls = fleet.received("example").calls("slow").len();
            if calls >= PLACES * 3 / 4 { Ok(()) } else { Err(calls) }
        })
        .await;
        let begun = Instant::now();
        for number in 0..20 {
            let text = number.to_string();
            assert_eq!(polite.call("example__echo", json!({ "text": text })).await.content(), text);
        }
        begun.elapsed()
    };
    let (replies, took) = tokio::join!(flooding, meanwhile);

    println!("20 polite calls beside the flood took {took:?}");
    let done = replies.iter().filter(|reply| reply.message["result"].is_object()).count();
    assert_eq!(done, PLACES * 3 / 4, "three quarters, while another client is there");
    let refused = of_kind(&replies, "backend_unavailable");
    assert_eq!(done + refused.len(), replies.len());
    assert!(refused.iter().all(|reply| reply.data()["state"] == "full"));
    all_is_given_back(&fleet, "example").await;
}

#[tokio::test]
async fn a_client_that_is_alone_has_all_places_of_a_backend() {
    let more = "max_concurrency = 16\ntimeout_secs = 60";
    let fleet = Fleet::start(Setup::one_plane().backend_with("example", more).toml(PATIENT)).await;
    let alone = fleet.client("alone", "operator").await;

    let calls = join_all((0..16).map(|_| alone.call("example__slow", json!({ "ms": 1500 })))).await;

    assert!(calls.iter().all(|reply| reply.message["result"].is_object()), "{calls:?}");
}

#[tokio::test]
async fn f17_past_max_in_flight_calls_are_overloaded_at_once_and_no_client_has_more_than_its_share() {
    // A quarter of it is a client's share, and 16 at least.
    let setup = Setup::one_plane().backend_with("example", "max_concurrency = 200\ntimeout_secs = 60");
    let fleet = Fleet::start(setup.toml("[gateway]\nmax_in_flight = 40\n").toml(PATIENT)).await;
    let mut clients = Vec::new();
    for name in ["one", "two", "three", "four"] {
        clients.push(fleet.client(name, "operator").await);
    }

    let first = join_all((0..30).map(|_| clients[0].call("example__slow", json!({ "ms": 3000 }))));
    let others = async {
        until("the first has its share", async || {
            let calls = fleet.received("example").calls("slow").len();
            if calls >= 16 { Ok(()) } else { Err(calls) }
        })
        .await;
        join_all(clients[1..].iter().flat_map(|client| {
            (0..16).map(|_| async {
                let begun = Instant::now();
                (client.call("example__slow", json!({ "ms": 3000 })).await, begun.elapsed())
            })
        }))
        .await
    };
    let (first, others) = tokio::join!(first, others);

    let limited = of_kind(&first, "rate_limited");
    assert_eq!(limited.len(), 30 - 16, "{first:?}");
    assert!(limited.iter().all(|reply| reply.data()["limit"] == "concurrency"));
    let (mut done, mut overloaded) = (0, 0);
    for (reply, took) in &others {
        if reply.message["result"].is_object() {
            done += 1;
            continue;
        }
        let _id = reply.is_refused("overloaded", -31529);
        assert_eq!(reply.status, 503);
        assert!(!reply.header("retry-after").is_empty());
        assert!(took.as_millis() < 2000, "refused at once, not after {took:?}");
        overloaded += 1;
    }
    // Admission is judged by what runs just then; two workers may judge at one moment.
    assert!((24..=26).contains(&done), "{done} of the others ran beside 16 of the first");
    assert_eq!(done + overloaded, 48);
    assert_eq!(fleet.received("example").calls("slow").len(), 16 + done, "what is refused never left");
    all_is_given_back(&fleet, "example").await;
}

#[tokio::test]
async fn an_open_breaker_stays_open_through_reloads_that_do_not_touch_its_backend() {
    let toml = "[circuit_breaker]\nfailures = 3\nopen_secs = 600\n[health]\ninterval_secs = 600\n";
    let (fleet, wild, client) = beside_wild("", toml).await;
    for number in 0..3 {
        let failed = client.call("wild__bad", json!({ "how": "status 500 Oops", "nonce": number.to_string() })).await;
        let _id = failed.is_refused("backend_error", -31502);
    }
    let open = client.call("wild__once", json!({ "nonce": "n" })).await;
    assert_eq!(open.data()["state"], "open", "{open:?}");

    let text = std::fs::read_to_string(fleet.file()).unwrap();
    std::fs::write(fleet.file(), format!("{text}[roles.extra]\nallow = [\"x\"]\n")).unwrap();
    let _ran = fleet.ctl("reload").await.exits(0);
    until("the revision is in force", async || {
        holds(fleet.planes[0].metric("sentinel_snapshot_revision").await == Some(2.0))
    })
    .await;

    let still = client.call("wild__once", json!({ "nonce": "n" })).await;
    assert_eq!(still.data()["state"], "open", "{still:?}");
    assert_eq!(state_of(&fleet, "wild").await["breaker"], "open");
    assert!(wild.received().calls("once").is_empty());
}

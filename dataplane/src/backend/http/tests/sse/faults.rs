//! What such a server does wrong, and what a caller is told of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use serde_json::json;

use super::{
    super::{Rig, until},
    Does, Old, answer, on_call,
};
use crate::{
    backend::{State, spec::Transport},
    in_flight::Why,
};

#[tokio::test]
async fn an_endpoint_of_another_origin_is_refused_and_nothing_is_sent_there() {
    for endpoint in ["http://169.254.169.254/latest", "//evil.example/m", "https://127.0.0.1/m"] {
        let old = Old::naming(move |_| endpoint.to_owned(), |_| Does::Good).await;
        let rig = old.begun(Transport::Sse, 1 << 20, None);

        let status = rig.state(State::Down).await;

        assert!(status.reason.contains("another origin"), "{}", status.reason);
        assert!(old.posts().is_empty());
        assert_eq!(rig.call(&json!({})).send().await.failed().0, "never");
    }
}

#[tokio::test]
async fn a_stream_that_does_not_begin_with_an_endpoint_is_none() {
    let old = Old::naming(|_| "/m\n\nevent: message\ndata: ".to_owned(), |_| Does::Good).await;
    drop(old);
    let server = super::super::server::Server::start(|_| {
        super::super::server::Reply::events(&["event: message\ndata: {}\n\n".to_owned()])
    })
    .await;
    let url = format!("http://{}/sse", server.address);
    let rig = Rig::over(Transport::Sse, &url, 1 << 20, &super::super::super::tls::settings(None, None).unwrap(), None);

    let status = rig.state(State::Down).await;

    assert!(status.reason.contains("does not begin with an endpoint"), "{}", status.reason);
}

#[tokio::test]
async fn a_stream_that_ends_within_a_call_loses_it_and_the_next_call_has_a_new_session() {
    let is_first = AtomicBool::new(true);
    let script = on_call(move |_| if is_first.swap(false, Relaxed) { Does::Closes } else { Does::Good });
    let old = Old::start(script).await;
    let mut rig = old.rig().await;

    let done = rig.call(&json!({})).send().await;

    assert!(done.was_sent);
    let (how, said) = done.failed();
    assert_eq!(how, "lost", "it may have run, and only the pipeline knows if it may run twice: {said}");
    assert!(said.contains("its event stream ended without an answer"), "{said}");
    assert_eq!(old.server.count("tools/call"), 1, "never sent a second time from here");
    assert_eq!(rig.says(&json!({"n": 1})).await["result"]["structuredContent"]["n"], 1);
    rig.listed().await;
    assert_eq!((old.server.count("initialize"), old.sessions()), (2, 2));
}

#[tokio::test]
async fn a_call_whose_progress_was_heard_is_failed_with_its_stream() {
    let old = Old::start(on_call(|heard| {
        Does::Says(vec![
            json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": heard.body["id"], "progress": 1}}),
        ])
    }))
    .await;
    let rig = old.rig().await;
    let call = rig.call_as(&json!(1), &json!({}), Some("mine"));
    let ending = async {
        until("the call", || (old.server.count("tools/call") == 1).then_some(())).await;
        old.streams.lock().unwrap().clear();
    };

    let (done, ()) = tokio::join!(call.send(), ending);

    assert_eq!(done.failed().0, "failed");
}

#[tokio::test]
async fn an_event_above_the_bound_ends_the_session_and_no_call_is_repeated() {
    let is_first = AtomicBool::new(true);
    let big = "x".repeat(300_000);
    let old = Old::start(on_call(move |heard| {
        if is_first.swap(false, Relaxed) {
            Does::Says(vec![answer(heard, "result", &json!({"text": big}))])
        } else {
            Does::Good
        }
    }))
    .await;
    let rig = old.bounded(200_000).await;

    let (how, said) = rig.call(&json!({})).send().await.failed();

    assert_eq!(how, "failed");
    assert!(said.contains("more than 200000 bytes"), "{said}");
    rig.says(&json!({})).await;
    assert_eq!(old.sessions(), 2);
}

#[tokio::test]
async fn garbage_is_passed_over_and_a_flood_of_it_ends_the_session() {
    let times = AtomicUsize::new(0);
    let old = Old::start(on_call(move |heard| match times.fetch_add(1, Relaxed) {
        0 => {
            let good = answer(heard, "result", &json!({}));
            Does::Writes(format!("data: {{\"a\n\n:c\n\nevent: other\ndata: {good}\n\ndata: [[]]\n\ndata: {good}\n\n"))
        }
        1 => Does::Writes("data: rubbish\n\n".repeat(1001)),
        _ => Does::Good,
    }))
    .await;
    let rig = old.rig().await;

    rig.says(&json!({})).await;
    assert_eq!(rig.link.counts().by_kind()[0], ("garbage", 2));
    let (how, said) = rig.call(&json!({})).send().await.failed();

    assert_eq!(how, "failed");
    assert!(said.contains("too much that is no message"), "{said}");
    rig.says(&json!({})).await;
}

#[tokio::test]
async fn a_post_that_is_refused_is_told_by_its_status_and_harms_no_other_call() {
    let old = Old::start(on_call(|heard| match heard.body["params"]["arguments"]["status"].as_u64() {
        Some(status) => Does::Refuses(status.try_into().unwrap()),
        None => Does::Says(vec![]),
    }))
    .await;
    let rig = old.rig().await;
    let waiting = rig.call(&json!({}));
    let number = waiting.flight.number();
    let others = async {
        until("the call that waits", || (old.server.count("tools/call") == 1).then_some(())).await;
        for (status, ends) in
            [(400, "failed"), (401, "failed"), (500, "failed"), (302, "failed"), (429, "lost"), (503, "lost")]
        {
            let (how, said) = rig.call(&json!({"status": status})).send().await.failed();
            assert_eq!(how, ends, "{status}");
            assert!(said.contains(&format!("HTTP status {status}")) && !said.contains("secret"), "{said}");
        }
        old.says(&json!({"jsonrpc": "2.0", "id": number, "result": {"late": true}}));
    };

    let (done, ()) = tokio::join!(waiting.send(), others);

    assert_eq!(done.said()["result"]["late"], true);
    assert_eq!(old.sessions(), 1);
}

#[tokio::test]
async fn a_session_that_the_server_does_not_know_is_made_anew_and_costs_no_call() {
    let is_first = AtomicBool::new(true);
    let old =
        Old::start(on_call(move |_| if is_first.swap(false, Relaxed) { Does::Refuses(404) } else { Does::Good })).await;
    let rig = old.rig().await;

    assert_eq!(rig.says(&json!({"n": 1})).await["result"]["structuredContent"]["n"], 1);

    assert_eq!((old.server.count("tools/call"), old.sessions()), (2, 2));
}

#[tokio::test]
async fn a_server_that_gives_no_sign_of_life_gets_a_new_session() {
    let is_dumb = Arc::new(AtomicBool::new(true));
    let dumb = Arc::clone(&is_dumb);
    let old = Old::start(move |heard| match heard.method() {
        "tools/call" | "ping" if dumb.load(Relaxed) => Does::Says(vec![]),
        _ => Does::Good,
    })
    .await;
    let rig = old.rig().await;
    for so_far in 0..3 {
        let ending = async {
            until("the call", || (old.server.count("tools/call") > so_far).then_some(())).await;
            rig.end_all(&Why::Timeout);
        };
        let (done, ()) = tokio::join!(rig.call(&json!({})).send(), ending);
        assert_eq!(done.failed().0, "ended");
    }

    until("another session", || (old.sessions() == 2).then_some(())).await;

    is_dumb.store(false, Relaxed);
    rig.says(&json!({})).await;
}

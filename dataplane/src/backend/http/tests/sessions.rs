//! The one session: shared, lost, made anew, listed again; and the stream that tells of changes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::Method;
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    Rig,
    server::{Heard, Reply, Server, event},
    until,
};
use crate::{
    backend::{Housekeeping, Note, State},
    upcall::{feature::Feature, refusal::Refusal},
};

#[tokio::test]
async fn a_lost_session_is_made_once_for_all_calls_and_costs_none() {
    let server = Server::start(|_| Reply::Good).await;
    let mut rig = Rig::ready(server.address).await;
    server.forget_sessions();
    let calls = join_all((0..32).map(|n| rig.call(&json!({"n": n})).send())).await;
    for (n, done) in calls.into_iter().enumerate() {
        assert_eq!(done.said()["result"]["structuredContent"]["n"], n);
    }
    assert_eq!(server.count("initialize"), 2);
    rig.listed().await;
}

#[tokio::test]
async fn a_session_refused_by_400_is_made_anew_too() {
    let refused = Arc::new(AtomicBool::new(true));
    let script = move |heard: &Heard| {
        if heard.method() == "tools/call" && refused.swap(false, Relaxed) {
            let body = json!({"jsonrpc": "2.0", "error": {"code": -32000, "message": "No valid session ID provided"}});
            return Reply::Body(400, "application/json", vec![body.to_string().into()]);
        }
        Reply::Good
    };
    let server = Server::start(script).await;
    let rig = Rig::ready(server.address).await;
    rig.says(&json!({})).await;
    assert_eq!(server.count("initialize"), 2);
}

#[tokio::test]
async fn a_server_that_refuses_each_session_fails_the_call_after_one_renewal() {
    let script = |heard: &Heard| match heard.method() {
        "tools/call" => Reply::Body(404, "", vec![]),
        _ => Reply::Good,
    };
    let server = Server::start(script).await;
    let rig = Rig::ready(server.address).await;
    let (how, said) = rig.call(&json!({})).send().await.failed();
    assert_eq!(how, "failed");
    assert!(said.contains("session"), "{said}");
    assert_eq!(server.count("tools/call"), 2);
}

#[tokio::test]
async fn a_restart_of_the_server_between_calls_costs_no_call() {
    let server = Server::start(|_| Reply::Good).await;
    let rig = Rig::ready(server.address).await;
    join_all((0..8).map(|n| rig.call(&json!({"n": n})).send())).await;
    let address = server.stop().await;
    let back = Server::at(address, |_| Reply::Good).await;
    let calls = join_all((0..8).map(|n| rig.call(&json!({"n": n})).send())).await;
    for (n, done) in calls.into_iter().enumerate() {
        assert_eq!(done.said()["result"]["structuredContent"]["n"], n);
    }
    assert_eq!(back.count("initialize"), 1);
}

#[tokio::test]
async fn restart_makes_a_new_session_and_deletes_the_old() {
    let server = Server::start(|_| Reply::Good).await;
    let mut rig = Rig::ready(server.address).await;
    rig.link.restart();
    rig.listed().await;
    assert_eq!(rig.state(State::Ready).await.restarts, 1);
    assert_eq!(server.count("initialize"), 2);
    until("the delete", || server.heard().iter().any(|heard| heard.http == Method::DELETE).then_some(())).await;
}

#[tokio::test]
async fn a_server_without_a_stream_is_asked_for_it_once() {
    let server = Server::start(|_| Reply::Good).await;
    let mut rig = Rig::ready(server.address).await;
    let gets = || server.heard().iter().filter(|heard| heard.http == Method::GET).count();
    until("the GET", || (gets() == 1).then_some(())).await;
    server.forget_sessions();
    rig.says(&json!({})).await;
    rig.listed().await;
    assert_eq!(gets(), 1);
}

/// A server whose GET stream says what the test sends, and its link after the first listing: a change that is told
/// before that one needs no second.
async fn telling() -> (Server, Rig, mpsc::Sender<String>) {
    let (tell, fed) = mpsc::channel(8);
    let fed = Mutex::new(Some(fed));
    let script = move |heard: &Heard| match heard.http {
        Method::GET => fed.lock().unwrap().take().map_or(Reply::Hang, Reply::Fed),
        _ => Reply::Good,
    };
    let server = Server::start(script).await;
    let mut rig = Rig::start(server.address);
    rig.listed().await;
    (server, rig, tell)
}

#[tokio::test]
async fn a_changed_list_told_on_the_stream_is_listed_again_and_logs_are_noted() {
    let told = [
        json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}),
        json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}),
        json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "warning", "data": 1}}),
        json!({"jsonrpc": "2.0", "id": "q", "method": "ping"}),
        json!({"jsonrpc": "2.0", "id": 9, "method": "sampling/createMessage"}),
    ];
    let (server, mut rig, tell) = telling().await;
    for told in &told {
        tell.send(event(told)).await.unwrap();
    }
    let (mut listings, mut level) = (0, None);
    while listings < 1 || level.is_none() {
        rig.noted("a listing and a log", |note| {
            match note {
                Note::Listed(_) => listings += 1,
                Note::Log { level: told, .. } => level = Some(told),
                Note::Own { .. } | Note::Elicited { .. } | Note::TaskStatus { .. } | Note::State => {}
            }
            Some(())
        })
        .await;
    }
    assert_eq!(level.as_deref(), Some("warning"));
    let asked = rig.asked.recv().await.unwrap();
    assert_eq!((asked.feature, asked.call), (Feature::Sampling, None), "it belongs to no call");
    asked.reply.send(Err(Refusal::Unrelated)).unwrap();
    let answered = |what: &'static str| {
        let heard = server.heard();
        move || heard.iter().any(|heard| heard.body.get(what).is_some()).then_some(())
    };
    until("both answers", || answered("result")().and_then(|()| answered("error")())).await;
    let heard = server.heard();
    let pong = heard.iter().find(|heard| heard.body.get("result").is_some()).unwrap();
    assert_eq!((&pong.body["id"], &pong.body["result"]), (&json!("q"), &json!({})));
    let no = heard.iter().find(|heard| heard.body.get("error").is_some()).unwrap();
    assert_eq!((&no.body["id"], &no.body["error"]["code"]), (&json!(9), &json!(-32601)));
    assert_eq!(heard.iter().filter(|heard| heard.http == Method::GET).count(), 1);
}

#[tokio::test]
async fn a_server_that_always_says_its_list_changed_is_listed_all_the_same() {
    let (_server, mut rig, tell) = telling().await;
    let changed = event(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));
    let mut often = tokio::time::interval(Duration::from_millis(20));
    let saying = async {
        loop {
            often.tick().await;
            tell.send(changed.clone()).await.unwrap();
        }
    };
    tokio::select! {
        () = saying => {}
        _ = rig.listed() => {}
    }
}

#[tokio::test]
async fn a_stream_that_ends_is_taken_up_again_where_it_ended() {
    let script = |heard: &Heard| match (&heard.http, heard.header("last-event-id")) {
        (&Method::GET, "") => Reply::events(&["id: e7\nretry: 20\ndata: \n\n".to_owned()]),
        (&Method::GET, _) => Reply::Endless(200, "text/event-stream", vec![]),
        _ => Reply::Good,
    };
    let server = Server::start(script).await;
    let _rig = Rig::ready(server.address).await;
    until("the second GET", || server.heard().iter().any(|heard| heard.header("last-event-id") == "e7").then_some(()))
        .await;
}

#[tokio::test]
async fn pages_of_tools_are_joined() {
    let script = |heard: &Heard| {
        if heard.method() != "tools/list" {
            return Reply::Good;
        }
        let page = match heard.body["params"]["cursor"].as_str() {
            None => json!({"tools": [{"name": "a"}], "nextCursor": "2"}),
            Some(_) => json!({"tools": [{"name": "b"}]}),
        };
        Reply::events(&[event(&json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": page}))])
    };
    let server = Server::start(script).await;
    let mut rig = Rig::start(server.address);
    let names: Vec<_> = rig.listed().await.into_iter().map(|tool| tool.name).collect();
    assert_eq!(names, ["a".into(), "b".into()]);
}

#[tokio::test]
async fn a_handshake_that_fails_is_tried_again() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let script = move |heard: &Heard| match heard.method() {
        "initialize" if counted.fetch_add(1, Relaxed) < 2 => Reply::Body(503, "", vec![]),
        _ => Reply::Good,
    };
    let server = Server::start(script).await;
    let rig = Rig::ready(server.address).await;
    rig.says(&json!({})).await;
    assert_eq!(tries.load(Relaxed), 3);
}

#[tokio::test]
async fn a_ping_is_answered_and_a_lost_session_shows_by_it() {
    let server = Server::start(|_| Reply::Good).await;
    let rig = Rig::ready(server.address).await;
    rig.link.housekeep(Housekeeping::Ping, super::PATIENCE).await.unwrap();
    server.forget_sessions();
    rig.link.housekeep(Housekeeping::Ping, super::PATIENCE).await.unwrap();
    until("a new session", || (server.count("initialize") == 2).then_some(())).await;
}

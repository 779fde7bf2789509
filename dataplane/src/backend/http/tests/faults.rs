//! What a server does wrong, and what a caller is told of it.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{
    Rig,
    server::{Heard, Reply, Server},
    until,
};
use crate::{backend::State, in_flight::Why};

fn on_call(
    reply: impl Fn(&Heard) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Heard) -> Reply + Send + Sync + 'static {
    move |heard| match heard.method() {
        "tools/call" => reply(heard),
        _ => Reply::Good,
    }
}

async fn told_of(reply: impl Fn(&Heard) -> Reply + Send + Sync + 'static) -> (&'static str, String) {
    let server = Server::start(on_call(reply)).await;
    let rig = Rig::ready(server.address).await;
    let done = Box::pin(rig.call(&json!({})).send()).await;
    assert!(done.was_sent);
    done.failed()
}

fn answer_with(heard: &Heard, member: &str, value: &Value) -> Reply {
    let mut answer = json!({"jsonrpc": "2.0", "id": heard.body["id"]});
    answer[member] = value.clone();
    Reply::json(&answer)
}

#[tokio::test]
async fn a_closed_port_is_down_and_a_call_is_never_sent() {
    let server = Server::start(|_| Reply::Good).await;
    let address = server.stop().await;
    let rig = Rig::start(address);
    let status = rig.state(State::Down).await;
    assert!(status.reason.contains("refused"), "{}", status.reason);
    assert!(status.retry_after.is_some());
    let (how, said) = rig.call(&json!({})).send().await.failed();
    assert_eq!(how, "never");
    assert!(said.contains("(down)"), "{said}");
    let _back = Server::at(address, |_| Reply::Good).await;
    rig.state(State::Ready).await;
    rig.says(&json!({})).await;
}

#[tokio::test]
async fn a_server_that_goes_away_is_down_and_one_that_comes_back_is_listed_again() {
    let server = Server::start(|_| Reply::Good).await;
    let mut rig = Rig::ready(server.address).await;
    let address = server.stop().await;
    let (how, _) = rig.call(&json!({})).send().await.failed();
    assert_eq!(how, "never");
    rig.state(State::Down).await;
    let _back = Server::at(address, |_| Reply::Good).await;
    rig.listed().await;
    rig.state(State::Ready).await;
    rig.says(&json!({})).await;
}

#[tokio::test]
async fn a_server_without_tls_is_down_for_https() {
    let server = Server::start(|_| Reply::Good).await;
    let rig = Rig::of(&format!("https://{}/mcp", server.address), 1 << 20);
    let status = rig.state(State::Down).await;
    assert!(status.reason.contains("can't be reached"), "{}", status.reason);
}

#[tokio::test]
async fn a_server_that_never_begins_tls_is_down_within_seconds_and_a_call_is_never_sent() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rig = Rig::of(&format!("https://{}/mcp", silent.local_addr().unwrap()), 1 << 20);
    let status = rig.state(State::Down).await;
    assert!(status.reason.contains("no connection within 10 s"), "{}", status.reason);
    assert_eq!(rig.call(&json!({})).send().await.failed().0, "never");
}

#[tokio::test]
async fn what_was_not_answered_at_all_is_lost_and_what_was_begun_is_failed() {
    let json = || vec![Bytes::from_static(b"{\"jsonrpc\":")];
    let (how, said) = told_of(move |_| Reply::Cut("application/json", json())).await;
    assert_eq!(how, "lost", "{said}");
    let (how, said) = told_of(|_| Reply::Body(200, "text/event-stream", vec![])).await;
    assert_eq!(how, "lost", "{said}");
    let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}});
    let (how, said) = told_of(move |_| Reply::events(&[super::server::event(&note)])).await;
    assert_eq!(how, "failed", "the client may have heard the note: {said}");
    let large = || vec![Bytes::from(vec![b'1'; 100_000])];
    let (how, said) = told_of(move |_| Reply::Cut("application/json", large())).await;
    assert_eq!(how, "failed", "a part of it may be with the client: {said}");
}

#[tokio::test]
async fn statuses_are_named_without_what_the_body_says() {
    for (status, ends) in [
        (401, "failed"),
        (403, "failed"),
        (500, "failed"),
        (302, "failed"),
        (429, "lost"),
        (502, "lost"),
        (503, "lost"),
    ] {
        let body = vec![Bytes::from_static(b"secret words")];
        let (how, said) = told_of(move |_| Reply::Body(status, "text/plain", body.clone())).await;
        assert_eq!(how, ends, "{status}");
        assert!(said.contains(&format!("HTTP status {status}")), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn answers_that_are_none_are_named() {
    let html = |_: &Heard| Reply::Body(200, "text/html", vec![Bytes::from_static(b"<p>")]);
    assert!(told_of(html).await.1.contains("text/html"));
    assert!(told_of(|_| Reply::Body(202, "", vec![])).await.1.contains("no answer"));
    let broken = |_: &Heard| Reply::Body(200, "application/json", vec![Bytes::from_static(b"{\"a")]);
    assert!(told_of(broken).await.1.contains("broken"));
    let foreign = |_: &Heard| Reply::json(&json!({"jsonrpc": "2.0", "id": 3, "result": {}}));
    assert!(told_of(foreign).await.1.contains("another id"));
    let cut = |_: &Heard| Reply::Cut("application/json", vec![Bytes::from_static(b"{\"jsonrpc\"")]);
    assert!(told_of(cut).await.1.contains("broke within"));
}

#[tokio::test]
async fn an_error_of_the_server_is_an_answer_whatever_the_status() {
    let script = |heard: &Heard| {
        let body = json!({"jsonrpc": "2.0", "id": heard.body["id"], "error": {"code": -32602, "message": "no"}});
        let status = heard.body["params"]["arguments"]["status"].as_u64().unwrap();
        Reply::Body(status.try_into().unwrap(), "application/json", vec![body.to_string().into()])
    };
    let server = Server::start(on_call(script)).await;
    let rig = Rig::ready(server.address).await;
    for status in [200, 400, 500] {
        let said = rig.says(&json!({"status": status})).await;
        assert_eq!(said["error"]["code"], -32602);
    }
    assert_eq!(server.count("initialize"), 1);
}

#[tokio::test]
async fn more_than_the_bound_is_cut_with_and_without_a_length_and_in_events() {
    let big = "x".repeat(300_000);
    let script = move |heard: &Heard| {
        let arguments = &heard.body["params"]["arguments"];
        let answer = json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": {"text": big}}).to_string();
        match arguments["as"].as_str().unwrap() {
            "whole" => Reply::Body(200, "application/json", vec![answer.into()]),
            "chunks" => {
                let chunks = answer.as_bytes().chunks(9_000).map(Bytes::copy_from_slice).collect();
                Reply::Endless(200, "application/json", chunks)
            }
            _ => Reply::events(&[format!("data: {answer}\n\n")]),
        }
    };
    let server = Server::start(on_call(script)).await;
    let mut rig = Rig::bounded(server.address, 200_000);
    rig.listed().await;
    for form in ["whole", "chunks", "events"] {
        let (how, said) = rig.call(&json!({"as": form})).send().await.failed();
        assert_eq!(how, "failed", "{form}");
        assert!(said.contains("larger than 200000 bytes"), "{form}: {said}");
    }
}

#[tokio::test]
async fn a_flight_that_is_ended_tells_the_server_its_number() {
    let server = Server::start(on_call(|_| Reply::Hang)).await;
    let rig = Rig::ready(server.address).await;
    for why in [Why::Cancelled, Why::Timeout] {
        let before = server.count("notifications/cancelled");
        let calls = server.count("tools/call");
        let call = rig.call(&json!({}));
        let number = call.flight.number();
        let ending = async {
            until("the call", || (server.count("tools/call") > calls).then_some(())).await;
            rig.end_all(&why);
        };
        let (done, ()) = tokio::join!(call.send(), ending);
        assert_eq!(done.failed().0, "ended");
        until("the cancel", || (server.count("notifications/cancelled") > before).then_some(())).await;
        let heard = server.heard();
        let cancel = heard.iter().rev().find(|heard| heard.method() == "notifications/cancelled").unwrap();
        assert_eq!(cancel.body["params"]["requestId"], number);
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_tells_the_server() {
    let server = Server::start(on_call(|_| Reply::Hang)).await;
    let rig = Rig::ready(server.address).await;
    let call = rig.call(&json!({}));
    tokio::select! {
        _done = call.send() => panic!("it hangs"),
        () = until("the call", || (server.count("tools/call") > 0).then_some(())) => {}
    }
    until("the cancel", || (server.count("notifications/cancelled") > 0).then_some(())).await;
}

#[tokio::test]
async fn a_body_that_drips_ends_with_its_flight() {
    let half = vec![Bytes::from_static(b"{\"jsonrpc\":\"2.0\",")];
    let server = Server::start(on_call(move |_| Reply::Endless(200, "application/json", half.clone()))).await;
    let rig = Rig::ready(server.address).await;
    let ending = async {
        until("the call", || (server.count("tools/call") > 0).then_some(())).await;
        rig.end_all(&Why::Timeout);
    };
    let (done, ()) = tokio::join!(rig.call(&json!({})).send(), ending);
    assert_eq!(done.failed().0, "ended");
}

#[tokio::test]
async fn a_tools_own_error_is_marked_and_passed_on() {
    let script = |heard: &Heard| answer_with(heard, "result", &json!({"content": [], "isError": true}));
    let server = Server::start(on_call(script)).await;
    let rig = Rig::ready(server.address).await;
    let done = rig.call(&json!({})).send().await;
    let crate::backend::Sent::Answered(answer) = &done.sent else { panic!("no answer") };
    assert!(answer.tool_error && !answer.failed);
    assert_eq!(done.said()["result"]["isError"], true);
}

#[tokio::test]
async fn stop_deletes_the_session_and_leaves_no_task() {
    let server = Server::start(|_| Reply::Good).await;
    let rig = Rig::ready(server.address).await;
    rig.says(&json!({})).await;
    rig.link.stop().await;
    assert!(server.heard().iter().any(|heard| heard.http == Method::DELETE));
    assert!(!server.has_sessions());
    assert_eq!(rig.link.status().state, State::Stopped);
    assert_eq!(rig.call(&json!({})).send().await.failed().0, "never");
    let Rig { link, tracker, .. } = rig;
    drop(link);
    tracker.close();
    tokio::time::timeout(super::PATIENCE, tracker.wait()).await.unwrap();
}

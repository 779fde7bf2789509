//! Answers in event streams and large answers in JSON, with what comes before them.

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use serde_json::{Value, json};

use super::{
    Rig,
    server::{Heard, Reply, Server, event},
};
use crate::{answering::Event, upcall::feature::Feature};

fn on_call(
    reply: impl Fn(&Heard) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Heard) -> Reply + Send + Sync + 'static {
    move |heard| match heard.method() {
        "tools/call" => reply(heard),
        _ => Reply::Good,
    }
}

fn answer(heard: &Heard) -> Value {
    json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": {"content": []}})
}

#[tokio::test]
async fn sixty_four_calls_of_equal_ids_get_their_own_answers() {
    let server = Server::start(|_| Reply::Good).await;
    let rig = Rig::ready(server.address).await;
    for _ in 0..4 {
        let calls = (0..64).map(|n| rig.call_as(&json!(1), &json!({"n": n}), None).send());
        for (n, done) in join_all(calls).await.into_iter().enumerate() {
            let said = done.said();
            assert_eq!((&said["id"], &said["result"]["structuredContent"]["n"]), (&json!(1), &json!(n)));
        }
    }
    let mut numbers: Vec<_> = server.heard().iter().filter_map(|heard| heard.body["id"].as_u64()).collect();
    numbers.sort_unstable();
    let all = numbers.len();
    numbers.dedup();
    assert_eq!(numbers.len(), all);
}

#[tokio::test]
async fn progress_and_logs_before_an_answer_in_events_reach_the_call() {
    let script = |heard: &Heard| {
        let token = &heard.body["params"]["_meta"]["progressToken"];
        let id = &heard.body["id"];
        assert_eq!(token, id);
        Reply::events(&[
            "id: 0\ndata: \n\n:comment\n\n".to_owned(),
            event(
                &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}),
            ),
            event(
                &json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 0, "progress": 1}}),
            ),
            event(
                &json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}),
            ),
            event(&json!({"jsonrpc": "2.0", "id": 5, "method": "roots/list"})),
            event(&answer(heard)),
        ])
    };
    let server = Server::start(on_call(script)).await;
    let mut rig = Rig::ready(server.address).await;
    let done = rig.call_as(&json!("c"), &json!({}), Some("mine")).send().await;
    let asked = rig.asked.recv().await.unwrap();
    assert_eq!(asked.feature, Feature::Roots);
    assert!(asked.call.is_some(), "its stream says whose it is");
    assert_eq!(done.others.len(), 2, "{:?}", done.others);
    let Event::Progress(progress) = &done.others[0] else { panic!("progress first") };
    let progress: Value = serde_json::from_slice(progress).unwrap();
    assert_eq!(progress["params"]["progressToken"], "mine");
    assert!(matches!(&done.others[1], Event::Log(_)));
    assert_eq!(done.said()["id"], "c");
}

#[tokio::test]
async fn calls_answered_in_events_use_their_connection_again() {
    let server = Server::start(on_call(|heard| Reply::events(&[event(&answer(heard))]))).await;
    let rig = Rig::ready(server.address).await;
    for _ in 0..50 {
        rig.says(&json!({})).await;
    }
    assert!(server.connections() <= 10, "{}", server.connections());
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_taken_up_again_by_its_event_id() {
    let script = |heard: &Heard| {
        if heard.method() == "tools/call" {
            let id = &heard.body["id"];
            return Reply::events(&[format!("id: {id}\nretry: 10\ndata: \n\n")]);
        }
        match heard.header("last-event-id").parse::<u64>() {
            Ok(id) => Reply::events(&[event(&json!({"jsonrpc": "2.0", "id": id, "result": {"late": true}}))]),
            Err(_) => Reply::Good,
        }
    };
    let server = Server::start(script).await;
    let rig = Rig::ready(server.address).await;
    assert_eq!(rig.says(&json!({})).await["result"]["late"], true);
    assert_eq!(server.count("tools/call"), 1);
    assert!(server.heard().iter().any(|heard| heard.http == Method::GET && !heard.header("last-event-id").is_empty()));
}

#[tokio::test]
async fn a_stream_without_an_answer_fails_and_is_not_sent_again() {
    let server = Server::start(on_call(|_| Reply::events(&[":nothing\n\n".to_owned()]))).await;
    let rig = Rig::ready(server.address).await;
    let (how, said) = rig.call(&json!({})).send().await.failed();
    assert_eq!(how, "failed");
    assert!(said.contains("without an answer"), "{said}");
    assert_eq!(server.count("tools/call"), 1);
}

#[tokio::test]
async fn a_mebibyte_passes_with_its_id_first_or_last_and_the_last_piece_is_held_back() {
    let text = "é\\n".repeat(350_000);
    let held = text.clone();
    let script = move |heard: &Heard| {
        let id = &heard.body["id"];
        let answer = match heard.body["params"]["arguments"]["id"].as_str() {
            Some("first") => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"text":"{held}"}}}}"#),
            _ => format!(r#"{{"result":{{"text":"{held}"}},"jsonrpc":"2.0","id":{id}}}"#),
        };
        let chunks = answer.as_bytes().chunks(10_007).map(Bytes::copy_from_slice).collect();
        Reply::Body(200, "application/json", chunks)
    };
    let server = Server::start(on_call(script)).await;
    let rig = Rig::ready(server.address).await;
    for id in ["first", "last"] {
        let done = rig.call_as(&json!("mine"), &json!({"id": id}), None).send().await;
        assert!(done.parts.len() > 2, "{id}: {}", done.parts.len());
        let crate::backend::Sent::Answered(answer) = &done.sent else { panic!("{id}: {:?}", done.sent) };
        assert!(!answer.last.is_empty() && !answer.failed);
        let whole = done.bytes();
        let whole = std::str::from_utf8(&whole).unwrap();
        assert!(whole.len() > 1 << 20);
        let said: Value = serde_json::from_str(whole).unwrap();
        assert_eq!(said["id"], "mine");
        assert!(whole.contains(&text));
    }
}

#[tokio::test]
async fn a_mebibyte_that_nobody_waits_for_is_read_to_its_end() {
    let text = "x".repeat(1 << 20);
    let script = move |heard: &Heard| {
        let answer = json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": {"text": text}}).to_string();
        Reply::Body(200, "application/json", vec![answer.into()])
    };
    let server = Server::start(on_call(script)).await;
    let rig = Rig::ready(server.address).await;
    let mut call = rig.call(&json!({}));
    call.heard.close();
    let done = call.send().await;
    assert!(matches!(done.sent, crate::backend::Sent::Answered(_)));
}

#[tokio::test]
async fn an_answer_within_a_batch_is_found() {
    let server = Server::start(on_call(|heard| {
        let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}});
        Reply::json(&json!([note, answer(heard)]))
    }))
    .await;
    let rig = Rig::ready(server.address).await;
    let done = rig.call_as(&json!(4), &json!({}), None).send().await;
    assert!(matches!(done.others[0], Event::Log(_)));
    assert_eq!(done.said()["id"], 4);
}

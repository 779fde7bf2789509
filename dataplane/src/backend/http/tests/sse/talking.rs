//! What is said, in both directions, by a server that does nothing wrong.

use std::sync::Mutex;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{super::until, Does, Old, answer, on_call};
use crate::{
    answering::Event,
    backend::{Housekeeping, Note, era::Era},
    in_flight::Why,
    upcall::{feature::Feature, questions::Answer},
};

#[tokio::test]
async fn a_call_is_posted_where_the_server_says_and_its_answer_passes_unchanged() {
    let script = on_call(|heard| {
        let odd = format!(
            "{{ \"result\" :{{\"b\":1.0,\"a\":\"\\u00fc\"}},\t\"id\": {}, \"jsonrpc\":\"2.0\"}}",
            heard.body["id"]
        );
        Does::Writes(format!("id: 7\r\ndata: {odd}\r\n\r\n"))
    });
    let old = Old::start(script).await;
    let rig = old.rig().await;

    let said = rig.call_as(&json!("mine"), &json!({}), None).send().await.bytes();

    let whole = "{ \"result\" :{\"b\":1.0,\"a\":\"\\u00fc\"},\t\"id\": \"mine\", \"jsonrpc\":\"2.0\"}";
    assert_eq!(String::from_utf8(said).unwrap(), whole);
    let status = rig.link.status();
    assert_eq!((&*status.server, &*status.protocol_version), ("old 1", "2024-11-05"));
    assert_eq!((rig.link.era(), rig.link.tells_calls_apart()), (Some(Era::Legacy), false));
    let heard = old.server.heard();
    assert_eq!(
        (&heard[0].http, heard[0].to.as_str(), heard[0].header("accept")),
        (&Method::GET, "/sse", "text/event-stream")
    );
    assert!(heard[1..].iter().all(|post| post.to == "/messages?session=0"), "{heard:?}");
    for one in &heard {
        let unsaid =
            ["mcp-session-id", "mcp-protocol-version", "last-event-id"].map(|name| one.header(name).to_owned());
        assert_eq!((one.header("authorization"), unsaid.concat().as_str()), ("Bearer configured", ""), "{one:?}");
    }
    let methods: Vec<_> = heard.iter().map(|heard| heard.method().to_owned()).collect();
    assert_eq!(methods, ["", "initialize", "notifications/initialized", "tools/list", "tools/call"]);
    assert!(heard[4].header("traceparent").starts_with("00-"));
}

#[tokio::test]
async fn answers_in_another_order_meet_their_calls() {
    let first = Mutex::new(None);
    let script = on_call(move |heard| {
        let mine = answer(heard, "result", &json!({"n": heard.body["params"]["arguments"]["n"]}));
        let mut first = first.lock().unwrap();
        match first.take() {
            None => {
                *first = Some(mine);
                Does::Says(vec![])
            }
            Some(before) => Does::Says(vec![mine, before]),
        }
    });
    let old = Old::start(script).await;
    let rig = old.rig().await;
    let (one, two) = (rig.call_as(&json!(1), &json!({"n": 1}), None), rig.call_as(&json!(1), &json!({"n": 2}), None));

    let (one, two) = tokio::join!(one.send(), two.send());

    assert_eq!((one.said()["result"]["n"].clone(), two.said()["result"]["n"].clone()), (json!(1), json!(2)));
}

#[tokio::test]
async fn an_answer_that_comes_before_its_post_is_answered_is_an_answer() {
    let script = on_call(|heard| Does::Holds(answer(heard, "result", &json!({"content": []}))));
    let old = Old::start(script).await;
    let rig = old.rig().await;

    assert_eq!(rig.says(&json!({})).await["result"], json!({"content": []}));
}

#[tokio::test]
async fn progress_comes_with_the_clients_own_token_and_other_calls_hear_none() {
    let script = on_call(|heard| {
        let (id, token) = (&heard.body["id"], &heard.body["params"]["_meta"]["progressToken"]);
        let progress = |token: &Value| json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}});
        assert!(token.is_null() || token == id);
        Does::Says(vec![progress(id), progress(&json!(0)), answer(heard, "result", &json!({}))])
    });
    let old = Old::start(script).await;
    let rig = old.rig().await;

    let asked = rig.call_as(&json!(1), &json!({}), Some("mine")).send().await;
    let unasked = rig.call(&json!({})).send().await;

    let [Event::Progress(note)] = &asked.others[..] else { panic!("{:?}", asked.others) };
    let note: Value = serde_json::from_slice(note).unwrap();
    assert_eq!(note["params"], json!({"progressToken": "mine", "progress": 1}));
    assert!(unasked.others.is_empty(), "{:?}", unasked.others);
}

#[tokio::test]
async fn whoever_ends_a_call_the_server_is_told_its_number_and_a_late_answer_disturbs_nobody() {
    let old = Old::start(on_call(|_| Does::Says(vec![]))).await;
    let rig = old.rig().await;
    for (so_far, why) in [Why::Cancelled, Why::Timeout].into_iter().enumerate() {
        let call = rig.call(&json!({}));
        let number = call.flight.number();
        let ending = async {
            until("the call", || (old.server.count("tools/call") > so_far).then_some(())).await;
            rig.end_all(&why);
        };
        let (done, ()) = tokio::join!(call.send(), ending);

        assert_eq!(done.failed().0, "ended");
        until("the cancel", || (old.server.count("notifications/cancelled") > so_far).then_some(())).await;
        let cancel = old.posts().pop().unwrap();
        assert_eq!((&cancel.body["params"]["requestId"], cancel.to.as_str()), (&json!(number), "/messages?session=0"));
        old.says(&json!({"jsonrpc": "2.0", "id": number, "result": {}}));
    }
    assert!(rig.link.housekeep(Housekeeping::Ping, super::super::PATIENCE).await.is_ok());
    assert_eq!(rig.link.counts().by_kind().into_iter().find(|(_, count)| *count > 0), Some(("late_answer", 2)));
    assert_eq!(old.sessions(), 1);
}

#[tokio::test]
async fn what_a_server_asks_belongs_to_no_call_and_its_answer_is_posted() {
    let old = Old::start(|_| Does::Good).await;
    let mut rig = old.rig().await;
    for asks in [
        json!({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": {"message": "who?"}}),
        json!({"jsonrpc": "2.0", "id": "p", "method": "ping"}),
        json!({"jsonrpc": "2.0", "id": "u", "method": "what/is"}),
    ] {
        old.says(&asks);
    }

    let asked = rig.asked.recv().await.unwrap();
    assert_eq!((asked.feature, asked.call), (Feature::Elicitation, None));
    asked.reply.send(Ok(Answer::Result(Bytes::from_static(b"{\"action\":\"decline\"}")))).unwrap();

    let said = |id: &'static str| {
        let posts = old.posts();
        move || {
            posts
                .iter()
                .find(|post| post.body["id"] == id && post.body["method"].is_null())
                .map(|post| post.body.clone())
        }
    };
    assert_eq!(until("the answer", || said("q")()).await["result"], json!({"action": "decline"}));
    assert_eq!(until("the pong", || said("p")()).await["result"], json!({}));
    assert_eq!(until("the refusal", || said("u")()).await["error"]["code"], json!(-32601));
}

#[tokio::test]
async fn changed_lists_and_log_notes_are_heard() {
    let old = Old::start(|_| Does::Good).await;
    let mut rig = old.rig().await;
    old.says(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "warning", "data": 1}}));
    let level = rig
        .noted("a log note", |note| match note {
            Note::Log { level, .. } => Some(level),
            Note::Listed(_) | Note::Own { .. } | Note::Elicited { .. } | Note::TaskStatus { .. } | Note::State => None,
        })
        .await;
    assert_eq!(&*level, "warning");

    old.says(&json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}));

    rig.listed().await;
    assert_eq!((old.server.count("tools/list"), old.sessions()), (2, 1));
}

#[tokio::test]
async fn pages_are_joined_and_a_refused_ping_is_a_sign_of_life() {
    let old = Old::start(|heard| match (heard.method(), heard.body["params"]["cursor"].as_str()) {
        ("tools/list", None) => {
            Does::Says(vec![answer(heard, "result", &json!({"tools": [{"name": "a"}], "nextCursor": "2"}))])
        }
        ("tools/list", Some(_)) => Does::Says(vec![answer(heard, "result", &json!({"tools": [{"name": "b"}]}))]),
        ("ping", _) => Does::Says(vec![answer(heard, "error", &json!({"code": -32600, "message": "no"}))]),
        _ => Does::Good,
    })
    .await;
    let mut rig = old.begun(crate::backend::spec::Transport::Sse, 1 << 20, None);
    let names: Vec<_> = rig.listed().await.into_iter().map(|tool| tool.name).collect();
    assert_eq!(names, ["a".into(), "b".into()]);
    assert!(rig.link.housekeep(Housekeeping::Ping, super::super::PATIENCE).await.is_ok());
    assert_eq!(old.sessions(), 1);
}

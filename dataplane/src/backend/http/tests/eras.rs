//! Which era a server speaks, found out each time a session is made; and what is said in the modern one.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    Rig,
    server::{Heard, Reply, Server, event},
    until,
};
use crate::{
    backend::{Housekeeping, State, era::Era, isolation::Isolation},
    call::Ask,
    in_flight::Why,
};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// What a good server of the modern era answers; none: it is no request of that era.
fn modern(heard: &Heard) -> Option<Reply> {
    let (id, params) = (&heard.body["id"], &heard.body["params"]);
    let fits = params["_meta"][VERSION] == "2026-07-28"
        && heard.header("mcp-protocol-version") == "2026-07-28"
        && heard.header("mcp-method") == heard.method()
        && heard.header("mcp-session-id").is_empty();
    let result = |mut result: Value| {
        result["resultType"] = json!("complete");
        Some(Reply::json(&json!({"jsonrpc": "2.0", "id": id, "result": result})))
    };
    match heard.method() {
        _ if !fits => None,
        "server/discover" => result(json!({
            "supportedVersions": ["2026-07-28"], "capabilities": {"tools": {"listChanged": true}},
            "ttlMs": 0, "cacheScope": "private",
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "modern", "version": "9"}},
        })),
        "tools/list" => result(
            json!({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}], "ttlMs": 5, "cacheScope": "private"}),
        ),
        "tools/call" => result(json!({"content": [], "structuredContent": params["arguments"]})),
        _ => Some(Reply::Body(404, "", vec![])),
    }
}

fn only_modern(heard: &Heard) -> Reply {
    modern(heard).unwrap_or_else(|| Reply::Body(400, "text/plain", vec!["no".into()]))
}

#[tokio::test]
async fn a_modern_server_is_asked_once_and_spoken_to_without_a_session() {
    let server = Server::start(only_modern).await;
    let rig = Rig::asked(server.address).await;

    let said = rig.says(&json!({"n": 1})).await;

    assert_eq!(said["result"], json!({"content": [], "structuredContent": {"n": 1}}));
    let status = rig.link.status();
    assert_eq!((&*status.server, &*status.protocol_version), ("modern 9", "2026-07-28"));
    assert!(rig.link.housekeep(Housekeeping::Ping, super::PATIENCE).await.is_ok());
    let call = server.asked("tools/call").pop().unwrap();
    assert_eq!((call.header("mcp-name"), call.header("authorization")), ("echo", "Bearer configured"));
    assert!(call.header("traceparent").starts_with("00-"));
    assert_eq!((server.count("server/discover"), server.count("initialize")), (2, 0), "the second is the ping");
}

#[tokio::test]
async fn what_a_request_is_about_is_named_in_its_headers_where_the_era_has_a_name_for_it() {
    let server = Server::start(|heard: &Heard| match heard.method() {
        "completion/complete" | "resources/read" | "prompts/get" => {
            Reply::json(&json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": {"resultType": "complete"}}))
        }
        _ => only_modern(heard),
    })
    .await;
    let rig = Rig::asked(server.address).await;

    for (ask, named) in
        [(Ask::GetPrompt, "echo"), (Ask::ReadResource, "x__echo"), (Ask::CompletePrompt, ""), (Ask::CallTool, "echo")]
    {
        let mut call = rig.call(&json!({}));
        call.routed.ask = ask;
        call.send().await.said();

        let heard = server.asked(ask.method()).pop().unwrap();
        assert_eq!((heard.header("mcp-method"), heard.header("mcp-name")), (ask.method(), named));
        assert_eq!(heard.header("content-length"), heard.body.to_string().len().to_string());
    }
}

#[tokio::test]
async fn a_server_of_both_eras_is_spoken_to_in_the_modern_one_where_all_share_it_unless_the_configuration_says_so() {
    for (era, isolation, spoken) in [
        (None, Isolation::Shared, "2026-07-28"),
        (None, Isolation::PerSession, "2025-11-25"),
        (None, Isolation::PerClient, "2025-11-25"),
        (Some(Era::Legacy), Isolation::Shared, "2025-11-25"),
        (Some(Era::Modern), Isolation::PerSession, "2026-07-28"),
    ] {
        let server = Server::start(|heard: &Heard| modern(heard).unwrap_or(Reply::Good)).await;

        let rig = Rig::asked_as(server.address, era, isolation).await;

        assert_eq!(&*rig.link.status().protocol_version, spoken, "{era:?}, {isolation:?}");
    }
}

#[tokio::test]
async fn whatever_else_a_server_answers_to_the_question_leaves_initialize_to_decide() {
    let answers: [fn(&Heard) -> Reply; 5] = [
        |_| Reply::Body(400, "text/plain", vec!["what?".into()]),
        |_| Reply::Body(404, "text/html", vec!["<html>".into()]),
        |_| Reply::Body(500, "", vec![]),
        |heard| {
            Reply::json(&json!({"jsonrpc": "2.0", "id": heard.body["id"], "error": {"code": -32601, "message": "m"}}))
        },
        |heard| Reply::json(&json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": {}})),
    ];
    for answer in answers {
        let script = move |heard: &Heard| match heard.method() {
            "server/discover" => answer(heard),
            _ => Reply::Good,
        };
        let server = Server::start(script).await;
        let rig = Rig::asked(server.address).await;

        assert_eq!(&*rig.link.status().protocol_version, "2025-11-25");
        assert_eq!(rig.says(&json!({"n": 2})).await["result"]["structuredContent"]["n"], 2);
    }
}

#[tokio::test]
async fn a_server_that_changes_its_era_is_asked_anew_and_costs_no_call() {
    let is_modern = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&is_modern);
    let server = Server::start(move |heard: &Heard| {
        if now.load(Relaxed) {
            let is_of_before = !heard.header("mcp-session-id").is_empty();
            return if is_of_before { Reply::Body(404, "", vec![]) } else { only_modern(heard) };
        }
        match heard.method() {
            "server/discover" => Reply::Body(400, "text/plain", vec!["no session".into()]),
            _ => Reply::Good,
        }
    })
    .await;
    let mut rig = Rig::asked(server.address).await;
    for (turn, revision) in [(false, "2025-11-25"), (true, "2026-07-28")] {
        is_modern.store(turn, Relaxed);

        let said = rig.says(&json!({"n": 3})).await;

        assert_eq!(said["result"]["structuredContent"]["n"], 3, "{said}");
        assert_eq!(&*rig.link.status().protocol_version, revision);
        rig.listed().await;
    }
}

#[tokio::test]
async fn a_revision_that_is_refused_is_asked_for_anew_once_and_never_told_to_the_client() {
    for (supported, times) in [("2026-07-28", 1), ("2031-01-01", 2)] {
        let server = Server::start(move |heard: &Heard| match heard.method() {
            "tools/call" => refused(heard, supported),
            _ => only_modern(heard),
        })
        .await;
        let rig = Rig::asked(server.address).await;

        let (how, said) = rig.call(&json!({})).send().await.failed();

        assert_eq!((how, said.contains("refuses the revision")), ("failed", true), "{said}");
        assert_eq!(server.count("tools/call"), times, "{supported}");
    }
}

fn refused(heard: &Heard, supported: &str) -> Reply {
    let error = json!({"code": -32022, "message": "m", "data": {"supported": [supported], "requested": "2026-07-28"}});
    let body = json!({"jsonrpc": "2.0", "id": heard.body["id"], "error": error});
    Reply::Body(400, "application/json", vec![body.to_string().into()])
}

#[tokio::test]
async fn a_modern_servers_own_error_is_passed_on_with_any_status() {
    let server = Server::start(|heard: &Heard| match heard.method() {
        "tools/call" => {
            let error = json!({"code": -32021, "message": "m", "data": {"requiredCapabilities": {"sampling": {}}}});
            let body = json!({"jsonrpc": "2.0", "id": heard.body["id"], "error": error});
            Reply::Body(400, "application/json", vec![body.to_string().into()])
        }
        _ => only_modern(heard),
    })
    .await;
    let rig = Rig::asked(server.address).await;

    let said = rig.says(&json!({})).await;

    assert_eq!(said["error"]["data"]["requiredCapabilities"], json!({"sampling": {}}));
}

#[tokio::test]
async fn a_modern_server_in_place_of_a_legacy_one_is_found_by_the_next_ping() {
    let is_modern = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&is_modern);
    let server = Server::start(move |heard: &Heard| {
        if !now.load(Relaxed) {
            return Reply::Good;
        }
        modern(heard).unwrap_or_else(|| {
            let error = json!({"code": -32602, "message": "params._meta is missing"});
            let body = json!({"jsonrpc": "2.0", "id": heard.body["id"], "error": error});
            Reply::Body(400, "application/json", vec![body.to_string().into()])
        })
    })
    .await;
    let mut rig = Rig::asked(server.address).await;
    is_modern.store(true, Relaxed);

    assert!(rig.link.housekeep(Housekeeping::Ping, super::PATIENCE).await.is_ok());
    rig.listed().await;

    assert_eq!(&*rig.link.status().protocol_version, "2026-07-28");
}

#[tokio::test]
async fn a_cancelled_call_hangs_up_and_sends_nothing() {
    let server = Server::start(|heard: &Heard| match heard.method() {
        "tools/call" => Reply::Hang,
        _ => only_modern(heard),
    })
    .await;
    let rig = Rig::asked(server.address).await;
    let call = rig.call(&json!({}));

    let ending = async {
        until("it is at the server", || (server.count("tools/call") == 1).then_some(())).await;
        rig.end_all(&Why::Cancelled);
    };
    let (done, ()) = tokio::join!(call.send(), ending);

    assert_eq!(done.failed().0, "ended");
    assert!(rig.link.housekeep(Housekeeping::Ping, super::PATIENCE).await.is_ok());
    assert_eq!(server.count("notifications/cancelled"), 0);
}

#[tokio::test]
async fn changed_lists_are_heard_on_a_subscription_that_is_made_again_when_it_ends() {
    let (first, fed) = mpsc::channel(4);
    let feeds = Mutex::new(vec![fed]);
    let server = Server::start(move |heard: &Heard| match (heard.method(), &heard.http) {
        ("subscriptions/listen", &Method::POST) => match feeds.lock().unwrap().pop() {
            Some(fed) => Reply::Fed(fed),
            None => Reply::Endless(200, "text/event-stream", vec![]),
        },
        _ => only_modern(heard),
    })
    .await;
    let mut rig = Rig::asked(server.address).await;
    let note = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}});

    first.send(event(&note)).await.unwrap();
    rig.listed().await;
    let asked = server.asked("subscriptions/listen").pop().unwrap();
    assert_eq!(asked.body["params"]["notifications"], json!({"toolsListChanged": true}));
    drop(first);
    rig.listed().await;

    until("it listens again", || (server.count("subscriptions/listen") == 2).then_some(())).await;
    rig.state(State::Ready).await;
}

#[tokio::test]
async fn a_large_answer_loses_what_only_the_era_says_while_it_streams() {
    let text = "x".repeat(300_000);
    let large = text.clone();
    let server = Server::start(move |heard: &Heard| match heard.method() {
        "tools/call" => {
            let body = format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"complete","content":["{large}"]}}}}"#,
                heard.body["id"]
            );
            let chunks = body.as_bytes().chunks(10_000).map(|chunk| chunk.to_vec().into()).collect();
            Reply::Body(200, "application/json", chunks)
        }
        _ => only_modern(heard),
    })
    .await;
    let rig = Rig::asked(server.address).await;

    let said = String::from_utf8(rig.call(&json!({})).send().await.bytes()).unwrap();

    assert!(said.ends_with(&format!(r#""result":{{"content":["{text}"]}}}}"#)), "{} bytes", said.len());
}

/// A modern server whose tool asks for a header since it was listed; `minds`: what it is refused without.
fn asks_for_a_header(minds: &'static str) -> impl Fn(&Heard) -> Reply + Send + Sync + 'static {
    let lists = AtomicU64::new(0);
    move |heard: &Heard| match heard.method() {
        "tools/list" => {
            let schema = match lists.fetch_add(1, Relaxed) {
                0 => json!({"type": "object"}),
                _ => json!({"type": "object", "properties": {"zone": {"type": "string", "x-mcp-header": "Zone"}}}),
            };
            let result = json!({"resultType": "complete", "tools": [{"name": "echo", "inputSchema": schema}]});
            Reply::json(&json!({"jsonrpc": "2.0", "id": heard.body["id"], "result": result}))
        }
        "tools/call" if heard.header("mcp-param-zone") != minds => {
            let error = json!({"code": -32020, "message": "Mcp-Param-Zone is missing"});
            let body = json!({"jsonrpc": "2.0", "id": heard.body["id"], "error": error}).to_string();
            Reply::Body(400, "application/json", vec![body.into()])
        }
        _ => only_modern(heard),
    }
}

#[tokio::test]
async fn a_header_that_is_asked_for_since_the_last_listing_costs_no_call() {
    let server = Server::start(asks_for_a_header("eu")).await;
    let rig = Rig::asked(server.address).await;

    let said = rig.says(&json!({"zone": "eu"})).await;

    assert_eq!(said["result"]["structuredContent"], json!({"zone": "eu"}), "{said}");
    assert_eq!(server.count("tools/call"), 2, "refused before anything was done, and sent once more");
    until("the catalogue hears of it as well", || (server.count("tools/list") >= 3).then_some(())).await;
}

#[tokio::test]
async fn a_server_that_goes_on_to_find_fault_with_headers_is_told_as_a_fault_of_the_backend() {
    let server = Server::start(asks_for_a_header("never")).await;
    let rig = Rig::asked(server.address).await;

    let (how, why) = rig.call(&json!({"zone": "eu"})).send().await.failed();

    assert_eq!((how, server.count("tools/call")), ("failed", 2));
    assert!(why.contains("headers differ from the body"), "{why}");
}

//! Backends of the modern era, for clients of both: the four cells, over both transports, with real programs.

use std::time::Duration;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::received::Received;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::{HttpExample, Setup, http_example, modern_http_example};
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};

use crate::schema::is_a;

fn web(server: &HttpExample) -> String {
    format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", server.url)
}

/// What a client may ask, and get the same for whatever era its server speaks.
fn requests() -> Vec<(&'static str, Value)> {
    let reference = json!({ "type": "ref/prompt", "name": "web__greet" });
    vec![
        ("tools/call", json!({ "name": "web__echo", "arguments": { "text": "é \u{1F980}" } })),
        (
            "tools/call",
            json!({ "name": "web__raw", "arguments": { "json": r#"{ "resultType" : 1.50e1, "n": 12345678901234567890 }"# } }),
        ),
        ("tools/call", json!({ "name": "web__fail", "arguments": { "message": "no" } })),
        ("tools/call", json!({ "name": "web__misbehave", "arguments": { "how": "error" } })),
        ("tools/call", json!({ "name": "web__big", "arguments": { "bytes": 200_000 } })),
        ("resources/read", json!({ "uri": "example://greeting" })),
        ("resources/read", json!({ "uri": "example://notes/beta" })),
        ("resources/read", json!({ "uri": "example://notes/nobody" })),
        ("prompts/get", json!({ "name": "web__greet", "arguments": { "name": "Ada", "style": "short" } })),
        ("completion/complete", json!({ "ref": reference, "argument": { "name": "style", "value": "f" } })),
    ]
}

/// Everything that clients of both eras are told by one fleet, with ids and rows left out.
async fn told(fleet: &Fleet) -> Vec<String> {
    let (legacy, modern) = (fleet.client("old", "operator").await, fleet.modern_client("new", "operator").await);
    let mut all = Vec::new();
    for (method, params) in requests() {
        let (old, new) = (legacy.request(method, params.clone()).await, modern.request(method, params).await);
        for reply in [old, new] {
            let text = |value: &Value| if value.is_null() { "-".to_owned() } else { value.to_string() };
            let result = if reply.message.get("result").is_some() { reply.result_text() } else { String::new() };
            all.push(format!("{method} {} {result} {}", reply.status, text(&reply.message["error"])));
        }
    }
    all
}

#[tokio::test]
async fn clients_of_both_eras_are_told_the_same_whatever_era_their_server_speaks() {
    let servers = [http_example(false), modern_http_example(false), modern_http_example(true)];
    let mut all = Vec::new();
    for server in &servers {
        let fleet = Fleet::start(Setup::one_plane().toml(&web(server))).await;
        all.push(told(&fleet).await);
    }
    let fleet = Fleet::start(Setup::one_plane().modern_backend("web", "")).await;
    all.push(told(&fleet).await);

    for other in &all[1..] {
        for (legacy, modern) in all[0].iter().zip(other) {
            assert_eq!(legacy, modern);
        }
    }
}

/// Each request that reached the server is what the schema says a client sends.
fn judged(received: &Received) -> Vec<String> {
    let mut methods = Vec::new();
    // Before anything else it is asked whether it speaks the legacy era as well: that is no message of this one.
    let of_its_era = |event: &Value| event["event"] == "modern" && event["tool"] != "initialize";
    for event in received.events().into_iter().filter(of_its_era) {
        let message =
            json!({ "jsonrpc": "2.0", "id": event["id"], "method": event["tool"], "params": event["arguments"] });
        is_a("ClientRequest", &message);
        let meta = &message["params"]["_meta"];
        assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28");
        assert_eq!(meta["io.modelcontextprotocol/clientInfo"]["name"], "sentinel", "never the client's own");
        let method = event["tool"].as_str().unwrap().to_owned();
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods.sort();
    methods
}

#[tokio::test]
async fn whatever_is_sent_to_a_modern_server_is_what_its_schema_asks_for() {
    let server = modern_http_example(false);
    let fleet = Fleet::start(Setup::one_plane().toml(&web(&server)).modern_backend("pipe", "")).await;
    let (legacy, modern) = (fleet.client("old", "operator").await, fleet.modern_client("new", "operator").await);
    for (method, params) in requests() {
        for prefix in ["web__", "pipe__"] {
            let params: Value = serde_json::from_str(&params.to_string().replace("web__", prefix)).unwrap();
            let _told = legacy.request(method, params.clone()).await;
            let mut marked = params;
            marked["_meta"] =
                json!({ "progressToken": "mine", "io.modelcontextprotocol/logLevel": "info", "own/key": 7 });
            let _told = modern.request(method, marked).await;
        }
    }

    let want = [
        "completion/complete",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "server/discover",
        "subscriptions/listen",
        "tools/call",
        "tools/list",
    ];
    for received in [server.received(), fleet.received("pipe")] {
        let methods: Vec<String> = judged(&received);
        // A read of one backend's URI goes to the first that offers it.
        assert!(
            want.iter().all(|method| methods.iter().any(|seen| seen == method) || *method == "resources/read"),
            "{methods:?}"
        );
        let marked = received.events().into_iter().filter(|event| event["arguments"]["_meta"]["own/key"] == 7);
        for event in marked {
            let meta = &event["arguments"]["_meta"];
            assert_eq!(meta["io.modelcontextprotocol/logLevel"], "info", "{event}");
            assert!(meta["progressToken"].is_u64(), "{event}");
        }
        assert_eq!(received.count("initialize"), 0);
    }
    assert!(server.received().events().iter().all(|event| event["arguments"].get("mcp-session-id").is_none()));
}

#[tokio::test]
async fn progress_and_cancels_of_both_eras_reach_a_modern_server() {
    let server = modern_http_example(false);
    let fleet = Fleet::start(Setup::one_plane().toml(&web(&server)).modern_backend("pipe", "")).await;
    let (legacy, modern) = (fleet.client("old", "operator").await, fleet.modern_client("new", "operator").await);
    for (name, received) in [("web", server.received()), ("pipe", fleet.received("pipe"))] {
        let tool = format!("{name}__slow");
        let told = json!({ "name": tool, "arguments": { "ms": 60, "steps": 3 }, "_meta": { "progressToken": "mine" } });
        for reply in [legacy.request("tools/call", told.clone()).await, modern.request("tools/call", told).await] {
            let steps: Vec<&Value> = reply.notes.iter().map(|note| &note["params"]["progress"]).collect();
            assert_eq!(steps, [&json!(1), &json!(2), &json!(3)], "{name}: {reply:?}");
            assert!(reply.notes.iter().all(|note| note["params"]["progressToken"] == "mine"), "{reply:?}");
        }
        let long = json!({ "name": tool, "arguments": { "ms": 600_000 } });
        let cancels = || received.count("cancelled") + received.count("hangup");
        let running = |count: usize| received.calls("slow").len() == count;

        let call = modern.message("tools/call", long.clone());
        tokio::select! {
            _reply = modern.send(&call) => panic!("it was answered"),
            () = until("the call is at the backend", async || holds(running(3))) => {}
        }
        until("the backend has heard the hang-up", async || holds(cancels() == 1)).await;

        let call = legacy.message("tools/call", &long);
        let id = serde_json::from_str::<Value>(&call).unwrap()["id"].clone();
        let cancel = async {
            until("the call is at the backend", async || holds(running(4))).await;
            legacy.notify("notifications/cancelled", json!({ "requestId": id })).await
        };
        let (reply, _) = tokio::join!(legacy.send(&call), cancel);
        until("the backend has heard the cancel", async || holds(cancels() == 2)).await;
        assert_eq!(fleet.audit_rows(&reply.request_id()).await[0]["status"], "cancelled");
    }
}

#[tokio::test]
async fn what_a_modern_server_adds_is_told_to_clients_of_both_eras() {
    let server = modern_http_example(false);
    let fleet = Fleet::start(Setup::one_plane().toml(&web(&server)).modern_backend("pipe", "")).await;
    let (legacy, modern) = (fleet.client("old", "operator").await, fleet.modern_client("new", "operator").await);
    for name in ["web", "pipe"] {
        let mut old = legacy.listen().await;
        let (_granted, mut new) = modern.listen(json!("l"), json!({ "toolsListChanged": true })).await;

        let _grown = modern.call(&format!("{name}__grow"), json!({})).await;

        for notes in [&mut old, &mut new] {
            let note = tokio::time::timeout(Duration::from_secs(10), notes.next_json()).await.unwrap().unwrap();
            assert_eq!(note["method"], "notifications/tools/list_changed");
        }
        let grown = format!("{name}__grown_1");
        assert!(modern.tools().await.contains(&grown) && legacy.tools().await.contains(&grown));
        assert_eq!(legacy.call(&grown, json!({})).await.content(), "grown_1");
    }
}

#[tokio::test]
async fn an_argument_that_a_schema_wants_in_a_header_goes_there_as_well() {
    let server = modern_http_example(false);
    let fleet = Fleet::start(Setup::one_plane().toml(&web(&server))).await;
    let (legacy, modern) = (fleet.client("old", "operator").await, fleet.modern_client("new", "operator").await);
    // The server refuses a request whose headers say otherwise than its body; it decodes none, so this one is plain.
    for arguments in [json!({ "query": "q", "region": "eu west" }), json!({ "query": "q" })] {
        for reply in
            [legacy.call("web__route", arguments.clone()).await, routed(&modern, "web__route", &arguments).await]
        {
            let given: Value = serde_json::from_str(reply.content()).unwrap();
            assert_eq!(given, arguments);
        }
    }
}

#[tokio::test]
async fn a_header_that_a_schema_asks_for_must_say_what_the_argument_does() {
    let server = modern_http_example(false);
    let fleet = Fleet::start(Setup::one_plane().toml(&web(&server))).await;
    let (modern, analyst) = (fleet.modern_client("new", "operator").await, fleet.modern_client("a", "analyst").await);
    let call = |region: &str| {
        let arguments = json!({ "query": "q", "region": region });
        modern.message("tools/call", json!({ "name": "web__route", "arguments": arguments }))
    };
    for (region, header) in
        [("eu", ""), ("eu", "us"), ("Hello", "=?base64?SGVsbG8?="), ("Hello", "=?base64?SGVs!G8=?=")]
    {
        let reply = modern.send_with(&call(region), &[("mcp-param-region", header)]).await;
        assert_eq!(reply.status, 400, "{reply:?}");
        is_a("HeaderMismatchError", &reply.message);
        let id = reply.is_refused("header_mismatch", -32020);
        assert_eq!(fleet.audit_rows(&id).await[0]["status"], "denied");
    }
    assert_eq!(server.received().calls("route").len(), 0, "nothing was sent");
    let hidden = analyst.send(&call("eu")).await;
    let _id = hidden.is_refused("unknown_tool", -32602);

    for (region, header) in
        [("Hello", "=?base64?SGVsbG8=?="), ("=?base64?SGVsbG8=", "=?base64?SGVsbG8="), ("eu", " eu ")]
    {
        let reply = modern.send_with(&call(region), &[("mcp-param-region", header)]).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
}

#[tokio::test]
async fn what_a_modern_server_says_of_the_way_we_speak_is_never_the_clients_business() {
    let server = modern_http_example(false);
    let fleet = Fleet::start(Setup::one_plane().toml(&web(&server)).modern_backend("pipe", "")).await;
    let (legacy, modern) = (fleet.client("old", "operator").await, fleet.modern_client("new", "operator").await);
    for name in ["web", "pipe"] {
        let tool = format!("{name}__misbehave");
        for how in ["version", "task"] {
            let ask = json!({ "how": how });
            for reply in [legacy.call(&tool, ask.clone()).await, modern.call(&tool, ask.clone()).await] {
                let id = reply.is_refused("backend_error", -31502);
                assert_eq!(fleet.audit_rows(&id).await[0]["status"], "error");
            }
        }
        let lacks = json!({ "how": "lacks" });
        let (old, new) = (legacy.call(&tool, lacks.clone()).await, modern.call(&tool, lacks).await);
        assert_eq!((old.status, &old.message["error"]["code"]), (200, &json!(-32021)));
        assert_eq!((new.status, &new.message["error"]["code"]), (400, &json!(-32021)));
        assert_eq!(modern.call(&format!("{name}__echo"), json!({ "text": "lives" })).await.content(), "lives");
    }
}

#[tokio::test]
async fn a_server_that_comes_back_in_another_era_is_spoken_to_in_that() {
    let mut server = modern_http_example(false);
    let often = "[health]\ninterval_secs = 1\n[circuit_breaker]\nopen_secs = 1\n";
    let fleet = Fleet::start(Setup::one_plane().toml(often).toml(&web(&server))).await;
    let client = fleet.client("old", "operator").await;
    let revision = async || fleet.ctl("status --output json").await.json().to_string();
    assert!(revision().await.contains("2026-07-28"));
    for (is_modern, spoken) in [(false, "2025-11-25"), (true, "2026-07-28")] {
        server.comes_back(is_modern).await;

        let reply = until("it is called again", async || {
            let reply = client.call("web__echo", json!({ "text": "again" })).await;
            if reply.message.get("result").is_some() { Ok(reply) } else { Err(reply) }
        });

        assert_eq!(reply.await.content(), "again");
        until("its revision is shown", async || holds(revision().await.contains(spoken))).await;
    }
}

#[tokio::test]
async fn an_era_that_is_configured_wrongly_is_told_to_the_operator() {
    let setup = Setup::example().backend_with("wrong", "era = \"modern\"").modern_backend("too", "era = \"legacy\"");
    let fleet = Fleet::start(setup.not_waiting_for_backends()).await;

    until("both are told", async || {
        let listed = fleet.ctl("backend list --output json").await;
        let text = listed.json().to_string();
        holds(text.contains("its `era` says that it is one") && text.contains("initialize"))
    })
    .await;
}

/// A call of the tool that wants its region in a header as well.
async fn routed(client: &ModernClient, tool: &str, arguments: &Value) -> Reply {
    let call = client.message("tools/call", json!({ "name": tool, "arguments": arguments }));
    client.send_with(&call, &[("mcp-param-region", arguments["region"].as_str().unwrap_or_default())]).await
}

#[tokio::test]
async fn an_argument_that_a_tool_wants_in_a_header_must_stand_there_as_in_the_body() {
    let roles = "[roles.operator]\nallow = [\"*\"]\n[roles.blind]\nallow = [\"*__echo\"]\n";
    let fleet = Fleet::start(Setup::one_plane().modern_backend("pipe", "").roles(roles)).await;
    let client = fleet.modern_client("new", "operator").await;
    let call =
        |arguments: Value| client.message("tools/call", json!({ "name": "pipe__route", "arguments": arguments }));
    let here = call(json!({ "query": "q", "region": "é" }));

    for (message, header) in [
        (&here, ""),
        (&here, "e"),
        (&here, "=?base64?!?="),
        (&call(json!({ "query": "q" })), "eu"),
        (&call(json!({ "query": "q", "region": null })), "eu"),
    ] {
        let refused = client.send_with(message, &[("mcp-param-region", header)]).await;
        assert_eq!(refused.status, 400, "{header:?}: {refused:?}");
        is_a("HeaderMismatchError", &refused.message);
        let _id = refused.is_refused("header_mismatch", -32020);
    }
    assert_eq!(fleet.received("pipe").count("call"), 0);
    let good = client.send_with(&here, &[("mcp-param-region", "=?base64?w6k=?="), ("mcp-param-other", "x")]).await;
    assert_eq!(good.content(), r#"{"query":"q","region":"é"}"#);
    assert!(routed(&client, "pipe__route", &json!({ "query": "q" })).await.message.get("result").is_some());
    // Who does not see the tool learns nothing of its schema.
    let blind = fleet.modern_client("blind", "blind").await;
    let hidden = blind.call("pipe__route", json!({ "query": "q", "region": "eu" })).await;
    let _id = hidden.is_refused("unknown_tool", -32602);
}

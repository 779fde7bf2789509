//! Every kind of message that a client gets, in every revision, is what the official schema of that revision says.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::{ModernClient, with_meta};
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::{HttpExample, Setup, http_example};
use serde_json::{Value, json};

use crate::schema::{LEGACY, MODERN, said_by_a_server};

/// What was heard in one revision, and of what kinds.
struct Heard {
    revision: &'static str,
    kinds: BTreeSet<String>,
}

impl Heard {
    fn new(revision: &'static str) -> Self {
        Self { revision, kinds: BTreeSet::new() }
    }

    fn message(&mut self, method: &str, message: &Value) {
        self.kinds.insert(said_by_a_server(self.revision, method, message));
    }

    fn reply(&mut self, method: &str, reply: &Reply) {
        for note in &reply.notes {
            self.message(method, note);
        }
        if !reply.message.is_null() {
            self.message(method, &reply.message);
        }
    }

    fn has(&self, kinds: &[&str]) {
        let missing: Vec<&&str> = kinds.iter().filter(|kind| !self.kinds.contains(**kind)).collect();
        assert!(missing.is_empty(), "{}: {missing:?} were not heard, only {:?}", self.revision, self.kinds);
    }
}

/// What clients of all revisions may ask, with what is refused.
fn requests() -> Vec<(&'static str, Value)> {
    let call = |name: &str, arguments: Value| ("tools/call", json!({ "name": name, "arguments": arguments }));
    let reference = json!({ "type": "ref/prompt", "name": "pipe__greet" });
    let told = json!({ "name": "web__slow", "arguments": { "ms": 20, "steps": 2 }, "_meta": { "progressToken": "t" } });
    vec![
        ("tools/list", json!({})),
        ("tools/list", json!({ "cursor": "x" })),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        ("prompts/list", json!({})),
        call("pipe__echo", json!({ "text": "x" })),
        call("pipe__echo", json!({ "text": 1 })),
        call("pipe__fail", json!({ "message": "no" })),
        call("pipe__nothing", json!({})),
        call("pipe__counter", json!({})),
        call("pipe__env", json!({})),
        call("pipe__env", json!({})),
        call("web__misbehave", json!({ "how": "no_result" })),
        call("pipe__misbehave", json!({ "how": "error" })),
        call("brief__misbehave", json!({ "how": "silent" })),
        ("tools/call", told),
        ("tools/call", json!({ "arguments": {} })),
        ("resources/read", json!({ "uri": "example://greeting" })),
        ("resources/read", json!({ "uri": "example://nothing" })),
        ("prompts/get", json!({ "name": "pipe__greet", "arguments": { "name": "Ada", "style": "short" } })),
        ("prompts/get", json!({ "name": "pipe__nothing" })),
        ("completion/complete", json!({ "ref": reference, "argument": { "name": "style", "value": "f" } })),
        ("no/such", json!({})),
    ]
}

/// What is heard of them in any revision.
const ANSWERS: [&str; 19] = [
    "completion/complete",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/templates/list",
    "tools/call",
    "tools/list",
    "notifications/progress",
    "notifications/tools/list_changed",
    "notifications/resources/list_changed",
    "notifications/prompts/list_changed",
    "error -31401",
    "error -31423",
    "error -31429",
    "error -31502",
    "error -31504",
    "error -32601",
    "error -32602",
];

async fn fleet() -> (HttpExample, Fleet) {
    let web = http_example(true);
    let backend = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", web.url);
    let limits = "[rate_limit]\n\
        default = { requests = 1000000, per_secs = 1, burst = 1000000 }\n\
        per_client = { requests = 1000000, per_secs = 1, burst = 1000000 }\n\
        tools = { \"pipe__env\" = { requests = 1, per_secs = 3600, burst = 1 } }\n";
    let setup = Setup::one_plane().limits(limits).backend("pipe").backend_with("brief", "timeout_secs = 1\n");
    let setup = setup.backend_with("own", "isolation = \"per-session\"").modern_backend("new", "").toml(&backend);
    let setup = setup.tasks_backend("later", "isolation = \"per-session\"");
    let fleet = Fleet::start(setup).await;
    let _killed = fleet.ctl("kill-switch tool pipe__counter --reason test").await.exits(0);
    (web, fleet)
}

/// What a person, a model or a client would answer.
fn answer(question: &Value) -> Value {
    match question["method"].as_str().unwrap() {
        "roots/list" => json!({ "roots": [{ "uri": "file:///tmp/x" }] }),
        "sampling/createMessage" => {
            json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "said" } })
        }
        _ if question["params"]["mode"] == "url" => json!({ "action": "accept" }),
        _ => json!({ "action": "accept", "content": { "sure": true } }),
    }
}

/// A call on whose way the client is asked, to its end.
async fn asked(heard: &mut Heard, client: &Client, tool: &str, arguments: Value) {
    let answers = arguments["withdraw"] != true;
    let mut messages = client.calling(tool, arguments).await;
    while let Some(message) = messages.next_json().await {
        heard.message("tools/call", &message);
        if message.get("method").is_some() && message.get("id").is_some() && answers {
            assert_eq!(client.respond(&message["id"], answer(&message)).await.status, 202);
        }
    }
}

async fn questions(heard: &mut Heard, client: &Client) {
    asked(heard, client, "own__sample", json!({ "prompt": "p" })).await;
    asked(heard, client, "own__roots", json!({})).await;
    heard.has(&["sampling/createMessage?", "roots/list?"]);
    if heard.revision >= "2025-06-18" {
        asked(heard, client, "own__elicit", json!({ "message": "Sure?" })).await;
        asked(heard, client, "own__elicit", json!({ "message": "Sure?", "withdraw": true })).await;
        heard.has(&["elicitation/create?", "notifications/cancelled"]);
    }
    if heard.revision >= "2025-11-25" {
        let done = "notifications/elicitation/complete";
        // It comes beside the call; one that ends sooner has no stream for it.
        for _ in 0..20 {
            asked(heard, client, "own__elicit", json!({ "url": "https://example.test/in" })).await;
            if heard.kinds.contains(done) {
                break;
            }
        }
        asked(heard, client, "own__visit", json!({ "urls": ["https://example.test/first"] })).await;
        heard.has(&[done, "error -32042"]);
    }
}

/// The same of a modern client: within answers, by servers of both eras.
async fn rounds(heard: &mut Heard, client: &ModernClient) {
    let call = async |heard: &mut Heard, mut params: Value, can: &Value| {
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = can.clone();
        let reply = client.request("tools/call", params).await;
        heard.reply("tools/call", &reply);
        reply
    };
    let asks = [
        ("elicit", json!({})),
        ("elicit", json!({ "url": "https://example.test/in" })),
        ("sample", json!({})),
        ("roots", json!({})),
    ];
    let named =
        |(tool, arguments): &(&str, Value)| ["own", "new"].map(|of| (format!("{of}__{tool}"), arguments.clone()));
    let visit = ("own__visit".to_owned(), json!({ "urls": ["https://example.test/first"] }));
    for (tool, arguments) in asks.iter().flat_map(named).chain([visit]) {
        let mut params = json!({ "name": tool, "arguments": arguments });
        let asked = call(heard, params.clone(), &capabilities("2025-11-25")).await;
        assert_eq!(asked.result()["resultType"], "input_required", "{tool}: {asked:?}");
        let questions = asked.result()["inputRequests"].as_object().unwrap();
        params["inputResponses"] = questions.iter().map(|(key, question)| (key.clone(), answer(question))).collect();
        params["requestState"] = asked.result()["requestState"].clone();
        let done = call(heard, params, &capabilities("2025-11-25")).await;
        assert_eq!(done.result()["resultType"], "complete", "{tool}: {done:?}");
    }
    let other = json!({ "name": "own__visit", "arguments": { "urls": ["https://example.test/second"] } });
    let _lacks = call(heard, other, &json!({})).await;
    heard.has(&["input_required", "error -32021"]);
}

/// What this revision's clients can be asked.
fn capabilities(revision: &str) -> Value {
    match revision {
        "2025-11-25" => json!({ "sampling": {}, "roots": {}, "elicitation": { "form": {}, "url": {} } }),
        "2025-06-18" => json!({ "sampling": {}, "roots": {}, "elicitation": {} }),
        _ => json!({ "sampling": {}, "roots": {} }),
    }
}

/// A tool, a resource and a prompt appear; gives nothing before the stream has told of all.
async fn changes(heard: &mut Heard, client: &Client) {
    let mut notes = client.listen().await;
    for what in ["tool", "resource", "prompt"] {
        let _grown = client.call("pipe__grow", json!({ "what": what })).await;
        let want = format!("notifications/{what}s/list_changed");
        loop {
            let note = notes.next_json().await.expect("the stream goes on");
            heard.message("", &note);
            if note["method"] == want.as_str() {
                break;
            }
        }
    }
}

/// Tasks of 2025-11-25: the handle, what is asked of it, and what it asks.
async fn tasks(heard: &mut Heard, client: &Client) {
    let form = json!({ "message": "Sure?", "requestedSchema": { "type": "object", "properties": {} } });
    let asks = json!({ "form": { "method": "elicitation/create", "params": form } });
    let arguments = json!({ "looks": 1, "asks": asks, "notes": true });
    let params = json!({ "name": "later__chore", "arguments": arguments, "task": { "ttl": 1_000 } });
    let handle = client.request("tools/call", params).await;
    heard.reply("tools/call as a task", &handle);
    let of_it = json!({ "taskId": handle.result()["task"]["taskId"] });
    heard.reply("tasks/get", &client.request("tasks/get", of_it.clone()).await);
    let (_, _, mut messages) = client.open(&client.message("tasks/result", &of_it)).await;
    while let Some(message) = messages.next_json().await {
        heard.message("tasks/result", &message);
        if message.get("method").is_some() && message.get("id").is_some() {
            let _taken = client.respond(&message["id"], answer(&message)).await;
        }
    }
    heard.reply("tasks/cancel", &client.request("tasks/cancel", of_it).await);
    heard.reply("tasks/get", &client.request("tasks/get", json!({ "taskId": "x" })).await);
    heard.reply("tasks/get", &client.request("tasks/get", json!({})).await);
    heard.has(&["tools/call as a task", "tasks/get", "tasks/result", "tasks/cancel"]);
}

/// What never becomes a request of anybody.
async fn refusals(heard: &mut Heard, client: &Client, url: &str) {
    for body in ["{", r#"[{"jsonrpc":"2.0","id":1}]"#, r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "7"] {
        let reply = client.send(body).await;
        match reply.message.as_array() {
            Some(all) => all.iter().for_each(|one| heard.message("ping", one)),
            None => heard.reply("ping", &reply),
        }
    }
    let mut stranger = Client::new(url, &client.token);
    stranger.session = Some("forged".into());
    heard.reply("ping", &stranger.request("ping", json!({})).await);
    stranger.token = "x.y.z".into();
    heard.reply("ping", &stranger.request("ping", json!({})).await);
    heard.has(&["error -32700", "error -32600", "error -31404", "error -31401"]);
}

#[tokio::test]
async fn what_a_client_of_any_legacy_revision_is_told_fits_the_schema_of_that_revision() {
    let (_web, fleet) = fleet().await;
    let url = fleet.planes[0].url();
    for revision in LEGACY {
        let mut heard = Heard::new(revision);
        let mut client = Client::new(&url, &fleet.token(&format!("of-{revision}"), "operator").await);
        let opened = client.begin(revision, capabilities(revision)).await;
        heard.reply("initialize", &opened);
        heard.reply("ping", &client.request("ping", json!({})).await);
        heard.reply("logging/setLevel", &client.request("logging/setLevel", json!({ "level": "debug" })).await);
        heard.reply("logging/setLevel", &client.request("logging/setLevel", json!({ "level": "loud" })).await);
        for method in ["resources/subscribe", "resources/unsubscribe"] {
            heard.reply(method, &client.request(method, json!({ "uri": "example://greeting" })).await);
        }
        for (method, params) in requests() {
            heard.reply(method, &client.request(method, params).await);
        }
        if revision == "2025-03-26" {
            let batch = format!("[{},{}]", client.message("ping", &json!({})), client.message("ping", &json!({})));
            let reply = client.send(&batch).await;
            let both = reply.message.as_array().unwrap_or_else(|| panic!("no batch: {reply:?}"));
            both.iter().for_each(|one| heard.message("ping", one));
        }
        changes(&mut heard, &client).await;
        questions(&mut heard, &client).await;
        if revision == "2025-11-25" {
            tasks(&mut heard, &client).await;
        }
        refusals(&mut heard, &client, &url).await;
        heard.has(&ANSWERS);
        heard.has(&["initialize", "ping", "logging/setLevel", "notifications/message", "error -32002"]);
    }
}

#[tokio::test]
async fn what_a_modern_client_is_told_fits_its_schema() {
    let (_web, mut fleet) = fleet().await;
    let mut client = fleet.modern_client("new", "operator").await;
    let mut heard = Heard::new(MODERN);
    heard.reply("server/discover", &client.request("server/discover", json!({})).await);
    for (method, mut params) in requests() {
        params["_meta"]["io.modelcontextprotocol/logLevel"] = json!("debug");
        heard.reply(method, &client.request(method, params).await);
    }
    rounds(&mut heard, &client).await;
    let lists = json!({ "toolsListChanged": true, "resourcesListChanged": true, "promptsListChanged": true });
    let (granted, mut notes) = client.listen(json!("l"), lists).await;
    heard.message("subscriptions/listen", &granted);
    for what in ["tool", "resource", "prompt"] {
        let _grown = client.call("pipe__grow", json!({ "what": what })).await;
        let want = format!("notifications/{what}s/list_changed");
        loop {
            let note = notes.next_json().await.expect("the stream goes on");
            heard.message("subscriptions/listen", &note);
            if note["method"] == want.as_str() {
                break;
            }
        }
    }
    let list = client.message("tools/list", json!({}));
    heard.reply("tools/list", &client.send_with(&list, &[("mcp-method", "other")]).await);
    let other = json!({ "_meta": { "io.modelcontextprotocol/protocolVersion": "2099-01-01" } });
    heard.reply("tools/list", &client.request("tools/list", other).await);
    let version = ("mcp-protocol-version", MODERN);
    heard.reply("ping", &client.send_with(&json!([list]), &[version]).await);
    heard.reply("ping", &client.send_with(&json!({ "jsonrpc": "2.0", "id": 1, "result": {} }), &[version]).await);
    let token = std::mem::replace(&mut client.token, "x.y.z".into());
    heard.reply("ping", &client.request("tools/list", json!({})).await);
    client.token = token;

    fleet.planes[0].process.signal(Signal::SIGTERM);
    while let Some(message) = notes.next_json().await {
        heard.message("subscriptions/listen", &message);
    }

    heard.has(&ANSWERS);
    heard.has(&[
        "server/discover",
        "subscriptions/listen",
        "notifications/subscriptions/acknowledged",
        "notifications/message",
        "error -32020",
        "error -32022",
        "error -32600",
    ]);
}

#[tokio::test]
async fn what_is_told_over_stdio_fits_the_schemas_of_both_eras() {
    let (_web, fleet) = fleet().await;
    let mut client = fleet.stdio_client("attached", "operator").await;
    for revision in ["2025-11-25", MODERN] {
        let mut heard = Heard::new(revision);
        let opening = if revision == MODERN { "server/discover" } else { "ping" };
        for (method, params) in requests().into_iter().chain([(opening, json!({}))]) {
            let params = if revision == MODERN { with_meta(params) } else { params };
            let reply = client.request(method, params).await;
            heard.message(method, &reply.message);
            // Beside an answer may stand what belongs to the session, which is of the other era.
            for note in reply.notes.iter().filter(|note| note["params"]["progressToken"] == "t") {
                heard.message(method, note);
            }
        }
        heard.has(&["tools/call", "tools/list", "resources/read", "prompts/get", "completion/complete", opening]);
        heard.has(&["error -31423", "error -31429", "error -31502", "error -31504", "error -32601", "error -32602"]);
        client.write("{").await;
        let told: Value = serde_json::from_str(&client.read().await.unwrap()).unwrap();
        heard.message("ping", &told);
        heard.has(&["error -32700"]);
    }
}

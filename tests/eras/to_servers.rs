//! Every message that a server gets from Sentinel is what the official schema of the server's revision says: each line
//! of a stdio server's input and each body of a POST is read on its way.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::process::program;
use sentinel_tests::harness::setup::{Setup, http_example, modern_http_example};
use sentinel_tests::harness::until::{holds, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use crate::schema::{MODERN, fits};

/// Panics unless it is what a client of this revision may say. Gives what kind of message it was.
fn said_by_a_client(revision: &str, message: &Value) -> String {
    match (message["method"].as_str(), message.get("id")) {
        (Some(name), Some(_)) => {
            fits(revision, "JSONRPCRequest", message);
            fits(revision, "ClientRequest", message);
            name.to_owned()
        }
        (Some(name), None) => {
            fits(revision, "JSONRPCNotification", message);
            fits(revision, "ClientNotification", message);
            name.to_owned()
        }
        (None, _) if message.get("error").is_some() => {
            fits(revision, "JSONRPCErrorResponse", message);
            format!("error {}", message["error"]["code"])
        }
        (None, _) => {
            assert_ne!(revision, MODERN, "a modern client answers nobody: {message}");
            fits(revision, "JSONRPCResultResponse", message);
            fits(revision, "ClientResult", &message["result"]);
            "an answer".to_owned()
        }
    }
}

const LEGACY: &str = "2025-11-25";

/// A stdio server whose input is kept in `FOLDER/NAME`.
fn piped(folder: &Path, name: &str, flags: &str, more: &str) -> String {
    let (server, file) = (program("sentinel-example-server"), folder.join(name));
    let line = format!("tee -a '{}' | '{}' --misbehave {flags}", file.display(), server.display());
    format!("[[backends]]\nname = \"{name}\"\ncommand = \"sh\"\nargs = [\"-c\", \"{line}\"]\n{more}\n")
}

/// What a stdio server has got so far.
fn lines(folder: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    // A last line without its end is still being written.
    let whole = text.rfind('\n').map_or("", |end| text.split_at(end).0);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Passes bytes to an HTTP server, and keeps what each connection sent.
struct Between {
    url: String,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    tasks: TaskTracker,
}

impl Between {
    async fn start(server: &str) -> Self {
        let address = server.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let (sent, tasks) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), TaskTracker::new());
        let (kept, own) = (Arc::clone(&sent), tasks.clone());
        tasks.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = {
                    let mut all = kept.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                let server = TcpStream::connect(&address).await.unwrap();
                own.spawn(pass(client, server, Arc::clone(&kept), number));
            }
        });
        Self { url, sent, tasks }
    }

    /// The bodies of all POSTs so far.
    fn bodies(&self) -> Vec<Value> {
        self.sent.lock().unwrap().iter().flat_map(|sent| bodies_of(sent)).collect()
    }
}

async fn pass(client: TcpStream, server: TcpStream, kept: Arc<Mutex<Vec<Vec<u8>>>>, number: usize) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count) = from_client.read(&mut buffer).await {
            let part = &buffer[..count];
            kept.lock().unwrap()[number].extend_from_slice(part);
            if part.is_empty() || to_server.write_all(part).await.is_err() {
                break;
            }
        }
        let _closed = to_server.shutdown().await;
    };
    let down = async {
        let _ended = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _closed = to_client.shutdown().await;
    };
    tokio::join!(up, down);
}

/// The bodies of one connection's requests, one after the other.
fn bodies_of(mut sent: &[u8]) -> Vec<Value> {
    let mut bodies = Vec::new();
    while let Some(end) = sent.windows(4).position(|four| four == b"\r\n\r\n") {
        let (head, rest) = sent.split_at(end + 4);
        let head = String::from_utf8_lossy(head).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let length: usize = length.unwrap_or(0);
        assert!(!head.contains("transfer-encoding"), "{head}");
        let Some((body, rest)) = rest.split_at_checked(length) else { break };
        if length > 0 {
            bodies.push(serde_json::from_slice(body).unwrap());
        }
        sent = rest;
    }
    bodies
}

/// The kinds of what a server got; panics at what its schema does not say. The question after its era is of the modern
/// one, as is all to a server that answers it so.
fn kinds(all: &[Value], is_modern: bool) -> BTreeSet<String> {
    let judged = all.iter().map(|message| {
        let probes = message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string();
        // Whether a modern server speaks the other era as well is asked in that one.
        let opens = message["method"] == "initialize" || message["method"] == "notifications/initialized";
        let revision = if probes || is_modern && !opens { MODERN } else { LEGACY };
        said_by_a_client(revision, message)
    });
    judged.collect()
}

fn has(name: &str, kinds: &BTreeSet<String>, want: &[&str]) {
    let missing: Vec<&&str> = want.iter().filter(|kind| !kinds.contains(**kind)).collect();
    assert!(missing.is_empty(), "{name}: {missing:?} were not sent, only {kinds:?}");
}

/// Everything that reaches a server, for clients of both eras.
async fn used(fleet: &Fleet, client: &Client, name: &str) {
    let modern = fleet.modern_client("new", "operator").await;
    let reference = json!({ "type": "ref/prompt", "name": format!("{name}__greet") });
    let echo =
        json!({ "name": format!("{name}__echo"), "arguments": { "text": "x" }, "_meta": { "progressToken": 7 } });
    let requests = [
        ("tools/call", echo),
        ("resources/read", json!({ "uri": "example://greeting" })),
        ("prompts/get", json!({ "name": format!("{name}__greet"), "arguments": { "name": "Ada" } })),
        ("completion/complete", json!({ "ref": reference, "argument": { "name": "style", "value": "f" } })),
    ];
    for (method, params) in requests {
        assert!(client.request(method, params.clone()).await.message["result"].is_object(), "{name}: {method}");
        assert!(modern.request(method, params).await.message["result"].is_object(), "{name}: {method}");
    }
}

/// A call that its client gives up.
async fn cancelled(client: &Client, name: &str, is_there: impl Fn() -> bool) {
    let call =
        client.message("tools/call", &json!({ "name": format!("{name}__slow"), "arguments": { "ms": 600_000 } }));
    let id = serde_json::from_str::<Value>(&call).unwrap()["id"].clone();
    let cancel = async {
        until("the call is at the server", async || holds(is_there())).await;
        client.notify("notifications/cancelled", json!({ "requestId": id, "reason": "thought better" })).await
    };
    let _both = tokio::join!(client.send(&call), cancel);
}

const REACHES: [&str; 8] = [
    "tools/list",
    "tools/call",
    "resources/list",
    "resources/templates/list",
    "resources/read",
    "prompts/list",
    "prompts/get",
    "completion/complete",
];
const HANDSHAKE: [&str; 3] = ["server/discover", "initialize", "notifications/initialized"];

fn calls_slow(all: &[Value]) -> bool {
    all.iter().any(|message| message["method"] == "tools/call" && message["params"]["name"] == "slow")
}

#[tokio::test]
async fn what_a_stdio_server_gets_fits_the_schema_of_its_era() {
    let folder = tempfile::tempdir().unwrap();
    for (name, flags, is_modern) in [("old", "", false), ("new", "--modern", true)] {
        let often = "[health]\ninterval_secs = 1\n";
        let setup = Setup::one_plane().toml(often).toml(&piped(folder.path(), name, flags, ""));
        let fleet = Fleet::start(setup).await;
        let client = fleet.client("old", "operator").await;
        used(&fleet, &client, name).await;
        cancelled(&client, name, || calls_slow(&lines(folder.path(), name))).await;
        let want: &[&str] =
            if is_modern { &["server/discover"] } else { &["initialize", "notifications/initialized", "ping"] };
        until("it was cancelled, and pinged", async || {
            let kinds = kinds(&lines(folder.path(), name), is_modern);
            let all = want.iter().chain(&["notifications/cancelled"]).all(|kind| kinds.contains(*kind));
            if all { Ok(()) } else { Err(kinds) }
        })
        .await;

        has(name, &kinds(&lines(folder.path(), name), is_modern), &REACHES);
    }
}

#[tokio::test]
async fn what_an_http_server_gets_fits_the_schema_of_its_era() {
    for (name, is_modern) in [("old", false), ("new", true)] {
        let server = if is_modern { modern_http_example(false) } else { http_example(false) };
        let between = Between::start(&server.url).await;
        let backend = format!("[[backends]]\nname = \"{name}\"\nurl = \"{}\"\n", between.url);
        let fleet = Fleet::start(Setup::one_plane().toml("[health]\ninterval_secs = 1\n").toml(&backend)).await;
        let client = fleet.client("old", "operator").await;
        used(&fleet, &client, name).await;
        cancelled(&client, name, || calls_slow(&between.bodies())).await;
        // A modern server is told by the end of the connection.
        let want: &[&str] = if is_modern { &["subscriptions/listen"] } else { &["notifications/cancelled", "ping"] };
        until("it was told all", async || {
            let kinds = kinds(&between.bodies(), is_modern);
            if want.iter().all(|kind| kinds.contains(*kind)) { Ok(()) } else { Err(kinds) }
        })
        .await;

        let kinds = kinds(&between.bodies(), is_modern);
        has(name, &kinds, &REACHES);
        has(name, &kinds, if is_modern { &HANDSHAKE[..1] } else { &HANDSHAKE });
        between.tasks.close();
    }
}

#[tokio::test]
async fn what_a_server_is_answered_fits_the_schema() {
    let folder = tempfile::tempdir().unwrap();
    let own = piped(folder.path(), "own", "", "isolation = \"per-session\"");
    let fleet = Fleet::start(Setup::one_plane().toml(&own)).await;
    let can = json!({ "sampling": {}, "roots": { "listChanged": true }, "elicitation": { "form": {} } });
    let client = Client::able(&fleet.planes[0].url(), &fleet.token("one", "operator").await, can).await;
    let said = [
        ("sample", json!({ "role": "assistant", "model": "m", "content": { "type": "text", "text": "said" } })),
        ("elicit", json!({ "action": "accept", "content": { "sure": true } })),
        ("roots", json!({ "roots": [{ "uri": "file:///tmp/x" }] })),
    ];
    for (tool, answer) in said {
        let mut messages = client.calling(&format!("own__{tool}"), json!({})).await;
        while let Some(message) = messages.next_json().await {
            if message.get("id").is_some() && message.get("method").is_some() {
                client.respond(&message["id"], answer.clone()).await;
            }
        }
    }
    client.notify("notifications/roots/list_changed", json!({})).await;
    // A way that it did not declare: Sentinel answers in its place.
    let refused = client.call("own__elicit", json!({ "url": "https://example.test/in" })).await;
    assert!(refused.content().contains("-32602"), "{refused:?}");

    until("it was told of other roots", async || {
        let kinds = kinds(&lines(folder.path(), "own"), false);
        if kinds.contains("notifications/roots/list_changed") { Ok(()) } else { Err(kinds) }
    })
    .await;
    let all = lines(folder.path(), "own");
    has("own", &kinds(&all, false), &["an answer", "error -32602", "initialize"]);
    assert!(all.iter().filter(|message| message.get("method").is_none()).count() >= 4);
}

//! `sentinelctl tool call` against a gateway that answers from a table: the way of a legacy client, its answers, its errors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test says what is wrong by failing")]

use clap::Parser as _;
use sentinelctl::cli::Cli;
use sentinelctl::locate::World;
use sentinelctl::output::Output;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

mod paper;
use paper::Paper;

const CALLED: &str =
    "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"hi\\u001b\"}],\"n\":1.0}}";

/// A gateway, and every request that it was sent: head and body as they came.
struct Gateway {
    url: String,
    seen: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Gateway {
    /// `call`: content type and body that a `tools/call` is answered with.
    async fn new(call: (&'static str, String)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        let notes = std::sync::Arc::clone(&seen);
        serving.spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read(&mut stream).await;
                let (kind, body, extra) = if request.contains("\"initialize\"") {
                    let hello = r#"{"jsonrpc":"2.0","id":1,"result":{"protocolVersion":"2025-11-25"}}"#;
                    ("application/json", hello.to_owned(), "Mcp-Session-Id: s1\r\n")
                } else if request.contains("tools/call") {
                    (call.0, call.1.clone(), "x-request-id: r9\r\n")
                } else {
                    ("text/plain", String::new(), "")
                };
                let status = if body.is_empty() { "202 Accepted" } else { "200 OK" };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{extra}content-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                notes.lock().unwrap().push(request);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, seen, _serving: serving }
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut got = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&got).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        if stream.read_buf(&mut got).await.unwrap() == 0 {
            return text;
        }
    }
}

async fn call(gateway: &str, flags: &[&str]) -> (u8, String, String) {
    let line = [&["sentinelctl", "tool", "call", "x__y", "{\"a\":1}", "--gateway", gateway], flags].concat();
    let (out, err) = (Paper::default(), Paper::default());
    let cli = Cli::try_parse_from(line).unwrap();
    let mut output = Output::to_writers(cli.output, 80, Box::new(out.clone()), Box::new(err.clone()));
    let world = World::made_of(&[("SENTINEL_TOKEN", "t.o.k")]);
    let code = sentinelctl::run(cli, &world, &mut output).await;
    (code, out.text(), err.text())
}

#[tokio::test]
async fn a_call_goes_the_way_of_every_client_and_prints_the_result() {
    let gateway = Gateway::new(("application/json", CALLED.to_owned())).await;
    let (code, out, err) = call(&gateway.url, &[]).await;
    assert_eq!((code, out.as_str()), (0, "hi\\u{1b}\n"), "{err}");
    assert!(err.contains("requestId r9"), "{err}");
    let seen = gateway.seen.lock().unwrap().clone();
    assert_eq!(seen.len(), 4, "{seen:?}");
    assert!(seen[1].contains("notifications/initialized"));
    let asked = seen[2].to_lowercase();
    assert!(asked.contains("authorization: bearer t.o.k") && asked.contains("mcp-session-id: s1"), "{asked}");
    assert!(asked.contains("mcp-protocol-version: 2025-11-25") && asked.contains("\"arguments\":{\"a\":1}"), "{asked}");
    assert!(seen[3].starts_with("DELETE /mcp"), "{seen:?}");
}

#[tokio::test]
async fn json_output_is_the_result_as_it_came() {
    let gateway = Gateway::new(("application/json", CALLED.to_owned())).await;
    let (_, out, _) = call(&gateway.url, &["--output", "json"]).await;
    assert_eq!(out, "{\"content\":[{\"type\":\"text\",\"text\":\"hi\\u001b\"}],\"n\":1.0}\n");
}

#[tokio::test]
async fn progress_goes_to_stderr_and_the_result_to_stdout() {
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":3,"total":9,"message":"on the way"}}"#;
    let stream = format!(": wait\n\nevent: message\ndata: {progress}\n\ndata: {CALLED}\n\n");
    let gateway = Gateway::new(("text/event-stream", stream)).await;
    let (code, out, err) = call(&gateway.url, &[]).await;
    assert_eq!((code, out.as_str()), (0, "hi\\u{1b}\n"), "{err}");
    assert!(err.contains("progress 3 of 9: on the way"), "{err}");
}

#[tokio::test]
async fn a_refusal_is_exit_1_with_kind_and_request_id() {
    let refusal = r#"{"jsonrpc":"2.0","id":2,"error":{"code":-31423,"message":"x__y is stopped: leaks","data":{"kind":"disabled","requestId":"r7"}}}"#;
    let gateway = Gateway::new(("application/json", refusal.to_owned())).await;
    let (code, out, err) = call(&gateway.url, &[]).await;
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("x__y is stopped: leaks (kind disabled, code -31423, requestId r7)"), "{err}");
}

#[tokio::test]
async fn a_result_that_is_an_error_is_printed_and_exit_1() {
    let failed =
        r#"{"jsonrpc":"2.0","id":2,"result":{"content":[{"type":"text","text":"no such table"}],"isError":true}}"#;
    let gateway = Gateway::new(("application/json", failed.to_owned())).await;
    let (code, out, err) = call(&gateway.url, &[]).await;
    assert_eq!((code, out.as_str()), (1, "no such table\n"));
    assert!(err.contains("kind tool_error, requestId r9"), "{err}");
}

#[tokio::test]
async fn what_is_wrong_before_the_call_is_said_plainly() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (code, _, err) = call(&format!("http://{closed}/mcp"), &[]).await;
    assert_eq!(code, 1);
    assert!(err.contains("cannot be reached") && err.contains("is a plane running there?"), "{err}");
    let (code, _, err) = call("https://127.0.0.1:1/mcp", &[]).await;
    assert_eq!(code, 2, "{err}");
    let cli = Cli::try_parse_from(["sentinelctl", "tool", "call", "x", "[1]"]).unwrap();
    let mut output = Output::to_writers(cli.output, 80, Box::new(Paper::default()), Box::new(Paper::default()));
    assert_eq!(sentinelctl::run(cli, &World::made_of(&[]), &mut output).await, 2);
}

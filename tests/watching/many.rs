//! Streams at rest by the thousand: what one costs, and that a change reaches each. `SENTINEL_PROOF=1` opens ten thousand and
//! prints the number of `docs/benchmarks.md`.

use std::net::SocketAddr;

use futures_util::StreamExt as _;
use sentinel_tests::harness::fleet::{Fleet, Plane};
use sentinel_tests::harness::setup::Setup;
use sentinel_tests::harness::token::{AUTH, SECRET, claims, signed};
use sentinel_tests::harness::until::DEADLINE;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

/// A client has so many at most.
const OF_A_CLIENT: usize = 16;
/// One address of loopback has a thousand connections at most.
const OF_AN_ADDRESS: usize = 1_000;
/// KiB; more would be a leak.
const MOST_A_STREAM: f64 = 64.0;

/// On each of two planes.
fn count() -> usize {
    if std::env::var_os("SENTINEL_PROOF").is_some_and(|value| value == "1") { 5_000 } else { 200 }
}

/// A stream that is open and was told nothing yet.
async fn opened(plane: &Plane, number: usize) -> TcpStream {
    let client = format!("client-{}", number / OF_A_CLIENT);
    let token = signed(&claims(&client, "operator"));
    let to: SocketAddr = plane.address().parse().unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    let from = format!("127.0.1.{}:0", 1 + number / OF_AN_ADDRESS);
    socket.bind(from.parse().unwrap()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let head = format!("Host: localhost\r\nAuthorization: Bearer {token}\r\n");
    let params =
        json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "c", "version": "1" } });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params }).to_string();
    let begin = format!(
        "POST /mcp HTTP/1.1\r\n{head}Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(begin.as_bytes()).await.unwrap();
    let begun = read_to(&mut stream, "\"serverInfo\"").await;
    let session = begun.lines().find_map(|line| line.strip_prefix("mcp-session-id: ")).unwrap();
    let get = format!("GET /mcp HTTP/1.1\r\n{head}Accept: text/event-stream\r\nMcp-Session-Id: {session}\r\n\r\n");
    stream.write_all(get.as_bytes()).await.unwrap();
    let head = read_to(&mut stream, "\r\n\r\n").await;
    assert!(head.contains("200 OK"), "{head}");
    stream
}

/// What comes, up to this.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&read).contains(end) {
            let came = stream.read_buf(&mut read).await.unwrap();
            assert!(came > 0, "closed after {}", String::from_utf8_lossy(&read));
        }
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap_or_else(|_| panic!("no {end} came"));
    String::from_utf8(read).unwrap()
}

/// KiB that a process holds in memory.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[tokio::test]
async fn idle_streams_cost_little_and_each_hears_of_a_change() {
    let count = count();
    // Quiet while they are measured.
    let setup = Setup::example().planes(2).auth(AUTH).env("SENTINEL_TEST_JWT", SECRET);
    let fleet = Fleet::start(setup.toml("[gateway]\nkeepalive_secs = 300\n")).await;
    let boss = fleet.client("boss", "operator").await;
    let mut told = Vec::new();
    for plane in &fleet.planes {
        let before = resident(plane.process.pid());
        let each = futures_util::stream::iter((0..count).map(|number| opened(plane, number)));
        let open: Vec<TcpStream> = each.buffer_unordered(64).collect().await;
        let active = plane.metric("sentinel_connections{state=\"active\"}").await.unwrap();
        assert!(active >= count as f64, "{active} connections");
        let a_stream = (resident(plane.process.pid()) - before) / count as f64;
        println!("{count} idle streams: {a_stream:.1} KiB each");
        assert!(a_stream < MOST_A_STREAM, "{a_stream} KiB a stream");
        told.push(open);
    }

    let since = Instant::now();
    let _grown = boss.call("example__grow", json!({})).await;
    for (number, mut open) in told.remove(0).into_iter().enumerate() {
        let note = read_to(&mut open, "\n\n").await;
        assert!(note.contains("notifications/tools/list_changed"), "{number}: {note}");
    }
    println!("a change reached all {count} of its plane within {:?}", since.elapsed());
}

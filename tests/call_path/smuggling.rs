//! Requests whose end two readers would see in two places, over raw sockets: one 4xx, the connection closes, and nothing
//! of what follows is answered.

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::setup::Setup;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn sent(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let closed = tokio::time::timeout(std::time::Duration::from_secs(60), reading).await;
    assert!(closed.is_ok(), "the connection stays open; so far: {}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_request_that_two_readers_would_end_in_two_places_is_refused_and_the_connection_closes() {
    let fleet = Fleet::start(Setup::example()).await;
    let address = fleet.planes[0].address();
    let client = fleet.client("claude", "operator").await;
    let call = client.message("tools/call", &json!({ "name": "example__counter", "arguments": {} }));
    let session = client.session.clone().unwrap();
    let head = format!(
        "authorization: Bearer {}\r\nmcp-session-id: {session}\r\naccept: application/json\r\ncontent-type: application/json\r\n",
        client.token
    );
    let length = call.len();
    let chunked = format!("{length:x}\r\n{call}\r\n0\r\n\r\n");
    let smuggled = format!("POST /mcp HTTP/1.1\r\nhost: {address}\r\n{head}content-length: {length}\r\n\r\n{call}");
    let shapes = [
        (
            "two lengths",
            format!(
                "POST /mcp HTTP/1.1\r\nhost: {address}\r\n{head}content-length: {length}\r\ncontent-length: 0\r\n\r\n{smuggled}"
            ),
        ),
        (
            "a coding that is not chunked",
            format!("POST /mcp HTTP/1.1\r\nhost: {address}\r\n{head}transfer-encoding: gzip, chunked\r\n\r\n{chunked}"),
        ),
        ("no host", format!("POST /mcp HTTP/1.1\r\n{head}content-length: {length}\r\n\r\n{call}")),
        (
            "two hosts",
            format!(
                "POST /mcp HTTP/1.1\r\nhost: {address}\r\nhost: localhost\r\n{head}content-length: {length}\r\n\r\n{call}"
            ),
        ),
        (
            "a GET with a body",
            format!("GET /mcp HTTP/1.1\r\nhost: {address}\r\n{head}content-length: {length}\r\n\r\n{call}"),
        ),
        (
            "a folded header",
            format!(
                "POST /mcp HTTP/1.1\r\nhost: {address}\r\nx-a: b\r\n c: d\r\n{head}content-length: {length}\r\n\r\n{call}"
            ),
        ),
        (
            "a space before the colon",
            format!("POST /mcp HTTP/1.1\r\nhost: {address}\r\n{head}content-length : {length}\r\n\r\n{call}"),
        ),
        ("no HTTP", "\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n".to_owned()),
    ];
    for (what, bytes) in shapes {
        let answer = sent(&address, bytes.as_bytes()).await;

        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{what}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), usize::from(!answer.is_empty()), "{what}: {answer}");
    }
    assert_eq!(fleet.received("example").count("call"), 0);
}

#[tokio::test]
async fn a_length_beside_chunks_is_one_request_and_the_connection_closes_after_its_answer() {
    let fleet = Fleet::start(Setup::example()).await;
    let address = fleet.planes[0].address();
    let client = fleet.client("claude", "operator").await;
    let call = client.message("tools/call", &json!({ "name": "example__counter", "arguments": {} }));
    let head = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\nmcp-session-id: {}\r\n\
         content-type: application/json\r\n",
        client.token,
        client.session.clone().unwrap()
    );
    let length = call.len();
    let hidden = format!("{head}content-length: {length}\r\n\r\n{call}");
    let bytes = format!(
        "{head}content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{call}\r\n0\r\n\r\n{hidden}"
    );

    let answer = sent(&address, bytes.as_bytes()).await;

    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(fleet.received("example").count("call") <= 1);
}

#[tokio::test]
async fn an_honest_chunked_body_is_read() {
    let fleet = Fleet::start(Setup::example()).await;
    let address = fleet.planes[0].address();
    let client = fleet.client("claude", "operator").await;
    let call = client.message("tools/call", &json!({ "name": "example__counter", "arguments": {} }));
    let session = client.session.clone().unwrap();
    let (one, two) = call.split_at(10);
    let bytes = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: Bearer {}\r\nmcp-session-id: {session}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
        client.token,
        one.len(),
        two.len()
    );

    let answer = sent(&address, bytes.as_bytes()).await;

    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(fleet.received("example").calls("counter").len(), 1);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_431() {
    let fleet = Fleet::start(Setup::example()).await;
    let address = fleet.planes[0].address();
    let head = format!("POST /mcp HTTP/1.1\r\nhost: {address}\r\nx-long: {}\r\n\r\n", "a".repeat(200_000));

    let mut stream = TcpStream::connect(&address).await.unwrap();
    // The other side may close while we still write.
    let _cut = stream.write_all(head.as_bytes()).await.is_err();
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await.is_err();
    let answer = String::from_utf8_lossy(&answer).into_owned();

    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

//! Many clients of both eras at once, with the same ids and the same progress tokens, over servers of both kinds and
//! eras: each answer comes to whoever asked. `SENTINEL_PROOF=1` is the long version: 100 000 calls; its numbers are
//! printed.

use std::collections::HashMap;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::received::Received;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::{Setup, modern_http_example};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

const CLIENTS: usize = 64;
/// The same for every call that wants progress, of whomever.
const TOKEN: &str = "progress";
/// Each so-many-th call takes a moment and tells of its progress.
const SLOW: usize = 16;

fn calls() -> usize {
    let is_proof = std::env::var_os("SENTINEL_PROOF").is_some_and(|value| value == "1");
    if is_proof { 100_000 } else { 2_048 }
}

enum Either {
    Legacy(Client),
    Modern(ModernClient),
}

impl Either {
    async fn call(&self, id: &Value, params: Value) -> Reply {
        match self {
            Self::Legacy(client) => {
                let call = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
                client.send(&call.to_string()).await
            }
            Self::Modern(client) => {
                let mut call = client.message("tools/call", params);
                call["id"] = id.clone();
                client.send(&call).await
            }
        }
    }
}

/// What is wrong with the answer to this client's call; nothing where all is its own.
async fn answered(client: &Either, number: usize, turn: usize) -> Option<String> {
    // Number and text: `7` is not `"7"`. Every client uses the same ones.
    let id = if turn.is_multiple_of(2) { json!(turn) } else { json!(turn.to_string()) };
    let backend = if (number + turn).is_multiple_of(2) { "pipe" } else { "web" };
    let nonce = format!("{number}-{turn}");
    let is_slow = turn.is_multiple_of(SLOW);
    let params = if is_slow {
        let arguments = json!({ "ms": 6, "steps": 1 + number % 3, "nonce": nonce });
        json!({ "name": format!("{backend}__slow"), "arguments": arguments, "_meta": { "progressToken": TOKEN } })
    } else {
        json!({ "name": format!("{backend}__echo"), "arguments": { "text": nonce } })
    };
    let reply = client.call(&id, params).await;
    let (want, steps) = if is_slow {
        let steps = 1 + number % 3;
        (format!("done after {steps} steps"), steps)
    } else {
        (nonce.clone(), 0)
    };
    let tokens = reply.notes.iter().filter(|note| note["params"]["progressToken"] == TOKEN).count();
    let is_own = reply.message["id"] == id && reply.message["result"]["content"][0]["text"] == want;
    (!is_own || tokens != steps || reply.notes.len() != steps).then(|| format!("{nonce} with id {id}: {reply:?}"))
}

/// What reached a server: how often each call did, by what only it has said.
fn reached(received: &Received) -> HashMap<String, usize> {
    let mut seen = HashMap::new();
    for event in received.calls("echo").into_iter().chain(received.calls("slow")) {
        let arguments = &event["arguments"];
        let nonce = arguments["text"].as_str().or_else(|| arguments["nonce"].as_str()).unwrap().to_owned();
        *seen.entry(nonce).or_default() += 1;
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_comes_to_whoever_asked_whatever_ids_others_use() {
    let web = modern_http_example(false);
    let backend = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n", web.url);
    let fleet = Fleet::start(Setup::one_plane().backend("pipe").toml(&backend)).await;
    let each = calls().div_ceil(CLIENTS);
    let begun = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..CLIENTS {
        let name = format!("client-{number}");
        let client = if number.is_multiple_of(2) {
            Either::Legacy(fleet.client(&name, "operator").await)
        } else {
            Either::Modern(fleet.modern_client(&name, "operator").await)
        };
        running.spawn(async move {
            let mut wrong = Vec::new();
            for turn in 1..=each {
                wrong.extend(answered(&client, number, turn).await);
            }
            wrong
        });
    }
    let wrong = running.join_all().await.concat();
    let took = begun.elapsed();

    assert!(wrong.is_empty(), "{} of {} calls: {:.2000}", wrong.len(), each * CLIENTS, wrong.join("\n"));
    let mut all = reached(&fleet.received("pipe"));
    for (nonce, count) in reached(&web.received()) {
        *all.entry(nonce).or_default() += count;
    }
    assert_eq!(all.len(), each * CLIENTS, "each call has reached a server");
    assert!(all.values().all(|count| *count == 1), "none of them twice");
    println!(
        "{} calls of {CLIENTS} clients with equal ids in {:.1} s, half of them of either era, over stdio (legacy) and HTTP \
         (modern): each answer came to its asker",
        each * CLIENTS,
        took.as_secs_f32()
    );
}

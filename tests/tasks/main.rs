//! Calls that go on as tasks: those of the extension of 2026-07-28, between a modern client and a modern server, and in
//! `core` those of revision 2025-11-25, between a client and a server of that. What is relayed, and what stands against it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests are tests"
)]

mod between;
mod core;
mod governed;
mod recorded;
mod relayed;
#[path = "../eras/schema.rs"]
mod schema;
mod undeclared;

use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::modern::ModernClient;
use sentinel_tests::harness::received::Received;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::{HttpExample, Setup, modern_http_example};
use serde_json::{Value, json};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// The same server as `pipe` over stdio and as `web` over HTTP; `more`: lines of both backends' tables.
fn setup(server: &HttpExample, more: &str) -> Setup {
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n{more}\n", server.url);
    Setup::one_plane().modern_backend("pipe", more).toml(&web)
}

async fn fleet(more: &str) -> (HttpExample, Fleet) {
    let server = modern_http_example(false);
    let fleet = Fleet::start(setup(&server, more)).await;
    (server, fleet)
}

/// What reached this backend of the two.
fn received(server: &HttpExample, fleet: &Fleet, backend: &str) -> Received {
    if backend == "web" { server.received() } else { fleet.received(backend) }
}

/// A client that can follow tasks, and can be asked by forms.
fn follows() -> Value {
    json!({ "elicitation": {}, "extensions": { EXTENSION: {} } })
}

/// A request of a client that declares this.
async fn declaring(client: &ModernClient, declares: &Value, method: &str, mut params: Value) -> Reply {
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = declares.clone();
    client.request(method, params).await
}

async fn call(client: &ModernClient, tool: &str, arguments: Value) -> Reply {
    declaring(client, &follows(), "tools/call", json!({ "name": tool, "arguments": arguments })).await
}

/// A call that goes on as a task: its id as the client has it.
async fn begun(client: &ModernClient, tool: &str, arguments: Value) -> String {
    let reply = call(client, tool, arguments).await;
    assert_eq!(reply.result()["resultType"], "task", "{reply:?}");
    reply.result()["taskId"].as_str().unwrap().to_owned()
}

async fn get(client: &ModernClient, id: &str) -> Reply {
    declaring(client, &follows(), "tasks/get", json!({ "taskId": id })).await
}

async fn update(client: &ModernClient, id: &str, responses: Value) -> Reply {
    declaring(client, &follows(), "tasks/update", json!({ "taskId": id, "inputResponses": responses })).await
}

async fn cancel(client: &ModernClient, id: &str) -> Reply {
    declaring(client, &follows(), "tasks/cancel", json!({ "taskId": id })).await
}

/// A form that asks this.
fn form(message: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { "sure": { "type": "boolean" } } });
    json!({ "method": "elicitation/create", "params": { "message": message, "requestedSchema": schema } })
}

/// What a client could tell two refusals apart by.
fn told(refused: &Reply) -> Value {
    let mut error = refused.message["error"].clone();
    error["data"]["requestId"] = Value::Null;
    json!({ "status": refused.status, "error": error })
}

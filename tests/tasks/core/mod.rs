//! Tasks of revision 2025-11-25. Of the servers, `web` is shared over HTTP, and `own` is a process for each session.

mod governed;
mod relayed;
mod shown;

use sentinel_tests::harness::client::Client;
use sentinel_tests::harness::fleet::Fleet;
use sentinel_tests::harness::received::Received;
use sentinel_tests::harness::reply::Reply;
use sentinel_tests::harness::setup::{HttpExample, Setup, tasks_http_example};
use sentinel_tests::harness::sse::Messages;
use serde_json::{Value, json};

use crate::schema::fits;

const REVISION: &str = "2025-11-25";
const BACKENDS: [&str; 2] = ["own", "web"];
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// `more`: lines of both backends' tables.
fn setup(server: &HttpExample, more: &str) -> Setup {
    let web = format!("[[backends]]\nname = \"web\"\nurl = \"{}\"\n{more}\n", server.url);
    Setup::one_plane().tasks_backend("own", &format!("isolation = \"per-session\"\n{more}")).toml(&web)
}

async fn fleet(more: &str) -> (HttpExample, Fleet) {
    let server = tasks_http_example();
    let fleet = Fleet::start(setup(&server, more)).await;
    (server, fleet)
}

/// What reached this backend of the two.
fn received(server: &HttpExample, fleet: &Fleet, backend: &str) -> Received {
    if backend == "web" { server.received() } else { fleet.received(backend) }
}

/// A client that can be asked by forms.
async fn client(fleet: &Fleet, name: &str) -> Client {
    let token = fleet.token(name, "operator").await;
    Client::able(&fleet.planes[0].url(), &token, json!({ "elicitation": {} })).await
}

/// A call that asks for a task.
async fn call(client: &Client, tool: &str, arguments: Value) -> Reply {
    client.request("tools/call", json!({ "name": tool, "arguments": arguments, "task": { "ttl": 60_000 } })).await
}

/// A call that goes on as a task: its id as the client has it.
async fn begun(client: &Client, tool: &str, arguments: Value) -> String {
    let reply = call(client, tool, arguments).await;
    fits(REVISION, "CreateTaskResult", reply.result());
    reply.result()["task"]["taskId"].as_str().unwrap().to_owned()
}

/// `what`: get, result, cancel.
async fn of_task(client: &Client, what: &str, id: &str) -> Reply {
    client.request(&format!("tasks/{what}"), json!({ "taskId": id })).await
}

async fn status(client: &Client, id: &str) -> String {
    of_task(client, "get", id).await.result()["status"].as_str().unwrap().to_owned()
}

/// The stream of `tasks/result`.
async fn awaiting(client: &Client, id: &str) -> Messages {
    let (status, _, messages) = client.open(&client.message("tasks/result", &json!({ "taskId": id }))).await;
    assert_eq!(status, 200);
    messages
}

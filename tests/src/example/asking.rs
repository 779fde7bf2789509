//! What this server asks of its client in the midst of a tool: a model's words, a person's, its roots. It asks whatever
//! the client declared: to refuse is the gateway's work, and the tests want to see it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::messages::text_result;
use super::{Server, Session, send};

/// Its tools, as `tools/list` has them.
pub(super) fn tools() -> Vec<Value> {
    let tool = |name: &str, description: &str, properties: Value| json!({ "name": name, "description": description, "inputSchema": { "type": "object", "properties": properties } });
    let times = json!({ "type": "integer", "minimum": 1, "maximum": 2000 });
    vec![
        tool(
            "sample",
            "Asks the client's model, so many times at once; gives back what was answered.",
            json!({ "prompt": { "type": "string" }, "times": times, "tools": { "type": "boolean" } }),
        ),
        tool(
            "elicit",
            "Asks the person at the client, by a form or by a URL; gives back what was answered.",
            json!({ "message": { "type": "string" }, "url": { "type": "string" }, "withdraw": { "type": "boolean" }, "hold": { "type": "boolean" } }),
        ),
        tool("roots", "Asks the client for its roots; gives back what was answered.", json!({})),
        tool("roots_later", "Asks the client for its roots a moment after its answer.", json!({})),
        tool(
            "visit",
            "Is refused with URLs that are to be visited first (-32042), once for each set of them.",
            json!({ "urls": { "type": "array", "items": { "type": "string" } } }),
        ),
        tool("declared", "What the client said that it can be asked.", json!({})),
    ]
}

/// It asks before its answer.
pub(super) fn streams(tool: &str) -> bool {
    matches!(tool, "sample" | "elicit" | "roots")
}

/// The result of one of these tools; none: it is another.
pub(super) async fn run(
    session: &Session,
    tool: &str,
    arguments: &Value,
    out: &mpsc::Sender<String>,
) -> Option<String> {
    let text = |name: &str| arguments.get(name).and_then(Value::as_str);
    let answer = match tool {
        "sample" => {
            let content = json!({ "type": "text", "text": text("prompt").unwrap_or("hello") });
            let messages = json!([{ "role": "user", "content": content }]);
            let has_tools = arguments.get("tools") == Some(&Value::Bool(true));
            let params = if has_tools {
                json!({ "messages": messages, "maxTokens": 16, "tools": [{ "name": "t", "inputSchema": {} }] })
            } else {
                json!({ "messages": messages, "maxTokens": 16 })
            };
            let times = arguments.get("times").and_then(Value::as_u64).unwrap_or(1);
            let asked = (0..times).map(|_| ask(session, "sampling/createMessage", &params, out));
            let mut answers = futures_util::future::join_all(asked).await;
            if times == 1 { answers.remove(0) } else { Value::Array(answers) }
        }
        "elicit" => {
            let message = text("message").unwrap_or("Sure?");
            let sure = json!({ "type": "object", "properties": { "sure": { "type": "boolean", "default": true } } });
            let params = match text("url") {
                Some(url) => json!({ "message": message, "mode": "url", "url": url, "elicitationId": "visit-1" }),
                None => json!({ "message": message, "requestedSchema": sure }),
            };
            if arguments.get("withdraw") == Some(&Value::Bool(true)) {
                withdraw(session, &params, out).await
            } else {
                let answer = ask(session, "elicitation/create", &params, out).await;
                if arguments.get("hold") == Some(&Value::Bool(true)) {
                    tokio::time::sleep(Duration::from_secs(600)).await;
                }
                if text("url").is_some() {
                    let done = json!({ "elicitationId": "visit-1" });
                    send(out, super::messages::note("notifications/elicitation/complete", &done)).await;
                }
                answer
            }
        }
        "roots" => ask(session, "roots/list", &json!({}), out).await,
        "roots_later" => {
            let (id, _answer) = session.asks();
            let server = Arc::clone(&session.server);
            // When the call has long had its answer.
            TaskTracker::new().spawn(async move {
                tokio::time::sleep(Duration::from_millis(300)).await;
                server.tell_all(&request(id, "roots/list", &json!({})));
            });
            json!("soon")
        }
        "declared" => session.declared.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        _ => return None,
    };
    Some(text_result(&answer.to_string(), false))
}

/// The `data` of the error that sends the client to these URLs; none: it was sent there before.
pub(super) fn visits(server: &Server, arguments: &Value) -> Option<Value> {
    let is_first = server.visits.lock().unwrap_or_else(PoisonError::into_inner).insert(arguments["urls"].to_string());
    let urls = arguments["urls"].as_array().cloned().unwrap_or_default().into_iter().enumerate();
    let visit =
        |(at, url)| json!({ "mode": "url", "elicitationId": format!("visit-{at}"), "url": url, "message": "Sign in" });
    is_first.then(|| json!({ "elicitations": urls.map(visit).collect::<Vec<_>>() }))
}

fn request(id: u64, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

/// The response, without its id: `{result}` or `{error}`.
pub(super) async fn ask(session: &Session, method: &str, params: &Value, out: &mpsc::Sender<String>) -> Value {
    let (id, answer) = session.asks();
    send(out, request(id, method, params)).await;
    answer.await.unwrap_or_else(|_| json!("the session is over"))
}

/// Asks, and takes it back before there is an answer. Gives what comes all the same within a moment.
async fn withdraw(session: &Session, params: &Value, out: &mpsc::Sender<String>) -> Value {
    let (id, answer) = session.asks();
    send(out, request(id, "elicitation/create", params)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    send(out, super::messages::note("notifications/cancelled", &json!({ "requestId": id, "reason": "never mind" })))
        .await;
    match tokio::time::timeout(Duration::from_secs(1), answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => json!("withdrawn"),
    }
}

impl Session {
    /// The id of a question, and where its answer will come.
    fn asks(&self) -> (u64, oneshot::Receiver<Value>) {
        let id = self.last_question.fetch_add(1, Ordering::Relaxed) + 1;
        let (answer, answered) = oneshot::channel();
        self.questions.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
        (id, answered)
    }

    /// A response of the client's: to whoever asked, and into the log.
    pub(super) fn answered(&self, text: &str) {
        let Ok(Value::Object(mut message)) = serde_json::from_str::<Value>(text) else { return };
        let id = message.remove("id").and_then(|id| id.as_u64()).unwrap_or(0);
        message.remove("jsonrpc");
        self.server.log.write("answer", "", &id.to_string(), None);
        let asked = self.questions.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(asked) = asked {
            let _nobody_waits = asked.send(Value::Object(message)).is_err();
        }
    }
}

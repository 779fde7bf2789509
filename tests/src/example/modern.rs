//! The example server in the era of 2026-07-28: each request says of itself what it needs, and no other is taken. What is
//! asked is answered as in the legacy era, and then dressed as this one wants it.
#![expect(clippy::indexing_slicing, reason = "what is not there in a JSON value is null")]

use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::messages::{Incoming, answer, fault, fault_with, note};
use super::{Session, Work, send, tasks, watched};

pub(super) const REVISION: &str = "2026-07-28";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// Lists of which a stream can tell that they changed.
const LISTS: [(&str, &str); 3] = [
    ("toolsListChanged", "notifications/tools/list_changed"),
    ("promptsListChanged", "notifications/prompts/list_changed"),
    ("resourcesListChanged", "notifications/resources/list_changed"),
];

/// `subscriptions/listen`, read.
#[derive(Debug)]
pub struct Listen {
    id: String,
    filter: Value,
}

/// A stream that is told of changes.
#[derive(Debug)]
pub(super) struct Subscriber {
    id: Value,
    filter: Value,
}

impl Subscriber {
    /// The note as this stream is told it; none: it did not ask.
    pub(super) fn told(&self, message: &str) -> Option<String> {
        let mut message: Value = serde_json::from_str(message).ok()?;
        if message["method"] == "notifications/resources/updated" {
            let uris = self.filter["resourceSubscriptions"].as_array()?;
            if !watched::is_among(uris.iter().filter_map(Value::as_str), message["params"]["uri"].as_str()?) {
                return None;
            }
            message["params"]["_meta"][SUBSCRIPTION] = self.id.clone();
            return Some(message.to_string());
        }
        let (wanted, _) = LISTS.into_iter().find(|(_, method)| message["method"] == *method)?;
        if self.filter[wanted] != true {
            return None;
        }
        message["params"]["_meta"][SUBSCRIPTION] = self.id.clone();
        Some(message.to_string())
    }
}

/// What is wrong with a request of this era, if something is.
pub(super) fn refuses(id: &str, method: &str, incoming: &Incoming<'_>) -> Option<String> {
    let meta: HashMap<String, Value> =
        incoming.member("_meta").and_then(|meta| serde_json::from_str(meta.get()).ok()).unwrap_or_default();
    let version = meta.get(VERSION).and_then(Value::as_str);
    if version.is_none() || !meta.get(CAPABILITIES).is_some_and(Value::is_object) {
        return Some(fault(id, -32602, "params._meta does not say what revision 2026-07-28 wants"));
    }
    if version != Some(REVISION) {
        let data = json!({ "supported": [REVISION], "requested": version });
        return Some(fault_with(id, -32022, "no such revision", &data));
    }
    let gone =
        matches!(method, "initialize" | "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe");
    gone.then(|| fault(id, -32601, "this revision has no such method"))
}

/// The level of the log notes that a request asks for.
pub(super) fn level(incoming: &Incoming<'_>) -> Option<String> {
    let meta: HashMap<String, Value> = serde_json::from_str(incoming.member("_meta")?.get()).ok()?;
    meta.get("io.modelcontextprotocol/logLevel")?.as_str().map(ToOwned::to_owned)
}

/// What this era alone asks; none: the other has it too.
pub(super) fn accept(method: &str, id: &str, incoming: &Incoming<'_>) -> Option<Work> {
    match method {
        "server/discover" => Some(Work::Answer(answer(id, &discovered()))),
        "subscriptions/listen" => {
            let filter = incoming.member("notifications").and_then(|raw| serde_json::from_str(raw.get()).ok());
            Some(match filter {
                Some(filter) => Work::Listen(Listen { id: id.to_owned(), filter }),
                None => Work::Answer(fault(id, -32602, "params.notifications is missing")),
            })
        }
        _ => None,
    }
}

fn discovered() -> String {
    json!({
        "supportedVersions": [REVISION],
        "capabilities": {
            "tools": { "listChanged": true }, "resources": { "listChanged": true, "subscribe": true },
            "prompts": { "listChanged": true }, "completions": {}, "logging": {},
            "extensions": { tasks::EXTENSION: {} },
        },
        "_meta": { "io.modelcontextprotocol/serverInfo": {
            "name": "sentinel-example-server", "version": env!("CARGO_PKG_VERSION"),
        } },
    })
    .to_string()
}

/// Whether a result of this method says how long it may be kept.
pub(super) fn is_kept(method: &str) -> bool {
    method.ends_with("/list") || matches!(method, "server/discover" | "resources/read")
}

/// A message as this era sends it: a result says its type, and everything else stays.
pub(super) fn dressed(message: String, is_kept: bool) -> String {
    let Some((head, rest)) = message.split_once(r#","result":{"#) else { return message };
    if rest.starts_with(r#""resultType""#) || !head.starts_with(r#"{"jsonrpc":"2.0","id":"#) {
        return message;
    }
    let kept = if is_kept { r#","ttlMs":60000,"cacheScope":"public""# } else { "" };
    let comma = if rest.starts_with('}') { "" } else { "," };
    format!(r#"{head},"result":{{"resultType":"complete"{kept}{comma}{rest}"#)
}

/// The era's error codes go with a status of their own.
pub(super) fn status(message: &str) -> u16 {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    match message["error"]["code"].as_i64() {
        Some(-32022..=-32020) => 400,
        Some(-32602) if message["error"]["message"].as_str().is_some_and(|text| text.contains("params._meta")) => 400,
        Some(-32601) => 404,
        _ => 200,
    }
}

/// What the headers of a request say otherwise than its body; `headers`: by their names in lower case.
pub(super) fn differs(text: &str, headers: &HashMap<String, String>) -> Option<String> {
    let message: Value = serde_json::from_str(text).ok()?;
    let id = message.get("id")?.to_string();
    let params = &message["params"];
    let method = message["method"].as_str().unwrap_or_default();
    let named = match method {
        "tools/call" | "prompts/get" => params["name"].as_str(),
        "resources/read" => params["uri"].as_str(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => params["taskId"].as_str(),
        _ => None,
    };
    let mut wanted = vec![("mcp-protocol-version", params["_meta"][VERSION].as_str()), ("mcp-method", Some(method))];
    wanted.push(("mcp-name", named));
    if method == "tools/call" && params["name"] == "route" {
        wanted.push(("mcp-param-region", params["arguments"]["region"].as_str()));
    }
    let wrong = wanted.into_iter().find(|(header, said)| headers.get(*header).map(String::as_str) != *said)?;
    Some(fault(&id, -32020, &format!("{} differs from the body", wrong.0)))
}

/// Holds the stream open until its client ends it.
pub(super) async fn listen(session: &Session, listen: Listen, out: &mpsc::Sender<String>) {
    let id: Value = serde_json::from_str(&listen.id).unwrap_or_default();
    let cancel = session.begin(&listen.id);
    let mut listen = listen;
    if let Some(uris) = listen.filter["resourceSubscriptions"].as_array_mut() {
        uris.retain(|uri| uri.as_str().is_some_and(watched::may_be));
    }
    let params = json!({ "_meta": { SUBSCRIPTION: id }, "notifications": listen.filter });
    send(out, note("notifications/subscriptions/acknowledged", &params)).await;
    session.server.subscribe(out.clone(), Subscriber { id, filter: listen.filter });
    tokio::select! {
        () = cancel.cancelled() => {}
        () = out.closed() => {}
    }
    session.server.log.write("listened", "", &listen.id, None);
}

/// The arguments of the tool that asks for a header: given back.
pub(super) fn routed(arguments: Option<&RawValue>) -> String {
    arguments.map_or("{}", RawValue::get).to_owned()
}

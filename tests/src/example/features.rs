//! What the example server has beside tools: resources, templates, prompts and the completion of their arguments. Lists
//! come in pages of two, so that whoever reads them has to join pages.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::messages::{Incoming, answer, fault, fault_with, note};
use super::{Server, Session, Work, send};

/// Entries of one page.
const PAGE: usize = 2;
const STYLES: [&str; 4] = ["formal", "friendly", "frank", "short"];
const NOTES: [&str; 3] = ["alpha", "beta", "gamma"];
/// A resource that takes its time: `example://slow/{ms}`.
const SLOW: &str = "example://slow/";

/// What was added while the server runs.
#[derive(Debug, Default)]
pub(super) struct Grown {
    resources: AtomicU64,
    prompts: AtomicU64,
}

/// A `resources/read` that takes its time.
#[derive(Debug)]
pub struct Read {
    pub(super) id: String,
    uri: String,
    progress: Option<Box<RawValue>>,
    cancel: CancellationToken,
}

impl Read {
    pub(super) fn streams(&self) -> bool {
        self.progress.is_some()
    }
}

/// Adds a resource or a prompt and tells all who listen. None: `what` is neither. Else what was added.
pub(super) fn grow(server: &Server, what: &str) -> Option<String> {
    let (count, name, list) = match what {
        "resource" => (&server.features.resources, "example://grown/", "resources"),
        "prompt" => (&server.features.prompts, "grown_", "prompts"),
        _ => return None,
    };
    let number = count.fetch_add(1, Ordering::Relaxed) + 1;
    server.tell_all(&note(&format!("notifications/{list}/list_changed"), &json!({})));
    Some(format!("{name}{number}"))
}

/// What these methods answer; none: it is none of them.
pub(super) fn accept(session: &Session, method: &str, id: &str, incoming: &Incoming<'_>) -> Option<Work> {
    let server = &*session.server;
    Some(match method {
        "resources/list" => Work::Answer(page(id, incoming, "resources", resources(server))),
        "resources/templates/list" => Work::Answer(page(id, incoming, "resourceTemplates", templates())),
        "prompts/list" => Work::Answer(page(id, incoming, "prompts", prompts(server))),
        "resources/read" => read(session, id, incoming),
        "prompts/get" => Work::Answer(prompt(server, id, incoming)),
        "completion/complete" => Work::Answer(complete(server, id, incoming)),
        _ => return None,
    })
}

fn resources(server: &Server) -> Vec<Value> {
    let entry = |uri: &str, name: &str, kind: &str| json!({ "uri": uri, "name": name, "mimeType": kind });
    let mut all = vec![
        json!({
            "uri": "example://greeting", "name": "greeting", "title": "Greeting", "mimeType": "text/plain",
            "annotations": { "audience": ["user"], "priority": 0.5 }, "_meta": { "example/x": [1, 2] },
        }),
        entry("example://dot", "dot", "image/png"),
        entry("example://notes/alpha", "alpha", "text/plain"),
    ];
    for number in 1..=server.features.resources.load(Ordering::Relaxed) {
        all.push(entry(&format!("example://grown/{number}"), &format!("grown {number}"), "text/plain"));
    }
    all
}

fn templates() -> Vec<Value> {
    vec![
        json!({ "uriTemplate": "example://notes/{name}", "name": "notes", "description": "A note by its name." }),
        json!({ "uriTemplate": "example://slow/{ms}", "name": "slow", "description": "Takes so many milliseconds." }),
    ]
}

fn prompts(server: &Server) -> Vec<Value> {
    let mut all = vec![json!({
        "name": "greet", "title": "Greet", "description": "Greets somebody.",
        "arguments": [
            { "name": "name", "description": "Who is greeted.", "required": true },
            { "name": "style", "description": "How.", "required": false },
        ],
    })];
    for number in 1..=server.features.prompts.load(Ordering::Relaxed) {
        all.push(json!({ "name": format!("grown_{number}"), "description": "Has grown." }));
    }
    all
}

fn page(id: &str, incoming: &Incoming<'_>, member: &str, all: Vec<Value>) -> String {
    let from = match incoming.text("cursor") {
        None => 0,
        Some(cursor) => match cursor.parse::<usize>() {
            Ok(from) if from < all.len() => from,
            _ => return fault(id, -32602, "there is no such cursor"),
        },
    };
    let next = from + PAGE;
    let more = next < all.len();
    let page: Vec<Value> = all.into_iter().skip(from).take(PAGE).collect();
    let result = if more { json!({ member: page, "nextCursor": next.to_string() }) } else { json!({ member: page }) };
    answer(id, &result.to_string())
}

fn read(session: &Session, id: &str, incoming: &Incoming<'_>) -> Work {
    let Some(uri) = incoming.text("uri") else {
        return Work::Answer(fault(id, -32602, "params.uri is missing"));
    };
    session.server.log.write("read", &uri, id, None);
    if uri.starts_with(SLOW) {
        let cancel = session.begin(id);
        return Work::Read(Read { id: id.to_owned(), uri, progress: incoming.progress_token(), cancel });
    }
    let grown = session.server.features.resources.load(Ordering::Relaxed);
    let number = uri.strip_prefix("example://grown/").and_then(|number| number.parse::<u64>().ok());
    let note = uri.strip_prefix("example://notes/");
    Work::Answer(match (uri.as_str(), note, number) {
        // Written by hand: what passes must keep these very bytes.
        ("example://greeting", ..) => answer(
            id,
            r#"{"contents":[ {"uri":"example://greeting","mimeType":"text/plain","text":"Hello!\u00e4","_meta":{"n":1.50e1}} ], "x" : 1}"#,
        ),
        ("example://dot", ..) => {
            answer(id, r#"{"contents":[{"uri":"example://dot","mimeType":"image/png","blob":"iVBORw0KGgo="}]}"#)
        }
        (_, Some(name), _) if NOTES.contains(&name) => contents(id, &uri, &format!("note {name}")),
        (_, _, Some(number)) if (1..=grown).contains(&number) => contents(id, &uri, "has grown"),
        _ => fault_with(id, -32002, "Resource not found", &json!({ "uri": uri })),
    })
}

fn contents(id: &str, uri: &str, text: &str) -> String {
    answer(id, &json!({ "contents": [{ "uri": uri, "mimeType": "text/plain", "text": text }] }).to_string())
}

/// Sends progress where it was asked for, and an answer unless it is cancelled.
pub(super) async fn run(session: &Session, read: Read, out: &mpsc::Sender<String>) {
    const STEPS: u32 = 10;
    let ms = read.uri.strip_prefix(SLOW).and_then(|ms| ms.parse::<u64>().ok()).unwrap_or(0);
    for step in 1..=STEPS {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms) / STEPS) => {}
            () = read.cancel.cancelled() => return session.server.log.write("cancelled", &read.uri, &read.id, None),
        }
        if let Some(token) = &read.progress {
            let params = json!({ "progressToken": token, "progress": step, "total": STEPS });
            send(out, note("notifications/progress", &params)).await;
        }
    }
    send(out, contents(&read.id, &read.uri, "done")).await;
}

fn prompt(server: &Server, id: &str, incoming: &Incoming<'_>) -> String {
    let name = incoming.text("name").unwrap_or_default();
    let arguments = incoming.member("arguments");
    server.log.write("get", &name, id, arguments);
    let arguments: Value = arguments.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let given = |name: &str| arguments.get(name).and_then(Value::as_str);
    let grown = name.strip_prefix("grown_").and_then(|number| number.parse::<u64>().ok());
    let text = match (name.as_str(), given("name"), grown) {
        ("greet", Some(who), _) => format!("Say hello to {who}, {}.", given("style").unwrap_or("as you like")),
        ("greet", None, _) => return fault(id, -32602, "the argument name is missing"),
        (_, _, Some(number)) if (1..=server.features.prompts.load(Ordering::Relaxed)).contains(&number) => name,
        _ => return fault(id, -32602, "there is no such prompt"),
    };
    let resource = json!({ "uri": "example://greeting", "mimeType": "text/plain", "text": "Hello!" });
    let messages = json!([
        { "role": "user", "content": { "type": "text", "text": text } },
        { "role": "user", "content": { "type": "resource", "resource": resource } },
    ]);
    answer(id, &json!({ "description": "Greets somebody.", "messages": messages }).to_string())
}

fn complete(server: &Server, id: &str, incoming: &Incoming<'_>) -> String {
    let parsed = |name| incoming.member(name).and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    let (reference, argument) = (parsed("ref").unwrap_or_default(), parsed("argument").unwrap_or_default());
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
    let about = format!("{}{}", text(&reference, "name"), text(&reference, "uri"));
    server.log.write("complete", &about, id, incoming.member("argument"));
    let known: &[&str] = match (about.as_str(), text(&argument, "name").as_str()) {
        ("greet", "style") => &STYLES,
        ("example://notes/{name}", "name") => &NOTES,
        ("greet", _) | ("example://notes/{name}" | "example://slow/{ms}", _) => &[],
        _ => return fault(id, -32602, "there is nothing of this name to complete"),
    };
    let begun = text(&argument, "value");
    let values: Vec<&str> = known.iter().copied().filter(|value| value.starts_with(&begun)).collect();
    let (total, begun_all) = (values.len(), json!(values));
    answer(id, &format!(r#"{{"completion":{{"values":{begun_all},"total":{total},"hasMore":false}}}}"#))
}

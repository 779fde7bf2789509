//! What the plane answers by itself: `initialize`, `ping`, the lists, `logging/setLevel`.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{revision::Revision, session::Level};
use crate::{
    backend::abilities::Ability,
    call::{Caller, Kind, RequestId},
    denial::Denial,
    plane::Plane,
    stages::limits,
    upcall::feature::Features,
    wire::{self, scan::Scanned},
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeParams {
    protocol_version: String,
    #[serde(default)]
    capabilities: Option<serde_json::Map<String, Value>>,
}

/// The revision that this `initialize` is answered with, and what its client can be asked in that revision. Errors:
/// `InvalidParams` without a `protocolVersion`.
pub fn negotiate(body: &[u8], scanned: &Scanned) -> Result<(Revision, Features), Denial> {
    let params = scanned.params.map_or(&b"{}"[..], |span| span.get(body));
    let params: InitializeParams = serde_json::from_slice(params)
        .map_err(|_| Denial::InvalidParams { what: "initialize needs params.protocolVersion, a string".into() })?;
    let revision = Revision::agree(&params.protocol_version);
    let features = params.capabilities.map_or(Features::NONE, |capabilities| Features::read(&capabilities));
    Ok((revision, features.within(revision.features())))
}

/// The `result` of `initialize`.
pub fn initialized(revision: Revision, caller: &Caller) -> String {
    let mut capabilities = capabilities(caller);
    if let (true, Some(all)) = (revision.has_tasks(), capabilities.as_object_mut()) {
        all.extend(core_tasks(caller).map(|said| ("tasks".to_owned(), said)));
    }
    json!({
        "protocolVersion": revision.as_str(),
        "capabilities": capabilities,
        "serverInfo": { "name": "sentinel", "title": "Sentinel MCP gateway", "version": env!("CARGO_PKG_VERSION") },
    })
    .to_string()
}

/// What is declared of tasks of revision 2025-11-25. Not `list`: `decisions/tasks.md`.
fn core_tasks(caller: &Caller) -> Option<Value> {
    let abilities = caller.view().abilities(caller.principal());
    let mut said = json!({ "requests": { "tools": { "call": {} } } });
    if let (true, Some(said)) = (abilities.can(Ability::CoreTaskCancels), said.as_object_mut()) {
        said.insert("cancel".to_owned(), json!({}));
    }
    abilities.can(Ability::CoreTasks).then_some(said)
}

/// Tools always, the rest where a backend of which the caller may see something can it.
pub(super) fn capabilities(caller: &Caller) -> Value {
    let abilities = caller.view().abilities(caller.principal());
    let mut all = json!({ "tools": { "listChanged": true } });
    let resources = match abilities.can(Ability::Subscriptions) {
        true => json!({ "subscribe": true, "listChanged": true }),
        false => json!({ "listChanged": true }),
    };
    for (ability, name, said) in [
        (Ability::Prompts, "prompts", json!({ "listChanged": true })),
        (Ability::Resources, "resources", resources),
        (Ability::Completions, "completions", json!({})),
        (Ability::Logging, "logging", json!({})),
    ] {
        if let (true, Some(all)) = (abilities.can(ability), all.as_object_mut()) {
            all.insert(name.to_owned(), said);
        }
    }
    all
}

/// The `result` of a list: from memory, never from a backend. One page; charged to the client's bucket.
///
/// Errors: also `MethodNotFound`, for a list that `initialize` does not offer this caller.
pub fn list(plane: &Plane, caller: &Caller, scanned: &Scanned, kind: Kind) -> Result<Bytes, Denial> {
    limits::client::charge(caller, &plane.buckets)?;
    if kind != Kind::Tool && !caller.view().abilities(caller.principal()).has(kind) {
        return Err(Denial::MethodNotFound);
    }
    if scanned.cursor.is_some() {
        return Err(Denial::InvalidParams { what: "this list is one page; there is no such cursor".into() });
    }
    Ok(caller.view().listed(kind, caller.principal(), caller.leg().has_core_tasks()))
}

/// Keeps the level of this session, and has servers send what it asks for.
pub fn set_level(plane: &Plane, caller: &Caller, body: &[u8], scanned: &Scanned) -> Result<Level, Denial> {
    let level = scanned.level.and_then(|text| text.text(body).and_then(|text| Level::parse(&text)));
    let Some(level) = level else {
        return Err(Denial::InvalidParams {
            what: "level is one of debug, info, notice, warning, error, critical, alert, emergency".into(),
        });
    };
    plane.sessions.set_level(caller.leg(), caller.principal(), level);
    plane.spread_levels();
    Ok(level)
}

/// A whole JSON-RPC answer of our own.
pub fn answer(
    body: &[u8],
    scanned: &Scanned,
    id: RequestId,
    outcome: Result<Bytes, Denial>,
) -> (Bytes, Option<Denial>) {
    let client_id = scanned.id.map(|span| span.get(body));
    match outcome {
        // A request has an id: the scan says so.
        Ok(result) => (wire::outgoing::result(client_id.unwrap_or(b"null"), &result), None),
        Err(denial) => (refusal(client_id, id, &denial), Some(denial)),
    }
}

/// A whole JSON-RPC error of ours; without an id where the request's could not be read.
pub fn refusal(client_id: Option<&[u8]>, id: RequestId, denial: &Denial) -> Bytes {
    let told = denial.told(&id.to_string());
    wire::outgoing::error(client_id, told.code, &told.message, Some(told.data.as_bytes()))
}

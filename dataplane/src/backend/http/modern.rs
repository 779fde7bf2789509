//! A backend of the modern era over HTTP (MCP 2026-07-28; `protocol.md` 3.4 and 3.11): headers that say what the body
//! says, and answers as the gateway takes them. There is no session: what is called so is what the server said of
//! itself. A hang-up is the cancel, so nothing is sent for one.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    ask::{Question, WITHIN},
    core::Core,
    fault::Fault,
    session::{Session, VERSION},
};
use crate::{
    backend::{
        Answer, Outgoing, Word,
        era::{self, AboutUs, DISCOVER, Probed},
        waiting::Reply,
    },
    call::{Ask, Kind},
    catalogue::mirrored::{self, Mirrored},
    denial::MODERN_REVISION,
    wire::neutral::{self, ResultType},
};

const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

/// Asks which era it speaks. An answer that tells nothing, or none, is for `initialize` to decide.
///
/// Errors: it can't be reached.
pub(super) async fn probe(core: &Arc<Core>) -> Result<Probed, Fault> {
    let params = era::params(None);
    let question =
        Question { session: None, headers: headers_of(&core.base, DISCOVER), method: DISCOVER, params: Some(&params) };
    match tokio::time::timeout(WITHIN / 2, Box::pin(core.question(question))).await {
        Ok(Ok((found, _))) => {
            let part = |span: Option<crate::wire::Span>| span.map(|span| span.get(&found.message));
            Ok(era::judge(part(found.result), part(found.error)))
        }
        Ok(Err(fault @ Fault::Unreachable(_))) => Err(fault),
        Ok(Err(_)) | Err(_) => Ok(Probed::Legacy),
    }
}

/// Of a request of ours.
pub(super) fn headers_of(base: &HeaderMap, method: &'static str) -> HeaderMap {
    let mut headers = base.clone();
    headers.insert(VERSION, HeaderValue::from_static(MODERN_REVISION));
    headers.insert(METHOD, HeaderValue::from_static(method));
    headers
}

/// The same, about this task.
pub(super) fn headers_about(base: &HeaderMap, method: &'static str, own: &str) -> HeaderMap {
    let mut headers = headers_of(base, method);
    if let Some(name) = mirrored::header(own) {
        headers.insert(NAME, name);
    }
    headers
}

/// Headers that `mirror` sets, as most calls have them.
pub(super) fn placed(headers: &mut HeaderMap) {
    headers.insert(METHOD, HeaderValue::from_static(Ask::CallTool.method()));
    headers.insert(NAME, HeaderValue::from_static(""));
}

/// What a call's body says, in its headers, which were `placed`: method, target, and the arguments that its schema asks
/// for.
pub(super) fn mirror(call: &Outgoing<'_>, headers: &mut HeaderMap) {
    let routed = call.routed;
    if routed.ask != Ask::CallTool {
        headers.insert(METHOD, HeaderValue::from_static(routed.ask.method()));
    }
    let named = match routed.ask {
        Ask::CallTool | Ask::GetPrompt | Ask::AwaitTask | Ask::GetTask | Ask::UpdateTask | Ask::CancelTask => {
            Some(call.own_name)
        }
        Ask::ReadResource => Some(&*routed.name),
        Ask::CompletePrompt | Ask::CompleteResource => None,
    };
    match named.and_then(mirrored::header) {
        Some(name) => headers.insert(NAME, name),
        None => headers.remove(NAME),
    };
    if call.mirrored.is_empty() {
        return;
    }
    // No object: the stage of the arguments has refused it.
    let arguments = routed.arguments().and_then(|raw| serde_json::from_slice(raw).ok()).unwrap_or_default();
    for one in call.mirrored {
        if let Some(value) = one.value(&arguments) {
            headers.insert(one.header.clone(), value);
        }
    }
}

/// What a tool asks to see in headers as its server lists it now; none: that can't be had.
pub(super) async fn mirrored_now(core: &Arc<Core>, session: &Arc<Session>, own_name: &str) -> Option<Box<[Mirrored]>> {
    let listing = core.list_of(session, Kind::Tool).await.ok()?;
    let tool = listing.into_entries().into_iter().find(|tool| *tool.name == *own_name)?;
    mirrored::read(&tool.definition).ok()
}

/// An answer under the client's id, without what only this era says.
///
/// Errors: it is one that the gateway has to see to itself.
pub(super) fn landed(core: &Core, ask: Ask, found: &Reply, client_id: &Bytes) -> Result<Answer, Fault> {
    if let Some(error) = found.error {
        about_us(core, error.get(&found.message))?;
    }
    let (last, said) = neutral::whole(&found.message, found.id, &found.places, client_id, neutral::members_of(ask));
    let word = Word::of(said, ask).map_err(Fault::says)?;
    Ok(Answer { last, failed: found.failed, tool_error: found.tool_error, word })
}

/// Of an answer that was passed on already. Errors: it is no result that ends a call.
pub(super) fn judge(said: ResultType) -> Result<(), Fault> {
    said.fault().map_or(Ok(()), |what| Err(Fault::says(what)))
}

/// An error that is about how we speak: never the client's business.
pub(super) fn about_us(core: &Core, error: &[u8]) -> Result<(), Fault> {
    match era::about_us(error) {
        None => Ok(()),
        Some(AboutUs::LeftEra) => Err(Fault::Lost),
        Some(AboutUs::Contradicts) => Err(Fault::says("it refuses the revision that it offers")),
        Some(AboutUs::Headers) => {
            // Its schemas may ask for other headers than when it was listed.
            core.changed.notify_one();
            Err(Fault::Headers)
        }
    }
}

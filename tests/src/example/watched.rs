//! Single resources that are watched: who asked for which, and what is told when one changes. Nothing changes by itself:
//! a test says when.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde_json::json;

use super::messages::{Incoming, answer, fault, note};
use super::{Server, Work};

/// What nobody may watch here.
const REFUSED: &str = "example://slow/";

/// The URIs that legacy sessions asked for.
#[derive(Debug, Default)]
pub(super) struct Watched(Mutex<BTreeSet<String>>);

/// What these methods answer; none: it is none of them.
pub(super) fn accept(server: &Server, method: &str, id: &str, incoming: &Incoming<'_>) -> Option<Work> {
    let is_begun = match method {
        "resources/subscribe" => true,
        "resources/unsubscribe" => false,
        _ => return None,
    };
    let uri = incoming.text("uri").unwrap_or_default();
    server.log.write(if is_begun { "subscribe" } else { "unsubscribe" }, &uri, id, None);
    if !may_be(&uri) {
        return Some(Work::Answer(fault(id, -32002, "nobody may watch this")));
    }
    let mut watched = server.watched.0.lock().unwrap_or_else(PoisonError::into_inner);
    if is_begun {
        watched.insert(uri);
    } else {
        watched.remove(&uri);
    }
    Some(Work::Answer(answer(id, "{}")))
}

pub(super) fn may_be(uri: &str) -> bool {
    !uri.starts_with(REFUSED)
}

/// Whether a change of `uri` is one of what was asked for: of itself, or of a part.
pub(super) fn is_among<'a>(mut asked: impl Iterator<Item = &'a str>, uri: &str) -> bool {
    asked.any(|asked| uri.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

impl Watched {
    pub(super) fn has(&self, uri: &str) -> bool {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        is_among(watched.iter().map(String::as_str), uri)
    }
}

/// Tells who watches it that this changed.
pub(super) fn touch(server: &Server, uri: &str) {
    server.tell_all(&note("notifications/resources/updated", &json!({ "uri": uri })));
}

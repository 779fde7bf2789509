//! `subscriptions/listen`: one stream that is told what changes, until its client leaves or its token ends.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::local::{SERVER_INFO, SUBSCRIPTION};
use crate::{
    call::{Caller, Kind},
    denial::Denial,
    listen::feeds::Note,
    metrics::Shed,
    plane::Plane,
    stages::limits,
    wire::{outgoing, scan::Scanned},
};

#[derive(Deserialize)]
struct Params {
    notifications: Filter,
}

/// What it asks to be told; what is not served here is left out of what it is granted.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
}

/// Lists of which a stream can tell that they changed: the filter's name, the notification's, the kind that offers it.
const LISTS: [(&str, &str, Kind); 3] = [
    ("toolsListChanged", "notifications/tools/list_changed", Kind::Tool),
    ("promptsListChanged", "notifications/prompts/list_changed", Kind::Prompt),
    ("resourcesListChanged", "notifications/resources/list_changed", Kind::Resource),
];

/// One open stream's own words: each bears the id of the request that opened it.
#[derive(Clone, Debug)]
pub struct Subscription {
    id: Bytes,
    /// As `LISTS`.
    granted: [bool; 3],
}

impl Subscription {
    /// The member of `_meta` that each of its messages has.
    fn mark(&self) -> String {
        format!(r#""{SUBSCRIPTION}":{}"#, String::from_utf8_lossy(&self.id))
    }

    /// Its first message: what it is granted.
    pub fn acknowledged(&self) -> Bytes {
        let granted: Vec<String> = self.lists().map(|(filter, _, _)| format!(r#""{filter}":true"#)).collect();
        let params = format!(r#"{{"_meta":{{{}}},"notifications":{{{}}}}}"#, self.mark(), granted.join(","));
        outgoing::notification("notifications/subscriptions/acknowledged", Some(params.as_bytes()))
    }

    fn lists(&self) -> impl Iterator<Item = (&'static str, &'static str, Kind)> {
        LISTS.into_iter().zip(self.granted).filter_map(|(list, granted)| granted.then_some(list))
    }

    /// The lists of these kinds changed. None: it is not told of them.
    pub fn changed(&self, kinds: &[Kind]) -> Option<Bytes> {
        let (_, method, _) = self.lists().find(|(_, _, kind)| kinds.contains(kind))?;
        let params = format!(r#"{{"_meta":{{{}}}}}"#, self.mark());
        Some(outgoing::notification(method, Some(params.as_bytes())))
    }

    /// Its last message, where the plane ends it.
    pub fn ended(&self) -> Bytes {
        let result = format!(r#"{{"resultType":"complete","_meta":{{{},{SERVER_INFO}}}}}"#, self.mark());
        outgoing::result(&self.id, result.as_bytes())
    }
}

/// Opens the stream. Errors: `InvalidParams` without a filter, `RateLimited`, `Overloaded` where too many are open.
pub(super) fn open(
    plane: &Plane,
    caller: &Caller,
    body: &Bytes,
    scanned: &Scanned,
) -> Result<mpsc::Receiver<Note>, Denial> {
    limits::client::charge(caller, &plane.buckets)?;
    let params = scanned.params.map_or(&b"{}"[..], |span| span.get(body));
    let params: Params = serde_json::from_slice(params).map_err(|_| Denial::InvalidParams {
        what: "subscriptions/listen needs params.notifications, an object of what to be told".into(),
    })?;
    let id = scanned.id.map_or_else(Bytes::new, |span| body.slice(span.range()));
    let Filter { tools_list_changed, prompts_list_changed, resources_list_changed } = params.notifications;
    let offered = caller.view().abilities(caller.principal());
    let granted = [
        tools_list_changed,
        prompts_list_changed && offered.has(Kind::Prompt),
        resources_list_changed && offered.has(Kind::Resource),
    ];
    let subscription = Subscription { id, granted };
    plane.feeds.subscribe(Arc::clone(caller.principal()), subscription).map_err(|_| {
        plane.metrics.shed(Shed::Streams);
        Denial::Overloaded
    })
}

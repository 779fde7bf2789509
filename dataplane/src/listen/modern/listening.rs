//! `subscriptions/listen`: one stream that is told what changes, until its client leaves or its token ends.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;
use tokio::sync::mpsc;

use super::local::{SERVER_INFO, SUBSCRIPTION};
use crate::{
    backend::abilities::Ability,
    call::{Caller, Kind},
    denial::Denial,
    listen::{
        feeds::{MOST_RESOURCES, Note, Who},
        watching,
    },
    metrics::Shed,
    plane::Plane,
    stages::limits,
    upcall::feature::Features,
    wire::{outgoing, scan::Scanned},
};

#[derive(Deserialize)]
struct Params {
    notifications: Filter,
}

/// What it asks to be told; what is not served here is left out of what it is granted.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Filter {
    tools_list_changed: bool,
    prompts_list_changed: bool,
    resources_list_changed: bool,
    resource_subscriptions: BTreeSet<Box<str>>,
    /// Of these nothing is told (`decisions/tasks.md`).
    task_ids: Option<IgnoredAny>,
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
    is_acknowledged: bool,
    /// As `LISTS`: what changed before it was.
    missed: [bool; 3],
}

impl Subscription {
    /// The member of `_meta` that each of its messages has.
    fn mark(&self) -> String {
        format!(r#""{SUBSCRIPTION}":{}"#, String::from_utf8_lossy(&self.id))
    }

    /// Its first message, what it is granted, with these resources; and what changed before it could be said.
    pub fn acknowledged(&mut self, resources: &[&str]) -> Vec<Bytes> {
        let mut granted: Vec<String> = self.lists().map(|(filter, _, _)| format!(r#""{filter}":true"#)).collect();
        if !resources.is_empty() {
            granted.push(format!(r#""resourceSubscriptions":{}"#, json!(resources)));
        }
        let params = format!(r#"{{"_meta":{{{}}},"notifications":{{{}}}}}"#, self.mark(), granted.join(","));
        self.is_acknowledged = true;
        let first = outgoing::notification("notifications/subscriptions/acknowledged", Some(params.as_bytes()));
        let missed = LISTS.into_iter().zip(std::mem::take(&mut self.missed)).filter(|(_, missed)| *missed);
        std::iter::once(first).chain(missed.map(|((_, method, _), _)| self.told(method))).collect()
    }

    fn told(&self, method: &'static str) -> Bytes {
        outgoing::notification(method, Some(format!(r#"{{"_meta":{{{}}}}}"#, self.mark()).as_bytes()))
    }

    /// One of its resources changed.
    pub fn updated(&self, uri: &str) -> Bytes {
        let params = format!(r#"{{"_meta":{{{}}},"uri":{}}}"#, self.mark(), json!(uri));
        outgoing::notification("notifications/resources/updated", Some(params.as_bytes()))
    }

    fn lists(&self) -> impl Iterator<Item = (&'static str, &'static str, Kind)> {
        LISTS.into_iter().zip(self.granted).filter_map(|(list, granted)| granted.then_some(list))
    }

    /// The lists of these kinds changed. None: it is not told of them, or not yet.
    pub fn changed(&mut self, kinds: &[Kind]) -> Option<Bytes> {
        let (_, method, of) = self.lists().find(|(_, _, kind)| kinds.contains(kind))?;
        if self.is_acknowledged {
            return Some(self.told(method));
        }
        for ((_, _, kind), missed) in LISTS.into_iter().zip(&mut self.missed) {
            *missed |= kind == of;
        }
        None
    }

    /// Its last message, where the plane ends it.
    pub fn ended(&self) -> Bytes {
        let result = format!(r#"{{"resultType":"complete","_meta":{{{},{SERVER_INFO}}}}}"#, self.mark());
        outgoing::result(&self.id, result.as_bytes())
    }
}

/// Opens the stream. Errors: `InvalidParams` without a filter, `MissingCapability` for tasks of a client without them,
/// `RateLimited`, `Overloaded` where too many are open.
pub(super) fn open(
    plane: &Arc<Plane>,
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
    let Filter { tools_list_changed, prompts_list_changed, resources_list_changed, resource_subscriptions, task_ids } =
        params.notifications;
    if task_ids.is_some() && !caller.leg().features().has(Features::TASKS) {
        return Err(Denial::MissingCapability);
    }
    if resource_subscriptions.len() > MOST_RESOURCES {
        let what = format!("a stream tells of {MOST_RESOURCES} resources at most; open another for the rest");
        return Err(Denial::InvalidParams { what: what.into() });
    }
    let offered = caller.view().abilities(caller.principal());
    let granted = [
        tools_list_changed,
        prompts_list_changed && offered.has(Kind::Prompt),
        resources_list_changed && offered.has(Kind::Resource),
    ];
    let subscription = Subscription { id, granted, is_acknowledged: false, missed: [false; 3] };
    let who = Who::of(caller);
    let (stream, notes) = plane.feeds.subscribe(who.clone(), subscription).map_err(|_| {
        plane.metrics.shed(Shed::Streams);
        Denial::Overloaded
    })?;
    let uris: Vec<Arc<str>> = match offered.can(Ability::Subscriptions) {
        true => resource_subscriptions.into_iter().map(Into::into).collect(),
        false => Vec::new(),
    };
    if uris.is_empty() {
        plane.feeds.acknowledge(stream, Vec::new());
    } else {
        let view = Arc::clone(caller.view());
        plane.tracker.spawn(watching::grant(Arc::clone(plane), view, who, stream, uris));
    }
    Ok(notes)
}

//! What a backend offers: each of its lists with the pages joined, each entry kept as the bytes it came in.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::abilities::Abilities;
use crate::{call::Kind, wire::Text};

/// Pages of one list; a backend that gives more is cut off, with a reason.
pub const MAX_PAGES: usize = 100;
/// Entries of one list.
pub const MAX_ENTRIES: usize = 10_000;
/// Bytes of one list's entries.
pub const MAX_BYTES: usize = 64 << 20;

/// Bounds of what a server may say of how long a list holds.
const SOONEST: Duration = Duration::from_secs(60);
const LATEST: Duration = Duration::from_secs(60 * 60);

/// One entry as the backend offers it, unjudged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The name of a tool or prompt, the URI of a resource or template.
    pub name: Box<str>,
    /// The entry's whole JSON object.
    pub definition: Bytes,
}

/// A reading of all lists.
#[derive(Debug)]
pub struct Listed {
    pub offering: Offering,
    /// How long they hold, where the server says it (`ttlMs`) and can't tell of changes.
    pub good_for: Option<Duration>,
}

/// All lists of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offering {
    pub abilities: Abilities,
    tools: List,
    prompts: List,
    resources: List,
    templates: List,
}

/// None: it has such a list, and could not say it.
type List = Option<Arc<[Offered]>>;

impl Offering {
    /// With nothing in it.
    pub fn new(abilities: Abilities) -> Self {
        let empty = || Some(Arc::default());
        Self { abilities, tools: empty(), prompts: empty(), resources: empty(), templates: empty() }
    }

    pub fn put(&mut self, kind: Kind, entries: Vec<Offered>) {
        *self.list_mut(kind) = Some(entries.into());
    }

    /// The backend has such a list, and it can't be had: the operator is told `why`.
    pub fn lacks(&mut self, kind: Kind, backend: &str, why: &str) {
        *self.list_mut(kind) = None;
        // Many servers that have resources know no templates, and say so by an error.
        if kind == Kind::Template {
            tracing::debug!(backend, list = kind.list_method(), why, "a list can't be had");
        } else {
            tracing::warn!(backend, list = kind.list_method(), why, "a list can't be had; what was known of it stays");
        }
    }

    /// What it could not say is as `before`.
    #[must_use]
    pub fn or(mut self, before: &Self) -> Self {
        for kind in Kind::ALL {
            let list = self.list_mut(kind);
            if list.is_none() {
                list.clone_from(before.list(kind));
            }
        }
        self
    }

    pub fn of(&self, kind: Kind) -> &[Offered] {
        self.list(kind).as_deref().unwrap_or_default()
    }

    const fn list(&self, kind: Kind) -> &List {
        match kind {
            Kind::Tool => &self.tools,
            Kind::Prompt => &self.prompts,
            Kind::Resource => &self.resources,
            Kind::Template => &self.templates,
        }
    }

    const fn list_mut(&mut self, kind: Kind) -> &mut List {
        match kind {
            Kind::Tool => &mut self.tools,
            Kind::Prompt => &mut self.prompts,
            Kind::Resource => &mut self.resources,
            Kind::Template => &mut self.templates,
        }
    }
}

/// Whether this notification says that one of the lists changed.
pub fn is_change(method: Text, message: &[u8]) -> bool {
    ["notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed"]
        .into_iter()
        .any(|change| method.is(message, change))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    #[serde(borrow, default)]
    tools: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    prompts: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    resources: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    resource_templates: Option<Vec<&'a RawValue>>,
    #[serde(default)]
    next_cursor: Option<String>,
    /// Any value: what is no number of milliseconds says nothing.
    #[serde(default)]
    ttl_ms: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Named {
    name: Box<str>,
}

#[derive(Deserialize)]
struct Located {
    uri: Box<str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Templated {
    uri_template: Box<str>,
}

/// Joins the pages of one list.
#[derive(Debug)]
pub struct Listing {
    kind: Kind,
    good_for: Option<Duration>,
    entries: Vec<Offered>,
    bytes: usize,
    pages: usize,
    last_cursor: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ListingFault {
    #[error("its {list} is not what the schema says: {fault}")]
    Broken { list: &'static str, fault: serde_json::Error },
    #[error("its {0} gives the same cursor twice")]
    Loop(&'static str),
    #[error("its {list} has no {member}")]
    Missing { list: &'static str, member: &'static str },
    #[error("its {0} has more than {MAX_PAGES} pages, {MAX_ENTRIES} entries or {MAX_BYTES} bytes")]
    TooMany(&'static str),
}

impl Listing {
    pub const fn of(kind: Kind) -> Self {
        Self { kind, good_for: None, entries: Vec::new(), bytes: 0, pages: 0, last_cursor: None }
    }

    /// Takes the `result` of one page; the params of the next request, or none when this was the last.
    pub fn page(&mut self, result: &[u8]) -> Result<Option<String>, ListingFault> {
        let list = self.kind.list_method();
        let broken = |fault| ListingFault::Broken { list, fault };
        let page: Page<'_> = serde_json::from_slice(result).map_err(broken)?;
        self.pages += 1;
        let good_for = page.ttl_ms.as_ref().and_then(serde_json::Value::as_u64).map(Duration::from_millis);
        self.good_for = shortest(self.good_for, good_for.map(|ttl| ttl.clamp(SOONEST, LATEST)));
        let entries = match self.kind {
            Kind::Tool => page.tools,
            Kind::Prompt => page.prompts,
            Kind::Resource => page.resources,
            Kind::Template => page.resource_templates,
        };
        for entry in entries.ok_or_else(|| ListingFault::Missing { list, member: self.kind.entries() })? {
            let name = name(self.kind, entry.get()).map_err(broken)?;
            self.bytes = self.bytes.saturating_add(entry.get().len());
            self.entries.push(Offered { name, definition: Bytes::copy_from_slice(entry.get().as_bytes()) });
        }
        let is_endless = page.next_cursor.is_some() && self.pages == MAX_PAGES;
        if self.entries.len() > MAX_ENTRIES || self.bytes > MAX_BYTES || is_endless {
            return Err(ListingFault::TooMany(list));
        }
        let Some(cursor) = page.next_cursor else { return Ok(None) };
        if self.last_cursor.as_ref() == Some(&cursor) {
            return Err(ListingFault::Loop(list));
        }
        let params = serde_json::json!({ "cursor": cursor }).to_string();
        self.last_cursor = Some(cursor);
        Ok(Some(params))
    }

    /// How long it holds, as the server says; none: it says nothing.
    pub fn good_for(&self) -> Option<Duration> {
        self.good_for
    }

    pub fn into_entries(self) -> Vec<Offered> {
        self.entries
    }
}

/// The shorter of the two, where both are said.
pub fn shortest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

fn name(kind: Kind, entry: &str) -> Result<Box<str>, serde_json::Error> {
    Ok(match kind {
        Kind::Tool | Kind::Prompt => serde_json::from_str::<Named>(entry)?.name,
        Kind::Resource => serde_json::from_str::<Located>(entry)?.uri,
        Kind::Template => serde_json::from_str::<Templated>(entry)?.uri_template,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_joined_and_each_entry_keeps_its_bytes() {
        let mut listing = Listing::of(Kind::Template);
        let next = listing.page(br#"{"resourceTemplates":[{"uriTemplate" : "a://{x}"}],"nextCursor":""}"#).unwrap();
        assert_eq!(next.as_deref(), Some(r#"{"cursor":""}"#), "an empty cursor is a cursor");
        assert_eq!(listing.page(br#"{"resourceTemplates":[{"uriTemplate":"b://{x}","x":1.50}]}"#).unwrap(), None);
        let entries = listing.into_entries();
        assert_eq!(&*entries[0].definition, br#"{"uriTemplate" : "a://{x}"}"#);
        assert_eq!(
            (&*entries[1].name, &*entries[1].definition),
            ("b://{x}", &br#"{"uriTemplate":"b://{x}","x":1.50}"#[..])
        );
    }

    #[test]
    fn what_is_no_list_or_has_no_end_is_a_fault() {
        for (page, why) in [
            (r#"{"tools":[]}"#, "its resources/list has no resources"),
            (r#"{"resources":[{"name":"a"}]}"#, "not what the schema says"),
            (r#"{"resources":7}"#, "not what the schema says"),
        ] {
            let fault = Listing::of(Kind::Resource).page(page.as_bytes()).unwrap_err().to_string();
            assert!(fault.contains(why), "{fault}");
        }
        let mut looping = Listing::of(Kind::Prompt);
        looping.page(br#"{"prompts":[],"nextCursor":"a"}"#).unwrap();
        assert!(matches!(looping.page(br#"{"prompts":[],"nextCursor":"a"}"#), Err(ListingFault::Loop(_))));
        let mut endless = Listing::of(Kind::Prompt);
        let page = |n: usize| format!(r#"{{"prompts":[],"nextCursor":"{n}"}}"#);
        let last = (0..MAX_PAGES).map(|n| endless.page(page(n).as_bytes())).find_map(Result::err);
        assert!(matches!(last, Some(ListingFault::TooMany(_))), "{last:?}");
    }

    #[test]
    fn a_list_that_could_not_be_said_stays_as_it_was() {
        let offered = |name: &str| Offered { name: name.into(), definition: Bytes::new() };
        let mut before = Offering::new(Abilities::default());
        before.put(Kind::Tool, vec![offered("old")]);
        before.put(Kind::Prompt, vec![offered("kept")]);
        let mut now = Offering::new(Abilities::default());
        now.put(Kind::Tool, vec![offered("new")]);
        now.lacks(Kind::Prompt, "b", "it fails");
        let now = now.or(&before);
        assert_eq!((&*now.of(Kind::Tool)[0].name, &*now.of(Kind::Prompt)[0].name), ("new", "kept"));
        assert!(now.of(Kind::Resource).is_empty());
    }
}

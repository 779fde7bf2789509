//! `[[virtual_servers]]`: endpoints of their own, each with a part of what the backends offer.

use sentinel_proto::v1;
use toml::de::DeValue;

use super::super::keys;
use super::super::names::{name, pattern};
use super::super::problems::Notes;
use super::super::reader::{Placed, Section};
use super::super::values::text;
use super::values as plain;

/// One of them, with the places of names that must exist.
#[derive(Debug)]
pub(in super::super) struct VirtualServer {
    pub(in super::super) name: String,
    pub(in super::super) include: Vec<Placed<String>>,
    pub(in super::super) backends: Vec<Placed<String>>,
}

impl VirtualServer {
    pub(in super::super) fn into_message(self) -> v1::VirtualServer {
        v1::VirtualServer { name: self.name, include: plain(self.include), backends: plain(self.backends) }
    }
}

pub(super) fn virtual_servers(file: &mut Section<'_>, notes: &mut Notes<'_>) -> Vec<Placed<VirtualServer>> {
    let tables = file.sections(notes, "virtual_servers", &keys::VIRTUAL_SERVER);
    tables.into_iter().filter_map(|table| one(table, notes)).collect()
}

fn one(mut section: Section<'_>, notes: &mut Notes<'_>) -> Option<Placed<VirtualServer>> {
    let (at, path) = (section.at(), section.path().to_owned());
    let called = section.need(notes, "name", "it is reached at /servers/NAME/mcp", in_a_path);
    let is_empty = !section.has("include") && !section.has("backends");
    let include = section.list(notes, "include", selector).unwrap_or_default();
    let backends = section.list(notes, "backends", backend).unwrap_or_default();
    section.finish(notes);
    if is_empty {
        let advice = "write include = [\"git__*\"] with patterns, or backends = [\"git\"] for all that they offer";
        notes.absent(at, format!("{path}: has nothing in it; {advice}"));
    }
    Some(Placed { at, value: VirtualServer { name: called?.value, include, backends } })
}

/// A name that stands in a URL as it is.
fn in_a_path(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=64).contains(&written.len()) && written.chars().all(fits) && !written.starts_with('.') {
        return Ok(written);
    }
    Err("stands in a URL: 1 to 64 of the characters A-Z a-z 0-9 - _ . and no dot first; shorten or respell it"
        .to_owned())
}

fn selector(value: &DeValue<'_>) -> Result<String, String> {
    text(value).and_then(|written| pattern(&written))
}

fn backend(value: &DeValue<'_>) -> Result<String, String> {
    text(value).and_then(|written| name(&written))
}

//! The servers of a client's file as backends: each key is carried over, moved to the variables, or named in a note.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::secrets::{self, Vault};
use super::template::{self, carried};
use super::write::Held;
use crate::jsonc::{self, Member, Mistake, Node, Value};
use crate::locate::World;

mod fields;
mod url;

use fields::Reading;

/// What came out of a file.
#[derive(Debug)]
pub(super) struct Imported {
    pub(super) backends: Vec<Backend>,
    /// New variables, values and all.
    pub(super) vars: Vec<(String, String)>,
    /// Variables that the servers refer to and that are set nowhere here; why each is wanted.
    pub(super) needed: BTreeMap<String, String>,
    /// What was not carried over as it stood, in the file's order.
    pub(super) notes: Vec<Mistake>,
}

/// One server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Backend {
    /// What the client called it.
    pub(super) from: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Why it is written as a comment.
    pub(super) off: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Http { url: String, is_sse: bool, headers: Vec<(String, String)> },
    Stdio { command: String, args: Vec<String>, env: Vec<(String, String)>, cwd: String },
}

impl Backend {
    pub(super) const fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Http { .. } => "http",
            Kind::Stdio { .. } => "stdio",
        }
    }
}

/// Reads every list of servers in the file. Errors: each value that can't be what its key says.
pub(super) fn read(
    text: &str,
    root: &Node,
    held: &Held,
    folder: &Path,
    world: &World,
) -> Result<Imported, Vec<Mistake>> {
    let mut reading = Reading::new(text, folder, world, Vault::new(&held.vars));
    let lists = lists(root, &mut reading);
    if lists.is_empty() && reading.mistakes.is_empty() {
        let why = "no list of servers is in it: `mcpServers`, `servers` or `mcp.servers` is wanted".to_owned();
        return Err(vec![jsonc::mistake(text, root.at, why)]);
    }
    let mut names: BTreeSet<String> = held.names.iter().cloned().collect();
    let mut backends = Vec::new();
    for member in lists.into_iter().flatten() {
        let name = free_name(member, &mut names, &mut reading);
        backends.extend(reading.server(member, &name));
    }
    let Reading { vault, refs, mut notes, mistakes, .. } = reading;
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let vars = vault.into_vars();
    let set = |name: &str| world.var(name).is_some() || vars.iter().chain(&held.vars).any(|(held, _)| held == name);
    let needed = refs.into_iter().filter(|(name, _)| !set(name)).collect();
    notes.sort_by_key(|note| (note.line, note.col));
    Ok(Imported { backends, vars, needed, notes })
}

/// The members of each list of servers in the file; the file's other keys are named.
fn lists<'n>(root: &'n Node, reading: &mut Reading<'_>) -> Vec<&'n [Member]> {
    let Some(members) = root.members() else {
        reading.mistake(root.at, format!("an object is wanted, not {}", root.kind()));
        return Vec::new();
    };
    let mut lists = Vec::new();
    let mut others = Vec::new();
    for member in members {
        match member.key.as_str() {
            "mcpServers" | "servers" | "mcp.servers" => lists.extend(reading.list(&member.key, &member.node)),
            "mcp" => match member.node.get("servers") {
                Some(servers) => lists.extend(reading.list("mcp.servers", servers)),
                None => others.push(member),
            },
            "inputs" => reading.note(
                member.key_at,
                "inputs: nobody is asked here; what they stand for is read from variables".to_owned(),
            ),
            "projects" => {
                let each = member.node.members().unwrap_or_default();
                let of =
                    |project: &Member| project.node.get("mcpServers").and_then(Node::members).map_or(0, <[_]>::len);
                let count: usize = each.iter().map(of).sum();
                if count > 0 {
                    let why = format!(
                        "projects: {count} servers of single projects are not carried over; import the project's own .mcp.json"
                    );
                    reading.note(member.key_at, why);
                } else {
                    others.push(member);
                }
            }
            _ => others.push(member),
        }
    }
    let is_server = |member: &&Member| member.node.get("command").is_some() || member.node.get("url").is_some();
    if lists.is_empty() && !members.is_empty() && members.iter().all(|member| is_server(&member)) {
        return vec![members];
    }
    if let (Some(first), false) = (others.first(), lists.is_empty()) {
        let shown: Vec<&str> = others.iter().take(12).map(|member| member.key.as_str()).collect();
        let more = others.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        reading.note(first.key_at, format!("no servers, not carried over: {}{more}", shown.join(", ")));
    }
    lists
}

/// A backend's name of the server's: letters, digits, `_` and `-`, and no other's.
fn free_name(member: &Member, names: &mut BTreeSet<String>, reading: &mut Reading<'_>) -> String {
    let mut base = String::new();
    for c in member.key.chars() {
        let c = if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '-' };
        if c != '-' || !base.ends_with('-') {
            base.push(c);
        }
    }
    let base: String = base.trim_matches('-').chars().take(32).collect();
    let base = if base.is_empty() { "server".to_owned() } else { base };
    let mut name = base.clone();
    let mut more = 2_usize;
    while !names.insert(name.clone()) {
        name = format!("{base}-{more}");
        more = more.saturating_add(1);
    }
    if name != member.key {
        let why = if name == base { "its tools' names begin with it" } else { "the name is taken already" };
        reading.note(member.key_at, format!("{}: is called {name} here ({why})", shown(&member.key)));
    }
    name
}

/// A name of the file in a message: one line, not endless.
fn shown(key: &str) -> String {
    key.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests;

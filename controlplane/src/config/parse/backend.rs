//! `[[backends]]`: the servers behind the gateway.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use sentinel_proto::v1::{self, backend::Kind};
use toml::de::DeValue;

use super::super::keys;
use super::super::names::{MAX_EXPOSED, name, printable, tool_part, tool_pattern};
use super::super::problems::Notes;
use super::super::reader::{Placed, Section};
use super::super::values::{bytes, flag, number, text, word};
use super::values as plain;
use secrets::header_value;

mod secrets;
mod stdio;
mod url;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const MOST_SECS: u32 = 86_400;
const MOST_DESCRIPTION: usize = 8 * 1024;

/// Keys that mean something for one type alone.
const OF_HTTP: [&str; 7] =
    ["url", "headers", "transport", "ca_file", "client_cert_file", "client_key_file", "allowed_addresses"];

static ISOLATIONS: [(&str, v1::Isolation); 3] = [
    ("shared", v1::Isolation::Unspecified),
    ("per-session", v1::Isolation::PerSession),
    ("per-client", v1::Isolation::PerClient),
];

/// As MCP names what a client declares.
static FEATURES: [(&str, &str); 3] = [("elicitation", "elicitation"), ("roots", "roots"), ("sampling", "sampling")];
static TRANSPORTS: [(&str, v1::Transport); 3] = [
    ("auto", v1::Transport::Unspecified),
    ("streamable_http", v1::Transport::StreamableHttp),
    ("sse", v1::Transport::Sse),
];
const ERAS: [(&str, v1::Era); 3] = [("auto", v1::Era::Auto), ("legacy", v1::Era::Legacy), ("modern", v1::Era::Modern)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Http,
    Stdio,
}

/// In the file's order: it decides collisions and listings.
pub(super) fn backends(file: &mut Section<'_>, notes: &mut Notes<'_>) -> Vec<Placed<v1::Backend>> {
    let tables = file.sections(notes, "backends", &keys::BACKEND);
    tables.into_iter().filter_map(|table| backend(table, notes)).collect()
}

fn backend(mut section: Section<'_>, notes: &mut Notes<'_>) -> Option<Placed<v1::Backend>> {
    let start = section.at();
    let path = section.path().to_owned();
    let advice = "name it, as in name = \"sqlite\"";
    let named = section.need(notes, "name", advice, |value| text(value).and_then(|written| name(&written)));
    let of_type = type_of(&mut section, notes);
    let kind = match of_type {
        Some(of_type) => kind(of_type, &mut section, notes),
        None => either(&mut section, notes),
    };
    let prefix = section.maybe(notes, "prefix", prefix);
    let timeout = section.placed(notes, "timeout_secs", number(1..=MOST_SECS));
    let most = section.placed(notes, "max_timeout_secs", number(1..=MOST_SECS));
    let timeouts = section.pairs(notes, "timeouts", |tool, value| {
        own_name(tool)?;
        number(1..=MOST_SECS)(value)
    });
    let renews = section.or(notes, "progress_renews_timeout", true, flag);
    let max_concurrency = section.or(notes, "max_concurrency", 64, number(1..=65_536));
    let max_response_bytes = section.or(notes, "max_response_bytes", 16 * MIB, bytes(KIB..=GIB));
    let mut retry = section.section(notes, "retry", &keys::RETRY);
    let attempts = retry.or(notes, "attempts", 2, number(1..=10));
    retry.finish(notes);
    let isolation = isolation(&mut section, notes);
    let may_ask = section.list(notes, "may_ask", word(&FEATURES, &[]));
    let era = era(&mut section, kind.as_ref(), notes);
    let shown = section.section(notes, "tools", &keys::BACKEND_TOOLS);
    let (rename, hide, describe) = tools(shown, notes);
    section.finish(notes);

    let timeout_secs = timeout.as_ref().map_or(60, |timeout| timeout.value);
    let longest = timeouts.iter().map(|entry| entry.value.1).chain([timeout_secs]).max().unwrap_or(timeout_secs);
    if let Some(most) = &most
        && most.value < longest
    {
        let why = format!("{} is less than the longest timeout of this backend ({longest})", most.value);
        notes.error(most.at, format!("{path}.max_timeout_secs: {why}; raise it"));
    }
    let named = named?;
    let prefix = match prefix {
        Some(prefix) => prefix,
        None if tool_part(&named.value) => named.value.clone(),
        None => {
            let why = "a name with other characters than A-Z a-z 0-9 _ - . / cannot begin tool names";
            notes.error(named.at, format!("{path}.name: {why}; add prefix = \"…\""));
            return None;
        }
    };
    let backend = v1::Backend {
        name: named.value,
        prefix,
        timeout_secs,
        timeouts: sorted(timeouts).into_iter().map(|(tool, secs)| v1::NamedTimeout { tool, secs }).collect(),
        progress_renews_timeout: renews,
        max_timeout_secs: most.map_or_else(|| longest.max(3600), |most| most.value),
        rename,
        hide,
        describe,
        max_concurrency,
        max_response_bytes,
        attempts,
        isolation: isolation.0.into(),
        max_instances: isolation.1,
        instance_idle_secs: isolation.2,
        may_not_ask: may_not_ask(may_ask.map(plain).as_deref()),
        era: era.into(),
        kind: Some(kind?),
    };
    Some(Placed { at: start, value: backend })
}

/// How it is isolated, how many instances there may be, and for how many seconds one may idle; 0 and 0 for a shared one.
fn isolation(section: &mut Section<'_>, notes: &mut Notes<'_>) -> (v1::Isolation, u32, u32) {
    let isolation = section.or(notes, "isolation", v1::Isolation::Unspecified, word(&ISOLATIONS, &[]));
    let most = section.placed(notes, "max_instances", number(1..=10_000));
    let idle = section.placed(notes, "instance_idle_secs", number(1..=MOST_SECS));
    if isolation != v1::Isolation::Unspecified {
        let or = |given: Option<Placed<u32>>, usual| given.map_or(usual, |given| given.value);
        return (isolation, or(most, 32), or(idle, 900));
    }
    for (key, given) in [("max_instances", most), ("instance_idle_secs", idle)] {
        if let Some(given) = given {
            let why = "a shared backend has one process or session; take it out, or write isolation = \"per-session\"";
            notes.error(given.at, format!("{}: {why}", section.name(key)));
        }
    }
    (isolation, 0, 0)
}

fn era(section: &mut Section<'_>, kind: Option<&Kind>, notes: &mut Notes<'_>) -> v1::Era {
    let Some(era) = section.placed(notes, "era", word(&ERAS, &[])) else { return v1::Era::Auto };
    let is_sse = matches!(kind, Some(Kind::Http(http)) if http.transport() == v1::Transport::Sse);
    if is_sse && era.value == v1::Era::Modern {
        let why = "transport = \"sse\" is of the legacy era alone; take one of the two out";
        notes.error(era.at, format!("{}: {why}", section.name("era")));
    }
    era.value
}

/// What a server may ask of a client, and is not in the list; no list leaves nothing out.
fn may_not_ask(may_ask: Option<&[&str]>) -> Vec<String> {
    let left_out = |name: &&str| may_ask.is_some_and(|may_ask| !may_ask.contains(name));
    FEATURES.iter().map(|(name, _)| *name).filter(left_out).map(str::to_owned).collect()
}

/// `type`, or what `url` or `command` say by standing there.
fn type_of(section: &mut Section<'_>, notes: &mut Notes<'_>) -> Option<Type> {
    let at = section.at();
    let path = section.path().to_owned();
    let types = |value: &DeValue<'_>| match text(value)?.as_str() {
        "http" => Ok(Type::Http),
        "stdio" => Ok(Type::Stdio),
        "streamable_http" | "streamable-http" | "streamableHttp" => Err("is called \"http\" here".to_owned()),
        "sse" => Err("is type = \"http\" with transport = \"sse\" here".to_owned()),
        other => Err(format!("{other:?} is not known; write \"http\" or \"stdio\"")),
    };
    let (url, command) = (section.has("url"), section.has("command"));
    if section.has("type") {
        return section.maybe(notes, "type", types);
    }
    match (url, command) {
        (true, false) => Some(Type::Http),
        (false, true) => Some(Type::Stdio),
        _ => {
            notes.absent(
                at,
                format!("{path}.type is missing; write type = \"http\" with `url`, or \"stdio\" with `command`"),
            );
            None
        }
    }
}

fn kind(of_type: Type, section: &mut Section<'_>, notes: &mut Notes<'_>) -> Option<Kind> {
    let (foreign, other): (&[&'static str], _) = match of_type {
        Type::Http => (&stdio::KEYS, "a stdio"),
        Type::Stdio => (&OF_HTTP, "an http"),
    };
    for key in foreign {
        let name = section.name(key);
        if let Some(value) = section.placed(notes, key, |_| Ok(())) {
            notes.error(value.at, format!("{name} belongs to {other} backend; take it out, or change `type`"));
        }
    }
    match of_type {
        Type::Http => http(section, notes).map(Kind::Http),
        Type::Stdio => stdio::read(section, notes).map(Kind::Stdio),
    }
}

/// Of a type that is not known yet: what stands there is read all the same, for its own mistakes.
fn either(section: &mut Section<'_>, notes: &mut Notes<'_>) -> Option<Kind> {
    if section.has("url") {
        http(section, notes);
    }
    if section.has("command") {
        stdio::read(section, notes);
    }
    for key in OF_HTTP.iter().chain(&stdio::KEYS) {
        section.placed(notes, key, |_| Ok(()));
    }
    None
}

fn http(section: &mut Section<'_>, notes: &mut Notes<'_>) -> Option<v1::HttpBackend> {
    let url = section.need(notes, "url", "write where it listens, as in \"http://127.0.0.1:3001/mcp\"", url::parse);
    let headers = section.pairs(notes, "headers", header_value);
    let transport = section.or(notes, "transport", v1::Transport::Unspecified, word(&TRANSPORTS, &[]));
    let mut seen = BTreeSet::new();
    for header in &headers {
        if !seen.insert(header.value.0.to_ascii_lowercase()) {
            notes.error(
                header.at,
                format!("{}.{}: stands twice; header names ignore case", section.name("headers"), header.value.0),
            );
        }
    }
    let files = tls_files(section, notes, url.as_ref().map(|url| url.value.text.as_str()));
    let allowed = section.list(notes, "allowed_addresses", network);
    let url = url?;
    for warning in url.value.warnings {
        notes.warn(url.at, format!("{}: {warning}", section.name("url")));
    }
    let [ca_file, client_cert_file, client_key_file] = files;
    Some(v1::HttpBackend {
        url: url.value.text,
        headers: pairs(headers),
        ca_file,
        client_cert_file,
        client_key_file,
        allowed_addresses: allowed.map(plain).unwrap_or_default(),
        transport: transport.into(),
    })
}

/// `ca_file`, `client_cert_file`, `client_key_file`; empty where they are not said. The plane reads them.
fn tls_files(section: &mut Section<'_>, notes: &mut Notes<'_>, url: Option<&str>) -> [String; 3] {
    let keys = ["ca_file", "client_cert_file", "client_key_file"];
    let files = keys.map(|key| section.placed(notes, key, path_text));
    let [_, chain, key] = &files;
    for (one, there, other) in [(chain, key, "client_key_file"), (key, chain, "client_cert_file")] {
        if let (Some(one), None) = (one, there) {
            notes.error(one.at, format!("{} is missing beside it; name both", section.name(other)));
        }
    }
    if url.is_some_and(|url| url.starts_with("http://")) {
        for (key, file) in keys.iter().zip(&files) {
            if let Some(file) = file {
                notes.error(
                    file.at,
                    format!(
                        "{} is for https, and the url says http; change the url, or take it out",
                        section.name(key)
                    ),
                );
            }
        }
    }
    files.map(|file| file.map(|file| file.value).unwrap_or_default())
}

/// One address or a network, as planes compare them.
fn network(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    let parsed = written.parse::<IpNet>().or_else(|_| written.parse::<IpAddr>().map(IpNet::from));
    parsed.map(|network| network.to_string()).map_err(|_| {
        format!("{written:?} is no address and no network; write it like \"169.254.10.3\" or \"169.254.10.0/24\"")
    })
}

fn path_text(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    if !printable(&written) {
        return Err("holds a control character; take it out".to_owned());
    }
    Ok(written)
}

fn prefix(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    if tool_part(&written) && written.len() <= MAX_EXPOSED {
        return Ok(written);
    }
    Err("a prefix is up to 64 of the characters A-Z a-z 0-9 _ - . /; \"\" exposes bare names".to_owned())
}

/// The name that a backend gives one of its tools.
fn own_name(tool: &str) -> Result<(), String> {
    if tool.is_empty() || tool.chars().count() > 256 || !printable(tool) {
        return Err("the backend's own name of a tool is 1 to 256 printable characters".to_owned());
    }
    Ok(())
}

type Shown = (Vec<v1::Pair>, Vec<String>, Vec<v1::Pair>);

fn tools(mut section: Section<'_>, notes: &mut Notes<'_>) -> Shown {
    let rename = section.pairs(notes, "rename", |own, value| {
        own_name(own)?;
        let new = text(value)?;
        if new.is_empty() || new.len() > MAX_EXPOSED || !tool_part(&new) {
            return Err("a new name is 1 to 64 of the characters A-Z a-z 0-9 _ - . /".to_owned());
        }
        Ok(new)
    });
    let hide = section.list(notes, "hide", |value| text(value).and_then(|written| tool_pattern(&written)));
    let describe = section.pairs(notes, "describe", |own, value| {
        own_name(own)?;
        let description = text(value)?;
        if description.len() > MOST_DESCRIPTION || !description.lines().all(|line| printable(&line.replace('\t', " ")))
        {
            return Err(format!("a description is up to {MOST_DESCRIPTION} bytes of printable text"));
        }
        Ok(description)
    });
    let mut new_names = BTreeSet::new();
    for entry in &rename {
        if !new_names.insert(entry.value.1.as_str()) {
            let new = &entry.value.1;
            notes.error(
                entry.at,
                format!("{}: two tools are renamed to {new:?}; give each its own name", section.name("rename")),
            );
        }
    }
    section.finish(notes);
    (pairs(rename), hide.map(plain).unwrap_or_default(), pairs(describe))
}

fn sorted<T>(list: Vec<Placed<(String, T)>>) -> Vec<(String, T)> {
    let mut all = plain(list);
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

fn pairs(list: Vec<Placed<(String, String)>>) -> Vec<v1::Pair> {
    sorted(list).into_iter().map(|(key, value)| v1::Pair { key, value }).collect()
}

//! Who may do what, and how often: `[roles]`, `[rate_limit]`, `[kill_switch]`.

use sentinel_proto::v1;
use toml::Spanned;
use toml::de::DeValue;

use super::super::keys;
use super::super::names::{name, pattern, printable, tool_pattern};
use super::super::problems::Notes;
use super::super::reader::{Placed, Section};
use super::super::schema;
use super::super::values::{a, number, text};
use super::{Kill, values as plain};

/// By name, so that the order in the file means nothing.
pub(super) fn roles(file: &mut Section<'_>, notes: &mut Notes<'_>) -> Vec<Placed<v1::Role>> {
    let mut all = Vec::new();
    for Placed { at, value: (role, value) } in file.entries(notes, "roles") {
        if let Err(why) = name(&role) {
            notes.error(at, format!("roles: {why}"));
            continue;
        }
        let DeValue::Table(table) = value.into_inner() else {
            notes.error(at, format!("roles.{role}: a table is wanted; write [roles.{role}]"));
            continue;
        };
        let section = Section::new(table, &keys::ROLE, format!("roles.{role}"), at);
        all.push(Placed { at, value: one_role(role, section, notes) });
    }
    all.sort_by(|a, b| a.value.name.cmp(&b.value.name));
    all
}

fn one_role(name: String, mut section: Section<'_>, notes: &mut Notes<'_>) -> v1::Role {
    let at = section.at();
    let allow = section.list(notes, "allow", selector).map(plain).unwrap_or_default();
    let deny = section.list(notes, "deny", selector).map(plain).unwrap_or_default();
    let tables = section.sections(notes, "rules", &keys::RULE);
    if allow.is_empty() && !section.has("allow") {
        notes.warn(at, format!("roles.{name}: allows nothing; write allow = [\"*\"], or patterns"));
    }
    section.finish(notes);
    let rules = tables.into_iter().filter_map(|table| rule(table, notes)).collect();
    v1::Role { name, allow, deny, rules }
}

fn selector(value: &DeValue<'_>) -> Result<String, String> {
    text(value).and_then(|written| pattern(&written))
}

fn of_tools(value: &DeValue<'_>) -> Result<String, String> {
    text(value).and_then(|written| tool_pattern(&written))
}

fn rule(mut section: Section<'_>, notes: &mut Notes<'_>) -> Option<v1::ArgumentRule> {
    let name = section.path().to_owned();
    let tool = section.need(notes, "tool", "write a pattern over exposed tool names", of_tools);
    let schema = section.need(notes, "arguments", "write a JSON Schema, as in { required = [\"db\"] }", schema::rule);
    section.finish(notes);
    Some(v1::ArgumentRule { tool: tool?.value, schema: schema?.value, name })
}

const MOST_REQUESTS: u32 = 1_000_000_000;

pub(super) fn rate_limit(mut section: Section<'_>, notes: &mut Notes<'_>) -> v1::RateLimit {
    let default = quota_of(&mut section, "default", notes);
    let per_client = quota_of(&mut section, "per_client", notes);
    let mut tools = Vec::new();
    for Placed { at, value: (tool, value) } in section.entries(notes, "tools") {
        let path = format!("rate_limit.tools.{:?}", tool.chars().take(64).collect::<String>());
        if let Err(why) = pattern(&tool) {
            notes.error(at, format!("rate_limit.tools: {why}"));
            continue;
        }
        if let Some(quota) = quota(value, path, notes) {
            tools.push(v1::ToolQuota { tool, quota: Some(quota) });
        }
    }
    section.finish(notes);
    v1::RateLimit {
        default: Some(default.unwrap_or(v1::Quota { requests: 100, per_secs: 60, burst: 20 })),
        per_client: Some(per_client.unwrap_or(v1::Quota { requests: 1000, per_secs: 60, burst: 1000 })),
        tools,
    }
}

/// `None` where it is not written, or wrong and noted.
fn quota_of(section: &mut Section<'_>, key: &'static str, notes: &mut Notes<'_>) -> Option<v1::Quota> {
    if !section.has(key) {
        return None;
    }
    read_quota(section.section(notes, key, &keys::QUOTA), notes)
}

fn quota(value: Spanned<DeValue<'_>>, path: String, notes: &mut Notes<'_>) -> Option<v1::Quota> {
    let at = value.span().start;
    match value.into_inner() {
        DeValue::Table(table) => read_quota(Section::new(table, &keys::QUOTA, path, at), notes),
        other => {
            notes.error(
                at,
                format!("{path}: a table is wanted, not {}; write {{ requests = 10, per_secs = 60 }}", a(&other)),
            );
            None
        }
    }
}

fn read_quota(mut section: Section<'_>, notes: &mut Notes<'_>) -> Option<v1::Quota> {
    let advice = "write { requests = 100, per_secs = 60 }";
    let requests = section.need(notes, "requests", advice, number(1..=MOST_REQUESTS));
    let per_secs = section.need(notes, "per_secs", advice, number(1..=86_400));
    let burst = section.maybe(notes, "burst", number(1..=MOST_REQUESTS));
    section.finish(notes);
    let requests = requests?.value;
    Some(v1::Quota { requests, per_secs: per_secs?.value, burst: burst.unwrap_or(requests) })
}

pub(super) fn kills(mut section: Section<'_>, notes: &mut Notes<'_>) -> Vec<Kill> {
    let mut all = Vec::new();
    for (key, scope) in [
        ("tools", v1::Scope::Tool),
        ("backends", v1::Scope::Backend),
        ("clients", v1::Scope::Client),
        ("roles", v1::Scope::Role),
    ] {
        let names = section.list(notes, key, killed).unwrap_or_default();
        all.extend(names.into_iter().map(|name| Kill { scope, name }));
    }
    section.finish(notes);
    all
}

/// A name, not a pattern: a kill says exactly what it stops. Clients are named by a claim, which may be long.
fn killed(value: &DeValue<'_>) -> Result<String, String> {
    let written = text(value)?;
    if written.is_empty() || written.chars().count() > 256 || !printable(&written) {
        return Err("a name is 1 to 256 printable characters; write it as `sentinelctl` shows it".to_owned());
    }
    if written.contains('*') {
        return Err(
            "a kill names one thing, and `*` is no pattern here; write each name, or kill its backend".to_owned()
        );
    }
    Ok(written)
}

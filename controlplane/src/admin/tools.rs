//! The tools that planes report: all of them, those that a role shows, and all that is known of one.

use std::time::Duration;

use sentinel_proto::v1::command::What;
use sentinel_proto::v1::{
    AuditListRequest, AuditStat, AuditStatsRequest, CatalogueTool, KillEntry, PlaneTool, Quota, RateLimit, Role, Scope,
    ShowTool, ToolListReply, ToolShowReply, VirtualServer,
};
use tokio::time::Instant;
use wildmatch::WildMatch;

use super::status::in_force;
use crate::core::Core;
use crate::nearest::{did_you_mean, nearest};
use crate::refusal::Refusal;

/// How long a plane may take to say what a tool's definition is.
const PATIENCE: Duration = Duration::from_secs(5);
/// How far back the calls of a tool are counted where it is shown.
const RECENT_MS: i64 = 3_600_000;

/// All tools, or those that a role shows, or that a virtual server has. Errors: no such role or server.
pub(super) fn list(core: &Core, role: &str, server: &str) -> Result<ToolListReply, Refusal> {
    let current = core.revisions.current();
    let roles = current.as_ref().map_or(&[][..], |current| &current.snapshot.roles);
    let shows: Vec<Shows> = roles.iter().map(Shows::of).collect();
    if !role.is_empty() && !shows.iter().any(|known| known.name == role) {
        let near = nearest(role, shows.iter().map(|known| known.name.as_str()));
        return Err(Refusal::invalid(format!("no role is named {role}{}", did_you_mean(&near))));
    }
    let servers = current.as_ref().map_or(&[][..], |current| &current.snapshot.virtual_servers);
    server_named(servers, server)?;
    let servers: Vec<Includes<'_>> = servers.iter().map(Includes::of).collect();
    let killed = in_force(core);
    let each = core.fleet.tools().into_iter().map(|(tool, planes)| PlaneTool {
        roles: shows.iter().filter(|role| role.shows(&tool.exposed)).map(|role| role.name.clone()).collect(),
        killed: killed.iter().any(|entry| holds(entry, &tool)),
        servers: servers.iter().filter(|server| server.has(&tool)).map(|server| server.0.name.clone()).collect(),
        tool: Some(tool),
        planes,
    });
    let asked = |tool: &PlaneTool| {
        (role.is_empty() || tool.roles.iter().any(|shown| shown == role))
            && (server.is_empty() || tool.servers.iter().any(|has| has == server))
    };
    Ok(ToolListReply { tools: each.filter(asked).collect() })
}

/// Errors: it is named, and there is none of this name.
pub(super) fn server_named(servers: &[VirtualServer], name: &str) -> Result<(), Refusal> {
    if name.is_empty() || servers.iter().any(|server| server.name == name) {
        return Ok(());
    }
    let near = nearest(name, servers.iter().map(|server| server.name.as_str()));
    Err(Refusal::invalid(format!("no virtual server is named {name}{}", did_you_mean(&near))))
}

/// The tools of a virtual server, for display; planes decide for themselves.
struct Includes<'s>(&'s VirtualServer, Vec<WildMatch>);

impl<'s> Includes<'s> {
    fn of(server: &'s VirtualServer) -> Self {
        Self(server, of_tools(&server.include))
    }

    fn has(&self, tool: &CatalogueTool) -> bool {
        // A collided tool has no name of its own, there as everywhere.
        tool.status != "refused"
            && (self.0.backends.contains(&tool.backend) || self.1.iter().any(|pattern| pattern.matches(&tool.exposed)))
    }
}

/// Without those for resources and prompts.
fn of_tools(patterns: &[String]) -> Vec<WildMatch> {
    let is_for_tools = |pattern: &&String| !pattern.starts_with("resource:") && !pattern.starts_with("prompt:");
    patterns.iter().filter(is_for_tools).map(|pattern| WildMatch::new(pattern)).collect()
}

/// Whether a switch stops this tool, whoever calls it.
fn holds(entry: &KillEntry, tool: &CatalogueTool) -> bool {
    match Scope::try_from(entry.scope) {
        Ok(Scope::All) => true,
        Ok(Scope::Backend) => entry.name == tool.backend,
        Ok(Scope::Tool) => {
            let own = !entry.own.is_empty() && entry.own == tool.own && entry.backend == tool.backend;
            entry.name == tool.exposed || own
        }
        Ok(Scope::Client | Scope::Role | Scope::Unspecified) | Err(_) => false,
    }
}

/// All that is known of one tool. Errors: no plane reports one of this name.
pub(super) async fn show(core: &Core, name: &str) -> Result<ToolShowReply, Refusal> {
    let mut listed = list(core, "", "")?.tools;
    let named = |tool: &PlaneTool| tool.tool.as_ref().is_some_and(|tool| tool.exposed == name);
    // Where two backends offer the name, the one that has it.
    listed.sort_by_key(|tool| tool.tool.as_ref().is_some_and(|tool| tool.status == "refused"));
    let Some(found) = listed.iter().find(|tool| named(tool)).cloned() else {
        let names = listed.iter().filter_map(|tool| tool.tool.as_ref()).map(|tool| tool.exposed.as_str());
        let near = nearest(name, names);
        return Err(Refusal::invalid(format!("no plane reports a tool {name}{}", did_you_mean(&near))));
    };
    let tool = found.tool.clone().unwrap_or_default();
    let (definition, problem) = definition(core, name).await;
    let limits = core.revisions.current().and_then(|current| current.snapshot.rate_limit.clone()).unwrap_or_default();
    let (limit, limit_from) = limit(&limits, name);
    let since = core.clock.unix_ms().saturating_sub(RECENT_MS);
    let (recent, recent_problem) = match recent(core, name, since).await {
        Ok(recent) => (Some(recent), String::new()),
        Err(why) => (None, why.to_string()),
    };
    let pin = core.pins.see(|held| held.find(&tool.backend, &tool.own).cloned());
    let pinned_definition = match &pin {
        Some(pin) if !pin.hash.is_empty() => core.pins.definition(pin).await.unwrap_or_default(),
        _ => String::new(),
    };
    Ok(ToolShowReply {
        recent,
        recent_since_unix_ms: since,
        recent_problem,
        pin,
        pinned_definition,
        sightings: super::trust::sightings(core, Some(name)),
        definition,
        problem,
        limit,
        limit_from,
        client_limit: limits.per_client,
        kills: in_force(core).into_iter().filter(|entry| holds(entry, &tool)).collect(),
        tool: Some(found),
    })
}

/// Its calls since then, as `audit stats` counts them. Errors: the store is away.
async fn recent(core: &Core, name: &str, since_unix_ms: i64) -> Result<AuditStat, Refusal> {
    let filter = AuditListRequest { tool: name.to_owned(), since_unix_ms, ..AuditListRequest::default() };
    let asked = AuditStatsRequest { filter: Some(filter), by: "tool".to_owned() };
    let counted = super::audit::stats(core, asked).await?;
    let none = || AuditStat { key: name.to_owned(), ..AuditStat::default() };
    Ok(counted.rows.into_iter().next().unwrap_or_else(none))
}

/// The definition from the first plane that can give it; else why not.
async fn definition(core: &Core, name: &str) -> (String, String) {
    let offering: Vec<String> = core.fleet.see(|all| {
        let has = |tool: &CatalogueTool| tool.exposed == name && tool.status != "refused";
        let here = all.values().filter(|plane| plane.link.is_some() && plane.catalogue.iter().any(has));
        here.map(|plane| plane.id.clone()).collect()
    });
    let mut problem = "no connected plane lists it".to_owned();
    let deadline = Instant::now() + PATIENCE;
    for id in offering {
        let what = What::ShowTool(ShowTool { exposed: name.to_owned() });
        match core.fleet.command(&id, what, deadline).await {
            Ok(done) if done.ok => return (done.lines.concat(), String::new()),
            Ok(done) => problem = done.message,
            Err(why) => problem = why.to_string(),
        }
    }
    (String::new(), problem)
}

/// The quota of one client's calls, and the pattern that it stands at: the first that fits, as on the planes.
fn limit(limits: &RateLimit, name: &str) -> (Option<Quota>, String) {
    let of_tool = limits.tools.iter().find(|limit| WildMatch::new(&limit.tool).matches(name));
    of_tool.map_or_else(|| (limits.default, "default".to_owned()), |limit| (limit.quota, limit.tool.clone()))
}

/// The patterns of one role that are about tools, for display; planes decide for themselves.
pub(super) struct Shows {
    name: String,
    allow: Vec<WildMatch>,
    deny: Vec<WildMatch>,
}

impl Shows {
    pub(super) fn of(role: &Role) -> Self {
        Self { name: role.name.clone(), allow: of_tools(&role.allow), deny: of_tools(&role.deny) }
    }

    pub(super) fn shows(&self, tool: &str) -> bool {
        let fits = |patterns: &[WildMatch]| patterns.iter().any(|pattern| pattern.matches(tool));
        !fits(&self.deny) && fits(&self.allow)
    }
}

//! Before the fact: planes are asked what they would decide now, and nothing is called.
//!
//! A token carries a client's roles, so the file does not know them. Who gives none is taken to mean the client as it
//! is: the roles and the issuer of its last call.

use std::collections::HashMap;

use futures_util::future::join_all;
use sentinel_proto::v1::command::What;
use sentinel_proto::v1::{
    AuditListRequest, Explain, ExplainAsk, ExplainAskReply, ExplainAskRequest, ExplainedAsk, Foretold, JudgeAsk,
};
use tokio::time::Instant;

use super::{Lines, Names, PATIENCE, Said, Texts, stage, switched, told};
use crate::admin::tools::server_named;
use crate::config::BUILT_IN_ISSUER;
use crate::core::Core;
use crate::keeper::stamp;
use crate::refusal::Refusal;

const MOST_ASKS: usize = 1_000;
/// Rows of a client that are looked at for one that tells its roles.
const LOOKED_AT: u32 = 20;

/// Who a client was when it last called.
#[derive(Clone, Default)]
struct Last {
    issuer: String,
    roles: Vec<String>,
    at_unix_us: i64,
}

/// Errors: too many asks, no client or tool, arguments that are no JSON, roles that are not known, no plane.
pub(in crate::admin) async fn ask(core: &Core, asked: ExplainAskRequest) -> Result<ExplainAskReply, Refusal> {
    if asked.asks.len() > MOST_ASKS {
        return Err(Refusal::invalid(format!(
            "{} calls are asked about; at most {MOST_ASKS} go at once",
            asked.asks.len()
        )));
    }
    let planes = planes(core, &asked.plane)?;
    let current = core.revisions.current();
    let servers = current.as_ref().map_or(&[][..], |current| &current.snapshot.virtual_servers);
    let mut last: HashMap<String, Option<Last>> = HashMap::new();
    let (mut asks, mut explained) = (Vec::new(), Vec::new());
    for ask in asked.asks {
        check(&ask)?;
        server_named(servers, &ask.server)?;
        let known = match last.get(&ask.client) {
            Some(known) => known.clone(),
            None => {
                let known = last_call(core, &ask.client).await?;
                last.insert(ask.client.clone(), known.clone());
                known
            }
        };
        let (judged, whole) = whole(core, ask, known)?;
        asks.push(judged);
        explained.push(whole);
    }
    let each = planes.into_iter().map(|(id, name)| {
        let what = What::Explain(Explain { snapshot: Vec::new(), asks: asks.clone() });
        async move { (core.fleet.command(&id, what, Instant::now() + PATIENCE).await, id, name) }
    });
    let mut texts = Texts::new(core);
    for (done, id, name) in join_all(each).await {
        let lines = match done {
            Ok(done) if done.ok => Ok(done.lines),
            Ok(done) => Err(done.message),
            Err(why) => Err(why.to_string()),
        };
        let said: Vec<Result<Said, String>> = (0..explained.len())
            .map(|at| {
                let lines = lines.as_ref().map_err(Clone::clone)?;
                let said = lines.get(at).and_then(|line| serde_json::from_str(line).ok());
                said.ok_or_else(|| "its answer is not understood; is it of another version?".to_owned())
            })
            .collect();
        for said in said.iter().flatten() {
            texts.read(core, said.revision).await;
        }
        let mut held: HashMap<u64, Lines<'_>> = HashMap::new();
        for (whole, said) in explained.iter_mut().zip(said) {
            let plane = Foretold { plane_id: id.clone(), plane_name: name.clone(), ..Foretold::default() };
            let foretold = match said {
                Err(problem) => Foretold { problem, ..plane },
                Ok(said) => {
                    let lines = held.entry(said.revision).or_insert_with(|| texts.of(said.revision));
                    foretold(core, plane, whole, &said, lines)
                }
            };
            whole.planes.push(foretold);
        }
    }
    Ok(ExplainAskReply { asks: explained })
}

/// The connected planes, by name, or the one that is named.
fn planes(core: &Core, named: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut found: Vec<(String, String)> = core.fleet.see(|all| {
        let connected = all.values().filter(|plane| plane.link.is_some());
        let meant = connected.filter(|plane| named.is_empty() || plane.id == named || plane.name == named);
        meant.map(|plane| (plane.id.clone(), plane.name.clone())).collect()
    });
    if found.is_empty() {
        let which = if named.is_empty() { "no plane".to_owned() } else { format!("no plane {named}") };
        return Err(Refusal::state(format!(
            "{which} is connected, and planes decide; `sentinelctl plane list` shows which there were"
        )));
    }
    found.sort_by(|(_, one), (_, other)| one.cmp(other));
    Ok(found)
}

fn check(ask: &ExplainAsk) -> Result<(), Refusal> {
    if ask.client.is_empty() || ask.tool.is_empty() {
        return Err(Refusal::invalid("say which client would call which tool: --client and --tool"));
    }
    let is_json = |text: &str| serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok();
    if !ask.arguments.is_empty() && !is_json(&ask.arguments) {
        return Err(Refusal::invalid("--arguments is no JSON; write an object, as in '{\"text\":\"hello\"}'"));
    }
    Ok(())
}

/// The newest row of a client that names its roles.
async fn last_call(core: &Core, client: &str) -> Result<Option<Last>, Refusal> {
    let filter = AuditListRequest { client: client.to_owned(), ..AuditListRequest::default() };
    let rows = core.keeper.store()?.list_audit(&filter, LOOKED_AT).await?;
    Ok(rows.into_iter().find(|row| row.method != "refusals").map(|row| {
        let detail: serde_json::Value = serde_json::from_str(&row.detail).unwrap_or_default();
        let issuer = detail.get("issuer").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        Last { issuer, roles: row.roles, at_unix_us: row.ts_unix_us }
    }))
}

/// An ask with all that a plane needs. Errors: nobody knows the client's roles.
fn whole(core: &Core, ask: ExplainAsk, last: Option<Last>) -> Result<(JudgeAsk, ExplainedAsk), Refusal> {
    let issuer = match &last {
        _ if !ask.issuer.is_empty() => ask.issuer,
        Some(last) => last.issuer.clone(),
        None => BUILT_IN_ISSUER.to_owned(),
    };
    let current = core.revisions.current();
    let default_role = current.and_then(|current| current.snapshot.auth.as_ref().map(|auth| auth.default_role.clone()));
    let (roles, roles_from) = match (ask.roles.is_empty(), last, default_role) {
        (false, ..) => (ask.roles, "as given".to_owned()),
        (true, Some(last), _) => {
            let at = stamp(last.at_unix_us.div_euclid(1000));
            (last.roles, format!("as in its last call, {at}"))
        }
        (true, None, Some(role)) if !role.is_empty() => {
            (Vec::new(), format!("none known: the default role {role} decides"))
        }
        (true, None, _) => {
            return Err(Refusal::invalid(format!(
                "no call of {} is in the audit, and tokens carry roles: name them with --role",
                ask.client.escape_debug()
            )));
        }
    };
    let judged = JudgeAsk {
        client: ask.client.clone(),
        roles: roles.clone(),
        tool: ask.tool.clone(),
        arguments: ask.arguments,
        issuer: issuer.clone(),
        method: String::new(),
        server: ask.server.clone(),
    };
    let ExplainAsk { client, tool, server, .. } = ask;
    let explained = ExplainedAsk { client, issuer, roles, roles_from, tool, server, planes: Vec::new() };
    Ok((judged, explained))
}

fn foretold(core: &Core, plane: Foretold, ask: &ExplainedAsk, said: &Said, lines: &Lines<'_>) -> Foretold {
    let names = Names { client: &ask.client, roles: &ask.roles, tool: &ask.tool, backend: &said.backend };
    let stages = said.stages.iter().map(|one| {
        let mut shown = stage(one, lines);
        if one.verdict == "refused" && said.kind == "disabled" {
            let data = said.error.as_ref().map(|error| error.data.clone()).unwrap_or_default();
            (shown.why, shown.rules) = switched(core, lines, &names, &data);
        }
        if one.stage == "dispatch" && !said.backend.is_empty() {
            shown.rules = vec![lines.place(&format!("backends.{}", said.backend))];
        }
        shown
    });
    Foretold {
        revision: said.revision,
        kind: said.kind.clone(),
        backend: said.backend.clone(),
        error: said.error.as_ref().map(told),
        stages: stages.collect(),
        ..plane
    }
}

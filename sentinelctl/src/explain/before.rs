//! A call that is not made.

use sentinel_proto::v1::{ExplainAskRequest, ExplainedAsk, Foretold};
use serde_json::{Value, json};

use super::{error_json, show_error, stages, stages_json};
use crate::client::Client;
use crate::fault::Fault;
use crate::output::Output;

pub(super) async fn run(client: &mut Client, request: ExplainAskRequest, output: &mut Output) -> Result<(), Fault> {
    let reply = client.explain_ask(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
    let Some(ask) = reply.asks.first() else {
        return Err(Fault::Failed("the control plane did not answer what was asked".to_owned()));
    };
    output.json(&to_json(ask));
    let mut shown: Vec<(&Foretold, Vec<&str>)> = Vec::new();
    for plane in &ask.planes {
        match shown.iter_mut().find(|(other, _)| is_same(other, plane)) {
            Some((_, names)) => names.push(&plane.plane_name),
            None => shown.push((plane, vec![&plane.plane_name])),
        }
    }
    for (number, (plane, names)) in shown.iter().enumerate() {
        if number > 0 {
            output.line("");
        }
        show(ask, plane, &names.join(", "), output);
    }
    if ask.planes.iter().all(|plane| !plane.problem.is_empty()) {
        return Err(Fault::Failed("no plane said what it would decide".to_owned()));
    }
    Ok(())
}

fn is_same(one: &Foretold, other: &Foretold) -> bool {
    one.problem == other.problem
        && one.revision == other.revision
        && one.kind == other.kind
        && one.stages == other.stages
        && one.error == other.error
}

fn show(ask: &ExplainedAsk, plane: &Foretold, names: &str, output: &mut Output) {
    if !plane.problem.is_empty() {
        output.line(&format!("{names}: {}", plane.problem));
        return;
    }
    let would = match plane.kind.as_str() {
        "" => format!("would be sent to backend {}", plane.backend),
        "unjudged" => "depends on its arguments; give --arguments".to_owned(),
        kind => format!("would be refused ({kind})"),
    };
    let roles = if ask.roles.is_empty() { "no role".to_owned() } else { format!("roles {}", ask.roles.join(", ")) };
    let through = if ask.server.is_empty() { String::new() } else { format!(" through {}", ask.server) };
    output.line(&format!("a call of {} by {}{through} {would}", ask.tool, ask.client));
    output.line(&format!("{roles} ({}); revision {}, as of now on {names}", ask.roles_from, plane.revision));
    output.line("");
    output.table(stages(&plane.stages), "");
    if let Some(error) = &plane.error {
        show_error("THE CLIENT WOULD BE TOLD", error, output);
    }
}

fn to_json(ask: &ExplainedAsk) -> Value {
    let plane = |plane: &Foretold| {
        let would = match (plane.problem.is_empty(), plane.kind.as_str()) {
            (false, _) => Value::Null,
            (true, "") => json!("pass"),
            (true, "unjudged") => json!("depend"),
            (true, _) => json!("refuse"),
        };
        json!({
            "plane_id": plane.plane_id, "plane_name": plane.plane_name, "problem": plane.problem,
            "revision": plane.revision, "would": would, "kind": plane.kind, "backend": plane.backend,
            "error": error_json(plane.error.as_ref()), "stages": stages_json(&plane.stages),
        })
    };
    json!({
        "client": ask.client, "issuer": ask.issuer, "roles": ask.roles, "roles_from": ask.roles_from, "tool": ask.tool,
        "server": ask.server,
        "planes": ask.planes.iter().map(plane).collect::<Vec<_>>(),
    })
}

//! A call that was made.

use sentinel_proto::v1::{ExplainCallRequest, ExplainedCall};
use serde_json::{Value, json};

use super::{error_json, show_error, stages, stages_json};
use crate::audit;
use crate::client::Client;
use crate::fault::Fault;
use crate::output::Output;

pub(super) async fn run(client: &mut Client, request: ExplainCallRequest, output: &mut Output) -> Result<(), Fault> {
    let reply = client.explain_call(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
    if let Some(call) = reply.calls.first() {
        output.json(&to_json(call));
    }
    for (number, call) in reply.calls.iter().enumerate() {
        if number > 0 {
            output.line("");
        }
        show(call, output);
    }
    if reply.calls.len() > 1 {
        output.note("more than one row has this id; `sentinelctl audit list --request-id` shows them, `audit verify` looks at the trail");
    }
    Ok(())
}

fn show(call: &ExplainedCall, output: &mut Output) {
    output.line(&call.outcome);
    output.line("");
    if let Some(row) = &call.row {
        output.table(audit::explained(row, &call.plane_name), "");
    }
    if !call.stages.is_empty() {
        output.line("");
        output.table(stages(&call.stages), "");
    }
    if let Some(error) = &call.error {
        show_error("THE CLIENT WAS TOLD", error, output);
    }
    for note in &call.notes {
        output.note(note);
    }
}

fn to_json(call: &ExplainedCall) -> Value {
    json!({
        "call": call.row.as_ref().map(audit::to_json),
        "plane_name": call.plane_name,
        "outcome": call.outcome,
        "stages": stages_json(&call.stages),
        "error": error_json(call.error.as_ref()),
        "notes": call.notes,
    })
}

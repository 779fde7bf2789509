//! `audit tail`: rows as they become durable, one line each.

use sentinel_proto::v1::{AuditListRequest, AuditRow};
use serde_json::json;

use super::{millis, to_json};
use crate::client::Client;
use crate::clock;
use crate::fault::Fault;
use crate::output::Output;
use crate::printable::printable;

/// Until nobody reads any more, or the control plane goes. Errors: as the control plane says.
pub(super) async fn run(client: &mut Client, request: AuditListRequest, output: &mut Output) -> Result<(), Fault> {
    let mut pieces = client.audit_tail(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
    while let Some(piece) = pieces.message().await.map_err(|status| Fault::of_status(&status))? {
        if piece.missed > 0 {
            output.json(&json!({ "missed": piece.missed }));
            output.problem(&format!("{} rows were missed: read faster, or narrow the question", piece.missed));
        }
        for row in &piece.rows {
            output.json(&to_json(row));
            output.line(&line(row));
        }
        if output.is_cut() {
            break;
        }
    }
    Ok(())
}

fn line(row: &AuditRow) -> String {
    let what = if row.tool.is_empty() { &row.method } else { &row.tool };
    let count = if row.count > 1 { format!("×{}", row.count) } else { String::new() };
    let cells = [
        clock::rfc3339_us(row.ts_unix_us),
        row.client.clone(),
        what.clone(),
        row.status.clone(),
        row.kind.clone(),
        count,
        format!("{} ms", millis(row.latency_us)),
        row.request_id.clone(),
    ];
    cells.iter().filter(|cell| !cell.is_empty()).map(|cell| printable(cell)).collect::<Vec<_>>().join("  ")
}

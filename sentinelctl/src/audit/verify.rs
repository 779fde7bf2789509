//! `audit verify`: what the walk over the chains found; exit 1 when something is wrong.

use sentinel_proto::v1::{AuditVerifyRequest, ChainVerdict};
use serde_json::{Value, json};

use crate::client::Client;
use crate::fault::Fault;
use crate::output::{Output, Rows, Tone, plain};

/// Rows between two notes of progress.
const NOTED: u64 = 100_000;

/// Errors: `Failed` where a chain is not whole; as the control plane says.
pub(super) async fn run(client: &mut Client, output: &mut Output) -> Result<(), Fault> {
    let asked = client.audit_verify(AuditVerifyRequest {}).await;
    let mut pieces = asked.map_err(|status| Fault::of_status(&status))?.into_inner();
    let (mut chains, mut rows, mut noted) = (Vec::new(), 0, 0);
    while let Some(piece) = pieces.message().await.map_err(|status| Fault::of_status(&status))? {
        rows = piece.rows;
        if rows >= noted + NOTED {
            noted = rows;
            output.note(&format!("{rows} rows walked"));
        }
        chains.extend(piece.chains);
    }
    let bad: Vec<&ChainVerdict> = chains.iter().filter(|chain| !chain.problem.is_empty()).collect();
    output.json(&json!({
        "good": bad.is_empty(), "rows": rows, "chains": chains.iter().map(to_json).collect::<Vec<_>>(),
    }));
    let mut table = Rows::new(&["PLANE", "EPOCH", "FROM", "TO", "ROWS", "VERDICT", "AT", "WHAT"]);
    for chain in &chains {
        let is_bad = !chain.problem.is_empty();
        table.push([
            plain(&chain.plane_id),
            plain(chain.epoch),
            plain(chain.from_seq),
            plain(chain.to_seq),
            plain(chain.rows),
            if is_bad { (chain.problem.clone(), Tone::Bad) } else { ("whole".to_owned(), Tone::Good) },
            plain(if is_bad { chain.at_seq.to_string() } else { String::new() }),
            plain(&chain.message),
        ]);
    }
    output.table(table, "No record is stored yet.");
    if bad.is_empty() {
        output.line(&format!("{rows} rows in {} chains, nothing is wrong", chains.len()));
        return Ok(());
    }
    let each = bad.iter().map(|chain| {
        format!(
            "  plane {} epoch {} at {}: {}: {}",
            chain.plane_id, chain.epoch, chain.at_seq, chain.problem, chain.message
        )
    });
    Err(Fault::Failed(format!(
        "{} of {} chains are not whole:\n{}",
        bad.len(),
        chains.len(),
        each.collect::<Vec<_>>().join("\n")
    )))
}

fn to_json(chain: &ChainVerdict) -> Value {
    let head: String = chain.head.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({
        "plane_id": chain.plane_id, "epoch": chain.epoch, "from_seq": chain.from_seq, "to_seq": chain.to_seq,
        "rows": chain.rows, "head": head, "problem": chain.problem, "at_seq": chain.at_seq, "message": chain.message,
    })
}

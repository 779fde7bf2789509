//! `audit export`: rows as JSON lines or CSV, one at a time; what is printed can be continued by its last cursor.
//!
//! In JSON the record stands byte for byte in `event`. CSV is for spreadsheets: what steers a terminal is written out,
//! what a spreadsheet would take for a formula begins with `'`, and the record itself is in `event_base64`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use sentinel_proto::v1::{AuditExportRequest, AuditStored, ChainHead};
use serde_json::{Value, json};

use super::to_json;
use crate::client::Client;
use crate::clock;
use crate::fault::Fault;
use crate::output::Output;
use crate::printable;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// RFC 4180, with a header.
    Csv,
}

const COLUMNS: [&str; 24] = [
    "type",
    "cursor",
    "request_id",
    "ts",
    "client",
    "roles",
    "session",
    "method",
    "tool",
    "backend",
    "arguments",
    "status",
    "kind",
    "count",
    "latency_us",
    "backend_latency_us",
    "revision",
    "parent",
    "plane_id",
    "epoch",
    "seq",
    "prev_hash",
    "hash",
    "event_base64",
];

/// Errors: as the control plane says; what was printed can be continued.
pub(super) async fn run(
    client: &mut Client,
    request: AuditExportRequest,
    format: Format,
    output: &mut Output,
) -> Result<(), Fault> {
    let is_new = request.after.is_empty();
    let mut cursor = request.after.clone();
    let mut pieces = client.audit_export(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
    if is_new && format == Format::Csv {
        output.record(&COLUMNS.join(","));
    }
    loop {
        let piece = match pieces.message().await {
            Ok(Some(piece)) => piece,
            Ok(None) => return Ok(()),
            Err(status) => {
                if !cursor.is_empty() {
                    output.problem(&format!("it broke off; go on with --after {cursor}"));
                }
                return Err(Fault::of_status(&status));
            }
        };
        for stored in &piece.rows {
            output.record(&match format {
                Format::Jsonl => row_json(stored).to_string(),
                Format::Csv => csv(&row_cells(stored)),
            });
            cursor.clone_from(&stored.cursor);
            if output.is_cut() {
                return Ok(());
            }
        }
        for head in &piece.heads {
            output.record(&match format {
                Format::Jsonl => head_json(head).to_string(),
                Format::Csv => csv(&head_cells(head)),
            });
        }
    }
}

fn row_json(stored: &AuditStored) -> Value {
    let mut value = json!({ "type": "row", "cursor": stored.cursor });
    if let (Value::Object(all), Some(Value::Object(row))) = (&mut value, stored.row.as_ref().map(to_json)) {
        all.extend(row);
        all.insert("prev_hash".to_owned(), json!(hex(&stored.prev_hash)));
        // a record that is no text can only be one that somebody changed
        match std::str::from_utf8(&stored.event) {
            Ok(event) => all.insert("event".to_owned(), json!(event)),
            Err(_) => all.insert("event_base64".to_owned(), json!(STANDARD.encode(&stored.event))),
        };
    }
    value
}

fn head_json(head: &ChainHead) -> Value {
    json!({ "type": "head", "plane_id": head.plane_id, "epoch": head.epoch, "seq": head.seq, "hash": hex(&head.hash) })
}

fn row_cells(stored: &AuditStored) -> [String; 24] {
    let row = stored.row.clone().unwrap_or_default();
    [
        "row".to_owned(),
        stored.cursor.clone(),
        row.request_id,
        clock::rfc3339_us(row.ts_unix_us),
        row.client,
        row.roles.join(" "),
        row.session,
        row.method,
        row.tool,
        row.backend,
        row.arguments,
        row.status,
        row.kind,
        row.count.to_string(),
        row.latency_us.to_string(),
        row.backend_latency_us.to_string(),
        row.revision.to_string(),
        row.parent,
        row.plane_id,
        row.epoch.to_string(),
        row.seq.to_string(),
        hex(&stored.prev_hash),
        String::new(),
        STANDARD.encode(&stored.event),
    ]
}

fn head_cells(head: &ChainHead) -> [String; 24] {
    let mut cells: [String; 24] = Default::default();
    let told = [
        (0, "head".to_owned()),
        (18, head.plane_id.clone()),
        (19, head.epoch.to_string()),
        (20, head.seq.to_string()),
        (22, hex(&head.hash)),
    ];
    for (at, text) in told {
        if let Some(cell) = cells.get_mut(at) {
            *cell = text;
        }
    }
    cells
}

fn csv(cells: &[String]) -> String {
    cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",")
}

fn quoted(cell: &str) -> String {
    let text = printable::json(&printable::printable_text(cell)).replace(['\n', '\t'], " ");
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text };
    if text.contains(['"', ',']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_quoted_and_no_formula_and_steers_nothing() {
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
        assert_eq!(quoted("=1+1"), "'=1+1");
        assert_eq!(quoted("a\u{1b}[2J\nb"), "a\\u{1b}[2J b");
    }

    #[test]
    fn rows_and_heads_fill_the_same_columns() {
        assert_eq!(row_cells(&AuditStored::default()).len(), COLUMNS.len());
        let head = ChainHead { seq: 7, ..ChainHead::default() };
        assert_eq!(head_cells(&head)[COLUMNS.iter().position(|name| *name == "seq").unwrap()], "7");
    }
}

//! `sentinelctl audit`: what was called, by whom, and how it ended. Listing is here; the other verbs have a file each.

pub mod export;
pub(crate) mod stats;
mod tail;
mod verify;

use clap::{Args, Subcommand};
use sentinel_proto::v1::{AuditExportRequest, AuditListRequest, AuditRow, AuditStatsRequest};
use serde_json::{Value, json};

use crate::client::Client;
use crate::clock;
use crate::fault::Fault;
use crate::output::{Output, Rows, Tone, plain};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// One row a call, newest first
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        until: Until,
        /// How many rows at most
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Rows as they come, until it is ended
    Tail {
        #[command(flatten)]
        which: Which,
        /// How many older rows to begin with
        #[arg(long, default_value_t = 10)]
        limit: u32,
    },
    /// Whole rows, oldest first, and the heads of the chains
    Export {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        until: Until,
        /// Go on after this row: the `cursor` of the last one that is there
        #[arg(long, value_name = "CURSOR", default_value = "")]
        after: String,
        /// JSON lines, or CSV for spreadsheets
        #[arg(long, value_enum, default_value = "jsonl")]
        format: export::Format,
    },
    /// Walk the hash chains: what is missing, changed, added, out of order
    Verify,
    /// Counts, shares of errors and latencies
    Stats {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        until: Until,
        /// What a line is about
        #[arg(long, value_name = "WHAT", default_value = "tool", value_parser = ["tool", "client", "backend", "status", "kind", "hour"])]
        by: String,
    },
}

/// Which rows.
#[derive(Debug, Args)]
pub struct Which {
    /// As its tokens name it
    #[arg(long, value_name = "NAME", default_value = "")]
    client: String,
    /// The name under which it is listed
    #[arg(long, value_name = "NAME", default_value = "")]
    tool: String,
    /// As it stands in the file
    #[arg(long, value_name = "NAME", default_value = "")]
    backend: String,
    /// ok, tool_error, denied, error, timeout, cancelled, input_required or abandoned
    #[arg(long, value_name = "STATUS", default_value = "", value_parser = ["ok", "tool_error", "denied", "error", "timeout", "cancelled", "input_required", "abandoned", ""])]
    status: String,
    /// How long ago (30m, 2h, 7d) or RFC 3339
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The id of one call: x-request-id, or requestId of an error
    #[arg(long, value_name = "UUID", default_value = "")]
    request_id: String,
}

/// Where to stop.
#[derive(Debug, Args)]
pub struct Until {
    /// How long ago or RFC 3339
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// What to ask for.
#[derive(Debug)]
pub enum Ask {
    List(AuditListRequest),
    Tail(AuditListRequest),
    Export(AuditExportRequest, export::Format),
    Verify,
    Stats(AuditStatsRequest),
}

impl Which {
    fn asked(self, until: Until, limit: u32) -> Result<AuditListRequest, Fault> {
        let Self { client, tool, backend, status, since, request_id } = self;
        let now = clock::now_ms();
        let moment = |flag: &str, text: Option<String>| match text {
            Some(text) => clock::parse_moment_ms(&text, now).map_err(|why| Fault::Usage(format!("{flag}: {why}"))),
            None => Ok(0),
        };
        Ok(AuditListRequest {
            since_unix_ms: moment("--since", since)?,
            until_unix_ms: moment("--until", until.until)?,
            client,
            tool,
            backend,
            status,
            request_id,
            limit,
        })
    }
}

impl Verb {
    pub(crate) fn prepared(self) -> Result<Ask, Fault> {
        Ok(match self {
            Self::List { which, until, limit } => Ask::List(which.asked(until, limit)?),
            Self::Tail { which, limit } => Ask::Tail(which.asked(Until { until: None }, limit)?),
            Self::Export { which, until, after, format } => {
                let filter = Some(which.asked(until, 0)?);
                Ask::Export(AuditExportRequest { filter, after }, format)
            }
            Self::Verify => Ask::Verify,
            Self::Stats { which, until, by } => {
                let mut filter = which.asked(until, 0)?;
                if filter.since_unix_ms == 0 {
                    filter.since_unix_ms = clock::now_ms() - DAY_MS;
                }
                Ask::Stats(AuditStatsRequest { filter: Some(filter), by })
            }
        })
    }
}

/// What `audit stats` counts without `--since`.
const DAY_MS: i64 = 24 * 3600 * 1000;

/// Errors: as the control plane says.
pub async fn run(client: &mut Client, ask: Ask, output: &mut Output) -> Result<(), Fault> {
    match ask {
        Ask::List(request) => list(client, request, output).await,
        Ask::Tail(request) => tail::run(client, request, output).await,
        Ask::Export(request, format) => export::run(client, request, format, output).await,
        Ask::Verify => verify::run(client, output).await,
        Ask::Stats(request) => stats::run(client, request, output).await,
    }
}

async fn list(client: &mut Client, request: AuditListRequest, output: &mut Output) -> Result<(), Fault> {
    let one = !request.request_id.is_empty();
    let reply = client.audit_list(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
    output.json(&reply.rows.iter().map(to_json).collect());
    if let (true, [row]) = (one, reply.rows.as_slice()) {
        output.table(details(row), "");
    } else {
        output.table(rows(&reply.rows), "No call is recorded that fits.");
    }
    if reply.more {
        output.note("there are more; ask with a greater --limit, or a later --since");
    }
    Ok(())
}

fn tone_of(status: &str) -> Tone {
    match status {
        "ok" => Tone::Good,
        "tool_error" | "cancelled" | "input_required" | "abandoned" | "denied" => Tone::Doubtful,
        _ => Tone::Bad,
    }
}

fn rows(rows: &[AuditRow]) -> Rows {
    let mut shown = Rows::new(&["AT", "CLIENT", "TOOL", "STATUS", "KIND", "MS", "REQUEST ID"]);
    for row in rows {
        let what = if row.tool.is_empty() { &row.method } else { &row.tool };
        let kind = if row.count > 1 { format!("{} ×{}", row.kind, row.count) } else { row.kind.clone() };
        shown.push([
            plain(clock::rfc3339_us(row.ts_unix_us)),
            plain(&row.client),
            plain(what),
            (row.status.clone(), tone_of(&row.status)),
            plain(kind),
            plain(millis(row.latency_us)),
            plain(&row.request_id),
        ]);
    }
    shown
}

pub(crate) fn millis(us: u64) -> String {
    format!("{}.{:03}", us / 1000, us % 1000)
}

/// One call, one line a member: for `--request-id`.
fn details(row: &AuditRow) -> Rows {
    let plane = format!("{}, epoch {}, seq {}", row.plane_id, row.epoch, row.seq);
    let mut shown = facts(row, plane);
    for (what, value) in [("parent", &row.parent), ("detail", &row.detail)] {
        if !value.is_empty() {
            shown.push([plain(what), plain(value)]);
        }
    }
    shown
}

/// The same without what `explain` tells in its own words.
pub(crate) fn explained(row: &AuditRow, plane: &str) -> Rows {
    facts(row, plane.to_owned())
}

fn facts(row: &AuditRow, plane: String) -> Rows {
    let mut shown = Rows::new(&["WHAT", "VALUE"]);
    let facts = [
        ("request id", row.request_id.clone()),
        ("at", clock::rfc3339_us(row.ts_unix_us)),
        ("client", row.client.clone()),
        ("roles", row.roles.join(", ")),
        ("session", row.session.clone()),
        ("method", row.method.clone()),
        ("tool", row.tool.clone()),
        ("backend", row.backend.clone()),
        ("arguments", row.arguments.clone()),
        ("status", row.status.clone()),
        ("kind", row.kind.clone()),
        ("took ms", millis(row.latency_us)),
        ("of it backend", millis(row.backend_latency_us)),
        ("revision", row.revision.to_string()),
        ("plane", plane),
    ];
    for (what, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        shown.push([plain(what), plain(value)]);
    }
    shown
}

/// One row; `arguments` and `detail` are JSON inside, or null.
pub(crate) fn to_json(row: &AuditRow) -> Value {
    json!({
        "request_id": row.request_id, "ts": clock::rfc3339_us(row.ts_unix_us), "client": row.client, "roles": row.roles,
        "session": row.session, "tool": row.tool, "backend": row.backend, "method": row.method,
        "arguments": embedded(&row.arguments), "status": row.status, "kind": row.kind, "count": row.count,
        "latency_us": row.latency_us, "backend_latency_us": row.backend_latency_us, "plane_id": row.plane_id,
        "epoch": row.epoch, "seq": row.seq, "revision": row.revision, "parent": row.parent, "detail": embedded(&row.detail),
    })
}

fn embedded(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

//! `sentinelctl audit list`: what was called, by whom, and how it ended; newest first.

use clap::{Args, Subcommand};
use sentinel_proto::v1::{AuditListRequest, AuditRow};
use serde_json::{Value, json};

use crate::cli::Rest;
use crate::client::Client;
use crate::clock;
use crate::fault::Fault;
use crate::output::{Output, Rows, Tone, plain};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// One row a call
    List(Filters),
    #[command(hide = true)]
    Tail(Rest),
    #[command(hide = true)]
    Export(Rest),
    #[command(hide = true)]
    Verify(Rest),
    #[command(hide = true)]
    Stats(Rest),
}

#[derive(Debug, Args)]
pub struct Filters {
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
    /// How long ago or RFC 3339
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The id of one call: x-request-id, or requestId of an error
    #[arg(long, value_name = "UUID", default_value = "")]
    request_id: String,
    /// How many rows at most
    #[arg(long, default_value_t = 50)]
    limit: u32,
}

/// What to ask for.
#[derive(Debug)]
pub struct Ask(AuditListRequest);

impl Verb {
    pub(crate) const fn of_a_later_issue(&self) -> Option<&'static str> {
        match self {
            Self::List(_) => None,
            Self::Tail(_) => Some("audit tail"),
            Self::Export(_) => Some("audit export"),
            Self::Verify(_) => Some("audit verify"),
            Self::Stats(_) => Some("audit stats"),
        }
    }

    pub(crate) fn prepared(self) -> Result<Ask, Fault> {
        let Self::List(filters) = self else {
            return Err(Fault::later("this `audit` command", "operator"));
        };
        let Filters { client, tool, backend, status, since, until, request_id, limit } = filters;
        let now = clock::now_ms();
        let moment = |flag: &str, text: Option<String>| match text {
            Some(text) => clock::parse_moment_ms(&text, now).map_err(|why| Fault::Usage(format!("{flag}: {why}"))),
            None => Ok(0),
        };
        Ok(Ask(AuditListRequest {
            since_unix_ms: moment("--since", since)?,
            until_unix_ms: moment("--until", until)?,
            client,
            tool,
            backend,
            status,
            request_id,
            limit,
        }))
    }
}

/// Errors: as the control plane says.
pub async fn run(client: &mut Client, Ask(request): Ask, output: &mut Output) -> Result<(), Fault> {
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

fn millis(us: u64) -> String {
    format!("{}.{:03}", us / 1000, us % 1000)
}

/// One call, one line a member: for `--request-id`.
fn details(row: &AuditRow) -> Rows {
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
        ("plane", format!("{}, epoch {}, seq {}", row.plane_id, row.epoch, row.seq)),
        ("parent", row.parent.clone()),
        ("detail", row.detail.clone()),
    ];
    for (what, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
        shown.push([plain(what), plain(value)]);
    }
    shown
}

/// One row; `arguments` and `detail` are JSON inside, or null.
fn to_json(row: &AuditRow) -> Value {
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

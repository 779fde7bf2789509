//! `sentinelctl tool`: the catalogue as planes report it, and a call through the gateway, as any client makes it.

use clap::Subcommand;
use sentinel_proto::v1::{PlaneTool, TokenMintRequest, ToolListRequest};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::Connection;
use crate::client::{self, Client};
use crate::fault::Fault;
use crate::locate::World;
use crate::mcp::Session;
use crate::output::{Output, Rows, Tone, plain};
use crate::{token, tool_trust};

/// How long the token of one call holds.
const CALL_TOKEN_SECS: u64 = 300;

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Every tool, which backend has it, who sees it
    List {
        /// As this role sees it
        #[arg(long)]
        role: Option<String>,
        /// Those of this virtual server
        #[arg(long, value_name = "NAME")]
        server: Option<String>,
    },
    /// Call a tool through the gateway
    Call(CallArgs),
    /// One tool: its definition, who sees it, its limits, what stops it
    Show {
        /// The name under which it is listed
        name: String,
    },
    /// Trust the definition of a quarantined tool as it is now
    Approve(tool_trust::Approve),
    /// Hold a tool until it is approved: in no list, and its calls are refused
    Quarantine(tool_trust::Quarantine),
}

#[derive(Debug, clap::Args)]
pub struct CallArgs {
    /// The name under which it is listed
    name: String,
    /// Its arguments, a JSON object
    #[arg(default_value = "{}")]
    json: String,
    /// The gateway's MCP endpoint
    #[arg(long, value_name = "URL", env = "SENTINEL_GATEWAY", default_value = "http://127.0.0.1:9200/mcp")]
    gateway: String,
    /// Without SENTINEL_TOKEN: the role of a five-minute token that is asked for
    #[arg(long)]
    role: Option<String>,
}

/// Prints the catalogue. Errors: as the control plane says.
pub async fn list(client: &mut Client, request: ToolListRequest, output: &mut Output) -> Result<(), Fault> {
    let reply = client.tool_list(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
    output.json(&reply.tools.iter().map(to_json).collect());
    let mut rows = Rows::new(&["TOOL", "BACKEND", "STATUS", "ROLES", "SERVERS", "PLANES", "WHY"]);
    for PlaneTool { tool, roles, planes, killed, servers } in &reply.tools {
        let Some(tool) = tool else { continue };
        rows.push([
            plain(&tool.exposed),
            plain(&tool.backend),
            state(*killed, &tool.status),
            plain(roles.join(", ")),
            plain(servers.join(", ")),
            plain(planes.join(", ")),
            plain(&tool.reason),
        ]);
    }
    output.table(rows, "No tool is listed.");
    Ok(())
}

/// What a listed tool is for callers.
pub(crate) fn state(killed: bool, status: &str) -> (String, Tone) {
    match (killed, status) {
        (true, _) => ("killed".to_owned(), Tone::Bad),
        (false, "listed") => ("listed".to_owned(), Tone::Good),
        (false, "quarantined") => ("quarantined".to_owned(), Tone::Bad),
        (false, other) => (other.to_owned(), Tone::Doubtful),
    }
}

pub(crate) fn to_json(listed: &PlaneTool) -> Value {
    let tool = listed.tool.clone().unwrap_or_default();
    json!({
        "name": tool.exposed, "backend": tool.backend, "own": tool.own, "description": tool.description,
        "status": tool.status, "reason": tool.reason, "roles": listed.roles, "planes": listed.planes, "killed": listed.killed,
        "servers": listed.servers,
    })
}

/// Calls one tool and prints its result. Errors: `Failed`, with kind and request id, for a refusal, and for a result
/// that says `isError`.
pub async fn call(args: CallArgs, connection: &Connection, world: &World, output: &mut Output) -> Result<(), Fault> {
    let CallArgs { name, json, gateway, role } = args;
    let arguments: Value =
        serde_json::from_str(&json).map_err(|error| Fault::Usage(format!("the arguments are no JSON: {error}")))?;
    if !arguments.is_object() {
        return Err(Fault::Usage("the arguments must be a JSON object, such as {\"message\":\"hello\"}".to_owned()));
    }
    let token = Box::pin(token_for(role, connection, world)).await?;
    let opened = Session::open(&gateway, token.as_deref()).await;
    if token.is_none() && opened.is_err() {
        output.note("called without a token: say as whom with --role ROLE, or with a token in SENTINEL_TOKEN (sentinelctl token mint)");
    }
    let mut session = opened?;
    let params = json!({ "name": name, "arguments": arguments, "_meta": { "progressToken": 1 } });
    let mut on_note = |note: &str| {
        if !note.is_empty() {
            output.note(note);
        }
    };
    let answered = session.ask("tools/call", &params, &mut on_note).await;
    session.close().await;
    let answered = answered?;
    output.json_text(answered.result.get());
    let told = Told::of(answered.result.get());
    for line in &told.lines {
        output.verbatim(line);
    }
    if told.is_error {
        return Err(Fault::Failed(format!(
            "the tool itself reports an error (kind tool_error, requestId {})",
            answered.request_id
        )));
    }
    output.note(&format!("requestId {}", answered.request_id));
    Ok(())
}

async fn token_for(role: Option<String>, connection: &Connection, world: &World) -> Result<Option<String>, Fault> {
    match (role, world.secret("SENTINEL_TOKEN")?) {
        (None, Some(token)) => Ok(Some(token)),
        // Where [auth] mode = "none" is in force nobody needs one.
        (None, None) => Ok(None),
        (Some(role), _) => {
            let mut client = client::connect(connection, world).await?;
            let request = TokenMintRequest {
                actor: None,
                client: "sentinelctl".to_owned(),
                roles: vec![role],
                ttl_secs: CALL_TOKEN_SECS,
            };
            Ok(Some(token::mint(&mut client, world.actor(), request).await?.token))
        }
    }
}

/// A result as a person reads it.
#[derive(Debug)]
struct Told {
    lines: Vec<String>,
    is_error: bool,
}

impl Told {
    fn of(result: &str) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Shape {
            #[serde(default)]
            content: Vec<Value>,
            #[serde(default)]
            is_error: bool,
        }
        let Ok(shape) = serde_json::from_str::<Shape>(result) else {
            return Self { lines: vec![result.to_owned()], is_error: false };
        };
        let lines: Vec<String> = shape
            .content
            .iter()
            .map(|part| {
                let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
                match (kind, part.get("text").and_then(Value::as_str), part.get("data").and_then(Value::as_str)) {
                    ("text", Some(text), _) => text.to_owned(),
                    (_, _, Some(data)) => format!("[{kind}, {} bytes of base64; --output json shows it]", data.len()),
                    _ => part.to_string(),
                }
            })
            .collect();
        let lines = if lines.is_empty() { vec![result.to_owned()] } else { lines };
        Self { lines, is_error: shape.is_error }
    }
}

//! `sentinelctl connect`: a client's configuration for this gateway, with a token made for it; printed, or put in place.
//!
//! What each client wants, `clients.rs` knows; how a file is changed without loss, `place.rs`. It asks the control
//! plane for the token and for where planes listen, as any operator does.

use std::path::PathBuf;

use sentinel_proto::v1::{ConfigShowRequest, StatusRequest, TokenMintRequest};
use serde_json::{Value, json};

use crate::cli::Connection;
use crate::client::{self, Client};
use crate::fault::Fault;
use crate::locate::{self, World};
use crate::output::Output;
use crate::up::{self, file, next_steps};
use crate::{clock, token};

mod clients;
mod place;

pub use clients::Kind;
use clients::{Entry, Transport};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Whose configuration
    #[arg(value_enum)]
    kind: Kind,
    /// Over stdio (the plane's socket) and not over HTTP
    #[arg(long)]
    stdio: bool,
    /// Put it into the client's file; a backup is left beside it
    #[arg(long)]
    write: bool,
    /// The project's file in this folder, not the user's (claude-code, cursor, vscode)
    #[arg(long)]
    project: bool,
    /// Another file than the client's usual one
    #[arg(long, value_name = "FILE", conflicts_with = "project")]
    file: Option<PathBuf>,
    /// What the client calls the gateway
    #[arg(long, default_value = "sentinel")]
    name: String,
    /// Who the token is for, as audit and limits know it; default: the client's name here
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// What the token may do; default: the first role that allows everything, else the first
    #[arg(long)]
    role: Option<String>,
    /// How long the token holds
    #[arg(long, value_name = "TIME", default_value = "90d")]
    ttl: String,
    /// The gateway's MCP endpoint; default: where the first connected plane listens
    #[arg(long, value_name = "URL", env = "SENTINEL_GATEWAY")]
    gateway: Option<String>,
    /// With --stdio: the plane's socket; default: plane/plane.sock in the data directory
    #[arg(long, value_name = "SOCKET")]
    attach: Option<PathBuf>,
}

/// The token that goes in, and what is known of it.
#[derive(Debug)]
struct Minted {
    token: String,
    jti: String,
    expires: String,
}

/// Prints the configuration, or writes it. Errors: `Usage` for what this client cannot do and for a file that does not
/// parse (before anything is minted); else as the control plane says.
pub async fn run(args: Args, connection: &Connection, world: &World, output: &mut Output) -> Result<(), Fault> {
    let ttl_secs = clock::parse_span_secs(&args.ttl).map_err(|why| Fault::Usage(format!("--ttl: {why}")))?;
    let over_stdio = args.stdio || args.kind.speaks_stdio_alone();
    if over_stdio && !args.stdio {
        output.note(&format!("{} takes servers from its file over stdio alone", args.kind.word()));
    }
    args.kind.can(over_stdio, args.write)?;
    let file = match (&args.file, args.project) {
        (Some(file), _) => Some(file.clone()),
        (None, true) => Some(args.kind.project_file().ok_or_else(|| {
            Fault::Usage(format!("{} has no file of a project; leave --project out", args.kind.word()))
        })?),
        (None, false) => args.kind.user_file(world),
    };
    if args.write {
        // What cannot be changed is said before a token is made.
        place::merged(file.as_deref().ok_or_else(no_home)?, &args.kind.path(&args.name), &json!({}))?;
    }
    let mut client = client::connect(connection, world).await?;
    let (anonymous, gateway) = gateway(&mut client, args.gateway).await?;
    let client_name = args.client.unwrap_or_else(|| args.kind.word().to_owned());
    let role = match (&args.role, anonymous) {
        (_, true) => None,
        (Some(role), false) => Some(role.clone()),
        (None, false) => Some(first_role(&mut client).await?),
    };
    let transport = if over_stdio {
        let socket = match args.attach {
            Some(socket) => std::path::absolute(&socket).map_err(|why| Fault::Usage(why.to_string()))?,
            None => socket(connection, world)?,
        };
        Transport::Stdio { program: up::program("sentinel-dataplane", world)?, socket }
    } else {
        Transport::Http { url: gateway.clone() }
    };
    let minted = match role.clone() {
        None => None,
        Some(role) => {
            let request = TokenMintRequest { actor: None, client: client_name.clone(), roles: vec![role], ttl_secs };
            let reply = token::mint(&mut client, world.actor(), request).await?;
            if !reply.warning.is_empty() {
                output.note(&reply.warning);
            }
            let expires = clock::rfc3339_ms(reply.expires_unix.saturating_mul(1000));
            Some(Minted { token: reply.token, jti: reply.jti, expires })
        }
    };
    let entry = args.kind.entry(&args.name, &transport, minted.as_ref().map(|minted| minted.token.as_str()));
    let written = match &file {
        Some(file) if args.write => Some(place::put(file, &args.kind.path(&args.name), &entry.value)?),
        _ => None,
    };
    let mut steps = entry.steps.clone();
    // What was written holds the token; there is no need to show it as well.
    let config = if written.is_some() {
        Value::Null
    } else {
        steps.extend(entry.by_command.iter().map(|command| format!("By its own command: {command}")));
        entry.whole.clone()
    };
    output.json(&json!({
        "client": args.kind.word(), "name": args.name, "transport": if over_stdio { "stdio" } else { "http" },
        "file": file, "written": written.is_some(), "replaced": written.as_ref().is_some_and(|written| written.replaced),
        "backup": written.as_ref().and_then(|written| written.backup.clone()), "config": config, "steps": steps,
        "token_client": minted.as_ref().map(|_| &client_name), "role": role,
        "jti": minted.as_ref().map(|minted| &minted.jti), "expires": minted.as_ref().map(|minted| &minted.expires),
    }));
    say(&entry, file.as_deref(), written.as_ref(), output);
    for step in &entry.steps {
        output.line(step);
    }
    if let Some(command) = entry.by_command.as_ref().filter(|_| written.is_none()) {
        output.line("By its own command:");
        output.verbatim(&format!("  {command}"));
    }
    if let (Some(minted), Some(role)) = (&minted, &role) {
        output.note(&format!(
            "the token is for client `{client_name}`, role `{role}`, until {}; end it sooner with \
             `sentinelctl token revoke {}`",
            minted.expires, minted.jti
        ));
    }
    Ok(())
}

fn say(entry: &Entry, file: Option<&std::path::Path>, written: Option<&place::Written>, output: &mut Output) {
    match (written, file) {
        (Some(written), Some(file)) => {
            let verb = if written.replaced { "replaced in" } else { "written to" };
            output.line(&format!("{} {verb} {}", entry.named, file.display()));
            if let Some(backup) = &written.backup {
                output.verbatim(&format!("  as it was: {}", backup.display()));
                output.verbatim(&format!("  undo:      cp '{}' '{}'", backup.display(), file.display()));
            }
            if written.readable_by_others {
                output
                    .note(&format!("{0} holds a token now and others can read it; `chmod 600 '{0}'`", file.display()));
            }
        }
        _ => {
            if let Some(file) = file {
                output.note(&format!("for {} (--write puts it there and keeps what else is in it):", file.display()));
            }
            output.verbatim(&serde_json::to_string_pretty(&entry.whole).unwrap_or_default());
        }
    }
}

/// Whether everybody may come in, and the MCP endpoint.
async fn gateway(client: &mut Client, named: Option<String>) -> Result<(bool, String), Fault> {
    let status = client.status(StatusRequest {}).await.map_err(|status| Fault::of_status(&status))?.into_inner();
    let listens = status.planes.iter().find(|plane| plane.state == "connected" && !plane.listen.is_empty());
    let listen = listens.map_or("127.0.0.1:9200", |plane| plane.listen.as_str());
    let url = named.unwrap_or_else(|| format!("http://{}/mcp", next_steps::reachable(listen)));
    Ok((status.anonymous, url))
}

async fn first_role(client: &mut Client) -> Result<String, Fault> {
    let shown = client.config_show(ConfigShowRequest { revision: 0 }).await;
    let shown = shown.map_err(|status| Fault::of_status(&status))?.into_inner();
    file::glimpse(&shown.text).first_role.ok_or_else(|| {
        Fault::Usage("the configuration in force names no role, so no token would see a tool; add [roles.NAME]".into())
    })
}

/// Of the first data directory that has one; else of the first.
fn socket(connection: &Connection, world: &World) -> Result<PathBuf, Fault> {
    let places = locate::places(connection, world)?;
    let mut sockets =
        places.iter().filter_map(|place| place.data_dir.as_ref()).map(|dir| dir.join("plane").join("plane.sock"));
    let first = sockets.next();
    let there = first.iter().cloned().chain(sockets).find(|socket| socket.exists()).or(first);
    let socket = there.ok_or_else(|| {
        Fault::Usage("no data directory is known here; name the plane's socket with --attach".to_owned())
    })?;
    std::path::absolute(&socket).map_err(|why| Fault::Usage(format!("{}: {why}", socket.display())))
}

fn no_home() -> Fault {
    Fault::Usage("HOME is not set, so the client's file is not known; name it with --file".to_owned())
}

/// For `clients.rs`: what goes into an `Authorization` header.
fn bearer(token: &str) -> Value {
    Value::from(format!("Bearer {token}"))
}

//! What `up` prints once both daemons answer: addresses, a token, and lines to paste.
//!
//! It asks the control plane for the token and the gateway for its tools, as any operator and any client would; what
//! it cannot have, it says, and prints the rest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sentinel_proto::v1::{StatusRequest, TokenMintRequest, ToolListRequest};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::place_of;
use super::sample::{Sample, sample_tool};
use crate::cli::Connection;
use crate::client::{self, Client};
use crate::fault::Fault;
use crate::locate::World;
use crate::output::Output;
use crate::token;

/// The token that is printed holds 90 days.
const TOKEN_SECS: u64 = 90 * 86_400;
const CLIENT: &str = "me";
const CONTROL_PLANE_WITHIN: Duration = Duration::from_secs(60);
const PLANE_WITHIN: Duration = Duration::from_secs(20);
const REPORT_WITHIN: Duration = Duration::from_secs(5);
const BETWEEN: Duration = Duration::from_millis(100);

/// What is known of the installation that `up` runs.
#[derive(Clone, Debug)]
pub struct Running {
    pub connection: Connection,
    pub world: World,
    pub data_dir: PathBuf,
    pub endpoint: String,
    /// Whether `sentinelctl` finds it without `--data-dir`.
    pub found_by_itself: bool,
    /// Where the plane listens, as far as flag and file tell.
    pub listen: String,
    pub ops_listen: String,
    pub controlplane_ops_listen: String,
    pub role: Option<String>,
    pub anonymous: bool,
    pub plane_program: PathBuf,
}

/// The message, ready to print.
#[derive(Debug)]
pub struct Steps {
    lines: Vec<Line>,
    json: Value,
}

#[derive(Debug)]
enum Line {
    Said(String),
    /// To be copied: as it is.
    Command(String),
}

impl Running {
    /// Waits until the control plane answers. Errors: it does not within a minute.
    pub async fn control_plane(&self) -> Result<(), Fault> {
        let deadline = Instant::now() + CONTROL_PLANE_WITHIN;
        loop {
            let why = match self.status().await {
                Ok(_) => return Ok(()),
                Err(fault) => fault,
            };
            if Instant::now() >= deadline {
                return Err(Fault::Failed(format!("the control plane did not answer within a minute: {why}")));
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    /// Waits for the plane and for a first tool, each for a while, and says what to do next.
    pub async fn next_steps(&self) -> Steps {
        let mut missing = Vec::new();
        let listen = self.plane_listens(&mut missing).await;
        let silent = !missing.is_empty();
        let token = if self.anonymous { None } else { Box::pin(self.token(&mut missing)).await };
        let gateway = format!("http://{}/mcp", reachable(&listen));
        let sample = match &token {
            // Without a plane or a token there is nobody to ask, and it was said already.
            None if !self.anonymous => None,
            _ if silent => None,
            _ => sample_tool(&gateway, token.as_deref(), &mut missing).await,
        };
        if let Some(sample) = &sample {
            self.reported(&sample.name).await;
        }
        self.steps(&gateway, token.as_deref(), sample.as_ref(), &missing)
    }

    async fn client(&self) -> Result<Client, Fault> {
        client::connect_to(&place_of(self), &self.connection, &self.world).await
    }

    async fn status(&self) -> Result<sentinel_proto::v1::StatusReply, Fault> {
        let mut client = self.client().await?;
        Ok(client.status(StatusRequest {}).await.map_err(|status| Fault::of_status(&status))?.into_inner())
    }

    /// Waits until the control plane knows this tool, as the lines to paste want it. The plane reports what it lists a
    /// moment after it lists it.
    async fn reported(&self, tool: &str) {
        let deadline = Instant::now() + REPORT_WITHIN;
        while Instant::now() < deadline {
            let known = async {
                let reply = self.client().await.ok()?.tool_list(ToolListRequest::default()).await.ok()?.into_inner();
                let names = reply.tools.into_iter().filter_map(|listed| listed.tool);
                names.map(|listed| listed.exposed).find(|name| name == tool)
            };
            if known.await.is_some() {
                return;
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    async fn plane_listens(&self, missing: &mut Vec<String>) -> String {
        let deadline = Instant::now() + PLANE_WITHIN;
        loop {
            if let Ok(reply) = self.status().await {
                let current = |plane: &&sentinel_proto::v1::PlaneState| {
                    plane.state == "connected" && plane.revision == reply.revision
                };
                if let Some(plane) = reply.planes.iter().find(current) {
                    return if plane.listen.is_empty() { self.listen.clone() } else { plane.listen.clone() };
                }
            }
            if Instant::now() >= deadline {
                missing.push(
                    "the data plane has not taken the configuration yet; `sentinelctl status` says how far it is"
                        .to_owned(),
                );
                return self.listen.clone();
            }
            tokio::time::sleep(BETWEEN).await;
        }
    }

    async fn token(&self, missing: &mut Vec<String>) -> Option<String> {
        let Some(role) = self.role.clone() else {
            missing.push("no token: the file names no role".to_owned());
            return None;
        };
        let request =
            TokenMintRequest { actor: None, client: CLIENT.to_owned(), roles: vec![role], ttl_secs: TOKEN_SECS };
        let minted = match self.client().await {
            Ok(mut client) => token::mint(&mut client, self.world.actor(), request).await,
            Err(fault) => Err(fault),
        };
        match minted {
            Ok(reply) => {
                missing.extend(Some(reply.warning).filter(|warning| !warning.is_empty()));
                Some(reply.token)
            }
            Err(fault) => {
                missing.push(format!("no token could be minted: {fault}"));
                None
            }
        }
    }

    fn steps(&self, gateway: &str, token: Option<&str>, sample: Option<&Sample>, missing: &[String]) -> Steps {
        let ctl = self.sentinelctl();
        let role = self.role.as_deref().unwrap_or_default();
        let mut lines = vec![
            "Sentinel is up.".to_owned(),
            format!("  MCP            {gateway}"),
            format!("  ops            http://{}/ready (data plane)", self.ops_listen),
            format!("                 http://{}/ready (control plane)", self.controlplane_ops_listen),
            format!("  state          {}", self.data_dir.display()),
        ];
        lines.extend(missing.iter().map(|why| format!("  ! {why}")));
        let mut lines: Vec<Line> = lines.into_iter().map(Line::Said).collect();
        let said = |text: &str| Line::Said(text.to_owned());
        let bearer = token.map(|_| r#" -H "Authorization: Bearer $SENTINEL_TOKEN""#).unwrap_or_default();
        if let Some(token) = token {
            let whose = format!("A token for client `{CLIENT}`, role `{role}`, 90 days (the lines below use it):");
            lines.extend([said(""), Line::Said(whose), Line::Command(format!("  export SENTINEL_TOKEN={token}"))]);
        }
        if token.is_some() || self.anonymous {
            let header = token.map(|_| r#" --header "Authorization: Bearer $SENTINEL_TOKEN""#).unwrap_or_default();
            let env = token.map(|_| r#" -e SENTINEL_TOKEN="$SENTINEL_TOKEN""#).unwrap_or_default();
            let plane = quoted(&self.plane_program.display().to_string());
            let socket = quoted(&self.data_dir.join("plane/plane.sock").display().to_string());
            let http = format!("  claude mcp add -s user --transport http sentinel {gateway}{header}");
            let stdio = format!("  claude mcp add -s user sentinel{env} -- {plane} stdio --attach {socket}");
            lines.extend([said(""), said("Claude Code, over HTTP or over stdio:")]);
            lines.extend([http, stdio].map(Line::Command));
            lines.extend([said(""), said("By hand, with curl:")]);
            lines.extend(curl(gateway, bearer, sample).map(Line::Command));
        }
        lines.push(said(""));
        if let Some(Sample { name, arguments }) = sample {
            let to =
                if gateway == "http://127.0.0.1:9200/mcp" { String::new() } else { format!(" --gateway {gateway}") };
            let role = match &self.role {
                Some(role) if !self.anonymous => format!(" --role {}", quoted(role)),
                _ => String::new(),
            };
            let (name, arguments) = (quoted(name), quoted(arguments));
            lines.push(said("From the operator's side: call a tool, stop it, let it go on, find the calls again:"));
            let commands = [
                format!("  {ctl} tool call {name} {arguments}{role}{to}"),
                format!("  {ctl} kill-switch tool {name} --reason 'trying it out'"),
                format!("  {ctl} kill-switch tool {name} --lift"),
            ];
            lines.extend(commands.map(Line::Command));
        } else {
            lines.extend([said("From the operator's side:"), Line::Command(format!("  {ctl} tool list"))]);
        }
        lines.extend([Line::Command(format!("  {ctl} audit list")), said(""), said("Ctrl-C ends everything.")]);
        let json = json!({
            "gateway": gateway, "endpoint": self.endpoint, "data_dir": self.data_dir, "ops": self.ops_listen,
            "controlplane_ops": self.controlplane_ops_listen, "client": CLIENT, "role": self.role, "token": token,
            "tool": sample.map(|sample| &sample.name), "warnings": missing,
        });
        Steps { lines, json }
    }

    /// How to call this program again: by its name where the PATH has it, with the data directory where it must be said.
    fn sentinelctl(&self) -> String {
        let exe = std::env::current_exe().ok();
        let known = super::on_path("sentinelctl", &self.world);
        let same = known.as_deref().and_then(|path| Path::canonicalize(path).ok())
            == exe.as_deref().and_then(|path| path.canonicalize().ok());
        let name = match exe {
            Some(exe) if !same => quoted(&exe.display().to_string()),
            _ => "sentinelctl".to_owned(),
        };
        if self.found_by_itself {
            name
        } else {
            format!("{name} --data-dir {}", quoted(&self.data_dir.display().to_string()))
        }
    }
}

impl Steps {
    /// Lines on a terminal, one JSON object for scripts.
    pub fn print(&self, output: &mut Output) {
        output.json(&self.json);
        for line in &self.lines {
            match line {
                Line::Said(text) => output.line(text),
                Line::Command(text) => output.verbatim(text),
            }
        }
    }
}

/// `0.0.0.0:9200` listens everywhere; from here it is reached on loopback.
pub(crate) fn reachable(listen: &str) -> String {
    match listen.parse::<std::net::SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => format!("127.0.0.1:{}", address.port()),
        _ => listen.to_owned(),
    }
}

/// Two commands as the legacy era wants them: a session first, then the call in it.
fn curl(gateway: &str, bearer: &str, sample: Option<&Sample>) -> [String; 2] {
    let heads =
        format!("{bearer} -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream'");
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "curl", "version": "1" } } });
    let then = match sample {
        Some(Sample { name, arguments }) => {
            let arguments = serde_json::from_str(arguments).unwrap_or_else(|_| json!({}));
            json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": name, "arguments": arguments } })
        }
        None => json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/list" }),
    };
    [
        format!(
            "  S=$(curl -sS -o /dev/null -D - {gateway}{heads} -d {} | tr -d '\\r' | sed -n 's/^mcp-session-id: *//Ip')",
            quoted(&hello.to_string())
        ),
        format!("  curl -sS {gateway}{heads} -H \"Mcp-Session-Id: $S\" -d {}; echo", quoted(&then.to_string())),
    ]
}

/// One word for a POSIX shell.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("a__b"), "a__b");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn a_listener_on_every_address_is_reached_on_loopback() {
        assert_eq!(reachable("0.0.0.0:9200"), "127.0.0.1:9200");
        assert_eq!(reachable("[::]:1"), "127.0.0.1:1");
        assert_eq!(reachable("10.0.0.1:9200"), "10.0.0.1:9200");
    }
}

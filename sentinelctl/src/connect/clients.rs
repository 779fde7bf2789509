//! What each client's configuration looks like and where it lies. Pure: it touches no file and asks nobody.
//!
//! Sources: code.claude.com/docs/en/mcp, modelcontextprotocol.io/docs/develop/connect-local-servers (Claude Desktop),
//! cursor.com/docs/mcp, code.visualstudio.com/docs/agents/reference/mcp-configuration,
//! docs.n8n.io (MCP Client Tool), docs.openclaw.ai/cli/mcp.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde_json::{Map, Value, json};

use super::bearer;
use crate::fault::Fault;
use crate::locate::World;
use crate::up::next_steps::quoted;

/// The clients whose files are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    ClaudeCode,
    ClaudeDesktop,
    Cursor,
    Vscode,
    N8n,
    Openclaw,
}

/// How the client reaches the gateway.
#[derive(Clone, Debug)]
pub(super) enum Transport {
    Http { url: String },
    Stdio { program: PathBuf, socket: PathBuf },
}

/// What goes into a file, and what else there is to do.
#[derive(Debug)]
pub(super) struct Entry {
    /// How messages call it.
    pub(super) named: String,
    /// The value of the member at `Kind::path`.
    pub(super) value: Value,
    /// The file, if it held nothing else.
    pub(super) whole: Value,
    pub(super) steps: Vec<String>,
    /// The client's own command that does the same, with the token in it: for who does not write.
    pub(super) by_command: Option<String>,
}

impl Kind {
    /// As it is written on the command line.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Cursor => "cursor",
            Self::Vscode => "vscode",
            Self::N8n => "n8n",
            Self::Openclaw => "openclaw",
        }
    }

    /// Its file names commands; servers by URL are added in its window.
    pub(super) const fn speaks_stdio_alone(self) -> bool {
        matches!(self, Self::ClaudeDesktop)
    }

    /// Errors: `Usage`, for what this client has no way to do.
    pub(super) fn can(self, stdio: bool, write: bool) -> Result<(), Fault> {
        if self != Self::N8n {
            return Ok(());
        }
        if stdio {
            return Err(Fault::Usage("n8n's MCP Client Tool speaks HTTP alone; leave --stdio out".to_owned()));
        }
        if write {
            return Err(Fault::Usage(
                "n8n keeps its configuration in its own database; leave --write out, and paste what is printed"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    pub(super) fn user_file(self, world: &World) -> Option<PathBuf> {
        let home = world.var("HOME").map(PathBuf::from);
        let config = || {
            world.var("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home.as_ref().map(|home| home.join(".config")))
        };
        match self {
            Self::ClaudeCode => {
                let dir = world.var("CLAUDE_CONFIG_DIR").map(PathBuf::from).or(home)?;
                Some(dir.join(".claude.json"))
            }
            Self::ClaudeDesktop => Some(config()?.join("Claude/claude_desktop_config.json")),
            Self::Cursor => Some(home?.join(".cursor/mcp.json")),
            Self::Vscode => Some(config()?.join("Code/User/mcp.json")),
            Self::N8n => None,
            Self::Openclaw => {
                let named = world.var("OPENCLAW_CONFIG_PATH").map(PathBuf::from);
                named.or_else(|| Some(home?.join(".openclaw/openclaw.json")))
            }
        }
    }

    pub(super) fn project_file(self) -> Option<PathBuf> {
        match self {
            Self::ClaudeCode => Some(PathBuf::from(".mcp.json")),
            Self::Cursor => Some(PathBuf::from(".cursor/mcp.json")),
            Self::Vscode => Some(PathBuf::from(".vscode/mcp.json")),
            Self::ClaudeDesktop | Self::N8n | Self::Openclaw => None,
        }
    }

    /// The members that lead to the server's own.
    pub(super) fn path(self, name: &str) -> Vec<String> {
        let mut path: Vec<String> = match self {
            Self::ClaudeCode | Self::ClaudeDesktop | Self::Cursor | Self::N8n => vec!["mcpServers".to_owned()],
            Self::Vscode => vec!["servers".to_owned()],
            Self::Openclaw => vec!["mcp".to_owned(), "servers".to_owned()],
        };
        path.push(name.to_owned());
        path
    }

    pub(super) fn entry(self, name: &str, transport: &Transport, token: Option<&str>) -> Entry {
        let value = match transport {
            Transport::Http { url } => self.over_http(url, token),
            Transport::Stdio { program, socket } => self.over_stdio(program, socket, token),
        };
        let path = self.path(name);
        let whole = match self {
            Self::N8n => value.clone(),
            _ => path.iter().rev().fold(value.clone(), |inner, key| json!({ (key.as_str()): inner })),
        };
        let steps = self.steps(name, token);
        let by_command = self.own_command(name, &value);
        Entry { named: path.join("."), value, whole, steps, by_command }
    }

    fn over_http(self, url: &str, token: Option<&str>) -> Value {
        let mut server = Map::new();
        match self {
            Self::ClaudeCode | Self::Vscode => {
                server.insert("type".to_owned(), json!("http"));
            }
            Self::Openclaw => {
                server.insert("transport".to_owned(), json!("streamable-http"));
            }
            Self::N8n => {
                let authentication = if token.is_some() { "bearerAuth" } else { "none" };
                return json!({
                    "nodes": [{
                        "name": "Sentinel", "type": "@n8n/n8n-nodes-langchain.mcpClientTool", "typeVersion": 1.1,
                        "position": [0, 0],
                        "parameters": {
                            "endpointUrl": url, "serverTransport": "httpStreamable", "authentication": authentication,
                            "include": "all", "options": {},
                        },
                    }],
                    "connections": {},
                });
            }
            Self::ClaudeDesktop | Self::Cursor => {}
        }
        server.insert("url".to_owned(), json!(url));
        if let Some(token) = token {
            server.insert("headers".to_owned(), json!({ "Authorization": bearer(token) }));
        }
        Value::Object(server)
    }

    fn over_stdio(self, program: &Path, socket: &Path, token: Option<&str>) -> Value {
        let mut server = Map::new();
        if matches!(self, Self::ClaudeCode | Self::Vscode) {
            server.insert("type".to_owned(), json!("stdio"));
        }
        server.insert("command".to_owned(), json!(program));
        server.insert("args".to_owned(), json!(["stdio", "--attach", socket]));
        if let Some(token) = token {
            server.insert("env".to_owned(), json!({ "SENTINEL_TOKEN": token }));
        }
        Value::Object(server)
    }

    fn steps(self, name: &str, token: Option<&str>) -> Vec<String> {
        match self {
            Self::ClaudeCode => {
                vec!["Claude Code reads it at its next start; `claude mcp list` shows it, and so does /mcp.".to_owned()]
            }
            Self::ClaudeDesktop => vec!["Quit Claude Desktop wholly and start it again.".to_owned()],
            Self::Cursor => vec!["Cursor: Settings, MCP: switch it on there.".to_owned()],
            Self::Vscode => vec!["VS Code: `MCP: List Servers`, start it there.".to_owned()],
            Self::N8n => {
                let mut steps = vec![
                    "Copy the JSON, click on n8n's canvas, paste, and connect the node to an AI Agent.".to_owned(),
                ];
                if let Some(token) = token {
                    steps.push("In the node: Credential for Bearer Auth, create new, and as Bearer Token:".to_owned());
                    steps.push(format!("  {token}"));
                }
                steps.push(
                    "n8n in a container reaches this machine by another address than 127.0.0.1: --gateway.".to_owned(),
                );
                steps
            }
            Self::Openclaw => vec![format!("`openclaw mcp probe {}` shows whether it gets in.", quoted(name))],
        }
    }

    fn own_command(self, name: &str, value: &Value) -> Option<String> {
        let (name, value) = (quoted(name), quoted(&value.to_string()));
        match self {
            Self::ClaudeCode => Some(format!("claude mcp add-json -s user {name} {value}")),
            Self::Openclaw => Some(format!("openclaw mcp set {name} {value}")),
            Self::ClaudeDesktop | Self::Cursor | Self::Vscode | Self::N8n => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Kind; 6] =
        [Kind::ClaudeCode, Kind::ClaudeDesktop, Kind::Cursor, Kind::Vscode, Kind::N8n, Kind::Openclaw];

    fn http() -> Transport {
        Transport::Http { url: "http://127.0.0.1:9200/mcp".to_owned() }
    }

    #[test]
    fn each_file_has_its_own_words_for_http() {
        let whole = |kind: Kind| kind.entry("sentinel", &http(), Some("T")).whole;
        let headers = json!({ "Authorization": "Bearer T" });
        let url = "http://127.0.0.1:9200/mcp";
        assert_eq!(
            whole(Kind::ClaudeCode),
            json!({"mcpServers": {"sentinel": {"type": "http", "url": url, "headers": headers}}})
        );
        assert_eq!(whole(Kind::Cursor), json!({"mcpServers": {"sentinel": {"url": url, "headers": headers}}}));
        assert_eq!(
            whole(Kind::Vscode),
            json!({"servers": {"sentinel": {"type": "http", "url": url, "headers": headers}}})
        );
        let openclaw =
            json!({"mcp": {"servers": {"sentinel": {"transport": "streamable-http", "url": url, "headers": headers}}}});
        assert_eq!(whole(Kind::Openclaw), openclaw);
        assert_eq!(whole(Kind::N8n)["nodes"][0]["parameters"]["endpointUrl"], url);
    }

    #[test]
    fn stdio_names_program_socket_and_token() {
        let transport = Transport::Stdio { program: "/bin/sd".into(), socket: "/d/plane.sock".into() };
        let entry = Kind::ClaudeDesktop.entry("s", &transport, Some("T"));
        let wanted = json!({"command": "/bin/sd", "args": ["stdio", "--attach", "/d/plane.sock"], "env": {"SENTINEL_TOKEN": "T"}});
        assert_eq!(entry.whole["mcpServers"]["s"], wanted);
    }

    #[test]
    fn without_a_token_none_is_written() {
        for kind in ALL {
            let text = kind.entry("s", &http(), None).whole.to_string();
            assert!(!text.contains("Authorization") && !text.contains("bearerAuth"), "{text}");
        }
    }

    #[test]
    fn n8n_says_what_it_cannot_do() {
        assert_eq!(Kind::N8n.can(true, false).unwrap_err().exit_code(), 2);
        assert_eq!(Kind::N8n.can(false, true).unwrap_err().exit_code(), 2);
        assert!(Kind::Cursor.can(true, true).is_ok());
    }

    #[test]
    fn files_lie_where_their_clients_look() {
        let world = World::made_of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c")]);
        let files = ALL.map(|kind| kind.user_file(&world).map(|file| file.display().to_string()));
        let wanted = [
            Some("/h/.claude.json"),
            Some("/c/Claude/claude_desktop_config.json"),
            Some("/h/.cursor/mcp.json"),
            Some("/c/Code/User/mcp.json"),
            None,
            Some("/h/.openclaw/openclaw.json"),
        ];
        assert_eq!(files.each_ref().map(Option::as_deref), wanted);
    }
}

//! A plain MCP client over stdio: it starts `sentinel-dataplane stdio` as client programs do, and speaks lines with it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::fleet::Plane;
use super::process::{Start, pid_of, program};
use super::reply::Reply;
use super::until::DEADLINE;

/// One attached client.
#[derive(Debug)]
pub struct StdioClient {
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    next_id: u64,
}

impl StdioClient {
    /// Attached to this plane, without `initialize`.
    #[must_use]
    pub fn attached(plane: &Plane, folder: &Path, token: &str) -> Self {
        let data_dir = plane.data_dir().display().to_string();
        Self::started(&["stdio", "--data-dir", &data_dir], folder, &[("SENTINEL_TOKEN", token)])
    }

    /// `sentinel-dataplane` with these words and variables.
    #[must_use]
    pub fn started(args: &[&str], folder: &Path, env: &[(&str, &str)]) -> Self {
        let env: BTreeMap<String, String> =
            env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let start = Start {
            name: "stdio".into(),
            program: program("sentinel-dataplane"),
            args: args.iter().map(|word| (*word).to_owned()).collect(),
            env,
            folder: folder.to_owned(),
        };
        let mut command = tokio::process::Command::from(start.command());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output).lines(), next_id: 1 }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it has ended")
    }

    pub fn signal(&self, signal: Signal) {
        kill(pid_of(self.pid()), signal).unwrap();
    }

    pub async fn initialize(&mut self) -> Reply {
        self.begin(json!({})).await
    }

    /// As a client that declares this.
    pub async fn begin(&mut self, capabilities: Value) -> Reply {
        let info = json!({ "name": "harness", "version": "1" });
        let params = json!({ "protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info });
        let reply = self.request("initialize", params).await;
        assert!(reply.result()["protocolVersion"].is_string());
        self.write(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }).to_string()).await;
        reply
    }

    pub async fn call(&mut self, tool: &str, arguments: Value) -> Reply {
        self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await
    }

    pub async fn request(&mut self, method: &str, params: Value) -> Reply {
        let id = self.next_id;
        self.next_id += 1;
        self.write(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()).await;
        self.answer_to(&json!(id)).await
    }

    /// One line.
    pub async fn write(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is closed");
        input.write_all(line.as_bytes()).await.unwrap();
        input.write_all(b"\n").await.unwrap();
        input.flush().await.unwrap();
    }

    /// The next line; none: its output has ended.
    pub async fn read(&mut self) -> Option<String> {
        let line = tokio::time::timeout(DEADLINE, self.output.next_line()).await;
        line.expect("no line came in time").unwrap()
    }

    /// Reads until the answer to this id; what comes before are its notes.
    pub async fn answer_to(&mut self, id: &Value) -> Reply {
        let mut notes = Vec::new();
        loop {
            let text = self.read().await.unwrap_or_else(|| panic!("the output ended before the answer to {id}"));
            let message: Value = serde_json::from_str(&text).unwrap();
            if message.get("method").is_none() && &message["id"] == id {
                return Reply { status: 0, headers: Default::default(), notes, message, text };
            }
            notes.push(message);
        }
    }

    /// Closes its input, waits for its end; gives its status and what it printed on stderr.
    pub async fn end(mut self) -> (ExitStatus, String) {
        self.input = None;
        self.ended().await
    }

    /// Waits for its end, with its input open.
    pub async fn ended(mut self) -> (ExitStatus, String) {
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it does not end").unwrap();
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let reading = tokio::time::timeout(Duration::from_secs(5), stderr.read_to_string(&mut said)).await;
            assert!(reading.is_ok(), "its stderr stays open");
        }
        (status, said)
    }
}

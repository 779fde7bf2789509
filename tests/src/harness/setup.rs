//! What a fleet is made of, before it starts: how many planes, which backends, what the file says besides.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::port::Port;
use super::process::{Process, Start, program};
use super::received::Received;

/// Limits that no test reaches which does not ask for its own.
const NO_LIMITS: &str = "[rate_limit]\n\
    default = { requests = 1000000, per_secs = 1, burst = 1000000 }\n\
    per_client = { requests = 1000000, per_secs = 1, burst = 1000000 }\n";

/// All roles, unless a test writes its own: `operator` may everything, `analyst` echo and small sums.
const ROLES: &str = "[roles.operator]\nallow = [\"*\"]\n\
    [roles.analyst]\nallow = [\"*__echo\", \"*__add\"]\n\
    [[roles.analyst.rules]]\ntool = \"*__add\"\n\
    arguments = { properties = { a = { maximum = 1000 }, b = { maximum = 1000 } } }\n";

/// A fleet to be.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) planes: usize,
    pub(super) waits_for_backends: bool,
    pub(super) env: BTreeMap<String, String>,
    pub(super) database_url: Option<String>,
    auth: String,
    limits: String,
    roles: String,
    rest: String,
    examples: Vec<Example>,
    manners: BTreeMap<String, String>,
    plane_program: Option<PathBuf>,
}

#[derive(Clone, Debug)]
struct Example {
    name: String,
    more: String,
    kind: ExampleKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ExampleKind {
    Legacy,
    Modern,
    Tasks,
    Wrapped,
    Fault,
}

impl Default for Setup {
    fn default() -> Self {
        Self::one_plane()
    }
}

impl Setup {
    /// One plane, SQLite, no backend.
    #[must_use]
    pub fn one_plane() -> Self {
        Self {
            planes: 1,
            waits_for_backends: true,
            env: BTreeMap::new(),
            database_url: None,
            auth: "[auth]\n".into(),
            limits: NO_LIMITS.into(),
            roles: ROLES.into(),
            rest: String::new(),
            examples: Vec::new(),
            manners: BTreeMap::new(),
            plane_program: None,
        }
    }

    /// One plane with the example server as the stdio backend `example`.
    #[must_use]
    pub fn example() -> Self {
        Self::one_plane().backend("example")
    }

    /// The same, with TOML lines of its table.
    #[must_use]
    pub fn example_with(more: &str) -> Self {
        Self::one_plane().backend_with("example", more)
    }

    #[must_use]
    pub fn planes(mut self, planes: usize) -> Self {
        self.planes = planes;
        self
    }

    /// One more example server by stdio, with the receive log `NAME.received` and tools more in `NAME.tools`.
    #[must_use]
    pub fn backend(self, name: &str) -> Self {
        self.backend_with(name, "")
    }

    /// `more`: TOML lines of its table.
    #[must_use]
    pub fn backend_with(mut self, name: &str, more: &str) -> Self {
        self.examples.push(Example { name: name.into(), more: more.into(), kind: ExampleKind::Legacy });
        self
    }

    /// As `backend_with`, of revision 2026-07-28.
    #[must_use]
    pub fn modern_backend(mut self, name: &str, more: &str) -> Self {
        self.examples.push(Example { name: name.into(), more: more.into(), kind: ExampleKind::Modern });
        self
    }

    /// As `backend_with`, with tasks of revision 2025-11-25.
    #[must_use]
    pub fn tasks_backend(mut self, name: &str, more: &str) -> Self {
        self.examples.push(Example { name: name.into(), more: more.into(), kind: ExampleKind::Tasks });
        self
    }

    /// As `backend`, started by a shell that stays: its server is a grandchild of the plane.
    #[must_use]
    pub fn wrapped_backend(mut self, name: &str) -> Self {
        self.examples.push(Example { name: name.into(), more: String::new(), kind: ExampleKind::Wrapped });
        self
    }

    /// A stdio backend that does each bad thing on command; `manner`: how it behaves from its start (`hostile/mod.rs`).
    #[must_use]
    pub fn fault_backend(mut self, name: &str, manner: &str, more: &str) -> Self {
        self.manners.insert(name.into(), manner.into());
        self.examples.push(Example { name: name.into(), more: more.into(), kind: ExampleKind::Fault });
        self
    }

    /// Another build of the data plane than that of the workspace.
    #[must_use]
    pub fn plane_program(mut self, path: &Path) -> Self {
        self.plane_program = Some(path.to_owned());
        self
    }

    pub(super) fn plane(&self) -> PathBuf {
        self.plane_program.clone().unwrap_or_else(|| program("sentinel-dataplane"))
    }

    /// Writes what the backends look for beside the file.
    pub(super) fn write_manners(&self, folder: &Path) {
        for (name, manner) in &self.manners {
            std::fs::write(manner_file(folder, name), manner).unwrap();
        }
    }

    /// TOML that is added at the end.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Self {
        self.rest.push_str(text);
        self.rest.push('\n');
        self
    }

    /// Instead of `[auth]` alone.
    #[must_use]
    pub fn auth(mut self, text: &str) -> Self {
        self.auth = text.into();
        self
    }

    /// Instead of limits that nobody reaches.
    #[must_use]
    pub fn limits(mut self, text: &str) -> Self {
        self.limits = text.into();
        self
    }

    /// Instead of `operator` and `analyst`.
    #[must_use]
    pub fn roles(mut self, text: &str) -> Self {
        self.roles = text.into();
        self
    }

    /// In the environment of all daemons.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// The control plane watches its file.
    #[must_use]
    pub fn watched(self) -> Self {
        self.env("SENTINEL_NO_WATCH", "false")
    }

    #[must_use]
    pub fn postgres(mut self, url: &str) -> Self {
        self.database_url = Some(url.into());
        self
    }

    /// The start does not wait until every backend is usable.
    #[must_use]
    pub fn not_waiting_for_backends(mut self) -> Self {
        self.waits_for_backends = false;
        self
    }

    /// The names of its example servers.
    pub(super) fn backends(&self) -> Vec<&str> {
        self.examples.iter().map(|example| example.name.as_str()).collect()
    }

    /// The file, for a fleet that lives in `folder`.
    #[must_use]
    pub fn text(&self, folder: &Path) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.auth, self.roles, self.limits);
        let server = program("sentinel-example-server");
        for Example { name, more, kind } in &self.examples {
            let (log, tools) = (folder.join(format!("{name}.received")), folder.join(format!("{name}.tools")));
            let (server, log, tools) = (server.display(), log.display(), tools.display());
            if *kind == ExampleKind::Fault {
                let (program, manner) = (program("sentinel-fault-server"), manner_file(folder, name));
                let (program, manner) = (program.display(), manner.display());
                let args = format!("[\"--log\", \"{log}\", \"--manner\", \"{manner}\"]");
                writeln!(text, "[[backends]]\nname = \"{name}\"\ncommand = \"{program}\"\nargs = {args}\n{more}")
                    .unwrap();
                continue;
            }
            let modern = match kind {
                ExampleKind::Modern => "\"--modern\", ",
                ExampleKind::Tasks => "\"--tasks\", ",
                ExampleKind::Fault | ExampleKind::Legacy | ExampleKind::Wrapped => "",
            };
            let start = if *kind == ExampleKind::Wrapped {
                format!("command = \"sh\"\nargs = [\"-c\", \"'{server}' --misbehave --log '{log}'; true\"]")
            } else {
                format!(
                    "command = \"{server}\"\nargs = [{modern}\"--misbehave\", \"--log\", \"{log}\", \"--tools\", \"{tools}\"]"
                )
            };
            writeln!(text, "[[backends]]\nname = \"{name}\"\n{start}\n{more}").unwrap();
        }
        text.push_str(&self.rest);
        text
    }
}

/// Where a bad server reads its manner.
pub(super) fn manner_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.manner"))
}

/// An example server over HTTP, ended when dropped.
#[derive(Debug)]
pub struct HttpExample {
    pub url: String,
    pub process: Process,
    folder: tempfile::TempDir,
    port: Port,
}

impl HttpExample {
    /// Ends it, and starts another at the same address, of the era of 2026-07-28 or of the one before.
    pub async fn comes_back(&mut self, is_modern: bool) {
        self.comes_back_with(if is_modern { &["--modern"] } else { &[] }).await;
    }

    /// The same over HTTP+SSE.
    pub async fn comes_back_old(&mut self) {
        self.comes_back_with(&["--old"]).await;
    }

    async fn comes_back_with(&mut self, more: &[&str]) {
        self.process.kill().await;
        self.process = start_http(&self.port, self.folder.path(), more);
    }

    /// What reached it.
    #[must_use]
    pub fn received(&self) -> Received {
        Received::of(self.folder.path().join("received"))
    }
}

/// Started on a free port; `sse`: each answer is an event stream.
#[must_use]
pub fn http_example(sse: bool) -> HttpExample {
    http_example_with(if sse { &["--sse"] } else { &[] })
}

/// As `http_example`, of revision 2026-07-28.
#[must_use]
pub fn modern_http_example(sse: bool) -> HttpExample {
    http_example_with(if sse { &["--modern", "--sse"] } else { &["--modern"] })
}

/// As `http_example`, with tasks of revision 2025-11-25.
#[must_use]
pub fn tasks_http_example() -> HttpExample {
    http_example_with(&["--tasks"])
}

/// As `http_example`, over HTTP+SSE, the transport of 2024-11-05.
#[must_use]
pub fn old_http_example() -> HttpExample {
    http_example_with(&["--old"])
}

fn http_example_with(more: &[&str]) -> HttpExample {
    let folder = tempfile::tempdir().unwrap();
    let port = Port::free();
    let process = start_http(&port, folder.path(), more);
    HttpExample { url: format!("http://{}/mcp", port.address()), process, folder, port }
}

fn start_http(port: &Port, folder: &Path, more: &[&str]) -> Process {
    let log = folder.join("received").display().to_string();
    let mut args = vec!["--http".to_owned(), port.address(), "--misbehave".to_owned(), "--log".to_owned(), log];
    args.extend(more.iter().map(|&arg| arg.to_owned()));
    let start = Start {
        name: "example".into(),
        program: program("sentinel-example-server"),
        args,
        env: BTreeMap::new(),
        folder: folder.to_owned(),
    };
    start.run()
}

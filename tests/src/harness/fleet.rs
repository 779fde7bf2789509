//! A control plane and its planes as real processes, on free ports, in a directory of their own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::client::Client;
use super::ctl::{Ctl, Ran};
use super::modern::ModernClient;
use super::port::Port;
use super::process::{Process, Start, program};
use super::received::Received;
use super::setup::Setup;
use super::stdio_client::StdioClient;
use super::until::until;

/// Ended when dropped.
#[derive(Debug)]
pub struct Fleet {
    pub control_plane: Process,
    pub planes: Vec<Plane>,
    setup: Setup,
    control_ops: Port,
    folder: tempfile::TempDir,
}

/// One data plane.
#[derive(Debug)]
pub struct Plane {
    pub process: Process,
    listen: Port,
    ops: Port,
    data_dir: PathBuf,
}

impl Plane {
    /// Where MCP is spoken.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.listen.address())
    }

    /// Where a virtual server is spoken to.
    #[must_use]
    pub fn server_url(&self, name: &str) -> String {
        format!("http://{}/servers/{name}/mcp", self.listen.address())
    }

    /// `127.0.0.1:PORT` of MCP.
    #[must_use]
    pub fn address(&self) -> String {
        self.listen.address()
    }

    /// Its directory; `plane/plane.sock` is in it.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Status and body of a path of the ops port; none: it does not answer.
    pub async fn ops(&self, path: &str) -> Option<(u16, String)> {
        look(&format!("http://{}{path}", self.ops.address())).await
    }

    /// What `/ready` says.
    pub async fn ready(&self) -> Result<Value, String> {
        ready(self.ops("/ready").await)
    }

    /// The value of a metric's series, written as in the exposition: `name{label="value"}`.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let (_, text) = self.ops("/metrics").await?;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }

    /// Until it takes calls, and each backend is usable where that is asked for.
    pub async fn until_ready(&self, waits_for_backends: bool) {
        until("the plane is ready", async || {
            let ready = self.ready().await?;
            let backends = ready["backends"].as_array().cloned().unwrap_or_default();
            let waits = waits_for_backends && backends.iter().any(|backend| backend["state"] != "ready");
            if waits { Err(ready.to_string()) } else { Ok(()) }
        })
        .await;
    }
}

impl Fleet {
    /// Starts everything and waits until it is ready.
    pub async fn start(setup: Setup) -> Self {
        let fleet = Self::start_without_waiting(setup);
        fleet.until_ready().await;
        fleet
    }

    /// Starts everything.
    #[must_use]
    pub fn start_without_waiting(setup: Setup) -> Self {
        // Short: the path of a Unix socket has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("sentinel-t-").tempdir_in("/tmp").unwrap();
        let path = folder.path();
        std::fs::write(path.join("sentinel.toml"), setup.text(path)).unwrap();
        setup.write_manners(path);
        let control_ops = Port::free();
        let control_plane = control_plane(&setup, path, &control_ops).run();
        let planes = (0..setup.planes).map(|number| plane(&setup, path, number)).collect();
        Self { control_plane, planes, setup, control_ops, folder }
    }

    /// Until both kinds of daemons answer that they are.
    pub async fn until_ready(&self) {
        until("the control plane is ready", async || self.control_plane_ready().await).await;
        for plane in &self.planes {
            plane.until_ready(self.setup.waits_for_backends).await;
        }
        self.until_connected().await;
        if self.setup.waits_for_backends {
            self.until_known().await;
        }
    }

    /// Until the control plane knows a tool of each backend that the fleet began with.
    async fn until_known(&self) {
        until("the control plane knows the tools", async || {
            let listed = self.ctl("tool list --output json").await;
            let known = self.setup.backends().iter().all(|name| listed.stdout.contains(&format!("\"{name}\"")));
            if known { Ok(()) } else { Err(listed) }
        })
        .await;
    }

    /// Until the control plane sees every plane.
    pub async fn until_connected(&self) {
        until("every plane is connected", async || {
            let listed = self.ctl("plane list --output json").await;
            let planes = serde_json::from_str::<Value>(&listed.stdout).unwrap_or_default();
            let connected = planes.as_array().map_or(0, |planes| {
                planes.iter().filter(|plane| plane["state"] == "connected" || plane["connected"] == true).count()
            });
            if connected >= self.planes.len() { Ok(()) } else { Err(listed) }
        })
        .await;
    }

    /// What the control plane's `/ready` says.
    pub async fn control_plane_ready(&self) -> Result<Value, String> {
        ready(look(&format!("http://{}/ready", self.control_ops.address())).await)
    }

    /// What the control plane's `/metrics` says; empty: it does not answer.
    pub async fn control_plane_metrics(&self) -> String {
        let answer = look(&format!("http://{}/metrics", self.control_ops.address())).await;
        answer.map_or_else(String::new, |(_, text)| text)
    }

    /// SIGKILL, and again on the same directory and ports.
    pub async fn kill_and_restart_control_plane(&mut self) {
        self.control_plane.kill().await;
        self.control_plane.restart().await;
    }

    /// Keeps a copy of the SQLite store, while the control plane is stopped.
    pub fn back_up_store(&self) {
        copy_store(&self.folder().join("control/controlplane"), &self.folder().join("backup"));
    }

    /// The copy in place of the store, while the control plane is stopped.
    pub fn restore_store(&self) {
        copy_store(&self.folder().join("backup"), &self.folder().join("control/controlplane"));
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder().join("sentinel.toml")
    }

    /// Writes what another setup says; it is not applied.
    pub fn write(&self, setup: &Setup) {
        std::fs::write(self.file(), setup.text(self.folder())).unwrap();
    }

    /// As it is now, to be changed and written again.
    #[must_use]
    pub fn setup(&self) -> Setup {
        self.setup.clone()
    }

    #[must_use]
    pub fn controller(&self) -> Ctl {
        Ctl::of(self.folder().join("control"), self.folder())
    }

    /// Runs `sentinelctl` with these words.
    pub async fn ctl(&self, line: &str) -> Ran {
        self.controller().run(line).await
    }

    /// A token for a client in a role, minted as operators do.
    pub async fn token(&self, client: &str, role: &str) -> String {
        let minted = self.ctl(&format!("token mint --client {client} --role {role} --output json")).await;
        minted.json()["token"].as_str().unwrap_or_else(|| panic!("{minted:?}")).to_owned()
    }

    /// A client of the first plane, over HTTP, with a session.
    pub async fn client(&self, name: &str, role: &str) -> Client {
        Client::connected(&self.planes[0].url(), &self.token(name, role).await).await
    }

    /// A client of the first plane, over HTTP, that speaks the modern era.
    pub async fn modern_client(&self, name: &str, role: &str) -> ModernClient {
        ModernClient::new(&self.planes[0].url(), &self.token(name, role).await)
    }

    /// A client of a virtual server of the first plane, over HTTP, with a session.
    pub async fn client_of(&self, server: &str, name: &str, role: &str) -> Client {
        Client::connected(&self.planes[0].server_url(server), &self.token(name, role).await).await
    }

    /// A client of the first plane, attached by `sentinel-dataplane stdio`.
    pub async fn stdio_client(&self, name: &str, role: &str) -> StdioClient {
        let token = self.token(name, role).await;
        let mut client = StdioClient::attached(&self.planes[0], self.folder(), &token);
        client.initialize().await;
        client
    }

    /// What reached the example server `name`.
    #[must_use]
    pub fn received(&self, name: &str) -> Received {
        Received::of(self.folder().join(format!("{name}.received")))
    }

    /// From now on the bad server `name` behaves like this.
    pub fn manner(&self, name: &str, manner: &str) {
        std::fs::write(super::setup::manner_file(self.folder(), name), manner).unwrap();
    }

    /// The rows of a request, once there is one.
    pub async fn audit_rows(&self, request_id: &str) -> Vec<Value> {
        until("the request has its audit row", async || {
            let listed = self.ctl(&format!("audit list --request-id {request_id} --output json")).await;
            match serde_json::from_str::<Vec<Value>>(&listed.stdout) {
                Ok(rows) if !rows.is_empty() => Ok(rows),
                _ => Err(listed),
            }
        })
        .await
    }
}

fn control_plane(setup: &Setup, folder: &Path, ops: &Port) -> Start {
    let mut env = setup.env.clone();
    // A test says itself when a file is read; one about the watch asks for it (`Setup::watched`).
    env.entry("SENTINEL_NO_WATCH".into()).or_insert_with(|| "true".into());
    if let Some(url) = &setup.database_url {
        env.insert("SENTINEL_DATABASE_URL".into(), url.clone());
    }
    Start {
        name: "control-plane".into(),
        program: program("sentinel-controlplane"),
        args: words(&["serve", "--config", "sentinel.toml", "--data-dir", "control", "--ops-listen", &ops.address()]),
        env,
        folder: folder.to_owned(),
    }
}

fn plane(setup: &Setup, folder: &Path, number: usize) -> Plane {
    let (listen, ops) = (Port::free(), Port::free());
    let data_dir = folder.join(format!("plane-{number}"));
    let socket = format!("unix:{}", folder.join("control/controlplane/grpc.sock").display());
    let token = folder.join("control/plane.token").display().to_string();
    let mut env: BTreeMap<String, String> = setup.env.clone();
    env.insert("SENTINEL_PLANE_TOKEN_FILE".into(), token.clone());
    let name = format!("plane-{number}");
    let data = data_dir.display().to_string();
    let start = Start {
        name: name.clone(),
        program: setup.plane(),
        args: words(&[
            "serve",
            "--control-plane",
            &socket,
            "--data-dir",
            &data,
            "--listen",
            &listen.address(),
            "--ops-listen",
            &ops.address(),
            "--plane-name",
            &name,
        ]),
        env,
        folder: folder.to_owned(),
    };
    wait_for_file(Path::new(&token));
    Plane { process: start.run(), listen, ops, data_dir }
}

/// The control plane makes the token at its first start; the plane wants the file that its environment names.
fn wait_for_file(path: &Path) {
    let end = tokio::time::Instant::now() + super::until::DEADLINE;
    while !path.is_file() {
        assert!(tokio::time::Instant::now() < end, "{} does not appear", path.display());
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

/// The database with its log, in place of what is there.
fn copy_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let files = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("sentinel.db")).collect::<Vec<_>>()
    };
    for entry in files(to) {
        std::fs::remove_file(entry.path()).unwrap();
    }
    for entry in files(from) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

async fn look(url: &str) -> Option<(u16, String)> {
    let response = reqwest::get(url).await.ok()?;
    Some((response.status().as_u16(), response.text().await.ok()?))
}

fn ready(looked: Option<(u16, String)>) -> Result<Value, String> {
    match looked {
        Some((200, text)) => Ok(serde_json::from_str(&text).unwrap_or_default()),
        Some((status, text)) => Err(format!("{status} {text}")),
        None => Err("no answer".into()),
    }
}

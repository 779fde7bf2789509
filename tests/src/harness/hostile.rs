//! A bad server over HTTP as a process of its own, and what commands it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::port::Port;
use super::process::{Process, Start, program};
use super::received::Received;

/// Ended when dropped.
#[derive(Debug)]
pub struct HttpFault {
    pub process: Process,
    port: Port,
    folder: tempfile::TempDir,
}

impl HttpFault {
    #[must_use]
    pub fn start() -> Self {
        let (port, folder) = (Port::free(), tempfile::tempdir().unwrap());
        let path = |name: &str| folder.path().join(name).display().to_string();
        let start = Start {
            name: "fault".into(),
            program: program("sentinel-fault-server"),
            args: ["--http", &port.address(), "--log", &path("received"), "--manner", &path("manner")]
                .map(ToOwned::to_owned)
                .to_vec(),
            env: BTreeMap::new(),
            folder: folder.path().to_owned(),
        };
        Self { process: start.run(), port, folder }
    }

    /// `127.0.0.1:PORT`
    #[must_use]
    pub fn address(&self) -> String {
        self.port.address()
    }

    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address())
    }

    /// Where it speaks HTTP+SSE, the transport of 2024-11-05.
    #[must_use]
    pub fn old_url(&self) -> String {
        format!("http://{}/sse", self.address())
    }

    /// From now on it behaves like this (`hostile/http.rs`, `hostile/old.rs`).
    pub fn manner(&self, manner: &str) {
        // Renamed into place: half a word is never read.
        let (aside, file): (PathBuf, PathBuf) =
            (self.folder.path().join("manner.aside"), self.folder.path().join("manner"));
        std::fs::write(&aside, manner).unwrap();
        std::fs::rename(aside, file).unwrap();
    }

    /// What reached it.
    #[must_use]
    pub fn received(&self) -> Received {
        Received::of(self.folder.path().join("received"))
    }

    /// SIGKILL, and another at the same address.
    pub async fn comes_back(&mut self) {
        self.process.kill().await;
        self.process.restart().await;
    }

    /// Until it takes connections.
    pub async fn is_there(&self) {
        super::until::until("the bad server listens", async || {
            tokio::net::TcpStream::connect(self.address()).await.map(drop)
        })
        .await;
    }
}

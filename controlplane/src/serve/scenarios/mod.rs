//! The daemon's parts, whole, over a real Unix socket, with fake planes made of the generated client.

mod fake_plane;
mod identity;
mod kills;
mod pins;
mod publishing;

use std::time::Duration;

use sentinel_proto::v1::admin_service_client::AdminServiceClient;
use sentinel_proto::v1::{ReloadRequest, StatusReply, StatusRequest};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use super::{build, grpc, tasks};
use crate::clock::Clock;
use crate::core::Core;
use crate::home::Home;
use crate::listen;
use crate::secrets::Tokens;
use crate::signing::SigningKey;
use crate::store::{Place, Store};

const NOW_MS: i64 = 1_800_000_000_000;

/// One control plane on a directory of its own.
struct Rig {
    dir: tempfile::TempDir,
    core: Core,
    home: Home,
    admin: AdminServiceClient<Channel>,
}

fn text(backend: &str) -> String {
    format!(
        "[auth]\n[roles.operator]\nallow = [\"*\"]\n[[backends]]\nname = \"{backend}\"\ntype = \"http\"\nurl = \"http://127.0.0.1:1/mcp\"\n"
    )
}

impl Rig {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sentinel.toml"), text("echo")).unwrap();
        Self::on(dir).await
    }

    async fn on(dir: tempfile::TempDir) -> Self {
        let home = Home::open(&dir.path().join("state")).unwrap();
        let clock = Clock::fixed(NOW_MS);
        let tokens = Tokens::load(&home, false).unwrap();
        let signing = SigningKey::load_or_make(&home).unwrap();
        let core = build(&dir.path().join("sentinel.toml"), &clock, tokens, signing).unwrap();
        let store = Store::open(&Place::Sqlite(home.database()), NOW_MS).await;
        core.keeper.opened(store.unwrap());
        tasks::begin(&core, tasks::Outcome::default());
        grpc::run(&core, listen::unix(&home.socket()).unwrap(), None, None).unwrap();
        let begun = tokio::time::timeout(Duration::from_secs(10), core.begun.cancelled());
        begun.await.expect("the control plane begins");
        let admin = AdminServiceClient::new(channel(&home).await);
        Self { dir, core, home, admin }
    }

    fn write(&self, text: &str) {
        std::fs::write(self.dir.path().join("sentinel.toml"), text).unwrap();
    }

    fn bearer<T>(&self, message: T) -> Request<T> {
        with_token(&self.home.admin_token(), message)
    }

    async fn reload(&mut self, asked: ReloadRequest) -> Result<sentinel_proto::v1::PublishReply, Status> {
        let request = self.bearer(asked);
        self.admin.reload(request).await.map(tonic::Response::into_inner)
    }

    async fn status(&mut self) -> StatusReply {
        let request = self.bearer(StatusRequest {});
        self.admin.status(request).await.unwrap().into_inner()
    }

    /// Waits until `so` holds of the status; fails with the last one.
    async fn until(&mut self, so: impl Fn(&StatusReply) -> bool) -> StatusReply {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let fleet = self.core.fleet.clone();
        loop {
            let status = self.status().await;
            if so(&status) {
                return status;
            }
            assert!(tokio::time::Instant::now() < deadline, "it never came to be so: {status:?}");
            let soon = tokio::time::Instant::now() + Duration::from_millis(20);
            fleet.until(soon, |_| None::<()>).await;
        }
    }

    /// Ends this control plane; the directory stays for another.
    async fn stop(self) -> tempfile::TempDir {
        self.core.fleet.close_all("the test stops it");
        self.core.spine.stop().cancel();
        drop(self.admin);
        let ended = tokio::time::timeout(Duration::from_secs(10), self.core.spine.ended());
        assert!(!ended.await.expect("everything ends"), "a part of the spine has panicked");
        self.core.keeper.store().unwrap().close().await;
        self.dir
    }
}

async fn channel(home: &Home) -> Channel {
    let socket = format!("unix:{}", home.socket().display());
    Endpoint::from_shared(socket).unwrap().connect().await.unwrap()
}

fn with_token<T>(file: &std::path::Path, message: T) -> Request<T> {
    let token = std::fs::read_to_string(file).unwrap();
    let mut request = Request::new(message);
    let value = format!("Bearer {}", token.trim()).parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

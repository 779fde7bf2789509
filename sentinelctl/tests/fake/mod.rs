//! An `AdminService` that answers from a table, on a Unix socket in a directory of its own. It decides nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures_util::stream;
use sentinel_proto::v1::admin_service_server::{AdminService, AdminServiceServer};
use sentinel_proto::v1::*;
use tokio::net::UnixListener;
use tonic::{Request, Response, Status};

/// The token that it takes.
pub(crate) const TOKEN: &str = "admin-token-of-the-test";

/// What it answers with, and what it was asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    pub(crate) status: StatusReply,
    pub(crate) publish: PublishReply,
    pub(crate) check: ConfigCheckReply,
    pub(crate) kill: KillReply,
    pub(crate) kills: KillListReply,
    pub(crate) audit: AuditListReply,
    pub(crate) tools: ToolListReply,
    pub(crate) planes: PlaneListReply,
    pub(crate) tool: ToolShowReply,
    pub(crate) stats: AuditStatsReply,
    pub(crate) tail: AuditTailPiece,
    pub(crate) verify: AuditVerifyPiece,
    pub(crate) explained: ExplainCallReply,
    pub(crate) foretold: ExplainAskReply,
    pub(crate) mint: Option<TokenMintReply>,
    pub(crate) refuse: Option<(tonic::Code, String)>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

struct Fake(Answers);

impl Fake {
    fn take<Q: std::fmt::Debug, A>(&self, request: Request<Q>, answer: A) -> Result<Response<A>, Status> {
        let token = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        if token != Some(&format!("Bearer {TOKEN}")) {
            return Err(Status::unauthenticated("wrong token"));
        }
        self.0.asked.lock().unwrap().push(format!("{:?}", request.into_inner()));
        match &self.0.refuse {
            Some((code, message)) => Err(Status::new(*code, message.clone())),
            None => Ok(Response::new(answer)),
        }
    }
}

macro_rules! answers {
    ($($name:ident: $ask:ty => $answer:ty = $of:expr;)*) => {
        #[tonic::async_trait]
        impl AdminService for Fake {
            $(async fn $name(&self, request: Request<$ask>) -> Result<Response<$answer>, Status> {
                let of: fn(&Answers) -> $answer = $of;
                self.take(request, of(&self.0))
            })*
            type AuditExportStream = stream::Empty<Result<AuditExportPiece, Status>>;
            type AuditTailStream = stream::Iter<std::vec::IntoIter<Result<AuditTailPiece, Status>>>;
            type AuditVerifyStream = stream::Iter<std::vec::IntoIter<Result<AuditVerifyPiece, Status>>>;
            async fn audit_export(&self, request: Request<AuditExportRequest>) -> Result<Response<Self::AuditExportStream>, Status> {
                self.take(request, stream::empty())
            }
            async fn audit_tail(&self, request: Request<AuditListRequest>) -> Result<Response<Self::AuditTailStream>, Status> {
                self.take(request, stream::iter(vec![Ok(self.0.tail.clone())]))
            }
            async fn audit_verify(&self, request: Request<AuditVerifyRequest>) -> Result<Response<Self::AuditVerifyStream>, Status> {
                self.take(request, stream::iter(vec![Ok(self.0.verify.clone())]))
            }
            async fn token_mint(&self, request: Request<TokenMintRequest>) -> Result<Response<TokenMintReply>, Status> {
                match self.0.mint.clone() {
                    Some(reply) => self.take(request, reply),
                    None => Err(Status::failed_precondition("no built-in key in this configuration")),
                }
            }
        }
    };
}

answers! {
    status: StatusRequest => StatusReply = |a| a.status.clone();
    reload: ReloadRequest => PublishReply = |a| a.publish.clone();
    rollback: RollbackRequest => PublishReply = |a| a.publish.clone();
    config_plan: ConfigPlanRequest => ConfigPlanReply = |_| ConfigPlanReply::default();
    config_diff: ConfigDiffRequest => ConfigDiffReply = |_| ConfigDiffReply::default();
    config_check: ConfigCheckRequest => ConfigCheckReply = |a| a.check.clone();
    config_show: ConfigShowRequest => ConfigShowReply = |_| ConfigShowReply::default();
    config_history: ConfigHistoryRequest => ConfigHistoryReply = |_| ConfigHistoryReply::default();
    kill: KillRequest => KillReply = |a| a.kill.clone();
    kill_list: KillListRequest => KillListReply = |a| a.kills.clone();
    token_revoke: TokenRevokeRequest => KillReply = |a| a.kill.clone();
    token_list_revoked: TokenListRevokedRequest => TokenListRevokedReply = |_| TokenListRevokedReply::default();
    audit_list: AuditListRequest => AuditListReply = |a| a.audit.clone();
    backend_list: BackendListRequest => BackendListReply = |_| BackendListReply::default();
    backend_stderr: BackendStderrRequest => BackendStderrReply = |_| BackendStderrReply::default();
    backend_restart: BackendRestartRequest => BackendRestartReply = |_| BackendRestartReply::default();
    tool_list: ToolListRequest => ToolListReply = |a| a.tools.clone();
    plane_list: PlaneListRequest => PlaneListReply = |a| a.planes.clone();
    plane_forget: PlaneForgetRequest => PlaneForgetReply = |_| PlaneForgetReply::default();
    audit_stats: AuditStatsRequest => AuditStatsReply = |a| a.stats.clone();
    explain_call: ExplainCallRequest => ExplainCallReply = |a| a.explained.clone();
    explain_ask: ExplainAskRequest => ExplainAskReply = |a| a.foretold.clone();
    tool_show: ToolShowRequest => ToolShowReply = |a| a.tool.clone();
    tool_approve: ToolApproveRequest => ToolTrustReply = |_| ToolTrustReply::default();
    tool_quarantine: ToolQuarantineRequest => ToolTrustReply = |_| ToolTrustReply::default();
}

/// A data directory with socket and token, and the service behind it until `Home` is dropped.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    _serving: tokio::task::JoinSet<()>,
}

impl Home {
    pub(crate) fn new(answers: Answers) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("controlplane/grpc.sock");
        std::fs::create_dir(socket.parent().unwrap()).unwrap();
        std::fs::write(dir.path().join("admin.token"), format!("{TOKEN}\n")).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let incoming = stream::unfold(listener, |listener| async move {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        let service = tonic::transport::Server::builder().add_service(AdminServiceServer::new(Fake(answers)));
        let mut serving = tokio::task::JoinSet::new();
        serving.spawn(async move { service.serve_with_incoming(incoming).await.unwrap() });
        Self { dir, _serving: serving }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

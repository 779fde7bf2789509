//! AdminService: one method a verb of `sentinelctl`. Thin: each checks the token, and calls the part that knows.
//!
//! What changes something goes through `Core::act`, so that it is audited and runs to its end.

mod audit;
mod backends;
mod comparing;
mod configuration;
mod explaining;
mod kills;
mod planes;
mod planning;
mod status;
mod tokens;
mod tools;
mod trust;

use std::time::Duration;

use sentinel_proto::v1::admin_service_server::AdminService;
use sentinel_proto::v1::{
    AuditExportPiece, AuditExportRequest, AuditListReply, AuditListRequest, AuditStatsReply, AuditStatsRequest,
    AuditTailPiece, AuditVerifyPiece, AuditVerifyRequest, BackendListReply, BackendListRequest, BackendRestartReply,
    BackendRestartRequest, BackendStderrReply, BackendStderrRequest, ConfigCheckReply, ConfigCheckRequest,
    ConfigDiffReply, ConfigDiffRequest, ConfigHistoryReply, ConfigHistoryRequest, ConfigPlanReply, ConfigPlanRequest,
    ConfigShowReply, ConfigShowRequest, ExplainAskReply, ExplainAskRequest, ExplainCallReply, ExplainCallRequest,
    KillListReply, KillListRequest, KillReply, KillRequest, PlaneForgetReply, PlaneForgetRequest, PlaneListReply,
    PlaneListRequest, PublishReply, ReloadRequest, RollbackRequest, StatusReply, StatusRequest, TokenListRevokedReply,
    TokenListRevokedRequest, TokenMintReply, TokenMintRequest, TokenRevokeRequest, ToolApproveRequest, ToolListReply,
    ToolListRequest, ToolQuarantineRequest, ToolShowReply, ToolShowRequest, ToolTrustReply,
};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use crate::core::Core;
use crate::guard::{self, Power};
use crate::refusal::Refusal;

pub use self::configuration::reload_by;

/// How long a question about backends and tools waits for a plane that has just come: its report is on its way.
const FIRST_REPORT: Duration = Duration::from_secs(3);

#[derive(Clone, Debug)]
pub struct Admin {
    core: Core,
}

impl Admin {
    pub const fn new(core: Core) -> Self {
        Self { core }
    }

    /// The message of a caller that may ask. Errors: `UNAUTHENTICATED`, `PERMISSION_DENIED`.
    fn open<T>(&self, request: Request<T>) -> Result<T, Status> {
        guard::check(&self.core.tokens, Power::Admin, request.metadata())?;
        Ok(request.into_inner())
    }
}

fn answer<T>(done: Result<T, Refusal>) -> Result<Response<T>, Status> {
    done.map(Response::new).map_err(Status::from)
}

#[tonic::async_trait]
impl AdminService for Admin {
    type AuditExportStream = audit::Pieces<AuditExportPiece>;
    type AuditTailStream = audit::Pieces<AuditTailPiece>;
    type AuditVerifyStream = audit::Pieces<AuditVerifyPiece>;

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        self.open(request)?;
        Ok(Response::new(status::status(&self.core).await))
    }

    async fn reload(&self, request: Request<ReloadRequest>) -> Result<Response<PublishReply>, Status> {
        answer(Box::pin(configuration::reload(&self.core, self.open(request)?)).await)
    }

    async fn rollback(&self, request: Request<RollbackRequest>) -> Result<Response<PublishReply>, Status> {
        answer(configuration::rollback(&self.core, self.open(request)?).await)
    }

    async fn config_check(&self, request: Request<ConfigCheckRequest>) -> Result<Response<ConfigCheckReply>, Status> {
        let asked = self.open(request)?;
        Ok(Response::new(configuration::check(&self.core, &asked)))
    }

    async fn config_show(&self, request: Request<ConfigShowRequest>) -> Result<Response<ConfigShowReply>, Status> {
        answer(configuration::show(&self.core, self.open(request)?.revision).await)
    }

    async fn config_history(
        &self,
        request: Request<ConfigHistoryRequest>,
    ) -> Result<Response<ConfigHistoryReply>, Status> {
        answer(configuration::history(&self.core, self.open(request)?.limit).await)
    }

    async fn config_diff(&self, request: Request<ConfigDiffRequest>) -> Result<Response<ConfigDiffReply>, Status> {
        answer(Box::pin(comparing::compare(&self.core, self.open(request)?)).await)
    }

    async fn config_plan(&self, request: Request<ConfigPlanRequest>) -> Result<Response<ConfigPlanReply>, Status> {
        answer(Box::pin(planning::plan(&self.core, self.open(request)?)).await)
    }

    async fn kill(&self, request: Request<KillRequest>) -> Result<Response<KillReply>, Status> {
        answer(kills::kill(&self.core, self.open(request)?).await)
    }

    async fn kill_list(&self, request: Request<KillListRequest>) -> Result<Response<KillListReply>, Status> {
        self.open(request)?;
        Ok(Response::new(kills::list(&self.core)))
    }

    async fn token_mint(&self, request: Request<TokenMintRequest>) -> Result<Response<TokenMintReply>, Status> {
        answer(tokens::mint(&self.core, self.open(request)?).await)
    }

    async fn token_revoke(&self, request: Request<TokenRevokeRequest>) -> Result<Response<KillReply>, Status> {
        answer(tokens::revoke(&self.core, self.open(request)?).await)
    }

    async fn token_list_revoked(
        &self,
        request: Request<TokenListRevokedRequest>,
    ) -> Result<Response<TokenListRevokedReply>, Status> {
        self.open(request)?;
        Ok(Response::new(tokens::revoked(&self.core)))
    }

    async fn audit_list(&self, request: Request<AuditListRequest>) -> Result<Response<AuditListReply>, Status> {
        answer(audit::list(&self.core, self.open(request)?).await)
    }

    async fn backend_list(&self, request: Request<BackendListRequest>) -> Result<Response<BackendListReply>, Status> {
        self.open(request)?;
        self.core.fleet.all_reported(Instant::now() + FIRST_REPORT).await;
        Ok(Response::new(BackendListReply { backends: self.core.fleet.backends() }))
    }

    async fn backend_stderr(
        &self,
        request: Request<BackendStderrRequest>,
    ) -> Result<Response<BackendStderrReply>, Status> {
        answer(backends::stderr(&self.core, &self.open(request)?.name).await)
    }

    async fn backend_restart(
        &self,
        request: Request<BackendRestartRequest>,
    ) -> Result<Response<BackendRestartReply>, Status> {
        answer(backends::restart(&self.core, self.open(request)?).await)
    }

    async fn tool_list(&self, request: Request<ToolListRequest>) -> Result<Response<ToolListReply>, Status> {
        let asked = self.open(request)?;
        self.core.fleet.all_reported(Instant::now() + FIRST_REPORT).await;
        answer(tools::list(&self.core, &asked.role, &asked.server))
    }

    async fn plane_list(&self, request: Request<PlaneListRequest>) -> Result<Response<PlaneListReply>, Status> {
        self.open(request)?;
        Ok(Response::new(PlaneListReply { planes: self.core.fleet.states() }))
    }

    async fn plane_forget(&self, request: Request<PlaneForgetRequest>) -> Result<Response<PlaneForgetReply>, Status> {
        answer(planes::forget(&self.core, self.open(request)?).await)
    }

    async fn tool_show(&self, request: Request<ToolShowRequest>) -> Result<Response<ToolShowReply>, Status> {
        let asked = self.open(request)?;
        self.core.fleet.all_reported(Instant::now() + FIRST_REPORT).await;
        answer(tools::show(&self.core, &asked.name).await)
    }

    async fn tool_approve(&self, request: Request<ToolApproveRequest>) -> Result<Response<ToolTrustReply>, Status> {
        answer(trust::approve(&self.core, self.open(request)?).await)
    }

    async fn tool_quarantine(
        &self,
        request: Request<ToolQuarantineRequest>,
    ) -> Result<Response<ToolTrustReply>, Status> {
        answer(trust::quarantine(&self.core, self.open(request)?).await)
    }

    async fn audit_stats(&self, request: Request<AuditStatsRequest>) -> Result<Response<AuditStatsReply>, Status> {
        answer(audit::stats(&self.core, self.open(request)?).await)
    }

    async fn audit_export(
        &self,
        request: Request<AuditExportRequest>,
    ) -> Result<Response<Self::AuditExportStream>, Status> {
        answer(audit::export(&self.core, self.open(request)?))
    }

    async fn audit_tail(&self, request: Request<AuditListRequest>) -> Result<Response<Self::AuditTailStream>, Status> {
        answer(audit::tail(&self.core, self.open(request)?).await)
    }

    async fn audit_verify(
        &self,
        request: Request<AuditVerifyRequest>,
    ) -> Result<Response<Self::AuditVerifyStream>, Status> {
        self.open(request)?;
        answer(audit::verify(&self.core))
    }

    async fn explain_call(&self, request: Request<ExplainCallRequest>) -> Result<Response<ExplainCallReply>, Status> {
        let asked = self.open(request)?;
        answer(Box::pin(explaining::after::call(&self.core, &asked.request_id)).await)
    }

    async fn explain_ask(&self, request: Request<ExplainAskRequest>) -> Result<Response<ExplainAskReply>, Status> {
        answer(Box::pin(explaining::before::ask(&self.core, self.open(request)?)).await)
    }
}

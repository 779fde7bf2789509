//! The audit commands: each hands its question to the part that knows, and streams what may be long.

use std::collections::BTreeMap;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use sentinel_proto::v1::{
    AuditExportPiece, AuditExportRequest, AuditListReply, AuditListRequest, AuditStatsReply, AuditStatsRequest,
    AuditTailPiece, AuditVerifyPiece,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::audit::export::Export;
use crate::audit::tail::TailError;
use crate::audit::verify::{self, Hash, Said};
use crate::audit::{query, stats};
use crate::core::Core;
use crate::refusal::Refusal;

/// Pieces that wait for a reader: then the next page is not read.
const PIECES: usize = 2;

pub(super) type Pieces<T> = BoxStream<'static, Result<T, Status>>;

pub(super) async fn list(core: &Core, asked: AuditListRequest) -> Result<AuditListReply, Refusal> {
    let store = core.keeper.store()?;
    Ok(query::list(&store, &asked).await?)
}

pub(super) async fn stats(core: &Core, asked: AuditStatsRequest) -> Result<AuditStatsReply, Refusal> {
    let store = core.keeper.store()?;
    Ok(stats::stats(&store, &asked, core.clock.unix_ms()).await?)
}

pub(super) fn export(core: &Core, asked: AuditExportRequest) -> Result<Pieces<AuditExportPiece>, Refusal> {
    let export = Export::new(core.keeper.store()?, asked, core.clock.unix_ms())?;
    let (out, pieces) = mpsc::channel(PIECES);
    core.spine.tracker().spawn(until_stopped(core.spine.stop().clone(), export.run(out)));
    Ok(Box::pin(ReceiverStream::new(pieces)))
}

pub(super) async fn tail(core: &Core, asked: AuditListRequest) -> Result<Pieces<AuditTailPiece>, Refusal> {
    let store = core.keeper.store()?;
    let tail = core.tails.follow(&store, &asked).await.map_err(|why| match why {
        TailError::Full => Refusal::state(why.to_string()),
        TailError::Query(why) => why.into(),
    })?;
    let pieces = stream::unfold(tail, |mut tail| async move { tail.next().await.map(|piece| (Ok(piece), tail)) });
    let stopped = core.spine.stop().clone().cancelled_owned();
    let goodbye = stream::once(async { Err(Status::unavailable("the control plane is stopping")) });
    Ok(Box::pin(pieces.take_until(stopped).chain(goodbye)))
}

pub(super) fn verify(core: &Core) -> Result<Pieces<AuditVerifyPiece>, Refusal> {
    let store = core.keeper.store()?;
    let said: BTreeMap<String, Said> = core.fleet.see(|all| {
        let each = all.values().map(|plane| {
            let report = plane.report.as_ref();
            let stored = report.map_or(0, |report| report.audit_written.saturating_sub(report.audit_backlog));
            let epoch = if report.is_some() { plane.boot } else { 0 };
            let head = report.and_then(|report| {
                Hash::try_from(report.audit_acked_hash.as_slice()).ok().map(|head| (report.audit_acked_seq, head))
            });
            (plane.id.clone(), Said { epoch, stored, head, first_seen_ms: plane.first_seen_ms })
        });
        each.collect()
    });
    let (out, pieces) = mpsc::channel(PIECES);
    core.spine.tracker().spawn(until_stopped(core.spine.stop().clone(), verify::run(store, said, out)));
    Ok(Box::pin(ReceiverStream::new(pieces)))
}

/// At the end of the program nobody waits for a long walk.
async fn until_stopped(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

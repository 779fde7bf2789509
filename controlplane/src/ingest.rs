//! AuditService: takes batches of the plane that the stream's metadata proves, and acknowledges what is durable.
//!
//! Faults that pass are waited out here with growing pauses, without an ack: the plane's spool is the buffer. What a
//! record means, and what becomes of a poisoned one, is `audit/ingest.rs`'s.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use futures_util::stream::BoxStream;
use sentinel_proto::v1::audit_service_server::AuditService;
use sentinel_proto::v1::{AuditBatch, IngestAck};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::audit::ingest::{IngestError, ingest};
use crate::core::Core;
use crate::fleet::Proof;
use crate::guard::{self, Power};
use crate::secrets::{sha256, unhex};
use crate::store::error::{Fault, StoreError};

/// Acks that may wait for a plane that does not read them; then its next batch waits.
const ACKS: usize = 16;
/// Longest pause between two tries of one batch.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct Ingest {
    core: Core,
}

impl Ingest {
    pub const fn new(core: Core) -> Self {
        Self { core }
    }
}

#[tonic::async_trait]
impl AuditService for Ingest {
    type IngestStream = BoxStream<'static, Result<IngestAck, Status>>;

    async fn ingest(&self, request: Request<Streaming<AuditBatch>>) -> Result<Response<Self::IngestStream>, Status> {
        guard::check(&self.core.tokens, Power::Plane, request.metadata())?;
        let plane = prove(&self.core, request.metadata()).await?;
        let (acks, out) = mpsc::channel(ACKS);
        let core = self.core.clone();
        self.core.spine.tracker().spawn(async move {
            if let Err(status) = take(&core, &plane, request.into_inner(), &acks).await {
                acks.send(Err(status)).await.ok();
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }
}

/// The plane's id, proved by its secret. Errors: `UNAUTHENTICATED`, `PERMISSION_DENIED`, `UNAVAILABLE`.
async fn prove(core: &Core, metadata: &MetadataMap) -> Result<String, Status> {
    let text = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok());
    let missing =
        || Status::unauthenticated("sentinel-plane-id and sentinel-plane-secret (hex) say whose records these are");
    let id = text("sentinel-plane-id").ok_or_else(missing)?.to_owned();
    let secret = text("sentinel-plane-secret").and_then(unhex).ok_or_else(missing)?;
    let wrong = || Status::permission_denied(StoreError::WrongPlaneSecret { id: id.clone() }.to_string());
    match core.fleet.proof(&id, &secret) {
        Proof::Known => Ok(id),
        Proof::Wrong => Err(wrong()),
        Proof::AskStore => {
            let store = core.keeper.store().map_err(|away| Status::unavailable(away.to_string()))?;
            match store.plane_proves(&id, &sha256(&secret)).await {
                Ok(()) => {
                    core.fleet.proved(&id, &secret);
                    Ok(id)
                }
                Err(StoreError::WrongPlaneSecret { .. }) => Err(wrong()),
                // Its hello is on its way on the other stream.
                Err(why @ StoreError::UnknownPlane { .. }) => Err(Status::failed_precondition(why.to_string())),
                Err(why) => Err(Status::unavailable(why.to_string())),
            }
        }
    }
}

/// Batches, one after the other. Errors: the status that ends the stream.
async fn take(
    core: &Core,
    plane: &str,
    mut batches: Streaming<AuditBatch>,
    acks: &mpsc::Sender<Result<IngestAck, Status>>,
) -> Result<(), Status> {
    let stopping = || Status::unavailable("the control plane is stopping");
    loop {
        let batch = tokio::select! {
            () = core.spine.stop().cancelled() => return Err(stopping()),
            batch = batches.message() => batch?,
        };
        let Some(batch) = batch else { return Ok(()) };
        let ack = tokio::select! {
            () = core.spine.stop().cancelled() => return Err(stopping()),
            () = acks.closed() => return Ok(()),
            ack = durable(core, plane, &batch) => ack?,
        };
        if acks.send(Ok(ack)).await.is_err() {
            return Ok(());
        }
    }
}

/// Stores one batch, however long the store is away. Errors: this batch never works.
///
/// May be dropped anywhere: nothing was acknowledged, and a repeated batch changes nothing.
async fn durable(core: &Core, plane: &str, batch: &AuditBatch) -> Result<IngestAck, Status> {
    let policy = ExponentialBuilder::new().with_min_delay(Duration::from_millis(100)).with_jitter();
    let mut pauses = policy.with_max_delay(LONGEST_PAUSE).without_max_times().build();
    loop {
        let tried = match core.keeper.store() {
            Ok(store) => ingest(&store, plane, batch, core.clock.unix_ms()).await,
            Err(_) => {
                if core.keeper.ready(core.spine.stop()).await.is_none() {
                    return Err(Status::unavailable("the control plane is stopping"));
                }
                continue;
            }
        };
        match tried {
            Ok(done) => {
                core.metrics.ingested.inc_by(done.inserted);
                core.metrics.quarantined.inc_by(u64::from(done.quarantined));
                core.tails.tell(plane, batch);
                core.keeper.took(plane);
                return Ok(IngestAck { epoch: done.epoch, seq: done.up_to, quarantined: done.quarantined });
            }
            Err(why @ IngestError::BadBatch { .. }) => {
                return Err(Status::invalid_argument(why.to_string()));
            }
            Err(why) if why.fault() == Fault::Passing => {
                tracing::warn!(plane, %why, "a batch waits for the store");
                core.keeper.refused(plane, &why.to_string());
                tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            }
            Err(why) => {
                tracing::error!(plane, %why, "a batch of audit records can't be stored");
                core.keeper.refused(plane, &why.to_string());
                return Err(Status::internal(why.to_string()));
            }
        }
    }
}

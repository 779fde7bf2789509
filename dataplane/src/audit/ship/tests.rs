//! Shipping against a control plane on a Unix socket that loses acks together with their stream.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use hyper_util::rt::TokioIo;
use sentinel_proto::v1::audit_service_server::{AuditService, AuditServiceServer};
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::task::TaskTracker;
use tonic::Response;
use tonic::transport::{Endpoint, Server};

use super::super::spool::Limits;
use super::*;
use crate::clock::Clock;

type Stored = Arc<Mutex<BTreeMap<(u64, u64), Vec<u8>>>>;

/// Keeps each (epoch, seq) once; every third ack is lost, and the stream with it.
#[derive(Clone, Debug, Default)]
struct Store {
    stored: Stored,
    repeats: Arc<AtomicU32>,
    acks: Arc<AtomicU32>,
    tasks: TaskTracker,
}

#[tonic::async_trait]
impl AuditService for Store {
    type IngestStream = ReceiverStream<Result<IngestAck, Status>>;

    async fn ingest(&self, request: Request<Streaming<AuditBatch>>) -> Result<Response<Self::IngestStream>, Status> {
        let shown = |name| request.metadata().get(name).map(|value| value.to_str().unwrap().to_owned());
        if shown("authorization").as_deref() != Some("Bearer token")
            || shown("sentinel-plane-id") != Some(Uuid::from_u128(7).to_string())
            || shown("sentinel-plane-secret").as_deref() != Some("0102")
        {
            return Err(Status::unauthenticated("who?"));
        }
        let (down, acks) = mpsc::channel(4);
        let store = self.clone();
        let mut batches = request.into_inner();
        self.tasks.spawn(async move {
            while let Ok(Some(batch)) = batches.message().await {
                assert!(batch.records.len() <= 500);
                let mut seq = 0;
                for record in batch.records {
                    seq = record.seq;
                    let known = store.stored.lock().unwrap().insert((batch.epoch, seq), record.event.clone());
                    if known.is_some_and(|known| known == record.event) {
                        store.repeats.fetch_add(1, Ordering::Relaxed);
                    }
                }
                if store.acks.fetch_add(1, Ordering::Relaxed) % 3 == 2 {
                    return;
                }
                let ack = IngestAck { epoch: batch.epoch, seq, quarantined: 0 };
                if down.send(Ok(ack)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(acks)))
    }
}

fn channel_to(path: PathBuf) -> Channel {
    Endpoint::from_static("http://controlplane").connect_with_connector_lazy(tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    }))
}

fn open(dir: &std::path::Path, epoch: u64) -> Spool {
    Spool::open(dir, Uuid::from_u128(7), epoch, Limits::default(), &Clock::system()).unwrap().spool
}

fn put(spool: &Spool, count: u32) {
    for n in 0..count {
        spool.append(spool.reserve().unwrap(), format!("{{\"n\":{n}}}").as_bytes()).unwrap();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = timeout(Duration::from_secs(20), async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "not within 20 s: {what}");
}

#[tokio::test]
async fn with_every_third_ack_lost_each_record_is_stored_and_then_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(dir.path(), 4), 1_200);
    let spool = open(dir.path(), 5);
    put(&spool, 2_300);
    let socket = dir.path().join("grpc.sock");
    let store = Store::default();
    let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    let tasks = TaskTracker::new();
    let (stop, server_stop) = (CancellationToken::new(), CancellationToken::new());
    let server = Server::builder().add_service(AuditServiceServer::new(store.clone()));
    let serving = tasks.spawn(server.serve_with_incoming_shutdown(listener, server_stop.clone().cancelled_owned()));
    let credentials = Credentials::new("token", Uuid::from_u128(7), &[1, 2]).unwrap();
    let connect = move || (channel_to(socket.clone()), credentials.clone());
    let shipping = tasks.spawn(run(spool.clone(), connect, stop.clone()));
    until("all acked", || spool.backlog().records == 0).await;
    put(&spool, 10);
    stop.cancel();
    timeout(Duration::from_secs(10), shipping).await.unwrap().unwrap();
    let expected: Vec<(u64, u64)> = (1..=1_201).map(|seq| (4, seq)).chain((1..=2_311).map(|seq| (5, seq))).collect();
    let stored: Vec<(u64, u64)> = store.stored.lock().unwrap().keys().copied().collect();
    assert_eq!(stored, expected);
    assert!(store.repeats.load(Ordering::Relaxed) > 0, "no ack was lost: the test shows nothing");
    server_stop.cancel();
    drop(serving);
}

#[tokio::test(start_paused = true)]
async fn without_a_control_plane_it_tries_on_and_ends_when_told() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), 5);
    put(&spool, 3);
    let tries = Arc::new(AtomicU32::new(0));
    let (seen, socket) = (Arc::clone(&tries), dir.path().join("nobody.sock"));
    let credentials = Credentials::new("token", Uuid::nil(), &[]).unwrap();
    let connect = move || {
        seen.fetch_add(1, Ordering::Relaxed);
        (channel_to(socket.clone()), credentials.clone())
    };
    let stop = CancellationToken::new();
    let shipping = TaskTracker::new().spawn(run(spool.clone(), connect, stop.clone()));
    until("five tries", || tries.load(Ordering::Relaxed) >= 5).await;
    stop.cancel();
    shipping.await.unwrap();
    assert_eq!(spool.backlog().records, 4);
}

#[test]
fn the_pause_never_passes_fifteen_seconds() {
    for tries in [0, 1, 7, 16, u32::MAX] {
        assert!(pause(tries) <= BACKOFF_CAP);
    }
    assert!(pause(0) <= BACKOFF);
}

//! The gRPC servers: the same three services over the Unix socket and, when asked for, TCP.

use std::time::Duration;

use sentinel_proto::MAX_MESSAGE_BYTES;
use sentinel_proto::v1::admin_service_server::AdminServiceServer;
use sentinel_proto::v1::audit_service_server::AuditServiceServer;
use sentinel_proto::v1::config_service_server::ConfigServiceServer;
use tokio::net::{TcpListener, UnixListener};
use tonic::transport::server::Router;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use super::Error;
use crate::admin::Admin;
use crate::cli::Serve;
use crate::core::Core;
use crate::ingest::Ingest;
use crate::listen;
use crate::watch::Watch;

/// A peer that is silent is asked, and given up when it does not answer.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_PATIENCE: Duration = Duration::from_secs(5);

/// Certificate and key of the TCP listener. Errors: they can't be read.
pub(super) fn tls(flags: &Serve) -> Result<Option<ServerTlsConfig>, Error> {
    let (Some(cert), Some(key)) = (&flags.grpc_tls_cert, &flags.grpc_tls_key) else {
        return Ok(None);
    };
    let read = |path: &std::path::Path| std::fs::read(path).map_err(|why| Error::Tls { path: path.to_owned(), why });
    Ok(Some(ServerTlsConfig::new().identity(Identity::from_pem(read(cert)?, read(key)?))))
}

/// Runs the servers as parts of the spine. Errors: certificate and key don't fit.
pub(super) fn run(
    core: &Core,
    unix: UnixListener,
    tcp: Option<TcpListener>,
    tls: Option<ServerTlsConfig>,
) -> Result<(), Error> {
    let local = services(core, None)?;
    let stop = core.spine.stop().clone();
    core.spine.run("grpc over the Unix socket", async move {
        let ended = local.serve_with_incoming_shutdown(listen::ours(unix), stop.clone().cancelled_owned()).await;
        end("the Unix socket", ended, &stop);
    });
    if let Some(tcp) = tcp {
        let remote = services(core, tls)?;
        let stop = core.spine.stop().clone();
        core.spine.run("grpc over TCP", async move {
            let ended = remote.serve_with_incoming_shutdown(listen::all(tcp), stop.clone().cancelled_owned()).await;
            end("TCP", ended, &stop);
        });
    }
    Ok(())
}

fn end(what: &str, ended: Result<(), tonic::transport::Error>, stop: &tokio_util::sync::CancellationToken) {
    if let Err(why) = ended {
        tracing::error!(%why, "gRPC over {what} has ended");
        stop.cancel();
    }
}

fn services(core: &Core, tls: Option<ServerTlsConfig>) -> Result<Router, Error> {
    let mut server = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_PATIENCE))
        .tcp_keepalive(Some(KEEPALIVE));
    if let Some(tls) = tls {
        server = server.tls_config(tls).map_err(Error::TlsContent)?;
    }
    let config = ConfigServiceServer::new(Watch::new(core.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let audit = AuditServiceServer::new(Ingest::new(core.clone())).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let admin = AdminServiceServer::new(Admin::new(core.clone()))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    Ok(server.add_service(config).add_service(audit).add_service(admin))
}

//! The connection to the control plane: a Unix socket or TCP, with the admin token on each call.
//!
//! It tries the places of `locate.rs` in their order; the first that takes a connection is the one.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use sentinel_proto::v1::admin_service_client::AdminServiceClient;
use tokio::net::UnixStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Uri};
use tonic::{Request, Status};

use crate::cli::Connection;
use crate::fault::Fault;
use crate::locate::{self, Place, World};

/// How long a connection may take; all places together answer before a person gives up.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest answer: a publish waits 5 s for prepare and some for acks, a cold Postgres may take its time.
const ANSWER: Duration = Duration::from_secs(60);

/// `AdminService`, with the token put on each request.
pub type Client = AdminServiceClient<InterceptedService<Channel, Bearer>>;

/// Puts `authorization: Bearer <admin token>` on each request. Prints nothing of it.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(…)")
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Errors: `Unreachable`, naming each place that was tried and why it was not it; `Usage` for an address of a wrong form.
pub async fn connect(connection: &Connection, world: &World) -> Result<Client, Fault> {
    let mut tried = Vec::new();
    for place in locate::places(connection, world)? {
        let refusal = match &place.endpoint {
            Ok(endpoint) => match channel(endpoint, connection).await? {
                Ok(channel) => return client(channel, &locate::admin_token(&place, world)?),
                Err(why) => format!("{endpoint}: {why}"),
            },
            Err(why) => why.clone(),
        };
        tried.push(format!("  {}: {refusal}", place.from));
    }
    Err(Fault::Unreachable(format!(
        "no control plane answers. Tried:\n{}\nStart one with `sentinelctl up`, or name it with --endpoint or --data-dir.",
        tried.join("\n")
    )))
}

/// The same for one place that is known, as `up` does with its own. Errors: as `connect`.
pub async fn connect_to(place: &Place, connection: &Connection, world: &World) -> Result<Client, Fault> {
    let endpoint = place.endpoint.as_ref().map_err(|why| Fault::Unreachable(why.clone()))?;
    match channel(endpoint, connection).await? {
        Ok(channel) => client(channel, &locate::admin_token(place, world)?),
        Err(why) => Err(Fault::Unreachable(format!("{endpoint}: {why}"))),
    }
}

fn client(channel: Channel, token: &str) -> Result<Client, Fault> {
    let value = format!("Bearer {token}");
    let mut value: MetadataValue<Ascii> =
        value.parse().map_err(|_| Fault::Usage("the admin token holds characters that no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(AdminServiceClient::with_interceptor(channel, Bearer(value))
        .max_decoding_message_size(sentinel_proto::MAX_MESSAGE_BYTES)
        .max_encoding_message_size(sentinel_proto::MAX_MESSAGE_BYTES))
}

/// Outer error: the address is wrong. Inner: nobody answers there.
async fn channel(address: &str, connection: &Connection) -> Result<Result<Channel, String>, Fault> {
    if let Some(path) = address.strip_prefix("unix:") {
        let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        // The URI only fills the :authority; the connector goes to the socket whatever it says.
        let endpoint = Endpoint::from_static("http://localhost").connect_timeout(CONNECT).timeout(ANSWER);
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        return Ok(endpoint.connect_with_connector(connector).await.map_err(|error| root_cause(&error)));
    }
    let wrong = |why: &str| {
        Fault::Usage(format!("the endpoint `{address}` {why}; write unix:PATH, http://HOST:PORT or https://HOST:PORT"))
    };
    let endpoint = Endpoint::from_shared(address.to_owned()).map_err(|_| wrong("is no address"))?;
    let host = endpoint.uri().host().unwrap_or_default().to_owned();
    let endpoint = match endpoint.uri().scheme_str() {
        Some("http") if is_loopback(&host) || connection.insecure_grpc => endpoint,
        Some("http") => {
            return Err(Fault::Usage(format!(
                "the admin token would go to {host} in the clear; use https://, or say --insecure-grpc"
            )));
        }
        Some("https") => {
            let path = connection.ca_file.as_ref().ok_or_else(|| {
                Fault::Usage(
                    "an https:// endpoint needs --ca-file (SENTINEL_CA_FILE): the PEM file of its authority".to_owned(),
                )
            })?;
            let pem = std::fs::read(path)
                .map_err(|error| Fault::Usage(format!("--ca-file {} cannot be read: {error}", path.display())))?;
            endpoint
                .tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem)))
                .map_err(|error| Fault::Usage(format!("--ca-file {}: {}", path.display(), root_cause(&error))))?
        }
        _ => return Err(wrong("has another scheme")),
    };
    Ok(endpoint.connect_timeout(CONNECT).timeout(ANSWER).connect().await.map_err(|error| root_cause(&error)))
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The innermost cause: "Connection refused", not "transport error".
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(next) = innermost.source() {
        innermost = next;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_gets_the_token_in_the_clear() {
        assert!(is_loopback("localhost") && is_loopback("127.0.0.2") && is_loopback("[::1]"));
        assert!(!is_loopback("10.0.0.1") && !is_loopback("example.com") && !is_loopback("127.0.0.1.example.com"));
    }
}

//! Where the control plane is and how it is reached: `unix:PATH` with both uids compared, or `http(s)://…`.
//!
//! One lazy channel for all that this plane asks of it (Watch, Ingest). It knows the token; it sends no message.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use http::Uri;
use hyper_util::rt::TokioIo;
use nix::unistd::geteuid;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

const CONNECT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);

/// Where systems keep the certificates that they trust.
const TRUSTED: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlPlane {
    Unix(PathBuf),
    Clear(Uri),
    Tls(Uri),
}

#[derive(Debug, Error)]
pub enum EndpointError {
    #[error("{0:?} is no control plane; give unix:PATH or http(s)://HOST:PORT")]
    Malformed(String),
    #[error("{0} would send the plane's token in the clear; use https://, or say --insecure-grpc")]
    Clear(Uri),
    #[error("no trusted certificates for {uri}: {what}; name a PEM file in SSL_CERT_FILE")]
    Trust { uri: Uri, what: String },
    #[error("{uri}: {source}")]
    Transport { uri: Uri, source: tonic::transport::Error },
}

impl ControlPlane {
    /// False where nothing listens on its socket of this machine; another machine may always answer.
    pub fn may_answer(&self) -> bool {
        match self {
            Self::Unix(path) => std::os::unix::net::UnixStream::connect(path).is_ok(),
            Self::Clear(_) | Self::Tls(_) => true,
        }
    }
}

impl FromStr for ControlPlane {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || EndpointError::Malformed(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(malformed()) } else { Ok(Self::Unix(path.into())) };
        }
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        if uri.host().is_none() || !matches!(uri.path(), "" | "/") {
            return Err(malformed());
        }
        match uri.scheme_str() {
            Some("http") => Ok(Self::Clear(uri)),
            Some("https") => Ok(Self::Tls(uri)),
            Some(_) | None => Err(malformed()),
        }
    }
}

impl fmt::Display for ControlPlane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Clear(uri) | Self::Tls(uri) => uri.fmt(f),
        }
    }
}

impl ControlPlane {
    /// Clear text is for this machine alone, unless the operator says otherwise out loud.
    pub fn judge(&self, may_be_clear: bool) -> Result<(), EndpointError> {
        match self {
            Self::Clear(uri) if !may_be_clear && !is_loopback(uri.host().unwrap_or_default()) => {
                Err(EndpointError::Clear(uri.clone()))
            }
            Self::Clear(_) | Self::Tls(_) | Self::Unix(_) => Ok(()),
        }
    }

    /// Connects when it is first used, and anew when it was cut. `trust`: a PEM file, else the system's. Needs a
    /// running runtime.
    pub fn channel(&self, trust: Option<&str>) -> Result<Channel, EndpointError> {
        let uri = match self {
            Self::Unix(path) => {
                let path = path.clone();
                let connector = tower::service_fn(move |_: Uri| {
                    let path = path.clone();
                    async move { connect_to_our_own(path).await.map(TokioIo::new) }
                });
                return Ok(
                    kept_alive(Endpoint::from_static("http://controlplane")).connect_with_connector_lazy(connector)
                );
            }
            Self::Clear(uri) => return Ok(kept_alive(Endpoint::from(uri.clone())).connect_lazy()),
            Self::Tls(uri) => uri,
        };
        let bundle = read_trust(trust).map_err(|what| EndpointError::Trust { uri: uri.clone(), what })?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(bundle));
        let endpoint = Endpoint::from(uri.clone())
            .tls_config(tls)
            .map_err(|source| EndpointError::Transport { uri: uri.clone(), source })?;
        Ok(kept_alive(endpoint).connect_lazy())
    }
}

fn kept_alive(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_ANSWER)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
}

/// Whoever listens there is to be sent the plane's token and then decides what runs: it must be our own user.
async fn connect_to_our_own(path: PathBuf) -> std::io::Result<UnixStream> {
    let stream = UnixStream::connect(&path).await?;
    let (peer, us) = (stream.peer_cred()?.uid(), geteuid().as_raw());
    if peer == us {
        Ok(stream)
    } else {
        Err(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            format!("{} is held by user {peer}, and this is user {us}: not our control plane", path.display()),
        ))
    }
}

fn read_trust(named: Option<&str>) -> Result<Vec<u8>, String> {
    if let Some(path) = named {
        return std::fs::read(path).map_err(|fault| format!("{path}: {fault}"));
    }
    let found = TRUSTED.iter().find_map(|path| std::fs::read(path).ok());
    found.ok_or_else(|| format!("none of {} is there", TRUSTED.join(", ")))
}

pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The plane's token: given, or in a file that the control plane may yet write.
#[derive(Clone, Debug)]
pub enum TokenSource {
    Given(SecretString),
    File(PathBuf),
}

impl TokenSource {
    /// Waits for it, a look each second. A file is read anew each time: it may have been replaced. Cancel safe.
    pub async fn bearer(&self) -> MetadataValue<Ascii> {
        let mut is_said = false;
        loop {
            if let Some(bearer) = self.look() {
                return bearer;
            }
            if !is_said && let Self::File(path) = self {
                is_said = true;
                tracing::warn!(path = %path.display(), "waiting for the plane's token; the control plane writes it at \
                    its first start, or give SENTINEL_PLANE_TOKEN");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn look(&self) -> Option<MetadataValue<Ascii>> {
        let token = self.text()?;
        let mut bearer = MetadataValue::try_from(format!("Bearer {}", token.expose_secret())).ok()?;
        bearer.set_sensitive(true);
        Some(bearer)
    }

    /// The token as it is now, without blanks around it; none: not there, or empty.
    pub fn text(&self) -> Option<SecretString> {
        let text: SecretString = match self {
            Self::Given(token) => token.clone(),
            Self::File(path) => std::fs::read_to_string(path).ok()?.into(),
        };
        let token = text.expose_secret().trim();
        (!token.is_empty()).then(|| token.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_socket_or_a_url_without_a_path() {
        let parsed = |text: &str| text.parse::<ControlPlane>();
        assert_eq!(parsed("unix:/run/s.sock").unwrap(), ControlPlane::Unix("/run/s.sock".into()));
        assert_eq!(parsed("unix:///run/s.sock").unwrap(), ControlPlane::Unix("/run/s.sock".into()));
        assert!(matches!(parsed("https://cp.example:9300"), Ok(ControlPlane::Tls(_))));
        for bad in ["", "unix:", "cp:9300", "ftp://cp", "http://cp:9300/v1", "127.0.0.1:9300"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn clear_text_beyond_loopback_has_to_be_named() {
        let judged = |text: &str, may| text.parse::<ControlPlane>().unwrap().judge(may).is_ok();
        assert!(judged("http://127.0.0.1:9300", false));
        assert!(judged("http://[::1]:9300", false));
        assert!(judged("https://cp.example", false));
        assert!(!judged("http://10.0.0.1:9300", false));
        assert!(judged("http://10.0.0.1:9300", true));
    }

    #[tokio::test]
    async fn a_token_file_is_read_when_it_appears() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plane.token");
        let source = TokenSource::File(path.clone());
        assert!(source.look().is_none());
        std::fs::write(&path, "abc\n").unwrap();
        assert_eq!(source.bearer().await.to_str().unwrap(), "Bearer abc");
    }
}

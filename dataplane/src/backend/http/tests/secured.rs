//! https: a private CA, a client certificate, and what an operator reads when they do not fit.

use std::{net::SocketAddr, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Rig,
    server::{Reply, Server},
    until,
};
use crate::backend::{State, http::tls};

/// An authority of our own, in PEM where a file would hold it.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key, in PEM.
    fn issues(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// TLS before a scripted server; asks for a client certificate of the authority where it is told to.
struct Front {
    address: SocketAddr,
    over: CancellationToken,
    _server: Server,
}

impl Front {
    async fn start(authority: &Authority, asks_for_certificates: bool) -> Self {
        let server = Server::start(|_| Reply::Good).await;
        let (chain, key) = authority.issues("localhost");
        let provider = Arc::new(default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = if asks_for_certificates {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
        let config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (over, behind, tasks) = (CancellationToken::new(), server.address, TaskTracker::new());
        let until = over.clone();
        tasks.clone().spawn(until.run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tasks.spawn(async move {
                    // A client that trusts us not, or whom we don't, is what the tests are about.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut plain = TcpStream::connect(behind).await.unwrap();
                    tokio::io::copy_bidirectional(&mut stream, &mut plain).await.ok();
                });
            }
        }));
        Self { address, over, _server: server }
    }

    fn rig(&self, ca: Option<&str>, identity: Option<(&str, &str)>) -> Rig {
        let url = format!("https://localhost:{}/mcp", self.address.port());
        Rig::secured(&url, 4 << 20, &tls::settings(ca, identity).unwrap())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

/// Why the link is down, once it is.
async fn reason(rig: &Rig) -> String {
    let down = until("it is down", || Some(rig.link.status()).filter(|status| status.state == State::Down)).await;
    down.reason.to_string()
}

#[tokio::test]
async fn a_server_of_a_private_ca_is_trusted_where_the_file_names_it_and_nowhere_else() {
    let authority = Authority::new();
    let front = Front::start(&authority, false).await;

    let mut rig = front.rig(Some(&authority.pem), None);
    rig.listed().await;
    assert_eq!(rig.says(&json!({"n": 1})).await["result"]["structuredContent"]["n"], 1);

    for stranger in [None, Some(Authority::new().pem)] {
        let why = reason(&front.rig(stranger.as_deref(), None)).await;
        assert!(why.contains("invalid peer certificate"), "{why}");
    }
}

#[tokio::test]
async fn a_server_that_asks_who_we_are_is_shown_the_client_certificate() {
    let authority = Authority::new();
    let front = Front::start(&authority, true).await;
    let (chain, key) = authority.issues("sentinel");

    let mut rig = front.rig(Some(&authority.pem), Some((&chain, &key)));
    rig.listed().await;
    assert_eq!(rig.says(&json!({"n": 2})).await["result"]["structuredContent"]["n"], 2);

    let why = reason(&front.rig(Some(&authority.pem), None)).await;
    assert!(why.to_lowercase().contains("certificate"), "{why}");
}

#[test]
fn a_broken_file_is_named_by_its_key() {
    let authority = Authority::new();
    let ((chain, key), (_, other)) = (authority.issues("a"), authority.issues("b"));
    let named = |ca: Option<&str>, identity| tls::settings(ca, identity).map(drop).unwrap_err().0;
    assert_eq!(named(Some("no PEM"), None), "ca_file");
    assert_eq!(named(None, Some(("", &*key))), "client_cert_file");
    assert_eq!(named(None, Some((&*chain, "no PEM"))), "client_key_file");
    assert_eq!(named(None, Some((&*chain, &*other))), "client_key_file");
}

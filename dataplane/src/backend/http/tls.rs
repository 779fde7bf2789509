//! What an https backend is trusted by, and who we are to it: public roots or a private CA, and a client certificate.
//!
//! It reads no files: the resolver does, when a Policy is built, so that a broken file refuses a configuration.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// Builds the settings. `ca`: PEM; these authorities alone are trusted, else the public ones. `identity`: certificate
/// chain, leaf first, and its private key, both PEM.
///
/// Errors: the key of the file that is wrong, and a sentence.
pub fn settings(ca: Option<&str>, identity: Option<(&str, &str)>) -> Result<Arc<ClientConfig>, (&'static str, String)> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in certificates(pem).map_err(|why| ("ca_file", why))? {
                roots
                    .add(certificate)
                    .map_err(|why| ("ca_file", format!("a certificate in it can't be used: {why}")))?;
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|why| ("url", format!("TLS can't be spoken by this plane: {why}")))?
        .with_root_certificates(roots);
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = certificates(chain).map_err(|why| ("client_cert_file", why))?;
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
                .map_err(|why| ("client_key_file", format!("holds no private key in PEM: {why}")))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|why| ("client_key_file", format!("does not fit client_cert_file: {why}")))?
        }
    };
    Ok(Arc::new(config))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match all {
        Ok(all) if all.is_empty() => Err("holds no certificate in PEM".to_owned()),
        Ok(all) => Ok(all),
        Err(why) => Err(format!("holds no readable certificate in PEM: {why}")),
    }
}

//! The built-in key: an Ed25519 pair made at the first start, and the tokens that it signs.
//!
//! The private half never leaves this process and its file; planes get the public half in the snapshot. It does not
//! decide whether the key is in use: the snapshot in force does, and names issuer, audience and key id.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::zeroize::Zeroizing;
use serde::Serialize;

use crate::home::{self, Home};

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

/// The pair. `Debug` shows neither half.
pub struct SigningKey {
    encoding: EncodingKey,
    public: [u8; 32],
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Home(#[from] home::Error),
    #[error(
        "{path} holds no Ed25519 key (PKCS#8, PEM); put the right file back, or remove it: a new key is made, and every token minted before is refused"
    )]
    Broken { path: String },
    #[error("an Ed25519 key can't be made: the system gives no randomness")]
    Random,
    #[error("the token can't be signed: {0}")]
    Sign(jsonwebtoken::errors::Error),
}

/// What a minted token says.
#[derive(Debug, Serialize)]
pub struct Claims<'a> {
    pub iss: &'a str,
    pub aud: &'a str,
    pub sub: &'a str,
    pub roles: &'a [String],
    pub jti: &'a str,
    pub iat: i64,
    pub exp: i64,
}

impl SigningKey {
    /// Reads the pair of this data directory, or makes it. Errors: `Broken`, `Home`, `Random`.
    pub fn load_or_make(home: &Home) -> Result<Self, Error> {
        if let Some(key) = Self::load(home)? {
            return Ok(key);
        }
        let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| Error::Random)?;
        let text = Zeroizing::new(format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(made.as_ref())));
        home::write_private(&home.signing_key(), text.as_bytes())?;
        Self::from_pkcs8(made.as_ref()).ok_or(Error::Random)
    }

    /// Reads the pair; `None` where there is none yet. Errors: `Broken`, `Home`.
    pub fn load(home: &Home) -> Result<Option<Self>, Error> {
        let path = home.signing_key();
        let Some(kept) = home::read_private(&path)?.map(Zeroizing::new) else {
            return Ok(None);
        };
        let broken = || Error::Broken { path: path.display().to_string() };
        let text = std::str::from_utf8(&kept).map_err(|_| broken())?;
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
        let der = Zeroizing::new(STANDARD.decode(body).map_err(|_| broken())?);
        Self::from_pkcs8(&der).map(Some).ok_or_else(broken)
    }

    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(der).ok()?;
        let public = pair.public_key().as_ref().try_into().ok()?;
        Some(Self { encoding: EncodingKey::from_ed_der(der), public })
    }

    /// The public half, raw.
    pub const fn public(&self) -> [u8; 32] {
        self.public
    }

    /// A JWT (EdDSA) with these claims. Errors: `Sign`.
    pub fn sign(&self, kid: &str, claims: &Claims<'_>) -> Result<String, Error> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = (!kid.is_empty()).then(|| kid.to_owned());
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(Error::Sign)
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation, decode};

    use super::*;

    #[test]
    fn a_token_is_verified_by_the_public_half_of_the_same_key_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let public = SigningKey::load_or_make(&home).unwrap().public();
        let key = SigningKey::load_or_make(&home).unwrap();
        assert_eq!(key.public(), public);

        let roles = ["operator".to_owned()];
        let claims = Claims {
            iss: "sentinel",
            aud: "sentinel",
            sub: "claude",
            roles: &roles,
            jti: "1",
            iat: 1,
            exp: 4_000_000_000,
        };
        let token = key.sign("k", &claims).unwrap();
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_audience(&["sentinel"]);
        let read = decode::<serde_json::Value>(&token, &DecodingKey::from_ed_der(&public), &rules).unwrap();
        assert_eq!(read.claims["sub"], "claude");
        assert_eq!(read.header.kid.as_deref(), Some("k"));
    }

    #[test]
    fn a_broken_key_file_is_named_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        std::fs::write(home.signing_key(), "rubbish").unwrap();
        assert!(matches!(SigningKey::load_or_make(&home), Err(Error::Broken { .. })));
        assert_eq!(std::fs::read(home.signing_key()).unwrap(), b"rubbish");
    }
}

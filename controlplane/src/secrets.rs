//! The two tokens of the gRPC port, the ops token and the database's address: where they come from, and how one
//! that is shown is compared.
//!
//! Plane token and admin token are different powers. Nothing here is ever printed.

use std::fmt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::home::{self, Home};

/// Shortest token that is taken from outside: 16 characters.
const SHORTEST: usize = 16;

/// The SHA-256 of a token: what is kept of it, so that comparing takes the same time for every guess.
#[derive(Clone)]
pub struct Fingerprint([u8; 32]);

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint(…)")
    }
}

impl Fingerprint {
    pub fn of(secret: &[u8]) -> Self {
        Self(sha256(secret))
    }

    /// Whether `shown` is the secret behind this; takes the same time whatever it is.
    pub fn fits(&self, shown: &[u8]) -> bool {
        sha256(shown).ct_eq(&self.0).into()
    }
}

/// SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

/// Both tokens of the gRPC port.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub admin: Fingerprint,
    pub plane: Fingerprint,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Home(#[from] home::Error),
    #[error("{name} and {name}_FILE are both set; keep one")]
    Both { name: &'static str },
    #[error("the file that {name}_FILE names ({path}) can't be read: {why}")]
    Unreadable { name: &'static str, path: String, why: std::io::Error },
    #[error("{name} is too short: give at least {SHORTEST} characters (`openssl rand -hex 32`)")]
    Short { name: &'static str },
    #[error(
        "gRPC beyond loopback needs its tokens given: set {name} or {name}_FILE; they are made only where all is on one machine"
    )]
    Missing { name: &'static str },
    #[error("randomness can't be had from the system")]
    Random,
    #[error("SENTINEL_ADMIN_TOKEN and SENTINEL_PLANE_TOKEN are the same; they are different powers, give two")]
    Same,
}

/// The secret of `NAME`, else the content of the file that `NAME_FILE` names, without the line end.
///
/// `None` where neither is set. Errors: `Both`, `Unreadable`.
pub fn from_environment(name: &'static str) -> Result<Option<SecretString>, Error> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (set(name), set(&format!("{name}_FILE"))) {
        (Some(_), Some(_)) => Err(Error::Both { name }),
        (Some(value), None) => Ok(Some(value.into())),
        (None, Some(path)) => match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned().into())),
            Err(why) => Err(Error::Unreadable { name, path, why }),
        },
        (None, None) => Ok(None),
    }
}

impl Tokens {
    /// From the environment; else from the data directory, where they are made at the first start.
    ///
    /// `remote`: the port can be reached from other machines, so both must be given. Errors: see `Error`.
    pub fn load(home: &Home, remote: bool) -> Result<Self, Error> {
        let admin = token("SENTINEL_ADMIN_TOKEN", &home.admin_token(), remote)?;
        let plane = token("SENTINEL_PLANE_TOKEN", &home.plane_token(), remote)?;
        if admin.0.ct_eq(&plane.0).into() {
            return Err(Error::Same);
        }
        Ok(Self { admin, plane })
    }
}

fn token(name: &'static str, path: &Path, remote: bool) -> Result<Fingerprint, Error> {
    if let Some(given) = from_environment(name)? {
        if given.expose_secret().len() < SHORTEST {
            return Err(Error::Short { name });
        }
        return Ok(Fingerprint::of(given.expose_secret().as_bytes()));
    }
    if remote {
        return Err(Error::Missing { name });
    }
    if let Some(kept) = home::read_private(path)? {
        let kept = kept.trim_ascii();
        if kept.len() >= SHORTEST {
            return Ok(Fingerprint::of(kept));
        }
        return Err(Error::Short { name });
    }
    let made = random_hex()?;
    home::write_private(path, format!("{made}\n").as_bytes())?;
    tracing::info!(path = %path.display(), "made a token at this first start");
    Ok(Fingerprint::of(made.as_bytes()))
}

/// 32 random bytes as 64 hex digits. Errors: `Random`.
pub fn random_hex() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(hex(&bytes))
}

/// Bytes as lower-case hex digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").ok();
        out
    })
}

/// The bytes that hex digits stand for; `None` where `text` is not an even number of them.
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_made_once_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let first = Tokens::load(&home, false).unwrap();
        let kept = std::fs::read_to_string(home.admin_token()).unwrap();
        assert!(first.admin.fits(kept.trim().as_bytes()));
        assert!(!first.plane.fits(kept.trim().as_bytes()));
        let again = Tokens::load(&home, false).unwrap();
        assert!(again.admin.fits(kept.trim().as_bytes()));
    }

    #[test]
    fn beyond_loopback_the_tokens_must_be_given() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        assert!(matches!(Tokens::load(&home, true), Err(Error::Missing { .. })));
    }

    #[test]
    fn hex_goes_both_ways_and_refuses_what_is_none() {
        assert_eq!(unhex(&hex(&[0, 255, 16])).unwrap(), [0, 255, 16]);
        assert!(unhex("abc").is_none());
        assert!(unhex("zz").is_none());
        assert!(unhex("é").is_none());
    }
}

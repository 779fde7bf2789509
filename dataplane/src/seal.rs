//! What clients carry for a plane: sealed, so that nobody reads it, changes it, or makes one. It knows nothing of what is
//! in it; who opens it judges for whom and for what it is good.
//!
//! AES-256-GCM under the plane's `seal.key`. What stands in the clear says of which kind it is and under which key it was
//! sealed, and no more.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest, rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::call::Principal;

const NONCE: usize = 12;
const PLANE: usize = 8;
/// Of what is hashed to be compared.
pub type Mark = [u8; 16];

/// What is sealed: its text begins with the kind's word, and none opens as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of revision 2025-11-25.
    CoreTask,
    RequestState,
    /// Of the modern era's extension.
    Task,
}

impl Kind {
    const fn prefix(self) -> &'static str {
        match self {
            Self::CoreTask => "c1.",
            Self::RequestState => "s1.",
            Self::Task => "t1.",
        }
    }

    /// A longer one was never ours.
    const fn longest(self) -> usize {
        match self {
            Self::RequestState => 1 << 20,
            Self::CoreTask | Self::Task => 4 << 10,
        }
    }
}

pub struct Seal {
    key: LessSafeKey,
    /// In the clear, and sealed as additional data.
    plane: [u8; PLANE],
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal")
    }
}

/// Why a text does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shut {
    /// It says that it was sealed under another key.
    OtherKey,
    NotOurs,
}

impl Seal {
    /// `key`: the 32 bytes of `seal.key`; none: another number of bytes.
    pub fn new(key: &[u8]) -> Option<Self> {
        let unbound = UnboundKey::new(&AES_256_GCM, key).ok()?;
        let of_key = digest::digest(&digest::SHA256, &[b"requestState".as_slice(), key].concat());
        let plane = *of_key.as_ref().first_chunk()?;
        Some(Self { key: LessSafeKey::new(unbound), plane })
    }

    /// Of letters, digits, `.`, `-` and `_`. None: there is no randomness.
    pub fn close(&self, kind: Kind, mut sealed: Vec<u8>) -> Option<String> {
        let mut nonce = [0; NONCE];
        rand::fill(&mut nonce).ok()?;
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(unique, self.clear(kind), &mut sealed).ok()?;
        let whole = [self.plane.as_slice(), &nonce, &sealed].concat();
        Some(format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(whole)))
    }

    pub fn open(&self, kind: Kind, text: &[u8]) -> Result<Vec<u8>, Shut> {
        let known = Some(text).filter(|text| text.len() <= kind.longest());
        let coded = known.and_then(|text| text.strip_prefix(kind.prefix().as_bytes()));
        let whole = coded.and_then(|coded| URL_SAFE_NO_PAD.decode(coded).ok()).ok_or(Shut::NotOurs)?;
        let (plane, rest) = whole.split_first_chunk::<PLANE>().ok_or(Shut::NotOurs)?;
        if *plane != self.plane {
            return Err(Shut::OtherKey);
        }
        let (nonce, sealed) = rest.split_first_chunk::<NONCE>().ok_or(Shut::NotOurs)?;
        let (unique, mut sealed) = (Nonce::assume_unique_for_key(*nonce), sealed.to_vec());
        let opened = self.key.open_in_place(unique, self.clear(kind), &mut sealed).map_err(|_| Shut::NotOurs)?;
        Ok(opened.to_vec())
    }

    fn clear(&self, kind: Kind) -> Aad<Vec<u8>> {
        Aad::from([kind.prefix().as_bytes(), &self.plane].concat())
    }
}

/// Of these parts, in this order.
pub fn mark(parts: &[&str]) -> Mark {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&part.len().to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut mark = [0; 16];
    mark.copy_from_slice(context.finish().as_ref().split_at(16).0);
    mark
}

/// Whose it is, as it is sealed: issuer and client.
pub fn owner(principal: &Principal) -> Mark {
    crate::listen::session::who(principal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_as_what_it_is_and_as_nothing_else() {
        let (seal, other) = (Seal::new(&[7; 32]).unwrap(), Seal::new(&[8; 32]).unwrap());
        let text = seal.close(Kind::Task, b"abc".to_vec()).unwrap();
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{text}");
        assert_eq!(seal.open(Kind::Task, text.as_bytes()).unwrap(), b"abc");
        assert_ne!(text, seal.close(Kind::Task, b"abc".to_vec()).unwrap(), "none is like another");
        for kind in [Kind::CoreTask, Kind::RequestState] {
            assert_eq!(seal.open(kind, text.as_bytes()), Err(Shut::NotOurs));
        }
        for (kind, prefix) in [(Kind::CoreTask, "c1."), (Kind::RequestState, "s1.")] {
            let renamed = text.replacen("t1.", prefix, 1);
            assert_eq!(seal.open(kind, renamed.as_bytes()), Err(Shut::NotOurs));
        }
        assert_eq!(other.open(Kind::Task, text.as_bytes()), Err(Shut::OtherKey));
        assert!(Seal::new(&[7; 31]).is_none());
    }

    #[test]
    fn parts_are_told_apart_by_where_they_end() {
        assert_ne!(mark(&["ab", "c"]), mark(&["a", "bc"]));
    }
}

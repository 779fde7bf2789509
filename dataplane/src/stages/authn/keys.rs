//! The keys of a policy, and how one token is judged by them (`reliability.md` 6.2).

use std::{fmt, sync::Arc};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, errors::ErrorKind};
use secrecy::ExposeSecret;
use sentinel_proto::v1;
use serde::Deserialize;

use super::{claims, resource::Resource};
use crate::{call::Principal, denial::TokenFault, view::resolve::Resolver};

/// RFC 7518 3.2: an HMAC key is at least as long as its hash.
const SHORTEST_SECRET: usize = 32;
/// Seconds; a token that would be good for longer is refused.
const FARTHEST_EXPIRY: i64 = 400 * 86_400;
const LONGEST_KID: usize = 128;

/// Who may call, as one snapshot says it and this plane could read it.
pub struct AuthPolicy {
    keys: Vec<Key>,
    anonymous: Option<Arc<Principal>>,
    client_claim: Box<str>,
    roles_claim: Box<str>,
    /// Scopes and the roles that they stand for.
    scopes: Vec<(Box<str>, Box<str>)>,
    resource: Option<Resource>,
    leeway: i64,
    generation: u64,
    /// Keys that could not be read here; the others work.
    missing: Vec<String>,
}

/// A verified token.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) principal: Principal,
    pub(super) endpoints: Endpoints,
}

/// Where a token is good; none: everywhere.
pub(super) type Endpoints = Option<Box<[Option<Box<str>>]>>;

struct Key {
    kid: Option<Box<str>>,
    algorithm: Algorithm,
    decoding: DecodingKey,
    issuer: Box<str>,
    audience: Box<str>,
}

impl fmt::Debug for AuthPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthPolicy").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// A key that can't be used on this plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyProblem {
    pub key: String,
    pub message: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

impl AuthPolicy {
    /// Reads secrets and key files. Errors: every key that can't be read or is too weak.
    pub fn build(auth: v1::Auth, resolver: &Resolver) -> Result<Self, Vec<KeyProblem>> {
        let (mut keys, mut problems, mut secrets) = (Vec::new(), Vec::new(), digest::Context::new(&digest::SHA256));
        secrets.update(&prost::Message::encode_to_vec(&auth));
        for key in &auth.keys {
            let name = if key.kid.is_empty() { "auth.keys".to_owned() } else { format!("auth.keys.{}", key.kid) };
            match read(key, resolver, &mut secrets) {
                Ok(key) => keys.push(key),
                Err(message) => problems.push(KeyProblem { key: name, message }),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let print = secrets.finish();
        let generation = print.as_ref().first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let anonymous = auth.anonymous.then(|| {
            Arc::new(Principal {
                issuer: "sentinel".into(),
                client: "anonymous".into(),
                roles: Box::default(),
                jti: None,
                until: i64::MAX,
            })
        });
        let scopes = auth.scopes.iter().map(|scope| (scope.key.as_str().into(), scope.value.as_str().into())).collect();
        let resource = Resource::of(&auth);
        Ok(Self {
            keys,
            anonymous,
            client_claim: auth.client_claim.into(),
            roles_claim: auth.roles_claim.into(),
            scopes,
            resource,
            leeway: auth.leeway_secs.into(),
            generation,
            missing: Vec::new(),
        })
    }

    /// The one principal of `mode = "none"`.
    pub fn anonymous(&self) -> Option<&Arc<Principal>> {
        self.anonymous.as_ref()
    }

    /// Changes whenever a key or a rule of this section does.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// What clients without a token are told; none where no server gives them.
    pub fn resource(&self) -> Option<&Resource> {
        self.resource.as_ref()
    }

    /// Whether tokens bring their roles as scopes: who has none can ask for them.
    pub fn has_scopes(&self) -> bool {
        !self.scopes.is_empty()
    }

    /// Judges a token by signature and claims. `now`: Unix seconds.
    pub(super) fn verify(&self, token: &str, now: i64) -> Result<Judged, TokenFault> {
        let (head, rest) = token.split_once('.').ok_or(TokenFault::Malformed)?;
        let payload = rest.split('.').next().unwrap_or_default();
        if rest.split('.').count() != 2 {
            return Err(TokenFault::Malformed);
        }
        let head = URL_SAFE_NO_PAD.decode(head).map_err(|_| TokenFault::Malformed)?;
        let header: Header = serde_json::from_slice(&head).map_err(|_| TokenFault::Malformed)?;
        if header.crit.is_some() || header.kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KID) {
            return Err(TokenFault::Malformed);
        }
        let key = self.key_for(&header)?;
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = u64::try_from(self.leeway).unwrap_or(0);
        validation.validate_exp = false; // judged below, by a clock that tests can turn
        validation.validate_nbf = false;
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        validation.validate_aud = false; // likewise: which endpoint it is for is told by it
        validation.set_issuer(&[&key.issuer]);
        jsonwebtoken::decode::<serde::de::IgnoredAny>(token, &key.decoding, &validation)
            .map_err(|fault| reason(fault.kind()))?;
        let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| TokenFault::Malformed)?;
        let claims = claims::read(&payload).ok_or(TokenFault::Malformed)?;
        let dates = claims.dates().ok_or(TokenFault::Malformed)?;
        if claims.text("iss").is_none_or(|issuer| issuer != &*key.issuer) {
            return Err(TokenFault::Issuer);
        }
        if dates.exp.saturating_add(self.leeway) <= now {
            return Err(TokenFault::Expired);
        }
        if dates.nbf.is_some_and(|nbf| nbf > now.saturating_add(self.leeway))
            || dates.iat.is_some_and(|iat| iat > now.saturating_add(self.leeway))
        {
            return Err(TokenFault::NotYetValid);
        }
        if dates.exp > now.saturating_add(FARTHEST_EXPIRY) {
            return Err(TokenFault::Malformed);
        }
        let endpoints = self.audience(&claims, key)?;
        let mut roles = claims.roles(&self.roles_claim).ok_or(TokenFault::Malformed)?.into_vec();
        for (_, role) in self.scopes.iter().filter(|(scope, _)| claims.has_scope(scope)) {
            if !roles.contains(role) {
                roles.push(role.clone());
            }
        }
        let principal = Principal {
            issuer: key.issuer.clone(),
            client: claims.client(&self.client_claim).ok_or(TokenFault::Malformed)?.into(),
            roles: roles.into(),
            jti: claims.text("jti").map(Into::into),
            until: dates.exp.saturating_add(self.leeway),
        };
        Ok(Judged { principal, endpoints })
    }

    /// Where it is good: everywhere with the audience of its key, else at the endpoints whose URLs it names (RFC 8707).
    fn audience(&self, claims: &claims::Claims, key: &Key) -> Result<Endpoints, TokenFault> {
        let audiences = claims.audiences().ok_or(TokenFault::Audience)?;
        if audiences.contains(&&*key.audience) {
            return Ok(None);
        }
        let of =
            |audience: &&str| self.resource.as_ref()?.endpoint_of(audience).map(|endpoint| endpoint.map(Into::into));
        let endpoints: Box<[Option<Box<str>>]> = audiences.iter().filter_map(of).collect();
        if endpoints.is_empty() { Err(TokenFault::Audience) } else { Ok(Some(endpoints)) }
    }

    fn key_for(&self, header: &Header) -> Result<&Key, TokenFault> {
        let Some(kid) = &header.kid else {
            let mut fitting = self.keys.iter().filter(|key| name_of(key.algorithm) == header.alg);
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) => Ok(only),
                (None, None | Some(_)) | (Some(_), Some(_)) => Err(TokenFault::UnknownKey),
            };
        };
        let key = self.keys.iter().find(|key| key.kid.as_deref() == Some(kid)).ok_or(TokenFault::UnknownKey)?;
        if name_of(key.algorithm) == header.alg { Ok(key) } else { Err(TokenFault::Signature) }
    }
}

fn reason(kind: &ErrorKind) -> TokenFault {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's enum is open")]
    match kind {
        ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => TokenFault::Signature,
        ErrorKind::InvalidIssuer => TokenFault::Issuer,
        ErrorKind::InvalidAudience => TokenFault::Audience,
        ErrorKind::ExpiredSignature => TokenFault::Expired,
        ErrorKind::ImmatureSignature => TokenFault::NotYetValid,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenFault::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "iss" => TokenFault::Issuer,
        _ => TokenFault::Malformed,
    }
}

const ALGORITHMS: [(&str, Algorithm); 12] = [
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

fn name_of(algorithm: Algorithm) -> &'static str {
    ALGORITHMS.iter().find(|(_, known)| *known == algorithm).map_or("", |(name, _)| name)
}

fn read(key: &v1::AuthKey, resolver: &Resolver, secrets: &mut digest::Context) -> Result<Key, String> {
    let (_, algorithm) = ALGORITHMS
        .iter()
        .find(|(name, _)| *name == key.algorithm)
        .ok_or_else(|| format!("algorithm {:?} is not known to this plane", key.algorithm))?;
    let hmac = matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
    let decoding = match &key.source {
        Some(v1::auth_key::Source::SecretEnv(name)) if hmac => secret(&resolver.secret(name)?, secrets)?,
        Some(v1::auth_key::Source::SecretFile(path)) if hmac => secret(&resolver.file(path)?, secrets)?,
        Some(v1::auth_key::Source::PublicKeyFile(path)) if !hmac => {
            let pem = resolver.file(path)?;
            secrets.update(pem.expose_secret().as_bytes());
            public(*algorithm, pem.expose_secret().as_bytes())
                .map_err(|fault| format!("{path} holds no {} key: {fault}", key.algorithm))?
        }
        Some(v1::auth_key::Source::PublicKey(raw)) if *algorithm == Algorithm::EdDSA => {
            DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(raw)).map_err(|fault| fault.to_string())?
        }
        Some(_) | None => return Err(format!("its source does not fit {}", key.algorithm)),
    };
    Ok(Key {
        kid: (!key.kid.is_empty()).then(|| key.kid.as_str().into()),
        algorithm: *algorithm,
        decoding,
        issuer: key.issuer.as_str().into(),
        audience: key.audience.as_str().into(),
    })
}

fn secret(value: &secrecy::SecretString, secrets: &mut digest::Context) -> Result<DecodingKey, String> {
    let bytes = value.expose_secret().as_bytes();
    if bytes.len() < SHORTEST_SECRET {
        return Err(format!(
            "the secret has {} bytes where {SHORTEST_SECRET} are needed (RFC 7518 3.2); make a longer one",
            bytes.len()
        ));
    }
    secrets.update(bytes);
    Ok(DecodingKey::from_secret(bytes))
}

fn public(algorithm: Algorithm, pem: &[u8]) -> Result<DecodingKey, jsonwebtoken::errors::Error> {
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
        Algorithm::HS256
        | Algorithm::HS384
        | Algorithm::HS512
        | Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => DecodingKey::from_rsa_pem(pem),
        // The library's enum is open; ours (`ALGORITHMS`) is closed.
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    }
}

//! From a good `Config` to the snapshot that planes are sent, its bytes and its digest. It judges nothing.

use prost::Message as _;
use sentinel_proto::v1::{self, Scope, auth_key};

use super::parse::{Auth, Config};
use super::reader::Placed;
use super::{BUILT_IN_ISSUER, BUILT_IN_KID, BuiltInKey};

/// Shape of the snapshot; a plane that does not know it says so.
const FORMAT: u32 = 1;

pub(super) fn snapshot(config: Config, built_in: &BuiltInKey) -> v1::Snapshot {
    let killed = |scope| -> Vec<String> {
        config.kills.iter().filter(|kill| kill.scope == scope).map(|kill| kill.name.value.clone()).collect()
    };
    let kill_switch = v1::KillList {
        tools: killed(Scope::Tool),
        backends: killed(Scope::Backend),
        clients: killed(Scope::Client),
        roles: killed(Scope::Role),
    };
    v1::Snapshot {
        format: FORMAT,
        gateway: Some(config.gateway),
        auth: Some(auth(config.auth, config.public_url, built_in)),
        roles: config.roles.into_iter().map(|role| role.value).collect(),
        rate_limit: Some(config.rate_limit),
        kill_switch: Some(kill_switch),
        catalog: Some(config.catalog),
        arguments: config.arguments.into(),
        backends: config.backends.into_iter().map(|backend| backend.value).collect(),
        health: Some(config.health),
        circuit_breaker: Some(config.circuit_breaker),
        audit: Some(config.audit),
        pinning: Some(config.pinning),
        virtual_servers: config.virtual_servers.into_iter().map(|server| server.value.into_message()).collect(),
    }
}

fn auth(auth: Auth, public_url: Option<Placed<String>>, built_in: &BuiltInKey) -> v1::Auth {
    let ours = auth.built_in_key.then(|| v1::AuthKey {
        kid: BUILT_IN_KID.to_owned(),
        algorithm: "EdDSA".to_owned(),
        issuer: BUILT_IN_ISSUER.to_owned(),
        audience: BUILT_IN_ISSUER.to_owned(),
        source: Some(auth_key::Source::PublicKey(built_in.public.to_vec())),
    });
    v1::Auth {
        anonymous: auth.anonymous,
        default_role: auth.default_role.map(|role| role.value).unwrap_or_default(),
        keys: ours.into_iter().chain(auth.keys.into_iter().map(|key| key.value)).collect(),
        client_claim: auth.client_claim,
        roles_claim: auth.roles_claim,
        leeway_secs: auth.leeway_secs,
        authorization_servers: auth.authorization_servers.into_iter().map(|server| server.value).collect(),
        public_url: public_url.map(|url| url.value).unwrap_or_default(),
        scopes: auth.scopes.into_iter().map(|Placed { value: (key, value), .. }| v1::Pair { key, value }).collect(),
    }
}

/// The bytes that are stored, sent and compared, and their SHA-256. There are no maps in the snapshot, and prost
/// writes fields in order: the same snapshot has the same bytes.
pub(super) fn encode(snapshot: &v1::Snapshot) -> (Vec<u8>, [u8; 32]) {
    let bytes = snapshot.encode_to_vec();
    let mut digest = [0; 32];
    digest.copy_from_slice(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes).as_ref());
    (bytes, digest)
}

//! token mint, revoke, list-revoked.
//!
//! Whether the built-in key is in use, and under which id, issuer and audience, the snapshot in force says.

use sentinel_proto::v1::auth_key::Source;
use sentinel_proto::v1::{
    AuthKey, KillReply, Revocation, TokenListRevokedReply, TokenMintReply, TokenMintRequest, TokenRevokeRequest,
};

use super::kills::{told, wait};
use crate::core::{By, Core};
use crate::guard::printable;
use crate::refusal::Refusal;
use crate::signing::Claims;

/// What a token lives when nobody says, and at most: a day, a year.
const USUAL_SECS: u64 = 24 * 3600;
const LONGEST_SECS: u64 = 366 * 24 * 3600;

pub(super) async fn mint(core: &Core, asked: TokenMintRequest) -> Result<TokenMintReply, Refusal> {
    let by = By::claimed(asked.actor.as_ref());
    if asked.client.is_empty() || printable(&asked.client, 256) != asked.client {
        return Err(Refusal::invalid("the client's name has 1 to 256 printable characters (--client)"));
    }
    let ttl = if asked.ttl_secs == 0 { USUAL_SECS } else { asked.ttl_secs };
    if ttl > LONGEST_SECS {
        return Err(Refusal::invalid("a token lives 366 days at most (--ttl)"));
    }
    let key = built_in(core)?;
    let warning = unknown_roles(core, &asked.roles);
    let (target, reason) = (format!("client {}", asked.client), format!("roles {}", asked.roles.join(", ")));
    let parts = core.clone();
    let deed = Box::pin(async move {
        let iat = parts.clock.unix_secs();
        let exp = iat.saturating_add(i64::try_from(ttl).unwrap_or(i64::MAX));
        let jti = uuid::Uuid::new_v4().to_string();
        let claims = Claims {
            iss: &key.issuer,
            aud: &key.audience,
            sub: &asked.client,
            roles: &asked.roles,
            jti: &jti,
            iat,
            exp,
        };
        let token = parts.signing.sign(&key.kid, &claims)?;
        Ok(TokenMintReply { token, jti, expires_unix: exp, warning })
    });
    let outcome = |made: &TokenMintReply| format!("done: jti {}, ends {}", made.jti, made.expires_unix);
    core.act(&by, "token.mint", target, &reason, deed, outcome).await
}

/// The built-in key as planes know it. Errors: it is not in use.
fn built_in(core: &Core) -> Result<AuthKey, Refusal> {
    let current = core.revisions.current().ok_or_else(|| Refusal::state("no configuration is in force yet"))?;
    let auth = current.snapshot.auth.as_ref();
    if auth.is_some_and(|auth| auth.anonymous) {
        return Err(Refusal::state("mode = \"none\" is in force: planes ask for no token"));
    }
    let ours = Source::PublicKey(core.signing.public().to_vec());
    let keys = auth.map_or(&[][..], |auth| &auth.keys);
    if let Some(key) = keys.iter().find(|key| key.source.as_ref() == Some(&ours)) {
        return Ok(key.clone());
    }
    if keys.iter().any(|key| matches!(key.source, Some(Source::PublicKey(_)))) {
        return Err(Refusal::state(
            "the revision in force holds another built-in key than this control plane's signing.key; `sentinelctl reload`",
        ));
    }
    Err(Refusal::state(
        "the built-in key is not in use; write built_in_key = true under [auth] and reload, or have your own issuer mint",
    ))
}

fn unknown_roles(core: &Core, roles: &[String]) -> String {
    let Some(current) = core.revisions.current() else {
        return String::new();
    };
    let known = |name: &String| current.snapshot.roles.iter().any(|role| role.name == *name);
    let unknown: Vec<_> = roles.iter().filter(|name| !known(name)).map(|name| printable(name, 64)).collect();
    if unknown.is_empty() {
        return String::new();
    }
    format!("the file has no role {}; such a role counts for nothing", unknown.join(", "))
}

pub(super) async fn revoke(core: &Core, asked: TokenRevokeRequest) -> Result<KillReply, Refusal> {
    let by = By::claimed(asked.actor.as_ref());
    if asked.jti.is_empty() || printable(&asked.jti, 256) != asked.jti {
        return Err(Refusal::invalid("name the token by its jti, 1 to 256 printable characters"));
    }
    // Its end is not known here (any issuer may have made it): the entry stays.
    let entry = Revocation {
        jti: asked.jti.clone(),
        by: by.word(),
        since_unix_ms: core.clock.unix_ms(),
        ..Revocation::default()
    };
    let wait = wait(asked.no_wait, asked.connected_only);
    let kills = core.kills.clone();
    let target = format!("jti {}", asked.jti);
    core.act(&by, "token.revoke", target, "", Box::pin(async move { kills.revoke(entry, wait).await }), told).await
}

pub(super) fn revoked(core: &Core) -> TokenListRevokedReply {
    TokenListRevokedReply { revoked: core.kills.see(|held| held.revocations().cloned().collect()) }
}

//! `sentinelctl token`: mint with the control plane's built-in key, revoke, list what is revoked.

use clap::Subcommand;
use sentinel_proto::v1::{Actor, TokenListRevokedRequest, TokenMintReply, TokenMintRequest, TokenRevokeRequest};
use serde_json::json;

use crate::client::Client;
use crate::clock;
use crate::fault::Fault;
use crate::kill;
use crate::locate::World;
use crate::output::{Output, Rows, plain};

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// A token for a client; it is printed once and kept nowhere
    Mint {
        /// Who it is for, as audit and limits will know it
        #[arg(long, value_name = "NAME")]
        client: String,
        /// What it may do; may be given several times
        #[arg(long, value_name = "ROLE", required = true)]
        role: Vec<String>,
        /// How long it holds: 30m, 24h, 90d
        #[arg(long, value_name = "TIME", default_value = "24h")]
        ttl: String,
    },
    /// End a token before its time, on every plane
    Revoke {
        /// Its id, as `token mint` printed it
        jti: String,
        /// Return once it is stored and sent
        #[arg(long)]
        no_wait: bool,
        /// Planes that are cut off do not count
        #[arg(long)]
        connected_only: bool,
    },
    /// What was revoked
    ListRevoked,
}

/// What to ask for.
#[derive(Debug)]
pub enum Ask {
    Mint(TokenMintRequest),
    Revoke(TokenRevokeRequest),
    ListRevoked,
}

impl Verb {
    pub(crate) fn prepared(self) -> Result<Ask, Fault> {
        Ok(match self {
            Self::Mint { client, role, ttl } => {
                let ttl_secs = clock::parse_span_secs(&ttl).map_err(|why| Fault::Usage(format!("--ttl: {why}")))?;
                Ask::Mint(TokenMintRequest { actor: None, client, roles: role, ttl_secs })
            }
            Self::Revoke { jti, no_wait, connected_only } => {
                Ask::Revoke(TokenRevokeRequest { actor: None, jti, no_wait, connected_only })
            }
            Self::ListRevoked => Ask::ListRevoked,
        })
    }
}

/// Errors: `Refused` for a revocation that a plane has not acknowledged; else as the control plane says.
pub async fn run(client: &mut Client, world: &World, ask: Ask, output: &mut Output) -> Result<(), Fault> {
    match ask {
        Ask::Mint(request) => {
            let reply = mint(client, world.actor(), request).await?;
            let expires = clock::rfc3339_ms(reply.expires_unix.saturating_mul(1000));
            output
                .json(&json!({ "token": reply.token, "jti": reply.jti, "expires": expires, "warning": reply.warning }));
            output.note(&format!("jti {}, holds until {expires}", reply.jti));
            if !reply.warning.is_empty() {
                output.note(&reply.warning);
            }
            output.verbatim(&reply.token);
            Ok(())
        }
        Ask::Revoke(request) => {
            let waited = !request.no_wait;
            let request = TokenRevokeRequest { actor: Some(world.actor()), ..request };
            let reply = client.token_revoke(request).await.map_err(|status| Fault::of_status(&status))?.into_inner();
            kill::report(&reply, waited, output)
        }
        Ask::ListRevoked => {
            let reply = client
                .token_list_revoked(TokenListRevokedRequest {})
                .await
                .map_err(|status| Fault::of_status(&status))?
                .into_inner();
            output.json(
                &reply
                    .revoked
                    .iter()
                    .map(|one| json!({ "jti": one.jti, "issuer": one.issuer, "epoch": one.epoch }))
                    .collect(),
            );
            let mut rows = Rows::new(&["TOKEN", "ISSUER", "EPOCH"]);
            for one in &reply.revoked {
                rows.push([plain(&one.jti), plain(&one.issuer), plain(one.epoch)]);
            }
            output.table(rows, "No token is revoked.");
            Ok(())
        }
    }
}

/// For `token mint`, `tool call` and `up`. Errors: as the control plane says.
pub(crate) async fn mint(
    client: &mut Client,
    actor: Actor,
    request: TokenMintRequest,
) -> Result<TokenMintReply, Fault> {
    let request = TokenMintRequest { actor: Some(actor), ..request };
    Ok(client.token_mint(request).await.map_err(|status| Fault::of_status(&status))?.into_inner())
}

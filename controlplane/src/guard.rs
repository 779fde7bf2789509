//! Who may call which service: the plane token opens ConfigService and AuditService, the admin token AdminService.
//!
//! Two powers: neither token opens what belongs to the other. Which plane it is, is proved later by its own secret.

use sentinel_proto::v1::Actor;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use crate::secrets::Tokens;

/// What a token lets its bearer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    Admin,
    Plane,
}

/// Errors: `UNAUTHENTICATED` without the token, `PERMISSION_DENIED` with the other one.
pub fn check(tokens: &Tokens, power: Power, metadata: &MetadataMap) -> Result<(), Status> {
    let (right, other, name, variable) = match power {
        Power::Admin => (&tokens.admin, &tokens.plane, "admin", "SENTINEL_ADMIN_TOKEN"),
        Power::Plane => (&tokens.plane, &tokens.admin, "plane", "SENTINEL_PLANE_TOKEN"),
    };
    let shown = metadata.get("authorization").map(|value| value.as_bytes());
    let Some(shown) = shown.and_then(|value| value.strip_prefix(b"Bearer ")) else {
        return Err(Status::unauthenticated(format!("the {name} token is missing; give it in {variable}")));
    };
    match (right.fits(shown), other.fits(shown)) {
        (true, _) => Ok(()),
        (false, true) => {
            Err(Status::permission_denied(format!("that is another token; this needs the {name} token ({variable})")))
        }
        (false, false) => {
            Err(Status::unauthenticated(format!("the {name} token is not the one of this control plane ({variable})")))
        }
    }
}

/// Where a request came from, for people: an address, or the process id behind a Unix socket.
pub fn peer<T>(request: &Request<T>) -> String {
    if let Some(address) = request.remote_addr() {
        return address.to_string();
    }
    let local = request.extensions().get::<tonic::transport::server::UdsConnectInfo>();
    let pid = local.and_then(|info| info.peer_cred).and_then(|cred| cred.pid());
    pid.map_or_else(|| "this machine".to_owned(), |pid| format!("process {pid} on this machine"))
}

/// Who asks, as `sentinelctl` states it: `user@host (claimed)`.
pub fn who(actor: Option<&Actor>) -> String {
    match actor {
        Some(actor) if !actor.user.is_empty() || !actor.host.is_empty() => {
            format!("{}@{} (claimed)", printable(&actor.user, 64), printable(&actor.host, 64))
        }
        _ => "unknown".to_owned(),
    }
}

/// `text` without control and bidi characters, at most `longest` characters.
pub fn printable(text: &str, longest: usize) -> String {
    let fits = |c: &char| {
        !c.is_control() && !matches!(*c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().filter(fits).take(longest).collect()
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;
    use crate::secrets::Fingerprint;

    #[test]
    fn the_two_tokens_are_two_powers() {
        let tokens = Tokens { admin: Fingerprint::of(b"a"), plane: Fingerprint::of(b"p") };
        let ask = |power, header: Option<&'static str>| {
            let mut metadata = MetadataMap::new();
            if let Some(header) = header {
                metadata.insert("authorization", header.parse().unwrap());
            }
            check(&tokens, power, &metadata).map_err(|status| status.code())
        };
        assert_eq!(ask(Power::Admin, Some("Bearer a")), Ok(()));
        assert_eq!(ask(Power::Plane, Some("Bearer p")), Ok(()));
        assert_eq!(ask(Power::Admin, Some("Bearer p")), Err(Code::PermissionDenied));
        assert_eq!(ask(Power::Plane, Some("Bearer a")), Err(Code::PermissionDenied));
        assert_eq!(ask(Power::Admin, Some("Bearer x")), Err(Code::Unauthenticated));
        assert_eq!(ask(Power::Admin, Some("a")), Err(Code::Unauthenticated));
        assert_eq!(ask(Power::Admin, None), Err(Code::Unauthenticated));
    }

    #[test]
    fn what_would_change_a_terminal_is_left_out() {
        assert_eq!(printable("a\u{1b}[31mb\u{202e}c\n", 64), "a[31mbc");
    }
}

//! HTTP status by kind of refusal and era (`interfaces.md` 3, "Errors").

use ::http::StatusCode;

use crate::denial::Denial;

/// What a modern client is answered with: an unknown method is 404 there (`protocol.md` 3.3).
pub fn modern(denial: &Denial) -> StatusCode {
    if matches!(denial, Denial::MethodNotFound) { StatusCode::NOT_FOUND } else { of(denial) }
}

/// In-band over 200 unless the table says otherwise: no known MCP client heeds 429 or 403.
pub fn of(denial: &Denial) -> StatusCode {
    match denial {
        Denial::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
        Denial::ForbiddenOrigin { .. } | Denial::InsufficientScope => StatusCode::FORBIDDEN,
        Denial::SessionNotFound => StatusCode::NOT_FOUND,
        Denial::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Denial::NotReady { .. } | Denial::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Denial::HeaderMismatch { .. }
        | Denial::InvalidMeta { .. }
        | Denial::MissingCapability
        | Denial::InvalidRequest { .. }
        | Denial::Parse { .. }
        | Denial::UnsupportedVersion { .. } => StatusCode::BAD_REQUEST,
        Denial::AuditUnavailable { .. }
        | Denial::Disabled(_)
        | Denial::Forbidden { .. }
        | Denial::InteractionLost
        | Denial::Internal
        | Denial::InvalidArguments { .. }
        | Denial::InvalidParams { .. }
        | Denial::MethodNotFound
        | Denial::RateLimited { .. }
        | Denial::UnknownPrompt { .. }
        | Denial::UnknownResource { .. }
        | Denial::UnknownTask { .. }
        | Denial::UnknownTool { .. } => StatusCode::OK,
    }
}

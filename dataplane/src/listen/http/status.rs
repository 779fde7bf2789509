//! HTTP status by kind of refusal, for the legacy era (`interfaces.md` 3, "Errors").

use ::http::StatusCode;

use crate::denial::Denial;

/// In-band over 200 unless the table says otherwise: no known MCP client heeds 429 or 403.
pub fn of(denial: &Denial) -> StatusCode {
    match denial {
        Denial::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
        Denial::ForbiddenOrigin { .. } => StatusCode::FORBIDDEN,
        Denial::SessionNotFound => StatusCode::NOT_FOUND,
        Denial::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Denial::NotReady { .. } | Denial::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Denial::Parse { .. } | Denial::InvalidRequest { .. } | Denial::UnsupportedVersion { .. } => {
            StatusCode::BAD_REQUEST
        }
        Denial::AuditUnavailable { .. }
        | Denial::Disabled(_)
        | Denial::Forbidden { .. }
        | Denial::Internal
        | Denial::InvalidArguments { .. }
        | Denial::InvalidParams { .. }
        | Denial::MethodNotFound
        | Denial::RateLimited { .. }
        | Denial::UnknownTool { .. } => StatusCode::OK,
    }
}

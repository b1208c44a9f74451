//! A request's body, within bounds of length and time.

use std::time::Duration;

use axum::{
    body::{Bytes, HttpBody},
    extract::{FromRequest, Request},
    http::StatusCode,
};

use super::error::ApiError;

/// No prompt that fits a context is longer: a million tokens are some 4 MiB of text.
pub(super) const BODY_BYTES_MAX: usize = 16 << 20;
/// How long a client may take to send it.
const BODY_SECONDS_MAX: u64 = 30;

/// All bytes of a body. The router's `DefaultBodyLimit` bounds it.
pub(super) struct Body(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        // What announces itself as too long is not waited for.
        if request.body().size_hint().lower() > BODY_BYTES_MAX as u64 {
            return Err(ApiError::BodyTooLong { limit: BODY_BYTES_MAX });
        }
        let limit = Duration::from_secs(BODY_SECONDS_MAX);
        match tokio::time::timeout(limit, Bytes::from_request(request, state)).await {
            Err(_) => Err(ApiError::BodySlow { limit_s: BODY_SECONDS_MAX }),
            Ok(Ok(bytes)) => Ok(Self(bytes)),
            Ok(Err(error)) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                Err(ApiError::BodyTooLong { limit: BODY_BYTES_MAX })
            }
            Ok(Err(error)) => Err(ApiError::BodyLost(error.to_string())),
        }
    }
}

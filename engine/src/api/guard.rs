//! Who may ask: holders of the API key, and never a web page from elsewhere.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{App, error::ApiError};

/// The API key, as its digest: what is compared has one length and holds no secret.
#[derive(Clone)]
pub(super) struct ApiKey([u8; 32]);

impl ApiKey {
    pub(super) fn new(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    fn matches(&self, sent: &[u8]) -> bool {
        let sent: [u8; 32] = Sha256::digest(sent).into();
        self.0.ct_eq(&sent).into()
    }
}

/// Lets a request through or answers it with the reason why not.
pub(super) async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    // A health check holds no key and learns nothing.
    if request.uri().path() == "/healthz" {
        return next.run(request).await;
    }
    let verdict = match &app.key {
        Some(key) => check_key(key, request.headers()),
        None => check_origin(request.headers()),
    };
    match verdict {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn check_key(key: &ApiKey, headers: &HeaderMap) -> Result<(), ApiError> {
    let sent = headers
        .get(header::AUTHORIZATION)
        .map(axum::http::HeaderValue::as_bytes)
        .and_then(|value| value.split_at_checked(7))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
        .map(|(_, key)| key.trim_ascii())
        .ok_or(ApiError::KeyMissing)?;
    if key.matches(sent) { Ok(()) } else { Err(ApiError::KeyWrong) }
}

/// Without a key, loopback is all that protects this node, and a browser reaches loopback on behalf
/// of any page it shows. Browsers name the page in `Origin`, and the name they asked for in `Host`
/// (which a page that rebinds its own name to 127.0.0.1 cannot change): both have to be local.
fn check_origin(headers: &HeaderMap) -> Result<(), ApiError> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    if let Some(origin) = text(header::ORIGIN) {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        if !is_local(host) {
            return Err(ApiError::ForeignOrigin);
        }
    }
    match text(header::HOST) {
        Some(host) if !is_local(host) => Err(ApiError::ForeignOrigin),
        _ => Ok(()),
    }
}

/// Whether `host`, with or without a port, is this machine by loopback.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split_once(']').map_or("", |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_key_is_asked_for_and_compared_whole() {
        let key = ApiKey::new("s3cret");
        let check = |value| check_key(&key, &headers(&[(header::AUTHORIZATION, value)]));
        assert!(check("Bearer s3cret").is_ok());
        assert!(check("bearer s3cret").is_ok());
        assert!(matches!(check("Bearer s3cre"), Err(ApiError::KeyWrong)));
        assert!(matches!(check("Bearer s3cret2"), Err(ApiError::KeyWrong)));
        assert!(matches!(check("Bearer"), Err(ApiError::KeyMissing)));
        assert!(matches!(check("Basic s3cret"), Err(ApiError::KeyMissing)));
        assert!(matches!(check_key(&key, &headers(&[])), Err(ApiError::KeyMissing)));
    }

    #[test]
    fn without_a_key_only_local_names_are_answered() {
        for host in ["localhost:52415", "127.0.0.1:52415", "[::1]:52415", "LOCALHOST", "127.9.9.9"]
        {
            assert!(check_origin(&headers(&[(header::HOST, host)])).is_ok(), "{host}");
        }
        for host in ["evil.example", "evil.example:52415", "127.0.0.1.evil.example", "[::2]", ""] {
            assert!(check_origin(&headers(&[(header::HOST, host)])).is_err(), "{host}");
        }
        let page = |origin| {
            check_origin(&headers(&[(header::HOST, "localhost:1"), (header::ORIGIN, origin)]))
        };
        assert!(page("http://localhost:3000").is_ok());
        assert!(page("https://evil.example").is_err());
        assert!(page("null").is_err());
    }
}

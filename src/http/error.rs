//! How a refusal looks over HTTP: `{"error":{"code","message",…}}` with its status.

use std::fmt;

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use serde_json::json;

use crate::protocol::{ErrorCode, WireError};

/// A refusal as an HTTP answer.
#[derive(Debug)]
pub struct ApiError(pub(super) WireError);

impl<E: Into<WireError>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        if let Some(ms) = self.0.retry_after_ms {
            response.insert_header((header::RETRY_AFTER, ms.div_ceil(1_000)));
        }
        if self.0.code == ErrorCode::Unauthenticated {
            response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        let mut response = response.json(json!({ "error": self.0 }));
        response.extensions_mut().insert(self.0.code);
        response
    }
}

/// What actix finds wrong with a query.
pub(crate) fn query_error(error: actix_web::error::QueryPayloadError, _: &actix_web::HttpRequest) -> actix_web::Error {
    let text = match error {
        actix_web::error::QueryPayloadError::Deserialize(error) => error.to_string(),
        _ => "can't be read".to_owned(),
    };
    // The text names a field and what it must be, never a value but a number that is none.
    ApiError(WireError::new(ErrorCode::BadField, format!("the query {text}"))).into()
}

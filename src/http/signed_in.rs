//! Who asks: `Authorization: Bearer …`, verified for each request.

use std::{future::Future, pin::Pin, sync::Arc};

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header, web};

use super::ApiError;
use crate::{
    protocol::{ErrorCode, WireError},
    store::User,
    worker::Worker,
};

/// The user whose token came with the request.
pub(super) struct Asker(pub(super) Arc<User>);

impl FromRequest for Asker {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let token = bearer(request).map(str::to_owned);
        let worker = request.app_data::<web::Data<Worker>>().cloned();
        Box::pin(async move {
            let missing = || WireError::new(ErrorCode::Unauthenticated, "`Authorization: Bearer <token>` is missing");
            let worker = worker.ok_or_else(WireError::internal)?;
            let signed_in = worker.sign_in(&token.ok_or_else(missing)?).await?;
            Ok(Self(signed_in.user))
        })
    }
}

/// The token in the `Authorization` header; the scheme's case does not matter (RFC 9110 section 11.1).
pub fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

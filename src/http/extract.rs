//! What requests have in common: who asks (`Authorization: Bearer …`, verified for each request), the room in the path,
//! the JSON of the body.

use std::{
    collections::HashMap,
    future::Future,
    marker::PhantomData,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::Arc,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, http::header, web};

use bytestring::ByteString;
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::ApiError;
use crate::{
    admission::ClientAddress,
    protocol::{ErrorCode, RoomName, UserId, Window, WireError, object},
    store::User,
    worker::Worker,
};

/// The user whose token came with the request.
pub(super) struct Asker(pub(super) Arc<User>);

impl Asker {
    pub(super) async fn of(request: &HttpRequest, worker: &Worker) -> Result<Self, WireError> {
        let missing = || WireError::new(ErrorCode::Unauthenticated, "`Authorization: Bearer <token>` is missing");
        let token = bearer(request).ok_or_else(missing)?;
        let user = worker.sign_in(token).await?.user;
        if let Some(rate) = worker.admission.commands(&user) {
            let taken = rate.take(1);
            request.extensions_mut().insert(rate.level());
            taken.map_err(|wait_ms| WireError::rate_limited("too many requests", wait_ms))?;
        }
        Ok(Self(user))
    }
}

/// The same, and an admin.
pub(super) struct Admin(pub(super) Arc<User>);

impl Admin {
    pub(super) fn check(Asker(user): Asker) -> Result<Self, WireError> {
        if user.admin { Ok(Self(user)) } else { Err(WireError::forbidden("this is for admins")) }
    }
}

type Extracted<T> = Pin<Box<dyn Future<Output = Result<T, ApiError>>>>;

impl FromRequest for Asker {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let worker = request.app_data::<web::Data<Worker>>().ok_or_else(WireError::internal)?;
            Ok(Self::of(&request, worker).await?)
        })
    }
}

impl FromRequest for Admin {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let asker = Asker::from_request(request, payload);
        Box::pin(async move { Ok(Self::check(asker.await?)?) })
    }
}

/// The room that the path names.
pub(super) struct InRoom(pub(super) RoomName);

impl FromRequest for InRoom {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        #[derive(Deserialize)]
        struct Named {
            room: String,
        }
        let path = web::Path::<Named>::from_request(request, payload);
        Box::pin(async move {
            let named = path.await.map_err(|_| WireError::internal())?;
            Ok(Self(RoomName::parse(&named.room)?))
        })
    }
}

/// The user that the path names.
pub(super) struct PathUser(pub(super) UserId);

impl FromRequest for PathUser {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        #[derive(Deserialize)]
        struct Named {
            user_id: String,
        }
        let path = web::Path::<Named>::from_request(request, payload);
        Box::pin(async move {
            let named = path.await.map_err(|_| WireError::internal())?;
            Ok(Self(user_id(&named.user_id, "user_id")?))
        })
    }
}

/// A user's id in a path or a query.
pub(super) fn user_id(text: &str, field: &str) -> Result<UserId, WireError> {
    // What was not UTF-8 in the path comes as U+FFFD.
    UserId::parse(text).filter(|_| !text.contains('\u{fffd}')).ok_or_else(|| {
        WireError::bad_field(field, "must be a user's id: 1 to 128 characters, none a control character")
    })
}

/// Where a request comes from.
pub(crate) fn client_address(request: &HttpRequest, worker: &Worker) -> ClientAddress {
    let peer = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
    let said: Vec<_> =
        request.headers().get_all(header::X_FORWARDED_FOR).filter_map(|value| value.to_str().ok()).collect();
    worker.admission.client(peer, Some(said.join(",").as_str()).filter(|said| !said.is_empty()))
}

/// The body's text, and what its JSON says. What it must be is the hub's to say, whatever its Content-Type claims.
pub(super) struct Body<T> {
    pub(super) text: ByteString,
    json: PhantomData<T>,
}

impl<T: DeserializeOwned + Default> Body<T> {
    /// The same, where the body may be left out.
    pub(super) fn fields_or_default(&self) -> Result<T, WireError> {
        if self.text.trim().is_empty() { Ok(T::default()) } else { self.fields() }
    }
}

impl<T: DeserializeOwned> Body<T> {
    /// The fields of a body that is one JSON object; the error names the field.
    pub(super) fn fields(&self) -> Result<T, WireError> {
        let _: HashMap<String, IgnoredAny> = object(&self.text)?;
        serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&self.text)).map_err(|error| {
            let why = error.inner().to_string();
            // The JSON itself was found good above. What was given is left out: it may be a secret in the wrong place.
            let why = why.split(" at line ").next().unwrap_or_default();
            let why = why.rfind("expected ").and_then(|at| why.get(at..)).unwrap_or(why);
            match error.path().to_string() {
                _ if why.starts_with("duplicate") => {
                    WireError::new(ErrorCode::BadJson, "this must be one JSON object, each field once")
                }
                path if path == "." => WireError::new(ErrorCode::BadField, why.to_owned()),
                path => WireError::bad_field(&path, &format!("is wrong: {why}")),
            }
        })
    }
}

impl<T: 'static> FromRequest for Body<T> {
    type Error = ApiError;
    type Future = Extracted<Self>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let bytes = web::Bytes::from_request(request, payload);
        Box::pin(async move {
            let long = |_| WireError::new(ErrorCode::TooLong, "the body is too long, or did not come whole");
            let no_text = |_| WireError::new(ErrorCode::BadJson, "the body must be UTF-8");
            let text = ByteString::try_from(bytes.await.map_err(long)?).map_err(no_text)?;
            Ok(Self { text, json: PhantomData })
        })
    }
}

/// A number in the query.
pub(super) fn number(text: Option<String>, field: &str) -> Result<Option<i64>, WireError> {
    let parse = |text: String| text.parse().map_err(|_| WireError::bad_field(field, "must be a whole number"));
    text.map(parse).transpose()
}

/// How many entries a page may hold, from the query.
pub(super) fn page_limit(text: Option<String>) -> Result<u64, WireError> {
    Window::limit(number(text, "limit")?)
}

/// The token in the `Authorization` header; the scheme's case does not matter (RFC 9110 section 11.1).
pub fn bearer(request: &HttpRequest) -> Option<&str> {
    let (scheme, token) = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

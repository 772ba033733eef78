//! The hub's own accounts: `/api/register`, `/api/token`, `/api/token/refresh` and `/api/token/verify` in the shapes of
//! djangorestframework-simplejwt, errors too, so that the tutorial's client can't tell the difference.

use std::fmt;

use actix_web::{HttpMessage, HttpRequest, HttpResponse, ResponseError, http::StatusCode, http::header, web};
use serde_json::{Map, Value, json};

use super::{
    ApiError,
    extract::{Body, client_address},
};
use crate::{
    auth::{PasswordsBusy, TokenError, TokenKind},
    protocol::{ErrorCode, UserId, WireError},
    store::StoreError,
    worker::{SignInError, Worker},
};

/// Longest name, in characters: `hub:` goes before it in a user's id.
const NAME_CHARS: usize = 64;
/// NIST SP 800-63B section 5.1.1.2 asks for eight at least, and that long ones are taken.
const PASSWORD_CHARS: std::ops::RangeInclusive<usize> = 8..=256;

/// A refusal in the shape that Django REST framework gives it.
#[derive(Debug)]
pub(super) enum AccountError {
    /// 400: what is wrong with each field.
    Fields(Map<String, Value>),
    /// 401: `detail`, and simplejwt's `code` where it has one.
    Unauthorized(&'static str, Option<&'static str>),
    /// 403: nobody can register.
    Closed,
    /// 403: the set-up link is not good, or no longer.
    SetUp,
    /// 400: the body is no JSON.
    NoJson,
    /// 429: after so many milliseconds it may be tried again.
    Throttled(u64),
    /// The hub can't now.
    Later(WireError),
}

impl From<StoreError> for AccountError {
    fn from(error: StoreError) -> Self {
        Self::Later(error.into())
    }
}

impl From<PasswordsBusy> for AccountError {
    fn from(error: PasswordsBusy) -> Self {
        Self::Later(error.into())
    }
}

impl From<TokenError> for AccountError {
    fn from(error: TokenError) -> Self {
        let detail = match error {
            TokenError::Expired => "Token is expired",
            TokenError::Invalid => "Token is invalid",
            TokenError::NoKeys => return Self::Later(WireError::unavailable()),
        };
        Self::Unauthorized(detail, Some("token_not_valid"))
    }
}

impl From<SignInError> for AccountError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Token(error) => error.into(),
            SignInError::Revoked => Self::Unauthorized("Token is blacklisted", Some("token_not_valid")),
            SignInError::Disabled | SignInError::UnknownUser => {
                Self::Unauthorized("No active account found for the given token.", Some("no_active_account"))
            }
            SignInError::Store(error) => error.into(),
        }
    }
}

impl AccountError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Fields(_) => ErrorCode::BadField,
            Self::NoJson => ErrorCode::BadJson,
            Self::Unauthorized(..) => ErrorCode::Unauthenticated,
            Self::Closed | Self::SetUp => ErrorCode::Forbidden,
            Self::Throttled(_) => ErrorCode::RateLimited,
            Self::Later(error) => error.code,
        }
    }

    fn body(&self) -> Value {
        match self {
            Self::Fields(fields) => Value::Object(fields.clone()),
            Self::NoJson => json!({"detail": "JSON parse error - this must be one JSON object."}),
            Self::Unauthorized(detail, None) => json!({"detail": detail}),
            Self::Unauthorized(detail, Some(code)) => json!({"detail": detail, "code": code}),
            Self::Closed => json!({"detail": "Registration is closed.", "code": "registration_closed"}),
            Self::SetUp => {
                let detail = "This set-up link is not good: used, too old, or there is an admin already.";
                json!({"detail": detail, "code": self.code()})
            }
            Self::Throttled(wait_ms) => {
                let wait_s = wait_ms.div_ceil(1_000);
                json!({"detail": format!("Request was throttled. Expected available in {wait_s} seconds.")})
            }
            Self::Later(error) => json!({"detail": error.message, "code": error.code}),
        }
    }
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code().as_str())
    }
}

impl ResponseError for AccountError {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.code().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status_code());
        match self {
            Self::Unauthorized(..) => drop(response.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"api\""))),
            Self::Throttled(wait_ms) => {
                response.insert_header((header::RETRY_AFTER, wait_ms.div_ceil(1_000)));
            }
            Self::Later(WireError { retry_after_ms: Some(ms), .. }) => {
                response.insert_header((header::RETRY_AFTER, ms.div_ceil(1_000)));
            }
            Self::Later(_) | Self::Fields(_) | Self::NoJson | Self::Closed | Self::SetUp => {}
        }
        let mut response = response.json(self.body());
        response.extensions_mut().insert(self.code());
        response
    }
}

/// A body's fields, as JSON or as a form, which simplejwt takes too.
pub(super) struct Fields {
    given: Map<String, Value>,
    wrong: Map<String, Value>,
}

impl Fields {
    pub(super) fn of(request: &HttpRequest, body: Result<Body<()>, ApiError>) -> Result<Self, AccountError> {
        let text = body.map_err(|ApiError(error)| AccountError::Later(error))?.text;
        let form = "application/x-www-form-urlencoded";
        // curl calls everything a form that one does not name.
        let given = if request.content_type().eq_ignore_ascii_case(form) && !text.trim_start().starts_with('{') {
            let pairs = web::Query::<Vec<(String, String)>>::from_query(&text).map_err(|_| AccountError::NoJson)?;
            pairs.into_inner().into_iter().map(|(name, value)| (name, value.into())).collect()
        } else {
            let text = if text.trim().is_empty() { "{}" } else { &text };
            serde_json::from_str(text).map_err(|_| AccountError::NoJson)?
        };
        Ok(Self { given, wrong: Map::new() })
    }

    fn wrong(&mut self, field: &str, why: &str) {
        let list = self.wrong.entry(field).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(why.into());
        }
    }

    /// The text of a field that must be there.
    pub(super) fn text(&mut self, field: &str) -> String {
        let (text, why) = match self.given.remove(field) {
            None => (String::new(), Some("This field is required.")),
            Some(Value::String(text)) if text.is_empty() => (text, Some("This field may not be blank.")),
            Some(Value::String(text)) => (text, None),
            Some(Value::Number(number)) => (number.to_string(), None),
            Some(Value::Null) => (String::new(), Some("This field may not be null.")),
            Some(_) => (String::new(), Some("Not a valid string.")),
        };
        if let Some(why) = why {
            self.wrong(field, why);
        }
        text
    }

    fn check(self) -> Result<(), AccountError> {
        if self.wrong.is_empty() { Ok(()) } else { Err(AccountError::Fields(self.wrong)) }
    }
}

/// `POST /api/register` {username, password}: makes an account and signs it in.
pub(super) async fn register(
    request: HttpRequest,
    body: Result<Body<()>, ApiError>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, AccountError> {
    if !worker.config.accounts.register {
        return Err(AccountError::Closed);
    }
    let (name, password) = check_new(Fields::of(&request, body)?)?;
    let id = UserId::own(&name).ok_or_else(taken)?;
    worker.admission.registration(client_address(&request, &worker)).map_err(AccountError::Throttled)?;
    if worker.store.account(&id).await?.is_some() {
        return Err(taken());
    }
    let hash = worker.passwords.hash(password).await?;
    if !worker.store.create_account(&id, &name, &hash, false).await? {
        return Err(taken());
    }
    signed_in(&worker, &id, &name)
}

/// Name and password of an account that may be made.
pub(super) fn check_new(mut fields: Fields) -> Result<(String, String), AccountError> {
    let (name, password) = (fields.text("username"), fields.text("password"));
    if fields.wrong.is_empty() {
        for (field, why) in name_faults(&name).chain(password_faults(&password, &name)) {
            fields.wrong(field, why);
        }
    }
    fields.check()?;
    Ok((name, password))
}

/// Somebody has this name, or nobody can.
pub(super) fn taken() -> AccountError {
    let why = json!(["A user with that username already exists."]);
    AccountError::Fields(Map::from_iter([("username".to_owned(), why)]))
}

/// The answer to whoever has an account now.
pub(super) fn signed_in(worker: &Worker, id: &UserId, name: &str) -> Result<HttpResponse, AccountError> {
    let Tokens { access, refresh } = Tokens::mint(worker, id, name)?;
    Ok(HttpResponse::Created().json(json!({"user_id": id, "username": name, "access": access, "refresh": refresh})))
}

/// `POST /api/token` {username, password}: an access and a refresh token.
pub(super) async fn obtain(
    request: HttpRequest,
    body: Result<Body<()>, ApiError>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, AccountError> {
    const NO: AccountError = AccountError::Unauthorized("No active account found with the given credentials", None);
    let mut fields = Fields::of(&request, body)?;
    let (name, password) = (fields.text("username"), fields.text("password"));
    fields.check()?;
    worker.admission.sign_in(&name, client_address(&request, &worker)).map_err(AccountError::Throttled)?;
    // A name that nobody can have takes as long as one that nobody has.
    let id = UserId::own(&name).filter(|_| name_faults(&name).next().is_none());
    let hash = match &id {
        Some(id) => worker.store.account(id).await?.flatten(),
        None => None,
    };
    let password = if PASSWORD_CHARS.end() < &password.chars().count() { String::new() } else { password };
    let verified = worker.passwords.verify(password, hash).await?;
    let Some(id) = id.filter(|_| verified) else { return Err(NO) };
    let Tokens { access, refresh } = Tokens::mint(&worker, &id, &name)?;
    Ok(HttpResponse::Ok().json(json!({"access": access, "refresh": refresh})))
}

/// `POST /api/token/refresh` {refresh}: a new access token.
pub(super) async fn refresh(
    request: HttpRequest,
    body: Result<Body<()>, ApiError>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, AccountError> {
    let mut fields = Fields::of(&request, body)?;
    let token = fields.text("refresh");
    fields.check()?;
    let who = worker.own_key.refreshes(&token)?;
    if worker.store.account(&who.id).await?.is_none() {
        return Err(TokenError::Invalid.into());
    }
    worker.standing(&who).await?;
    let lifetime = worker.config.accounts.access_lifetime;
    let access = worker.own_key.mint(TokenKind::Access, &who.id, &who.name, lifetime)?;
    Ok(HttpResponse::Ok().json(json!({"access": access})))
}

/// `POST /api/token/verify` {token}: 200 for a token of the hub's own of either kind, and for one of the app's that opens
/// sessions.
pub(super) async fn verify(
    request: HttpRequest,
    body: Result<Body<()>, ApiError>,
    worker: web::Data<Worker>,
) -> Result<HttpResponse, AccountError> {
    let mut fields = Fields::of(&request, body)?;
    let token = fields.text("token");
    fields.check()?;
    let who = match worker.own_key.refreshes(&token) {
        Ok(who) => who,
        Err(_) => worker.authenticator.verify(&token).await?,
    };
    worker.standing(&who).await?;
    Ok(HttpResponse::Ok().json(json!({})))
}

struct Tokens {
    access: String,
    refresh: String,
}

impl Tokens {
    fn mint(worker: &Worker, id: &UserId, name: &str) -> Result<Self, TokenError> {
        let (key, accounts) = (&worker.own_key, &worker.config.accounts);
        Ok(Self {
            access: key.mint(TokenKind::Access, id, name, accounts.access_lifetime)?,
            refresh: key.mint(TokenKind::Refresh, id, name, accounts.refresh_lifetime)?,
        })
    }
}

/// What is wrong with a new account's name.
pub(crate) fn name_faults(name: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let allowed = |c: char| c.is_alphanumeric() || "_.@+-".contains(c);
    let long = name.chars().count() > NAME_CHARS;
    let odd = name.is_empty() || !name.chars().take(NAME_CHARS).all(allowed);
    [
        (long, "Ensure this field has no more than 64 characters."),
        (odd, "Enter a valid username: letters, digits and @ . + - _ only."),
    ]
    .into_iter()
    .filter_map(|(wrong, why)| wrong.then_some(("username", why)))
}

/// What is wrong with a new account's password.
pub(crate) fn password_faults(password: &str, name: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let chars = password.chars().count();
    [
        (chars < *PASSWORD_CHARS.start(), "This password is too short. It must contain at least 8 characters."),
        (chars > *PASSWORD_CHARS.end(), "Ensure this field has no more than 256 characters."),
        (password.eq_ignore_ascii_case(name), "The password is too similar to the username."),
    ]
    .into_iter()
    .filter_map(|(wrong, why)| wrong.then_some(("password", why)))
}

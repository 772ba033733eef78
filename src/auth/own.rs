//! The hub's own tokens: signed with a key of its own, which is kept in the database and never the app's; `iss` is
//! "hubbub" and the user's id starts with `hub:`. In simplejwt's form, so that a client can't tell them apart.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};

use super::{Identity, TokenError, keys::validation, token};
use crate::protocol::UserId;

/// The name under which the hub's own signing key is kept in the database.
pub const OWN_KEY_SETTING: &str = "own_token_key";
/// `iss` of the hub's own tokens.
const ISSUER: &str = "hubbub";

/// What a token is for, in its `token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// It opens sessions.
    Access,
    /// It gets new access tokens, and nothing else.
    Refresh,
}

impl TokenKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

/// The hub's own key.
pub struct OwnKey {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
}

impl OwnKey {
    /// The key as the database keeps it.
    pub fn new(text: &str) -> Self {
        Self {
            signing: EncodingKey::from_secret(text.as_bytes()),
            verifying: DecodingKey::from_secret(text.as_bytes()),
            validation: validation(&[Algorithm::HS256], ISSUER, &[]),
        }
    }

    /// A token for an account of the hub's own.
    pub fn mint(&self, kind: TokenKind, id: &UserId, name: &str, lifetime: Duration) -> Result<String, TokenError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| TokenError::Invalid)?;
        let claims = json!({
            "token_type": kind.as_str(), "iss": ISSUER, "user_id": id, "username": name,
            "iat": now.as_secs(), "exp": now.saturating_add(lifetime).as_secs(),
            "jti": format!("{:032x}", rand::random::<u128>()),
        });
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing).map_err(|_| TokenError::Invalid)
    }

    /// The claims of a token of the hub's own, of whatever kind.
    fn claims(&self, token: &str) -> Result<Map<String, Value>, TokenError> {
        token::claims(token, &self.verifying, &self.validation)
    }

    /// Whose refresh token this is.
    pub fn refreshes(&self, token: &str) -> Result<Identity, TokenError> {
        self.identity(token, TokenKind::Refresh)
    }

    /// Whom a token of the hub's own names.
    pub(super) fn identity(&self, token: &str, kind: TokenKind) -> Result<Identity, TokenError> {
        let who = token::identity(&self.claims(token)?, kind, "user_id", &["username".to_owned()]);
        who.filter(|who| who.id.is_own()).ok_or(TokenError::Invalid)
    }
}

/// An access token for `hub:NAME`, for the operator to try out.
pub fn mint(own_key: &OwnKey, name: &str, lifetime: Duration) -> Result<String, TokenError> {
    let id = UserId::own(name).filter(|_| token::fits(name)).ok_or(TokenError::Invalid)?;
    own_key.mint(TokenKind::Access, &id, name, lifetime)
}

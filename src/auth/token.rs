//! Who a token names. `exp` is required, and a claim counts only after the signature does; what else a token must be
//! comes with the key (`keys`, `own`). Runs on the workers' threads, 2 µs a token with a secret.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{DecodingKey, Validation, errors::ErrorKind};
use serde_json::{Map, Value};

use super::{
    AppKeys, OwnKey, TokenKind,
    keys::{AppKey, KeyStore},
};
use crate::{config::AuthConfig, protocol::UserId};

/// More than any real token; a longer one is not looked at.
const LONGEST_TOKEN: usize = 8_192;

/// Why a token is refused. Never quotes the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It was good once.
    #[error("the token has expired")]
    Expired,
    /// Not one of ours, or damaged, or of another kind.
    #[error("the token is not valid")]
    Invalid,
    /// The app's keys were not fetched yet.
    #[error("the keys to verify tokens by could not be fetched yet")]
    NoKeys,
}

/// Who a verified token names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub id: UserId,
    /// Their name.
    pub name: Arc<str>,
    /// When the token ends.
    pub expires: SystemTime,
    /// The token's own id, by which it may be revoked.
    pub jti: Option<String>,
    /// When it was issued, in seconds of Unix time, where it says so.
    pub issued_at: Option<i64>,
}

impl Identity {
    /// What is left to the token.
    pub fn expires_in(&self) -> Duration {
        self.expires.duration_since(SystemTime::now()).unwrap_or_default()
    }
}

/// Verifies tokens by the app's keys and by the hub's own.
pub struct Authenticator {
    app_keys: KeyStore,
    own_key: Arc<OwnKey>,
    user_claim: String,
    name_claims: Vec<String>,
    /// None where tokens may live as long as they like.
    max_lifetime: Option<Duration>,
}

/// Why a token was not verified.
enum Refusal {
    Token(TokenError),
    /// No key has its `kid`.
    UnknownKid,
}

impl Authenticator {
    /// `keys` are the app's, `own_key` is the hub's.
    pub fn new(config: &AuthConfig, keys: AppKeys, own_key: &Arc<OwnKey>) -> Self {
        Self {
            app_keys: keys.with(config),
            own_key: Arc::clone(own_key),
            user_claim: config.user_claim.clone(),
            name_claims: config.name_claims.clone(),
            max_lifetime: Some(config.max_token_lifetime).filter(|most| !most.is_zero()),
        }
    }

    /// Keeps keys that come from an address fresh, as long as the hub runs; returns at once where there are none.
    pub async fn watch_keys(&self) {
        if let KeyStore::Fetched(jwks) = &self.app_keys {
            Arc::clone(jwks).watch().await;
        }
    }

    /// Says whom the token names. Waits only where the app's keys come from an address and a new one is needed.
    pub async fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        let jwks = match &self.app_keys {
            KeyStore::Fixed(keys) => return self.verify_by(Some(keys), token).map_err(Refusal::last),
            KeyStore::Fetched(jwks) => jwks,
        };
        match self.verify_by(jwks.keys().as_deref(), token) {
            Err(Refusal::UnknownKid) => {
                jwks.refetch().await;
                self.verify_by(jwks.keys().as_deref(), token).map_err(Refusal::last)
            }
            verified => verified.map_err(Refusal::last),
        }
    }

    fn verify_by(&self, app_keys: Option<&[AppKey]>, token: &str) -> Result<Identity, Refusal> {
        let invalid = || Refusal::Token(TokenError::Invalid);
        if token.len() > LONGEST_TOKEN {
            return Err(invalid());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| invalid())?;
        // Extensions that must be understood, and none of them is (RFC 7515 section 4.1.11).
        if header.crit.is_some() {
            return Err(invalid());
        }
        let mut refusal = if app_keys.is_none() { Refusal::Token(TokenError::NoKeys) } else { invalid() };
        let keys = app_keys.unwrap_or_default();
        let mut fitting = keys.iter().filter(|app| app.may_have_signed(header.kid.as_deref())).peekable();
        if !keys.is_empty() && fitting.peek().is_none() {
            refusal = Refusal::UnknownKid;
        }
        for app in fitting {
            match claims(token, &app.key, &app.validation) {
                Ok(claims) => {
                    let who = identity(&claims, TokenKind::Access, &self.user_claim, &self.name_claims);
                    let who = who.filter(|who| !who.id.is_own());
                    return who.filter(|who| self.lives_short(who)).ok_or_else(invalid);
                }
                Err(TokenError::Expired) => refusal = Refusal::Token(TokenError::Expired),
                Err(_) => {}
            }
        }
        match self.own_key.identity(token, TokenKind::Access) {
            Ok(who) => Some(who).filter(|who| self.lives_short(who)).ok_or_else(invalid),
            Err(TokenError::Expired) => Err(Refusal::Token(TokenError::Expired)),
            Err(_) => Err(refusal),
        }
    }

    /// Whether the token keeps `auth.max_token_lifetime`: from now on, and from its issue where it names that.
    fn lives_short(&self, who: &Identity) -> bool {
        let Some(most) = self.max_lifetime else { return true };
        let issued = who.issued_at.and_then(|at| u64::try_from(at).ok()).map(Duration::from_secs);
        let since_issue = issued.and_then(|issued| who.expires.duration_since(UNIX_EPOCH.checked_add(issued)?).ok());
        who.expires_in() <= most && since_issue.is_none_or(|lifetime| lifetime <= most)
    }
}

impl Refusal {
    /// When nothing more can be tried.
    fn last(self) -> TokenError {
        match self {
            Self::Token(error) => error,
            Self::UnknownKid => TokenError::Invalid,
        }
    }
}

/// The claims of a token that this key has signed and that is what it must be.
pub(super) fn claims(
    token: &str,
    key: &DecodingKey,
    validation: &Validation,
) -> Result<Map<String, Value>, TokenError> {
    match jsonwebtoken::decode::<Map<String, Value>>(token, key, validation) {
        Ok(data) => Ok(data.claims),
        Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => Err(TokenError::Expired),
        Err(_) => Err(TokenError::Invalid),
    }
}

/// Whom the claims name, where they are those of a token of this kind. simplejwt's access tokens say so; others say nothing.
pub(super) fn identity(
    claims: &Map<String, Value>,
    kind: TokenKind,
    user_claim: &str,
    name_claims: &[String],
) -> Option<Identity> {
    match claims.get("token_type") {
        None if kind == TokenKind::Access => {}
        Some(named) if named == kind.as_str() => {}
        _ => return None,
    }
    let id = match claims.get(user_claim).or_else(|| claims.get("sub"))? {
        Value::String(id) => UserId::parse(id)?,
        Value::Number(id) if id.is_i64() || id.is_u64() => UserId::parse(&id.to_string())?,
        _ => return None,
    };
    let named = name_claims.iter().filter_map(|claim| claims.get(claim)?.as_str()).find(|name| fits(name));
    let name = named.map_or_else(|| id.default_name(), str::to_owned).into();
    let expires = UNIX_EPOCH.checked_add(Duration::from_secs_f64(seconds(claims.get("exp")?)?))?;
    let jti = claims.get("jti").and_then(Value::as_str).map(str::to_owned);
    Some(Identity { id, name, expires, jti, issued_at: claims.get("iat").and_then(issued_at) })
}

/// A name as people can have it; what is none of that is as good as absent.
pub(super) fn fits(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= 128 && !name.chars().any(char::is_control)
}

/// `exp` may have a fraction (RFC 7519 section 2); past what a clock can hold it is for ever.
fn seconds(exp: &Value) -> Option<f64> {
    const FOR_EVER: f64 = 253_402_300_799.0; // the end of the year 9999
    exp.as_f64().filter(|exp| *exp >= 0.0).map(|exp| exp.min(FOR_EVER))
}

/// `iat` in whole seconds; what is no number is as good as absent.
fn issued_at(iat: &Value) -> Option<i64> {
    let seconds = Duration::try_from_secs_f64(iat.as_f64()?).ok()?.as_secs();
    i64::try_from(seconds).ok()
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use serde_json::json;

    use super::*;

    const APP: &str = "an app's secret of more than 32 bytes";
    const OLD: &str = "the app's secret before the rotation!";
    const OWN: &str = "the hub's own key of more than 32 bytes";

    fn authenticator() -> Authenticator {
        let config = crate::config::load(&crate::config::Overrides::default()).unwrap().auth;
        let keys = AppKeys::dev(format!("{APP},{OLD}").into());
        Authenticator::new(&config, keys, &Arc::new(OwnKey::new(OWN)))
    }

    impl Authenticator {
        fn verify_by_fixed(&self, token: &str) -> Result<Identity, TokenError> {
            let KeyStore::Fixed(keys) = &self.app_keys else { panic!("keys from an address") };
            self.verify_by(Some(keys), token).map_err(Refusal::last)
        }
    }

    fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    fn signed(key: &str, claims: &Value) -> String {
        let key = EncodingKey::from_secret(key.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
    }

    fn verdict(key: &str, claims: &Value) -> Result<String, TokenError> {
        authenticator().verify_by_fixed(&signed(key, claims)).map(|who| format!("{}={}", who.id, who.name))
    }

    #[test]
    fn users_and_names_come_from_the_claims() {
        let exp = now() + 60;
        assert_eq!(verdict(APP, &json!({"exp": exp, "user_id": 7})).unwrap(), "7=user 7");
        assert_eq!(verdict(OLD, &json!({"exp": exp, "sub": "ü", "name": "Jo"})).unwrap(), "ü=Jo");
        assert_eq!(verdict(APP, &json!({"exp": exp, "user_id": "1", "username": "\n"})).unwrap(), "1=user 1");
        for user in [json!(null), json!(1.5), json!(""), json!("a\u{7}"), json!(["1"]), json!("x".repeat(129))] {
            assert_eq!(verdict(APP, &json!({"exp": exp, "user_id": user})), Err(TokenError::Invalid), "{user}");
        }
    }

    #[test]
    fn time_is_kept() {
        assert_eq!(verdict(APP, &json!({"exp": now() - 30, "user_id": 7})), Err(TokenError::Expired));
        assert_eq!(
            verdict(APP, &json!({"exp": now() + 60, "nbf": now() + 30, "user_id": 7})),
            Err(TokenError::Invalid)
        );
        assert_eq!(verdict(APP, &json!({"exp": "never", "user_id": 7})), Err(TokenError::Invalid));
        assert!(verdict(APP, &json!({"exp": u64::MAX, "user_id": 7})).is_ok());
        assert!(verdict(APP, &json!({"exp": now() + 60, "aud": "x", "iss": "y", "user_id": 7})).is_ok());
    }

    #[test]
    fn an_app_s_key_can_t_make_hub_accounts_nor_the_hub_s_key_app_users() {
        let exp = now() + 60;
        assert_eq!(verdict(APP, &json!({"exp": exp, "user_id": "hub:a", "iss": "hubbub"})), Err(TokenError::Invalid));
        assert_eq!(verdict(OWN, &json!({"exp": exp, "user_id": "a", "iss": "hubbub"})), Err(TokenError::Invalid));
        assert_eq!(verdict(OWN, &json!({"exp": exp, "user_id": "hub:a"})), Err(TokenError::Invalid));
        let own = super::super::mint(&OwnKey::new(OWN), "alice", Duration::from_secs(60)).unwrap();
        let who = authenticator().verify_by_fixed(&own).unwrap();
        assert_eq!((who.id.as_str(), &*who.name), ("hub:alice", "alice"));
    }
}

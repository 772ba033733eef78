//! The one wrapper around jsonwebtoken. Algorithms are fixed by the hub and never read from the token; `exp` is
//! required; a claim counts only after the signature does. Runs on the workers' threads, 2 µs a token.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde_json::{Map, Value, json};

use crate::{config::AuthConfig, protocol::UserId};

/// The name under which the hub's own signing key is kept in the database.
pub const OWN_KEY_SETTING: &str = "own_token_key";
/// `iss` of the hub's own tokens.
const OWN_ISSUER: &str = "hubbub";
/// Clocks of two machines differ; simplejwt allows nothing, jsonwebtoken's default is a minute.
const LEEWAY_S: u64 = 5;
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
}

impl Identity {
    /// What is left to the token.
    pub fn expires_in(&self) -> Duration {
        self.expires.duration_since(SystemTime::now()).unwrap_or_default()
    }
}

/// Verifies tokens by the app's keys and by the hub's own.
pub struct Authenticator {
    app_keys: Vec<DecodingKey>,
    own_key: DecodingKey,
    validation: Validation,
    user_claim: String,
    name_claims: Vec<String>,
}

impl Authenticator {
    /// `secrets` are the app's, `own_key` is the hub's.
    pub fn new(config: &AuthConfig, secrets: &[&str], own_key: &str) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp"]);
        // The app's tokens may name an audience; which one is not this hub's to judge unless it is configured.
        validation.validate_aud = false;
        Self {
            app_keys: secrets.iter().map(|secret| DecodingKey::from_secret(secret.as_bytes())).collect(),
            own_key: DecodingKey::from_secret(own_key.as_bytes()),
            validation,
            user_claim: config.user_claim.clone(),
            name_claims: config.name_claims.clone(),
        }
    }

    /// Says whom the token names.
    pub fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        if token.len() > LONGEST_TOKEN {
            return Err(TokenError::Invalid);
        }
        let mut refusal = TokenError::Invalid;
        for key in &self.app_keys {
            match self.claims(token, key) {
                Ok(claims) => return self.identity(&claims).filter(|who| !who.id.is_own()).ok_or(TokenError::Invalid),
                Err(TokenError::Expired) => refusal = TokenError::Expired,
                Err(TokenError::Invalid) => {}
            }
        }
        match self.claims(token, &self.own_key) {
            Ok(claims) if claims.get("iss").and_then(Value::as_str) == Some(OWN_ISSUER) => {
                self.identity(&claims).filter(|who| who.id.is_own()).ok_or(TokenError::Invalid)
            }
            Err(TokenError::Expired) => Err(TokenError::Expired),
            _ => Err(refusal),
        }
    }

    fn claims(&self, token: &str, key: &DecodingKey) -> Result<Map<String, Value>, TokenError> {
        match jsonwebtoken::decode::<Map<String, Value>>(token, key, &self.validation) {
            Ok(data) => Ok(data.claims),
            Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => Err(TokenError::Expired),
            Err(_) => Err(TokenError::Invalid),
        }
    }

    fn identity(&self, claims: &Map<String, Value>) -> Option<Identity> {
        if claims.get("token_type").is_some_and(|kind| kind != "access") {
            return None;
        }
        let id = match claims.get(&self.user_claim).or_else(|| claims.get("sub"))? {
            Value::String(id) => UserId::parse(id)?,
            Value::Number(id) if id.is_i64() || id.is_u64() => UserId::parse(&id.to_string())?,
            _ => return None,
        };
        let named = self.name_claims.iter().filter_map(|claim| claims.get(claim)?.as_str()).find(|name| fits(name));
        let name = named.map_or_else(|| format!("user {id}"), str::to_owned).into();
        let expires = UNIX_EPOCH.checked_add(Duration::from_secs_f64(seconds(claims.get("exp")?)?))?;
        Some(Identity { id, name, expires })
    }
}

/// A name as people can have it; what is none of that is as good as absent.
fn fits(name: &str) -> bool {
    !name.trim().is_empty() && name.chars().count() <= 128 && !name.chars().any(char::is_control)
}

/// `exp` may have a fraction (RFC 7519 section 2); past what a clock can hold it is for ever.
fn seconds(exp: &Value) -> Option<f64> {
    const FOR_EVER: f64 = 253_402_300_799.0; // the end of the year 9999
    exp.as_f64().filter(|exp| *exp >= 0.0).map(|exp| exp.min(FOR_EVER))
}

/// Mints a token of the hub's own for `hub:NAME`.
pub fn mint(own_key: &str, name: &str, lifetime: Duration) -> Result<String, TokenError> {
    let id =
        UserId::parse(&format!("{}{name}", UserId::OWN_PREFIX)).filter(|_| fits(name)).ok_or(TokenError::Invalid)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| TokenError::Invalid)?;
    let claims = json!({
        "token_type": "access", "iss": OWN_ISSUER, "user_id": id, "username": name,
        "iat": now.as_secs(), "exp": now.saturating_add(lifetime).as_secs(),
        "jti": format!("{:032x}", rand::random::<u128>()),
    });
    let key = EncodingKey::from_secret(own_key.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|_| TokenError::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "an app's secret of more than 32 bytes";
    const OLD: &str = "the app's secret before the rotation!";
    const OWN: &str = "the hub's own key of more than 32 bytes";

    fn authenticator() -> Authenticator {
        let config = crate::config::load(&crate::config::Overrides::default()).unwrap().auth;
        Authenticator::new(&config, &[APP, OLD], OWN)
    }

    fn now() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    fn signed(key: &str, claims: &Value) -> String {
        let key = EncodingKey::from_secret(key.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
    }

    fn verdict(key: &str, claims: &Value) -> Result<String, TokenError> {
        authenticator().verify(&signed(key, claims)).map(|who| format!("{}={}", who.id, who.name))
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
        let own = mint(OWN, "alice", Duration::from_secs(60)).unwrap();
        let who = authenticator().verify(&own).unwrap();
        assert_eq!((who.id.as_str(), &*who.name), ("hub:alice", "alice"));
    }
}

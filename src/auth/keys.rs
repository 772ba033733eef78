//! The app's keys: secrets, or public keys from a file or an address (`jwks`), each with what a token by it must be.
//! Algorithms are fixed by the config and never read from the token; a `kid` is looked up exactly and means nothing else.

use std::{fs, io, sync::Arc, time::Duration};

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, Validation,
    jwk::{JwkSet, PublicKeyUse},
};

use super::{
    jwks::{self, Jwks},
    secret,
};
use crate::config::{AuthConfig, Config, Secret};

/// Clocks of two machines differ; simplejwt allows nothing, jsonwebtoken's default is a minute.
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(5);

/// Why there is no key to start with. The messages are for whoever starts the hub.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Production needs a secret.
    #[error(
        "auth.secret is not set: give the key by which your app signs its tokens as HUBBUB__AUTH__SECRET or in \
         auth.secret_file; `hubbub secret` makes a new one"
    )]
    Missing,
    /// Production needs a strong one.
    #[error("auth.secret {0}: in production it must be strong; `hubbub secret` makes a new one")]
    Weak(&'static str),
    /// A file can't be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// There is no such algorithm, or none that the hub takes.
    #[error(
        "auth.algorithms: {0:?} is none of HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA"
    )]
    Algorithm(String),
    /// A public key taken for a secret would let everybody sign.
    #[error("auth.algorithms: secrets (HS…) and public keys (RS…, PS…, ES…, EdDSA) can't be mixed")]
    Mixed,
    /// An algorithm with a public key needs one.
    #[error(
        "auth.public_key_file and auth.jwks_url are not set: {0} needs your app's public key, as PEM or as a JSON Web Key Set"
    )]
    NoPublicKey(String),
    /// A secret is no use where public keys verify, nor a public key where secrets do.
    #[error("auth.public_key_file or auth.jwks_url is set, but auth.algorithms names none that uses it, such as RS256")]
    UnusedPublicKey,
    /// Keys come from one place.
    #[error("auth.public_key_file and auth.jwks_url are both set: keys come from one of them")]
    TwoPlaces,
    /// The address of the keys is none, or not safe.
    #[error("auth.jwks_url {0}")]
    Address(&'static str),
    /// The file holds no key that the algorithms can use.
    #[error("{path}: {why}")]
    BadKey {
        /// The file.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
}

/// A key and what its tokens must be.
pub(super) struct AppKey {
    kid: Option<String>,
    pub(super) key: DecodingKey,
    pub(super) validation: Validation,
}

impl AppKey {
    /// Whether a token with this `kid` may be by this key: where both have one they must be the same.
    pub(super) fn may_have_signed(&self, kid: Option<&str>) -> bool {
        match (self.kid.as_deref(), kid) {
            (Some(mine), Some(theirs)) => mine == theirs,
            _ => true,
        }
    }
}

/// All keys by which the app may sign.
pub struct AppKeys {
    source: Source,
}

enum Source {
    Secret(Secret),
    Public(Keys, Vec<Algorithm>),
    Fetched(Vec<Algorithm>),
}

/// Where the keys are when the hub runs.
pub(super) enum KeyStore {
    Fixed(Arc<[AppKey]>),
    Fetched(Arc<Jwks>),
}

impl AppKeys {
    /// The secret that dev has made for itself.
    pub fn dev(secret: Secret) -> Self {
        Self { source: Source::Secret(secret) }
    }

    pub(super) fn with(self, config: &AuthConfig) -> KeyStore {
        match self.source {
            Source::Secret(secret) => {
                let algorithms: Vec<_> = config.algorithms.iter().filter_map(|name| name.parse().ok()).collect();
                let key = |text: &str| AppKey {
                    kid: None,
                    key: DecodingKey::from_secret(text.as_bytes()),
                    validation: validation(&algorithms, &config.issuer, &config.audience),
                };
                KeyStore::Fixed(secret::keys(&secret).into_iter().map(key).collect())
            }
            Source::Public(keys, algorithms) => KeyStore::Fixed(app_keys(keys, &algorithms, config).into()),
            Source::Fetched(algorithms) => KeyStore::Fetched(Arc::new(Jwks::new(config, algorithms))),
        }
    }
}

/// The keys that fit one of the algorithms, each with what a token by it must be.
pub(super) fn app_keys(keys: Keys, algorithms: &[Algorithm], config: &AuthConfig) -> Vec<AppKey> {
    keys.into_iter()
        .filter_map(|(kid, key, only)| {
            let fits = |algorithm: &&Algorithm| {
                algorithm.family() == key.family() && only.is_none_or(|only| only == **algorithm)
            };
            let mine: Vec<_> = algorithms.iter().filter(fits).copied().collect();
            let validation = validation(&mine, &config.issuer, &config.audience);
            (!mine.is_empty()).then_some(AppKey { kid, key, validation })
        })
        .collect()
}

/// What a token by a key must be. jsonwebtoken's defaults are laxer: a minute of leeway, `nbf` not looked at, and a token
/// without `iss` or `aud` passes where one is asked for.
pub(super) fn validation(algorithms: &[Algorithm], issuer: &str, audience: &[String]) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.algorithms = algorithms.to_vec();
    validation.leeway = TOKEN_LEEWAY.as_secs();
    validation.validate_nbf = true;
    let mut required = vec!["exp"];
    if !issuer.is_empty() {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    if audience.is_empty() {
        // A token may name an audience; which one is not this hub's to judge unless it is configured.
        validation.validate_aud = false;
    } else {
        validation.set_audience(audience);
        required.push("aud");
    }
    validation.set_required_spec_claims(&required);
    validation
}

/// The configured keys; `None` in dev where nothing is configured.
pub fn check_keys(config: &Config) -> Result<Option<AppKeys>, KeyError> {
    let auth = &config.auth;
    let mut algorithms = Vec::new();
    for name in &auth.algorithms {
        let algorithm = name.parse::<Algorithm>().map_err(|_| KeyError::Algorithm(name.clone()))?;
        algorithms.push(algorithm);
    }
    let first = *algorithms.first().ok_or_else(|| KeyError::Algorithm(String::new()))?;
    let symmetric = |algorithm: &Algorithm| algorithm.family() == AlgorithmFamily::Hmac;
    if !algorithms.iter().all(|algorithm| symmetric(algorithm) == symmetric(&first)) {
        return Err(KeyError::Mixed);
    }
    let path = &auth.public_key_file;
    match (symmetric(&first), path.is_empty(), auth.jwks_url.is_empty()) {
        (true, true, true) => {
            Ok(secret::check_secret(config)?.map(|secret| AppKeys { source: Source::Secret(secret) }))
        }
        (true, ..) => Err(KeyError::UnusedPublicKey),
        (false, true, true) => Err(KeyError::NoPublicKey(auth.algorithms.join(", "))),
        (false, false, false) => Err(KeyError::TwoPlaces),
        (false, true, false) => match jwks::address_fault(config) {
            Some(fault) => Err(KeyError::Address(fault)),
            None => Ok(Some(AppKeys { source: Source::Fetched(algorithms) })),
        },
        (false, false, true) => {
            let unread = |source| KeyError::File { path: format!("auth.public_key_file: {path}"), source };
            let text = fs::read_to_string(path).map_err(unread)?;
            let keys = if text.trim_start().starts_with('{') { from_set(&text) } else { from_pem(&text) };
            let bad = |why| KeyError::BadKey { path: path.clone(), why };
            let keys = keys.map_err(bad)?;
            if app_keys(keys.clone(), &algorithms, auth).is_empty() {
                return Err(bad("holds no key for any of auth.algorithms"));
            }
            Ok(Some(AppKeys { source: Source::Public(keys, algorithms) }))
        }
    }
}

/// Keys with their `kid` and their one algorithm, where the file says so.
pub(super) type Keys = Vec<(Option<String>, DecodingKey, Option<Algorithm>)>;

/// A JSON Web Key Set (RFC 7517). Keys for encryption and of unknown kinds stand in real ones and are passed over.
pub(super) fn from_set(text: &str) -> Result<Keys, &'static str> {
    let set: serde_json::Value = serde_json::from_str(text).map_err(|_| "is no JSON Web Key Set")?;
    let keys = set.get("keys").and_then(serde_json::Value::as_array).ok_or("is no JSON Web Key Set")?;
    let known = keys.iter().filter_map(|key| serde_json::from_value::<JwkSet>(serde_json::json!({"keys": [key]})).ok());
    let signing =
        known.flat_map(|set| set.keys).filter(|jwk| jwk.common.public_key_use != Some(PublicKeyUse::Encryption));
    let keys = signing.filter_map(|jwk| {
        let key = DecodingKey::try_from(&jwk).ok().filter(|key| key.family() != AlgorithmFamily::Hmac)?;
        let only = jwk.common.key_algorithm.and_then(|algorithm| algorithm.to_string().parse().ok());
        Some((jwk.common.key_id.clone(), key, only))
    });
    Ok(keys.collect())
}

/// One or more public keys or certificates as PEM (RFC 7468).
fn from_pem(text: &str) -> Result<Keys, &'static str> {
    const END: &str = "-----END";
    if text.contains("PRIVATE KEY-----") {
        return Err("is a private key: give the hub the public one, it only verifies");
    }
    let mut keys = Vec::new();
    for block in text.split_inclusive("-----BEGIN").skip(1).filter(|block| block.contains(END)) {
        let block = format!("-----BEGIN{}", block.trim_end_matches("-----BEGIN"));
        let block = block.as_bytes();
        let key = DecodingKey::from_rsa_pem(block)
            .or_else(|_| DecodingKey::from_ec_pem(block))
            .or_else(|_| DecodingKey::from_ed_pem(block));
        keys.push((None, key.map_err(|_| "holds something that is no public key of RSA, EC or Ed25519")?, None));
    }
    if keys.is_empty() { Err("is no public key: neither PEM nor a JSON Web Key Set") } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_says_so() {
        let why =
            |text: &str| if text.starts_with('{') { from_set(text) } else { from_pem(text) }.map(|keys| keys.len());
        assert!(why("hello").unwrap_err().contains("no public key"));
        assert!(why("{").unwrap_err().contains("Key Set"));
        assert!(why("-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----").unwrap_err().contains("private"));
        assert!(
            why("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----").unwrap_err().contains("no public key")
        );
        assert_eq!(why(r#"{"keys":[{"kty":"oct","k":"c2VjcmV0"},{"kty":"new"}]}"#).unwrap(), 0);
    }
}

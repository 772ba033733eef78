//! The app's public keys from its identity provider's address (RFC 7517). One address and one issuer, both from the config
//! and never from a token, so that a `kid` can't lead to another's key. Fetched by a blocking call on a thread of its own,
//! one at a time, within `TIMEOUT` and `LONGEST`, without redirects. Where the provider can't be reached the keys that are
//! there stay.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use jsonwebtoken::Algorithm;
use tokio::{sync::Mutex, task::spawn_blocking, time::sleep};
use ureq::http::Uri;

use super::keys::{AppKey, app_keys, from_set};
use crate::config::{AuthConfig, Config, Profile};

/// The longest that a fetch may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest key set, in bytes; real ones have a few thousand.
const LONGEST: u64 = 256 * 1_024;
/// Keys with unknown ids make the hub fetch at most once in this time.
const PAUSE: Duration = Duration::from_secs(60);
/// How often keys are fetched anyway, so that one that was withdrawn is good no longer.
const ANEW: Duration = Duration::from_secs(600);
/// The same, before they were fetched for the first time.
const AGAIN: Duration = Duration::from_secs(5);

/// Why keys could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[from] ureq::Error),
    #[error("the answer is {0}, not 200")]
    Status(u16),
    #[error("the answer {0}")]
    NoKeys(&'static str),
    #[error("the fetch ended by itself")]
    Cut,
}

/// The keys of one provider.
pub(super) struct Jwks {
    agent: ureq::Agent,
    config: AuthConfig,
    algorithms: Vec<Algorithm>,
    keys: RwLock<Option<Arc<[AppKey]>>>,
    /// When an unknown id last led to a fetch.
    asked: Mutex<Option<Instant>>,
}

impl Jwks {
    pub(super) fn new(config: &AuthConfig, algorithms: Vec<Algorithm>) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .user_agent(concat!("hubbub/", env!("CARGO_PKG_VERSION")))
            .build();
        let (keys, asked) = (RwLock::new(None), Mutex::new(None));
        Self { agent: agent.into(), config: config.clone(), algorithms, keys, asked }
    }

    /// The keys, where they were fetched once.
    pub(super) fn keys(&self) -> Option<Arc<[AppKey]>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// After a token with an unknown `kid`: fetches, unless that was done within the last minute.
    pub(super) async fn refetch(self: &Arc<Self>) {
        let mut asked = self.asked.lock().await;
        if asked.is_none_or(|at| at.elapsed() >= PAUSE) {
            *asked = Some(Instant::now());
            self.fetch().await;
        }
    }

    /// Keeps the keys fresh, for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            self.fetch().await;
            sleep(if self.keys().is_some() { ANEW } else { AGAIN }).await;
        }
    }

    async fn fetch(self: &Arc<Self>) {
        let this = Arc::clone(self);
        match spawn_blocking(move || this.fetch_now()).await.unwrap_or(Err(FetchError::Cut)) {
            Ok(keys) => {
                tracing::debug!(keys = keys.len(), "keys fetched");
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(keys);
            }
            Err(error) => {
                let kept = self.keys().map_or(0, |keys| keys.len());
                tracing::warn!(url = %self.config.jwks_url, %error, kept, "auth.jwks_url: no keys fetched");
            }
        }
    }

    fn fetch_now(&self) -> Result<Arc<[AppKey]>, FetchError> {
        let mut answer = self.agent.get(&self.config.jwks_url).call()?;
        if answer.status() != 200 {
            return Err(FetchError::Status(answer.status().as_u16()));
        }
        let text = answer.body_mut().with_config().limit(LONGEST).read_to_string()?;
        let keys = app_keys(from_set(&text).map_err(FetchError::NoKeys)?, &self.algorithms, &self.config);
        if keys.is_empty() {
            Err(FetchError::NoKeys("holds no key for any of auth.algorithms"))
        } else {
            Ok(keys.into())
        }
    }
}

/// What is wrong with the address of the keys, if anything. It is read as the fetch will read it: what stands before an `@`
/// looks like a host and is none.
pub(super) fn address_fault(config: &Config) -> Option<&'static str> {
    const NONE: &str = "must be an address such as https://example.com/.well-known/jwks.json";
    let Ok(uri) = config.auth.jwks_url.parse::<Uri>() else { return Some(NONE) };
    let Some(authority) = uri.authority() else { return Some(NONE) };
    let host = authority.host();
    if authority.as_str().contains('@') {
        return Some("must hold no name and no password: it is logged");
    }
    if host.is_empty() || (authority.as_str() != host && authority.port().is_none()) {
        return Some(NONE);
    }
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let local = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => None,
        Some("http") if local || config.server.profile == Profile::Dev => None,
        Some("http") => Some("must be https: whoever is between could give the hub their own keys"),
        _ => Some(NONE),
    }
}

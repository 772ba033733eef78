//! The hub's settings: typed and strict. Read once at start; every bound of every queue is here. How they are put
//! together from their layers is in `layers`.

mod layers;

use std::{fmt, net::SocketAddr, num::NonZero, path::PathBuf, thread, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

pub use layers::{ConfigError, Overrides, copy_target, load};

use crate::protocol::MessageLimits;

/// What HS256's key must have at least (RFC 7518 section 3.2).
const SECRET_BYTES: usize = 32;

/// All settings. The keys are explained in config/default.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml explains each section")]
pub struct Config {
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    pub redis: RedisConfig,
    pub auth: AuthConfig,
    pub accounts: AccountsConfig,
    pub rooms: RoomsConfig,
    pub log: LogConfig,
    pub limits: LimitsConfig,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml explains each key")]
pub struct ServerConfig {
    pub bind: SocketAddr,
    pub profile: Profile,
    pub workers: usize,
    pub origins: Vec<String>,
    pub trusted_proxies: Vec<IpNet>,
    pub echo: bool,
    pub metrics_token: Secret,
    pub metrics_token_file: String,
    #[serde(deserialize_with = "time")]
    pub drain_wait: Duration,
    #[serde(deserialize_with = "time")]
    pub drain_spread: Duration,
    #[serde(deserialize_with = "time")]
    pub stop_timeout: Duration,
}

/// How strict the hub is with its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// For trying out: makes what is missing.
    Dev,
    /// For real: refuses to start where something is weak.
    Production,
}

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml explains each key")]
pub struct DatabaseConfig {
    pub url: DatabaseUrl,
    pub url_file: String,
    pub lanes: u32,
    pub readers: u32,
    #[serde(deserialize_with = "time")]
    pub write_timeout: Duration,
    #[serde(deserialize_with = "time")]
    pub read_timeout: Duration,
}

/// `[redis]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml explains each key")]
pub struct RedisConfig {
    pub url: Secret,
    pub url_file: String,
    pub prefix: String,
    #[serde(deserialize_with = "time")]
    pub timeout: Duration,
}

/// `[auth]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml explains each key")]
pub struct AuthConfig {
    pub secret: Secret,
    pub secret_file: String,
    pub algorithms: Vec<String>,
    pub public_key_file: String,
    pub jwks_url: String,
    pub issuer: String,
    pub audience: Vec<String>,
    pub user_claim: String,
    pub name_claims: Vec<String>,
    pub users: UsersPolicy,
    pub query_token: bool,
    #[serde(deserialize_with = "time")]
    pub max_token_lifetime: Duration,
    #[serde(deserialize_with = "time")]
    pub expiry_notice: Duration,
    #[serde(deserialize_with = "time")]
    pub plain_grace: Duration,
}

/// `[accounts]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml explains each key")]
pub struct AccountsConfig {
    pub register: bool,
    #[serde(deserialize_with = "time")]
    pub access_lifetime: Duration,
    #[serde(deserialize_with = "time")]
    pub refresh_lifetime: Duration,
}

/// Whether a user seen first in a token is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UsersPolicy {
    /// Anybody with a valid token.
    Any,
    /// Only users that exist.
    Known,
}

/// `[rooms]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml explains each key")]
pub struct RoomsConfig {
    pub auto_create: bool,
    pub create: CreatePolicy,
}

/// Who may make rooms by `POST /api/rooms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CreatePolicy {
    /// Every user.
    Any,
    /// Admins alone.
    Admin,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml explains each key")]
pub struct LogConfig {
    pub level: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// `[limits]`: a number for every queue, buffer and rate.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "config/default.toml explains each key")]
pub struct LimitsConfig {
    pub frame_bytes: usize,
    pub fragments: usize,
    pub message_chars: usize,
    pub data_bytes: usize,
    pub data_depth: usize,
    pub commands_per_second: u32,
    pub commands_burst: u32,
    pub user_commands_per_second: u32,
    pub user_commands_burst: u32,
    pub frames_per_second: u32,
    pub frames_burst: u32,
    pub pending_commands: usize,
    #[serde(deserialize_with = "time")]
    pub heartbeat: Duration,
    #[serde(deserialize_with = "time")]
    pub silence: Duration,
    #[serde(deserialize_with = "time")]
    pub auth_timeout: Duration,
    pub auth_frame_bytes: usize,
    pub session_queue_frames: usize,
    pub session_queue_bytes: usize,
    pub send_buffer_bytes: usize,
    #[serde(deserialize_with = "time")]
    pub stalled_timeout: Duration,
    pub sessions: usize,
    pub sessions_per_user: u32,
    pub sessions_per_address: u32,
    pub sign_ins_per_minute: u32,
    pub registrations_per_hour: u32,
    pub revoked_tokens: usize,
    pub rooms_per_session: usize,
    pub new_rooms_per_hour: u32,
    pub typing_members: usize,
    pub read_marks: usize,
    pub password_checks: usize,
    pub password_queue: usize,
    pub replay_join: u64,
    pub replay_resume: u64,
    pub reset_after: u64,
    pub held_events: usize,
    #[serde(deserialize_with = "time")]
    pub flush_window: Duration,
    pub page_events: u64,
    pub page_bytes: usize,
    pub catch_up_reads: usize,
    pub recent_events: usize,
    pub recent_bytes: usize,
    pub recent_total_bytes: usize,
    #[serde(deserialize_with = "time")]
    pub room_idle: Duration,
    pub writer_queue: usize,
    pub batch_messages: usize,
    pub batch_bytes: usize,
    #[serde(deserialize_with = "time")]
    pub batch_interval: Duration,
    pub server_queue: usize,
    pub dispatcher_queue: usize,
    pub mirror_queue: usize,
    pub mirror_queue_bytes: usize,
    pub handshakes_per_second: u32,
    pub handshakes_burst: u32,
    pub handshakes_per_address: u32,
    pub body_bytes: usize,
}

impl LimitsConfig {
    /// What a message may be.
    pub fn message(&self) -> MessageLimits {
        MessageLimits { text_chars: self.message_chars, data_bytes: self.data_bytes, data_depth: self.data_depth }
    }
}

impl ServerConfig {
    /// Threads that serve sockets.
    pub fn workers(&self) -> usize {
        if self.workers == 0 { cores() } else { self.workers }
    }
}

impl DatabaseConfig {
    /// Transactions of messages at once. One takes all that one core can send it, in larger batches, which cost less.
    pub fn lanes(&self) -> u32 {
        match (&self.url, self.lanes) {
            (DatabaseUrl::Sqlite(_), _) => 1,
            (DatabaseUrl::Postgres(_), 0) if cores() == 1 => 1,
            (DatabaseUrl::Postgres(_), 0) => 2,
            (DatabaseUrl::Postgres(_), lanes) => lanes,
        }
    }
}

/// Processors that this process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Which database, as `database.url` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite://PATH`
    Sqlite(PathBuf),
    /// `postgres://…`, which may hold a password.
    Postgres(Secret),
}

impl DatabaseUrl {
    fn parse(url: &str) -> Result<Self, &'static str> {
        const MUST: &str = "must be sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE";
        match url.split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("postgres" | "postgresql", place)) if !place.is_empty() => Ok(Self::Postgres(Secret(url.to_owned()))),
            _ => Err(MUST),
        }
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Text that must not show in logs or errors.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| de::Error::custom(r#"must be a time like "250ms", "5s" or "24h""#))
}

/// Why a secret is weak, if it is.
pub fn weakness(secret: &str) -> Option<&'static str> {
    const KNOWN: [&str; 6] = ["django-insecure-", "changeme", "change-me", "your-256-bit-secret", "secret", "password"];
    let lower = secret.to_lowercase();
    let different = secret.bytes().collect::<std::collections::HashSet<_>>().len();
    if KNOWN.iter().any(|known| lower.starts_with(known)) {
        Some("is a known example")
    } else if lower.starts_with("-----begin") {
        Some("is a key file, which others may have")
    } else if secret.len() < SECRET_BYTES {
        Some("has less than 32 bytes")
    } else if different < 10 {
        Some("repeats a few characters")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_secrets_are_known() {
        assert!(weakness("short").is_some());
        assert!(weakness("django-insecure-0123456789012345678901234567890123456789").is_some());
        assert!(weakness(&"ab".repeat(40)).is_some());
        assert!(weakness("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQ").is_some());
        assert!(weakness("kA8!jx02Lmn-7qWe_rTyUiOpAsDfGhJkLz").is_none());
    }
}

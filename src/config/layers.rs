//! The settings' layers: config/default.toml is compiled in and is the defaults; that the structs have the same keys is
//! checked at each start, since neither a missing nor an unknown key deserialises. Each error names the place.

use std::{collections::HashMap, fs, io, path::Path, time::Duration};

use toml::{Spanned, Table, Value, de::DeTable};
use tracing_subscriber::EnvFilter;

use super::{Config, DatabaseUrl, Profile, Secret};

const DEFAULT: &str = include_str!("../../config/default.toml");
const PRODUCTION: &str = include_str!("../../config/production.toml");
/// Start of the environment variables that set keys: `HUBBUB__SECTION__KEY`.
const ENV_PREFIX: &str = "HUBBUB__";
/// No number means anything above this, and none up to it overflows.
const MOST: i64 = 1_000_000_000;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(86_400);

/// Why the settings can't be used. Each message names the place.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file can't be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// File and line.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// There is no such key.
    #[error("{place}: unknown key `{key}`{hint}")]
    UnknownKey {
        /// File and line, or the environment variable.
        place: String,
        /// The key as section.key.
        key: String,
        /// What may have been meant.
        hint: String,
    },
    /// A key has a value that it can't have.
    #[error("{place}: `{key}` {message}")]
    BadValue {
        /// File and line, the environment variable, or the flag.
        place: String,
        /// The key as section.key.
        key: String,
        /// What it must be.
        message: String,
    },
}

/// What the command line says about the settings.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config FILE`
    pub config: Option<String>,
    /// `--profile NAME`
    pub profile: Option<String>,
    /// `--bind ADDRESS`
    pub bind: Option<String>,
}

/// Reads all layers, the process's environment among them.
pub fn load(overrides: &Overrides) -> Result<Config, ConfigError> {
    let mut given = Vec::new();
    for (name, value) in std::env::vars_os() {
        // Others' variables may hold what they like.
        let Some(name) = name.to_str().filter(|name| name.starts_with(ENV_PREFIX)) else { continue };
        let value = value.into_string().map_err(|_| ConfigError::BadValue {
            place: name.to_owned(),
            key: key_of(name),
            message: "must be UTF-8 text".to_owned(),
        })?;
        given.push((name.to_owned(), value));
    }
    load_from(overrides, &given)
}

fn load_from(overrides: &Overrides, given: &[(String, String)]) -> Result<Config, ConfigError> {
    let mut layers = Layers::defaults()?;
    let mut upper = Layers::defaults()?;
    // The profile decides about the layers below the one it may come from, so the upper layers are read twice.
    let top = |layers: &mut Layers| -> Result<(), ConfigError> {
        if let Some(path) = &overrides.config {
            layers.add_file(path)?;
        }
        for (name, value) in given {
            layers.add_text(name, &key_of(name), value)?;
        }
        for (flag, key, value) in
            [("--profile", "server.profile", &overrides.profile), ("--bind", "server.bind", &overrides.bind)]
        {
            if let Some(value) = value {
                layers.add_text(flag, key, value)?;
            }
        }
        Ok(())
    };
    top(&mut upper)?;
    let profile = upper.text("server.profile");
    if profile == "production" {
        layers.add_toml("production.toml (compiled in)", PRODUCTION)?;
    }
    let beside = format!("config/{profile}.toml");
    if profile.chars().all(|c| c.is_ascii_alphanumeric()) && Path::new(&beside).exists() {
        layers.add_file(&beside)?;
    }
    top(&mut layers)?;
    let mut config = layers.finish()?;
    layers.check(&config)?;
    if !config.auth.secret_file.is_empty() {
        config.auth.secret = Secret(from_file("auth.secret_file", &config.auth.secret_file)?);
    }
    if !config.redis.url_file.is_empty() {
        config.redis.url = Secret(from_file("redis.url_file", &config.redis.url_file)?);
    }
    if !config.server.metrics_token_file.is_empty() {
        config.server.metrics_token =
            Secret(from_file("server.metrics_token_file", &config.server.metrics_token_file)?);
    }
    if !config.database.url_file.is_empty() {
        let parsed = DatabaseUrl::parse(&from_file("database.url_file", &config.database.url_file)?);
        config.database.url =
            parsed.map_err(|must| layers.bad("database.url_file", &format!("holds an address that {must}")))?;
    }
    if !config.redis.url.reveal().is_empty() && matches!(config.database.url, DatabaseUrl::Sqlite(_)) {
        let key = if config.redis.url_file.is_empty() { "redis.url" } else { "redis.url_file" };
        return Err(layers.bad(key, "is for several nodes, which need PostgreSQL: SQLite (database.url) has one"));
    }
    Ok(config)
}

/// What a file holds that is named instead of a secret.
fn from_file(key: &str, path: &str) -> Result<String, ConfigError> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|source| ConfigError::Read { path: format!("{key}: {path}"), source })?;
    Ok(text.trim().to_owned())
}

/// Where `hubbub copy` is to copy to, as its flags say: the address or a file that holds it.
pub fn copy_target(to: Option<&str>, file: Option<&str>) -> Result<Secret, ConfigError> {
    let (place, url) = match file {
        Some(path) => ("--to-file", from_file("--to-file", path)?),
        None => ("--to", to.unwrap_or_default().to_owned()),
    };
    match DatabaseUrl::parse(&url) {
        Ok(DatabaseUrl::Postgres(url)) => Ok(url),
        _ => Err(ConfigError::BadValue {
            place: place.to_owned(),
            key: "database.url".to_owned(),
            message: "must be postgres://USER:PASSWORD@HOST/DATABASE".to_owned(),
        }),
    }
}

const ORIGIN_MUST: &str =
    r#"must be as browsers name them: "https://app.example.com", with a port where it is not the usual one"#;

/// Scheme, host and port as a browser writes them in `Origin`: lower case, nothing after it.
fn is_origin(text: &str) -> bool {
    let Some(("http" | "https", host)) = text.split_once("://") else { return false };
    !host.is_empty() && !host.contains(['/', '*', '?', '#', '@', ' ']) && !host.chars().any(char::is_uppercase)
}

/// The key that an environment variable sets.
fn key_of(variable: &str) -> String {
    variable.trim_start_matches(ENV_PREFIX).to_lowercase().replace("__", ".")
}

/// The merged settings and where each of them came from.
struct Layers {
    values: Table,
    places: HashMap<String, String>,
}

impl Layers {
    fn defaults() -> Result<Self, ConfigError> {
        let place = || "default.toml (compiled in)".to_owned();
        let values = DEFAULT
            .parse::<Table>()
            .map_err(|error| ConfigError::Syntax { place: place(), message: error.message().to_owned() })?;
        Ok(Self { values, places: HashMap::new() })
    }

    fn text(&self, key: &str) -> String {
        self.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn get(&self, key: &str) -> Option<&Value> {
        let (section, key) = key.split_once('.')?;
        self.values.get(section)?.get(key)
    }

    fn set(&mut self, key: &str, value: Value, place: String) -> Result<(), ConfigError> {
        let Some(default) = self.get(key) else {
            return Err(ConfigError::UnknownKey { place, key: key.to_owned(), hint: self.hint(key) });
        };
        if default.type_str() != value.type_str() {
            let message = format!("must be of type {}, not {}", default.type_str(), value.type_str());
            return Err(ConfigError::BadValue { place, key: key.to_owned(), message });
        }
        if let Some((section, name)) = key.split_once('.')
            && let Some(Value::Table(section)) = self.values.get_mut(section)
        {
            section.insert(name.to_owned(), value);
        }
        self.places.insert(key.to_owned(), place);
        Ok(())
    }

    /// The keys of the section, or the sections: what may have been meant.
    fn hint(&self, key: &str) -> String {
        let section = key.split_once('.').and_then(|(section, _)| self.values.get(section));
        let (what, table) = match section {
            Some(Value::Table(table)) => ("the section has", table),
            _ => ("there are the sections", &self.values),
        };
        format!("; {what} {}", table.keys().map(String::as_str).collect::<Vec<_>>().join(", "))
    }

    fn add_file(&mut self, path: &str) -> Result<(), ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        self.add_toml(path, &text)
    }

    fn add_toml(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let place = |at: usize| {
            let line = text.get(..at).unwrap_or_default().matches('\n').count().saturating_add(1);
            format!("{name} line {line}")
        };
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            place: place(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        for (section, keys) in table.into_inner() {
            let Some(keys) = keys.get_ref().as_table() else {
                let key = section.get_ref().to_string();
                let hint = self.hint(&key);
                return Err(ConfigError::UnknownKey { place: place(section.span().start), key, hint });
            };
            for (key, value) in keys {
                let place = place(key.span().start);
                let key = format!("{}.{}", section.get_ref(), key.get_ref());
                let value = to_value(value).ok_or_else(|| ConfigError::BadValue {
                    place: place.clone(),
                    key: key.clone(),
                    message: "can't be a table".to_owned(),
                })?;
                self.set(&key, value, place)?;
            }
        }
        Ok(())
    }

    /// A value that came as text: it becomes what the default is.
    fn add_text(&mut self, place: &str, key: &str, text: &str) -> Result<(), ConfigError> {
        let wrong = |what: &str| ConfigError::BadValue {
            place: place.to_owned(),
            key: key.to_owned(),
            message: format!("must be {what}"),
        };
        let value = match self.get(key) {
            Some(Value::Integer(_)) => Value::Integer(text.trim().parse().map_err(|_| wrong("a whole number"))?),
            Some(Value::Boolean(_)) => Value::Boolean(text.trim().parse().map_err(|_| wrong("true or false"))?),
            Some(Value::Array(_)) => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
            }
            _ => Value::String(text.to_owned()),
        };
        self.set(key, value, place.to_owned())
    }

    fn finish(&self) -> Result<Config, ConfigError> {
        serde_path_to_error::deserialize(Value::Table(self.values.clone())).map_err(|error| {
            let key = error.path().to_string();
            // The toml crate adds where it was in a text of its own, which is not the user's.
            let message = error.inner().to_string().lines().next().unwrap_or_default().to_owned();
            self.bad(&key, &message)
        })
    }

    fn bad(&self, key: &str, message: &str) -> ConfigError {
        // Of a list it is the list that has a place.
        let key = key.split('[').next().unwrap_or_default();
        let place = self.places.get(key).map_or("default.toml (compiled in)", String::as_str).to_owned();
        ConfigError::BadValue { place, key: key.to_owned(), message: message.to_owned() }
    }

    /// What types can't say.
    fn check(&self, config: &Config) -> Result<(), ConfigError> {
        if config.database.write_timeout > Duration::from_secs(5) {
            return Err(self.bad("database.write_timeout", "must be at most 5s"));
        }
        let server = &config.server;
        if server.stop_timeout <= server.drain_wait.saturating_add(server.drain_spread) {
            let must = "must be longer than server.drain_wait and server.drain_spread together";
            return Err(self.bad("server.stop_timeout", must));
        }
        for (key, file) in [
            ("auth.secret", &config.auth.secret_file),
            ("server.metrics_token", &config.server.metrics_token_file),
            ("database.url", &config.database.url_file),
            ("redis.url", &config.redis.url_file),
        ] {
            let given = self.places.contains_key(key) && !self.text(key).is_empty();
            if given && !file.is_empty() {
                return Err(self.bad(&format!("{key}_file"), &format!("and `{key}` can't both be set")));
            }
        }
        for (section, keys) in &self.values {
            for (key, value) in keys.as_table().into_iter().flatten() {
                // 0 places for sessions means as many as the process may have open.
                let counts = section == "limits" && key != "sessions";
                let lowest = i64::from(counts || key == "readers");
                if value.as_integer().is_some_and(|number| !(lowest..=MOST).contains(&number)) {
                    let range = format!("must be a number from {lowest} to {MOST}");
                    return Err(self.bad(&format!("{section}.{key}"), &range));
                }
            }
        }
        let (limits, database, server) = (&config.limits, &config.database, &config.server);
        for (key, time) in [
            ("limits.heartbeat", limits.heartbeat),
            ("limits.silence", limits.silence),
            ("limits.auth_timeout", limits.auth_timeout),
            ("limits.stalled_timeout", limits.stalled_timeout),
            ("limits.room_idle", limits.room_idle),
            ("database.read_timeout", database.read_timeout),
            ("database.write_timeout", database.write_timeout),
            ("server.stop_timeout", server.stop_timeout),
            ("accounts.access_lifetime", config.accounts.access_lifetime),
        ] {
            if !(SHORTEST..=LONGEST).contains(&time) {
                return Err(self.bad(key, "must be a time from 100ms to 1day"));
            }
        }
        for (key, wrong, message) in [
            ("limits.batch_messages", limits.batch_messages > 1_000, "must be at most 1000: SQLite binds 32766 values"),
            ("limits.frame_bytes", limits.frame_bytes < 1_024, "must be at least 1024"),
            ("server.workers", server.workers > 512, "must be at most 512"),
            ("database.readers", database.readers > 1_000, "must be at most 1000"),
            ("database.lanes", database.lanes > 64, "must be at most 64"),
            (
                "accounts.refresh_lifetime",
                config.accounts.refresh_lifetime < config.accounts.access_lifetime,
                "must not be shorter than `accounts.access_lifetime`",
            ),
            (
                "server.drain_wait",
                server.drain_wait >= server.stop_timeout,
                "must be shorter than `server.stop_timeout`",
            ),
            ("server.origins", !server.origins.iter().all(|origin| is_origin(origin)), ORIGIN_MUST),
            (
                "server.echo",
                server.echo && server.profile == Profile::Production,
                "is for conformance tests, not for production",
            ),
            (
                "auth.max_token_lifetime",
                (Duration::from_nanos(1)..config.accounts.access_lifetime).contains(&config.auth.max_token_lifetime),
                "must be 0s, or not shorter than `accounts.access_lifetime`",
            ),
            ("limits.sessions", (1..10).contains(&limits.sessions), "must be 0, or at least 10"),
            ("auth.user_claim", config.auth.user_claim.is_empty(), "must name a claim"),
            ("log.level", EnvFilter::try_new(&config.log.level).is_err(), "must be a level, or directives of levels"),
        ] {
            if wrong {
                return Err(self.bad(key, message));
            }
        }
        if config.limits.heartbeat >= config.limits.silence {
            return Err(self.bad("limits.heartbeat", "must be shorter than `limits.silence`"));
        }
        Ok(())
    }
}

fn to_value(value: &Spanned<toml::de::DeValue<'_>>) -> Option<Value> {
    use toml::de::DeValue;
    Some(match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(number) => Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Float(number) => Value::Float(number.as_str().parse().ok()?),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Array(array) => Value::Array(array.iter().map(to_value).collect::<Option<_>>()?),
        DeValue::Datetime(time) => Value::Datetime(*time),
        DeValue::Table(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_env(vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load_from(&Overrides::default(), &vars.collect::<Vec<_>>())
    }

    fn layered(text: &str) -> Result<Config, String> {
        let mut layers = Layers::defaults().unwrap();
        let done = layers.add_toml("my.toml", text).and_then(|()| {
            let config = layers.finish()?;
            layers.check(&config).map(|()| config)
        });
        done.map_err(|error| error.to_string())
    }

    #[test]
    fn the_default_file_and_the_structs_have_the_same_keys() {
        let config = load_env(&[]).unwrap();
        assert_eq!(config.server.bind.to_string(), "127.0.0.1:8000");
        assert!(config.rooms.auto_create);
    }

    #[test]
    fn production_has_its_own_values_without_a_file() {
        let config = load_env(&[("HUBBUB__SERVER__PROFILE", "production")]).unwrap();
        assert_eq!(config.server.drain_wait, Duration::from_secs(5));
        assert!(!config.rooms.auto_create);
    }

    #[test]
    fn the_environment_wins_and_takes_the_default_s_type() {
        let vars =
            [("HUBBUB__AUTH__SECRET", "12345"), ("HUBBUB__LIMITS__FRAGMENTS", "3"), ("HUBBUB__LOG__LEVEL", "warn")];
        let config = load_env(&vars).unwrap();
        assert_eq!((config.auth.secret.reveal(), config.limits.fragments), ("12345", 3));
        let wrong = load_env(&[("HUBBUB__LIMITS__FRAGMENTS", "many")]).unwrap_err().to_string();
        assert_eq!(wrong, "HUBBUB__LIMITS__FRAGMENTS: `limits.fragments` must be a whole number");
    }

    #[test]
    fn redis_goes_with_postgresql_wherever_their_addresses_come_from() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "postgres://hubbub@127.0.0.1/hubbub\n").unwrap();
        let (redis, path) = (("HUBBUB__REDIS__URL", "redis://127.0.0.1:6379"), file.path().to_str().unwrap());
        let config = load_env(&[redis, ("HUBBUB__DATABASE__URL_FILE", path)]).unwrap();
        assert!(matches!(config.database.url, DatabaseUrl::Postgres(_)));
        let alone = load_env(&[redis]).unwrap_err().to_string();
        assert!(
            alone.starts_with("HUBBUB__REDIS__URL: `redis.url` is for several nodes, which need PostgreSQL"),
            "{alone}"
        );
        fs::write(file.path(), "sqlite://data/hubbub.db").unwrap();
        assert!(load_env(&[redis, ("HUBBUB__DATABASE__URL_FILE", path)]).is_err());
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_its_place() {
        let unknown = layered("[server]\n\nbnd = 1\n").unwrap_err();
        assert!(unknown.starts_with("my.toml line 3: unknown key `server.bnd`; the section has bind"), "{unknown}");
        assert!(layered("[sever]\nbind = 1\n").unwrap_err().contains("there are the sections"));
        assert!(layered("bind = 1\n").unwrap_err().starts_with("my.toml line 1: unknown key `bind`"));
        assert_eq!(
            layered("[server]\nbind = 1\n").unwrap_err(),
            "my.toml line 2: `server.bind` must be of type string, not integer"
        );
        assert_eq!(
            layered("[limits]\nheartbeat = \"soon\"").unwrap_err(),
            "my.toml line 2: `limits.heartbeat` must be a time like \"250ms\", \"5s\" or \"24h\""
        );
        assert_eq!(
            layered("[limits]\nfragments = 0").unwrap_err(),
            "my.toml line 2: `limits.fragments` must be a number from 1 to 1000000000"
        );
        assert!(layered("[server\n").unwrap_err().starts_with("my.toml line 1: "));
        assert!(layered("[database]\nurl = \"mysql://x\"").unwrap_err().contains("line 2: `database.url` must be"));
    }
}

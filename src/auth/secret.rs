//! Secrets: the app's, which may be several, checked for strength; and in dev one that is made once and kept in a file
//! that only its owner reads.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rand::{RngExt, distr::Alphanumeric};

use super::KeyError;
use crate::config::{Config, Profile, Secret, weakness};

/// 48 random characters: 285 bits.
pub fn make_secret() -> String {
    rand::rng().sample_iter(Alphanumeric).take(48).map(char::from).collect()
}

/// The configured secret; `None` in dev where none is. Weak ones are for dev alone.
pub(super) fn check_secret(config: &Config) -> Result<Option<Secret>, KeyError> {
    let configured = &config.auth.secret;
    let keys = split(configured);
    let weak = keys.iter().find_map(|key| weakness(key));
    match (config.server.profile, keys.is_empty(), weak) {
        (Profile::Production, true, _) => Err(KeyError::Missing),
        (Profile::Production, false, Some(why)) => Err(KeyError::Weak(why)),
        (Profile::Dev, true, _) => Ok(None),
        (Profile::Dev, false, Some(why)) => {
            tracing::warn!("auth.secret {why}: good enough to try out; production refuses it");
            Ok(Some(configured.clone()))
        }
        (_, false, None) => Ok(Some(configured.clone())),
    }
}

/// All keys that a secret may mean: its parts between commas, and, since a key of its own may hold one, the whole.
pub(super) fn keys(secret: &Secret) -> Vec<&str> {
    let mut keys = split(secret);
    if keys.len() > 1 {
        keys.push(secret.reveal());
    }
    keys
}

/// The keys in a secret that may hold several, separated by commas.
fn split(secret: &Secret) -> Vec<&str> {
    secret.reveal().split(',').map(str::trim).filter(|key| !key.is_empty()).collect()
}

/// The secret kept in this file, which is made where it is not there.
pub fn kept_secret(path: &Path) -> Result<Secret, KeyError> {
    let failed = |source| KeyError::File { path: path.display().to_string(), source };
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    match File::options().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let secret = make_secret();
            file.write_all(secret.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            tracing::info!(path = %path.display(), "no auth.secret configured: made one for trying out");
            Ok(secret.into())
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(fs::read_to_string(path).map_err(failed)?.trim().to_owned().into())
        }
        Err(source) => Err(failed(source)),
    }
}

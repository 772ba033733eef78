//! Who somebody is: tokens verified, the hub's own tokens minted, secrets made. Pure but for the clock.

mod secret;
mod token;

pub use secret::{SecretError, check_secret, kept_secret, keys, make_secret};
pub use token::{Authenticator, Identity, OWN_KEY_SETTING, TokenError, mint};

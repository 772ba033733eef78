//! Who somebody is: tokens verified, the hub's own tokens minted, passwords hashed, secrets made. Pure but for the clock
//! and the passwords' threads.

mod jwks;
mod keys;
mod own;
mod passwords;
mod secret;
mod token;

pub use keys::{AppKeys, KeyError, TOKEN_LEEWAY, check_keys};
pub use own::{OWN_KEY_SETTING, OwnKey, TokenKind, mint};
pub use passwords::{Passwords, PasswordsBusy};
pub use secret::{kept_secret, make_secret};
pub use token::{Authenticator, Identity, TokenError};

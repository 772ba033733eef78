//! What the sockets and requests of one worker share: who they ask, and by which rules. Made once a worker, on its thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use actix::Addr;

use crate::{
    auth::{Authenticator, OwnKey, Passwords, TokenError},
    config::{Config, UsersPolicy},
    protocol::{CloseCode, ErrorCode, WireError},
    server::{ChatServer, Dispatcher, ServerHandle, WorkerId},
    stats::Stats,
    store::{Store, StoreError, User, Writer},
};

/// One worker's part of the hub.
pub struct Worker {
    /// Which worker this is.
    pub id: WorkerId,
    /// The settings.
    pub config: Arc<Config>,
    /// Who verifies tokens.
    pub authenticator: Arc<Authenticator>,
    /// The database.
    pub store: Arc<Store>,
    /// The central actor; each session makes a handle of its own.
    pub server: Addr<ChatServer>,
    /// The handle that this worker's HTTP requests use.
    pub handle: ServerHandle,
    /// The worker's own Dispatcher.
    pub dispatcher: Addr<Dispatcher>,
    /// The writers, to ask how they are.
    pub writers: Vec<Addr<Writer>>,
    /// Who hashes passwords.
    pub passwords: Arc<Passwords>,
    /// The hub's own key, by which accounts' tokens are signed.
    pub own_key: Arc<OwnKey>,
    /// The node's numbers.
    pub stats: Arc<Stats>,
    /// Whether the hub is about to stop.
    pub stopping: Arc<Stopping>,
}

/// How far a stop has come.
#[derive(Debug, Default)]
pub struct Stopping {
    unready: AtomicBool,
    closed: AtomicBool,
}

impl Stopping {
    /// From now on readiness answers 503.
    pub fn announce(&self) {
        self.unready.store(true, Ordering::Relaxed);
    }

    /// From now on no socket is taken.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Whether a stop was announced.
    pub fn is_announced(&self) -> bool {
        self.unready.load(Ordering::Relaxed)
    }

    /// Whether sockets are no longer taken.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Somebody with a valid token.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who.
    pub user: Arc<User>,
    /// How long the token is good for.
    pub expires_in: Duration,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The token is not good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The token is good, but `auth.users` asks for users that exist.
    #[error("this user is not known here")]
    UnknownUser,
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SignInError {
    /// How a socket is closed for it.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Token(TokenError::Expired) => CloseCode::TokenExpired,
            Self::Token(TokenError::Invalid) | Self::UnknownUser => CloseCode::TokenInvalid,
            Self::Store(_) => CloseCode::Unavailable,
        }
    }
}

impl From<SignInError> for WireError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Token(_) | SignInError::UnknownUser => {
                Self::new(ErrorCode::Unauthenticated, error.to_string())
            }
            SignInError::Store(error) => error.into(),
        }
    }
}

impl Worker {
    /// Verifies a token and finds, or makes, its user.
    pub async fn sign_in(&self, token: &str) -> Result<SignedIn, SignInError> {
        let who = self.authenticator.verify(token)?;
        let make = self.config.auth.users == UsersPolicy::Any;
        let expires_in = who.expires_in();
        // The hub's own accounts are made by whoever has its key.
        let make = make || who.id.is_own();
        let user = self.store.user(who.id, who.name, make).await?.ok_or(SignInError::UnknownUser)?;
        Ok(SignedIn { user: Arc::new(user), expires_in })
    }
}

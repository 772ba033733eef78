//! What the sockets and requests of one worker share: who they ask, and by which rules. Made once a worker, on its thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use actix::Addr;

use crate::{
    admission::Admission,
    auth::{Authenticator, Identity, OwnKey, Passwords, TOKEN_LEEWAY, TokenError},
    config::{Config, UsersPolicy},
    mirror::Mirror,
    protocol::{CloseCode, ErrorCode, UserId, WireError},
    server::{ChatServer, Dispatcher, ServerHandle, WorkerId},
    stats::Stats,
    store::{SeenUser, Store, StoreError, Ticket, TokenMark, User, Writer},
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
    /// Who may come in, and how often.
    pub admission: Arc<Admission>,
    /// Who hashes passwords.
    pub passwords: Arc<Passwords>,
    /// The hub's own key, by which accounts' tokens are signed.
    pub own_key: Arc<OwnKey>,
    /// The node's numbers.
    pub stats: Arc<Stats>,
    /// Other nodes.
    pub mirror: Mirror,
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
    /// What the token can be revoked by.
    pub mark: TokenMark,
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
    /// An admin has disabled the user.
    #[error("this user is disabled")]
    Disabled,
    /// The token was revoked.
    #[error("the token was revoked")]
    Revoked,
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
            Self::Disabled | Self::Revoked => CloseCode::Revoked,
            Self::Token(TokenError::NoKeys) | Self::Store(_) => CloseCode::Unavailable,
        }
    }
}

impl From<SignInError> for WireError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Token(TokenError::NoKeys) => {
                Self::new(ErrorCode::Unavailable, error.to_string()).retry_after_ms(1_000)
            }
            SignInError::Token(_) | SignInError::UnknownUser | SignInError::Revoked => {
                Self::new(ErrorCode::Unauthenticated, error.to_string())
            }
            SignInError::Disabled => Self::new(ErrorCode::Forbidden, error.to_string()),
            SignInError::Store(error) => error.into(),
        }
    }
}

impl Worker {
    /// Verifies a token and finds, or makes, its user.
    pub async fn sign_in(&self, token: &str) -> Result<SignedIn, SignInError> {
        let who = self.authenticator.verify(token).await?;
        let (expires_in, mark) = (who.expires_in(), mark_of(&who));
        self.admit(who.id, who.name, expires_in, mark).await
    }

    /// Uses a ticket up and finds its user; it is as good as the token that it was given for.
    pub async fn sign_in_by_ticket(&self, ticket: &str) -> Result<SignedIn, SignInError> {
        let ticket = self.store.take_ticket(ticket).await?.ok_or(TokenError::Invalid)?;
        let left = SystemTime::from(ticket.expires_at).duration_since(SystemTime::now());
        let expires_in = left.as_ref().copied().unwrap_or_default();
        if left.is_err_and(|late| late.duration() > TOKEN_LEEWAY) {
            return Err(TokenError::Expired.into());
        }
        self.admit(ticket.user_id, ticket.name.into(), expires_in, ticket.mark).await
    }

    /// A ticket for whom this token names.
    pub async fn issue_ticket(&self, token: &str) -> Result<(String, i64), SignInError> {
        let who = self.authenticator.verify(token).await?;
        let (mark, name) = (mark_of(&who), who.name.to_string());
        self.admit(who.id.clone(), Arc::clone(&who.name), who.expires_in(), mark).await?;
        let ticket = Ticket { user_id: who.id, name, mark, expires_at: who.expires.into() };
        Ok(self.store.issue_ticket(ticket).await?)
    }

    /// Whether somebody with this token, if they were ever seen, may still do something.
    pub async fn standing(&self, who: &Identity) -> Result<(), SignInError> {
        let seen = self.store.user(who.id.clone(), Arc::clone(&who.name), false).await?;
        seen.map_or(Ok(()), |seen| self.check(&seen, &mark_of(who)))
    }

    fn check(&self, seen: &SeenUser, mark: &TokenMark) -> Result<(), SignInError> {
        match (seen.disabled, self.store.sanctions().refuse(seen, mark)) {
            (true, _) => Err(SignInError::Disabled),
            (false, true) => Err(SignInError::Revoked),
            (false, false) => Ok(()),
        }
    }

    async fn admit(
        &self,
        id: UserId,
        name: Arc<str>,
        expires_in: Duration,
        mark: TokenMark,
    ) -> Result<SignedIn, SignInError> {
        let make = self.config.auth.users == UsersPolicy::Any;
        // The hub's own accounts are made by whoever has its key.
        let make = make || id.is_own();
        let seen = self.store.user(id, name, make).await?.ok_or(SignInError::UnknownUser)?;
        self.check(&seen, &mark)?;
        Ok(SignedIn { user: Arc::new(seen.user), expires_in, mark })
    }
}

fn mark_of(who: &Identity) -> TokenMark {
    TokenMark::new(who.jti.as_deref(), who.issued_at)
}

//! Passwords: argon2id, on threads for blocking work, so that no socket waits for it. A hash takes 19 MiB and some tens of
//! milliseconds (<https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html>); so many run at once
//! and so many may wait.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{protocol::WireError, stats::Stats};

/// Nobody's hash, with the parameters of everybody's: a user who is not there takes the time of one who is.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlz$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// Too many passwords wait.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too many passwords wait to be hashed")]
pub struct PasswordsBusy;

impl From<PasswordsBusy> for WireError {
    fn from(_: PasswordsBusy) -> Self {
        Self::busy()
    }
}

/// Hashes and verifies passwords.
pub struct Passwords {
    permits: Arc<Semaphore>,
    queue: Arc<Queue>,
    most: usize,
}

/// How many are hashed or wait for it.
struct Queue {
    length: AtomicUsize,
    stats: Arc<Stats>,
}

impl Passwords {
    /// `at_once` are hashed at a time, and so many may be `queued` beside them.
    pub fn new(at_once: usize, queued: usize, stats: Arc<Stats>) -> Self {
        let most = at_once.saturating_add(queued);
        let queue = Queue { length: AtomicUsize::new(0), stats };
        Self { permits: Arc::new(Semaphore::new(at_once)), queue: Arc::new(queue), most }
    }

    /// The password's hash in its PHC form.
    pub async fn hash(&self, password: String) -> Result<String, PasswordsBusy> {
        let hash = self.run(move || Argon2::default().hash_password(password.as_bytes()).map(|hash| hash.to_string()));
        hash.await?.map_err(|_| PasswordsBusy)
    }

    /// Whether the password has this hash. Without one the answer is no, after the same time.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, PasswordsBusy> {
        self.run(move || {
            let there = hash.is_some();
            let text = hash.unwrap_or_else(|| NOBODY.to_owned());
            let verified = PasswordHash::new(&text)
                .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
            verified && there
        })
        .await
    }

    /// The place and the permit go with the work: it runs on to its end when whoever asked is gone.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, PasswordsBusy> {
        let place = Place::take(&self.queue, self.most)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| PasswordsBusy)?;
        let run = move || {
            let _held = (place, permit);
            work()
        };
        spawn_blocking(run).await.map_err(|_| PasswordsBusy)
    }
}

/// A place in the queue, given back at the end of the work, or of the waiting for it.
struct Place(Arc<Queue>);

impl Place {
    fn take(queue: &Arc<Queue>, most: usize) -> Result<Self, PasswordsBusy> {
        let before = queue.length.fetch_add(1, Ordering::Relaxed);
        queue.stats.password_checks.add(1);
        let place = Self(Arc::clone(queue));
        if before >= most { Err(PasswordsBusy) } else { Ok(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.length.fetch_sub(1, Ordering::Relaxed);
        self.0.stats.password_checks.sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn a_password_verifies_by_its_own_hash_alone() {
        let passwords = Passwords::new(1, 1, Arc::new(Stats::new()));
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("wrong horse".into(), Some(hash)).await.unwrap());
        assert!(PasswordHash::new(NOBODY).is_ok() && !passwords.verify("x".into(), None).await.unwrap());
    }
}

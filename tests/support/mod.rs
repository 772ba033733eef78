//! What the tests share: a hub as a process of its own (so that it can be killed), a WebSocket client that forgets
//! nothing it was sent, tokens, HTTP, and a look into the database past the hub.

mod attacker;
mod checker;
pub mod client;
mod database;
mod http;
mod hub;
mod postgres;
mod provider;
mod proxy;
pub mod raw;
mod redis;
mod redis_kinds;
mod tokens;

pub use attacker::{Attacker, Captured};
pub use checker::History;
pub use client::Client;
pub use database::{Database, on_postgres};
pub use http::{Answer, Api};
pub use hub::{Hub, HubOptions, all_on_one_core};
pub use postgres::{Postgres, client};
pub use provider::{Provider, Script};
pub use proxy::Proxy;
pub use redis::{Lossy, Redis, free_port};
pub use redis_kinds::{redis_cluster, sentinel_with_replica};
pub use tokens::{SECRET, base64url, fixture_tokens, forged, made_key, now, signed, token};

use std::time::{Duration, Instant};

/// Longer than anything should take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A text that no two calls share.
pub fn unique() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Looks again and again until something holds; gives how long that took.
pub async fn until(what: &str, within: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < within, "{what}: not within {within:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    start.elapsed()
}

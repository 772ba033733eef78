//! What `redis.url` may be, and that neither it nor its password is ever shown.

use std::time::Duration;

use super::{PATIENCE, nodes, options, redis_is};
use crate::support::{Hub, HubOptions, Postgres, Redis};

const PASSWORD: &str = "xyzzy-redis-password";

/// Starts, and must be refused as a bad setting.
fn refused(options: HubOptions) -> String {
    let folder = tempfile::TempDir::new().unwrap();
    let output = Hub::command(folder.path(), &options).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(!said.contains(PASSWORD), "a password is shown: {said}");
    said
}

#[tokio::test]
async fn redis_with_sqlite_is_refused() {
    let said = refused(HubOptions::default().sqlite().set("redis.url", format!("redis://:{PASSWORD}@127.0.0.1:6379")));
    assert!(said.contains("redis.url") && said.to_lowercase().contains("postgres"), "{said}");
}

#[tokio::test]
async fn a_bad_address_is_refused_and_not_shown() {
    for url in [
        PASSWORD.to_owned(),
        format!("redis://:{PASSWORD}@"),
        format!("http://:{PASSWORD}@127.0.0.1:6379"),
        format!("redis://:{PASSWORD}@127.0.0.1:port"),
        format!("redis://:{PASSWORD}@127.0.0.1:6379/nonsense"),
        format!("redis-sentinel://:{PASSWORD}@127.0.0.1:26379"),
        format!("redis-cluster://127.0.0.1:7000?node=:{PASSWORD}@127.0.0.1:7001"),
        format!("redis-cluster://127.0.0.1:7000?node={PASSWORD}"),
    ] {
        let options = HubOptions::default().set("database.url", "postgres://app@127.0.0.1:1/none");
        let said = refused(options.set("redis.url", &url));
        assert!(said.contains("redis.url"), "{url}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_address_may_stand_in_a_file() {
    let redis = Redis::start(&["--requirepass", PASSWORD]);
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("redis");
    std::fs::write(&file, format!("redis://:{PASSWORD}@127.0.0.1:{}\n", redis.port())).unwrap();
    let [hub]: [Hub; 1] = nodes(options("").set("redis.url_file", file.display()).set("log.level", "trace")).await;
    assert_eq!(hub.member("alice", "lobby").await.say("lobby", "hi").await["seq"], 1);
    assert!(!hub.log().contains(PASSWORD), "the log has the password");
}

/// The hub starts and works; what is wrong is said without the password, at the most talkative level too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_a_redis_that_can_t_be_used_stops_nobody() {
    let redis = Redis::start(&["--requirepass", "another"]);
    let database = Postgres::shared().database();
    for url in [
        format!("redis://:{PASSWORD}@127.0.0.1:{}", redis.port()),
        format!("redis://{PASSWORD}:{PASSWORD}@127.0.0.1:{}", redis.port()),
        format!("redis://:{PASSWORD}@no-such-host.invalid:6379"),
        format!("rediss://:{PASSWORD}@127.0.0.1:{}", redis.port()),
        format!("redis-sentinel://:{PASSWORD}@127.0.0.1:{}?sentinelServiceName=none", redis.port()),
        format!("redis-cluster://:{PASSWORD}@127.0.0.1:1"),
    ] {
        let options = options(&url).set("database.url", &database).set("log.level", "trace");
        let hub = Hub::with(options);
        redis_is(&hub, "away", Duration::from_secs(3)).await;
        let said = hub.member("alice", "lobby").await.say("lobby", "hi").await;
        assert_eq!(said["type"], "ok", "P9: with {url}: {said}");
        super::until("what is wrong is said", PATIENCE, async || hub.log().contains("redis is away")).await;
        assert!(!hub.log().contains(PASSWORD), "the log has the password of {url}");
    }
}

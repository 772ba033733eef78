//! The kinds of Redis: Sentinel that makes a replica the master, a Cluster that loses a node, TLS with a root of one's own.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::{HubOptions, Traffic, nodes, options, redis_is, typical};
use crate::support::{Hub, Redis, free_port, redis_cluster, sentinel_with_replica};

/// A fault, and how long the bus may be away; what is said meanwhile comes by the database within its second.
async fn survives(what: &str, options: HubOptions, fault: impl FnOnce(), within: Duration) {
    let hubs: [Hub; 2] = nodes(options).await;
    let traffic = Traffic::start(&hubs, "lobby", Duration::from_millis(20)).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    fault();
    let since = Instant::now();
    // It may be felt, or not at all where the nodes talk by a server that lives.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for hub in &hubs {
        redis_is(hub, "up", within).await;
    }
    eprintln!("{what}: up at most {:?} after the fault", since.elapsed());
    let healed = Instant::now();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let outcome = traffic.finish(&hubs[0]).await;
    outcome.hold_times(what);
    let across = typical(outcome.across(healed, Instant::now()));
    assert!(across < Duration::from_millis(100), "P9: {across:?} to another node after the fault: not by the bus");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_a_sentinel_s_failover() {
    let (mut master, _others, url) = sentinel_with_replica().await;
    let options = options(&url);
    survives("sentinel", options, || master.kill(), Duration::from_secs(12)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_a_cluster_loses_a_master_that_has_a_replica() {
    let (mut servers, url) = redis_cluster().await;
    survives("cluster", options(&url), || servers[0].kill(), Duration::from_secs(12)).await;
}

/// Nobody takes the dead one's slots over: the bus is away until it is back, and the database brings everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_a_cluster_loses_a_master_that_has_none() {
    let (mut servers, url) = redis_cluster().await;
    let hubs: [Hub; 2] = nodes(options(&url)).await;
    let traffic = Traffic::start(&hubs, "lobby", Duration::from_millis(20)).await;
    servers[1].kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    servers[1].start_again();
    for hub in &hubs {
        redis_is(hub, "up", Duration::from_secs(12)).await;
    }
    traffic.finish(&hubs[0]).await.hold_times("cluster without replica");
}

/// A root certificate of one's own, where OpenSSL's programs look for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_with_a_root_of_one_s_own() {
    let folder = TempDir::new().unwrap();
    let openssl = |words: &str| {
        let made = Command::new("openssl").args(words.split(' ')).current_dir(folder.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=root",
    );
    openssl("req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out request.pem -subj /CN=redis");
    fs::write(folder.path().join("names"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    openssl("x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names");
    let root = folder.path().join("ca.pem").display().to_string();
    let port = free_port();
    let tls = ["--tls-port", &port.to_string(), "--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem"];
    let more = ["--tls-ca-cert-file", "ca.pem", "--tls-auth-clients", "no", "--requirepass", "s3cret"];
    let _redis = Redis::start_in(folder, 0, &[&tls[..], &more[..]].concat());
    for host in ["localhost", "127.0.0.1"] {
        let options = options(&format!("rediss://:s3cret@{host}:{port}"));
        let variable = format!("SSL_CERT_FILE={root}");
        let [hub]: [Hub; 1] = nodes(options.clone().run_by(&["env", &variable])).await;
        assert_eq!(hub.member("alice", "lobby").await.say("lobby", "hi").await["seq"], 1);
        // Without it the server is not believed, and the hub goes on without Redis.
        let hub = Hub::with(options);
        tokio::time::sleep(Duration::from_secs(1)).await;
        redis_is(&hub, "away", Duration::from_secs(3)).await;
    }
}

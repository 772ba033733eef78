//! Redis as it is run where one server is not enough: a Sentinel that makes a replica the master, a Cluster.

use super::{PATIENCE, Redis, free_port, until};

/// A master; its replica and the sentinel that watches over both; the address by which hubs find them.
pub async fn sentinel_with_replica() -> (Redis, [Redis; 2], String) {
    let master = Redis::start(&["--repl-diskless-sync-delay", "0"]);
    let port = master.port().to_string();
    let replica = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    let sentinel = Redis::sentinel("main", master.port());
    until("the replica follows", PATIENCE, async || {
        replica.command(&["INFO", "replication"]).contains("master_link_status:up")
            && sentinel.command(&["SENTINEL", "MASTERS"]).contains("slave0")
            || sentinel.command(&["SENTINEL", "REPLICAS", "main"]).contains(&replica.port().to_string())
    })
    .await;
    let url = format!("redis-sentinel://127.0.0.1:{}?sentinelServiceName=main", sentinel.port());
    (master, [replica, sentinel], url)
}

/// A server of a cluster.
fn member() -> (Redis, String) {
    let bus = free_port().to_string();
    let arguments = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
    (Redis::start(&[&arguments[..], &["--repl-diskless-sync-delay", "0"]].concat()), bus)
}

/// Three masters, the first of which has a replica; all as `redis-cluster://` names them.
pub async fn redis_cluster() -> ([Redis; 4], String) {
    let [(a, bus), (b, _), (c, _), (replica, _)] = [(); 4].map(|()| member());
    let mut words = vec!["--cluster".to_owned(), "create".to_owned()];
    words.extend([&a, &b, &c].map(|master| format!("127.0.0.1:{}", master.port())));
    words.push("--cluster-yes".into());
    let said = a.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("All 16384 slots covered"), "{said}");
    let (first, port) = (a.command(&["CLUSTER", "MYID"]), a.port().to_string());
    replica.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
    until("the replica follows", PATIENCE, async || {
        replica.command(&["CLUSTER", "REPLICATE", &first]);
        replica.command(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    let all = [a, b, c, replica];
    let stands = |server: &Redis| {
        let (state, nodes) = (server.command(&["CLUSTER", "INFO"]), server.command(&["CLUSTER", "NODES"]));
        state.contains("cluster_state:ok") && nodes.lines().count() == 4 && nodes.contains("slave")
    };
    until("the cluster stands", PATIENCE, async || all.iter().all(stands)).await;
    let others: Vec<_> = all[1..].iter().map(|server| format!("node=127.0.0.1:{}", server.port())).collect();
    let url = format!("redis-cluster://127.0.0.1:{}?{}", all[0].port(), others.join("&"));
    (all, url)
}
